"""Sweeps: grids of models, seeds and settings as many runs, on one machine or a cluster, and what came of them."""
