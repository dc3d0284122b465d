"""Folded models as files."""
