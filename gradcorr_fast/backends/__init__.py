"""One file for each array library: how to reach its memory, and which realisation to run."""
