"""The small models that ship with the course, and how they are made.

In the order to read them:

recipe             every number of the training, in one place
text               what the models are asked in training, and what they answer
architecture       the two real model classes at pocket size, with real processors
corpus             scenes as mel features with frame labels; scenes encoded once by a frozen tower
packing            several question-answer pairs behind one audio, kept apart by a 4-D mask
training           the two stages: a tower that tags frames, a language model that answers
chunked_attention  attention for training on a CPU, a few rows at a time
checkpointing      resume after a kill, bit for bit
evaluation         what a model gets right: answers of every kind
card               the model card
commands           train a model from nothing, measure it: what `steer-utils pocket` runs
analyses           every analysis of a model, as files beside its weights
ablation           short trainings that differ in one thing each
repeats            one recipe trained several times

No room below it imports it; `lm.models` only knows the folder of the weights.
"""
