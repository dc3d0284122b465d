"""The papers' models and training in PyTorch."""
