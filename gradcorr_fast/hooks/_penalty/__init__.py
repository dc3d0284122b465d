"""The angle to the simplex as a term of a loss, one file for each framework."""
