"""Figures: one module a subject; `figures` writes them, `located` has what most lessons draw."""
