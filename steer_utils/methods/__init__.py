"""Ways to locate a sound: what they are set to, one file a way, the table of all, and the one call `locate`.

In the order of reading:

    settings        what a method is set to: instructions, strength, blocks; `PAPER`, and what a model brings
    base            the query, the answer, a method's entry; the contrast of a query and its steered read-out
    rounds          how methods share their model calls
    steering        instruction steering: the course's own, over chosen heads, as the paper declares it
    prompting       the instruction alone, with no vector
    controls        a random vector, the right one backwards, another event's, none
    audio_steering  the vector is what the audio adds to silence (MAVS, LWVS, VISTA)
    answers         the time that an answer names, or why none can be read
    asking          the model's own answer: when the sound is, and whether it is there
    calibration     what that yes or no is worth, as a probability
    baselines       the loudest window, a random one, the mean of other scenes
    attention_scaling  scores of the audio multiplied before the softmax
    specialist_heads   steering, its heads weighted by how much they listen
    text_vector     steering with a vector made from text alone
    event_vector    steering with a vector read at the event's name
    activation_swap a control: the state at the event's name, swapped in from another audio
    attribution     gradients and occlusion of the model's "yes"
    logit_lens      what each audio token would say next; attention rollout
    clap            CLAP as a yardstick from outside, where its weights are there
    table           the table of all methods: a new file is named there
    locate          one audio and a name in, an interval out; long audio in windows
    tuning          choose strength, blocks and heads on development classes
    tuning_rivals   the same for the free numbers of the rivals
"""
