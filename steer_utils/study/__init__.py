"""What is measured over many scenes: the benchmark, its metrics and statistics, and one file an analysis.

In the order to read them:

metrics          how right one answer is, and the row of a query
statistics       intervals, tests and known answers over many queries; the unit is the scene
resume           long work in units, kept line by line, so that a killed run goes on
benchmark        the scenes that fit a model, every method on all of them, the positional prior
report           what the benchmark's table says, as figures, text, json and file
contributed      runs of published checkpoints that users measured: results/
paper_table      measured figures beside the paper's
assumptions      what the paper leaves open, what we declare, where it is varied
sensitivity      does the result hang on what the paper leaves open?
attention_shift  do steering and prompting raise attention to the audio, or move it?
causality        does the answer change when the window is taken away, and does it follow the vector?
block_map        where must the vector go in, and where does attention answer?
free_words       does a model find sounds by words that it was never trained with?
field            is what `locate` says of a field recording true?
harder_scenes    where does a method stop? scenes that are less kind, sounds that are not there
sample_curves    how much does it take? strength, contrast pairs, wording, language
alignment        linear maps between the states of two models, and a vector carried over
transfer         does a vector from elsewhere still steer?
"""
