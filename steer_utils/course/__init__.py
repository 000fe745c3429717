"""The course from the command line: run notebooks, keep each run in its folder, make exercises, check a machine."""
