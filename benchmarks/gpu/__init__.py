"""Benchmarks on an NVIDIA GPU; `benchmarks/gpu.sh` runs them all. Without a GPU they skip, or rehearse with --dry."""
