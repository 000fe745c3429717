"""Tests that drive the real JupyterLab in a real browser (a package: some of its modules share names with others)."""
