"""Training of several models at once in each framework."""
