"""Notebooks as runs, and grids of many runs on one machine or a cluster. Reading order:


One notebook:

lesson_paths    the course's notebooks, and which one a number or a name means
parameters      a notebook's parameters, as given and checked against its defaults
notebooks       a notebook executed in a kernel of this Python
identity        all that its result depends on, as a hash
folder          its run in a folder of its own: once complete not repeated, once killed resumed

A sweep of many:

grids           the grid file: models, seeds, blocks, strengths
planning        from the grid to units of work, checked before any weights are read
sweep           the sweep's folder, and the loop over its units
executors       units run in this process, or on the workers of Dask
clusters        where those workers are: this machine, a scheduler, SLURM
worker          one unit, done where a worker is
measuring       what is measured on the scenes of a unit
status          how far a sweep is
sweep_results   one table over all units, the setting chosen, its test figure
comparisons     two sweeps, or two benchmarks, query by query
"""
