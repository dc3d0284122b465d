"""Where a model's input goes first."""
