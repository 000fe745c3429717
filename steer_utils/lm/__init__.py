"""A model and what is done to it: loading, vectors, steering, attention rows, hearing."""
