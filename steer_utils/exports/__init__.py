"""Exports: intervals as files that annotation tools read, steering vectors as GGUF."""
