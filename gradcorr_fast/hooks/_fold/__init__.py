"""The correction inside the first layers of a model."""
