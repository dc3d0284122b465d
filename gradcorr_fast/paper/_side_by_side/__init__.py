"""Training many models at once, in each framework."""
