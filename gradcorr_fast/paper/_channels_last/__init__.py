"""Faster layers for training on CPUs."""
