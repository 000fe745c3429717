"""The command line, `steer-utils`: one file a group of commands. Each command imports what it needs when it runs, so
that `--help` is quick and loads no torch. Reading order:

main       what is mounted, and `--version`
console    what all commands share: refusals in one line with exit code 2, notes and progress on stderr
options    options that several commands take, and what they open
locate     locate, models
analyses   benchmark, analyse, questions, draw, export
checkpoints  verify, tune, contribute
sweep      sweep, results, compare
vectors    contrast, convert
data       datasets, fetch, cost
course     course, run, exercises, doctor
pocket     pocket train, evaluate, analyse, ablate, repeats
"""
