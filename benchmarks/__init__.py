"""Measured speed: `python -m pytest benchmarks` runs everything, `python benchmarks/report.py` writes the table."""
