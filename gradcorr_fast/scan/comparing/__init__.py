"""Outputs of both alleles compared: bins that stand for each other, references that are kept, numbers for the table."""
