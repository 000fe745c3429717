"""Runs: one notebook as a run in its folder, and grids of many runs on one machine or a cluster."""
