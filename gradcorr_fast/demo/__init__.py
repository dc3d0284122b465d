"""A small network on sequences with planted motifs, where the truth is known: what `gradcorr-fast demo` shows."""
