"""The papers' models in each framework."""
