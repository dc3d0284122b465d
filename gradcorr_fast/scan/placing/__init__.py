"""Where variants and regions lie on the genome, and the windows that the model sees."""
