"""The small models that ship with the course, and how they are made.

===============  ==========================================================================
`architecture`   the two real model classes at pocket size, with real processors
`text`           what the models are asked in training, and what they answer
`corpus`         scenes as mel features with frame labels; scenes encoded once by a frozen encoder
`packing`        several question-answer pairs behind one audio, kept apart by a 4-D mask
`recipe`         every number of the training, in one place
`training`       the two stages: an encoder that tags frames, a language model that answers
`checkpointing`  resume after a kill, bit for bit
`evaluation`     what a model gets right: answers, and the model card
===============  ==========================================================================

Nothing outside this package imports it, except `models`, to find the weights.
"""
