"""A scan at work: options, folder and shards, the model and its failures, progress."""
