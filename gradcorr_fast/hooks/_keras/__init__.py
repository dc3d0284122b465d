"""What is made of Keras models."""
