"""The benchmark, its metrics and statistics, and one file an analysis."""
