"""Training loops in each framework."""
