"""A model and what is done to it: loading, vectors, steering, attention, hearing. In reading order:

- `patch_grid`: boxes in pixels and the patches of a picture: what `sound/spans.py` is for time.
- `family`: what the library must know of a kind of model. `families` are those that hear, one entry each;
  `picture_families` those that see.
- `checkpoints`: a model that is opened, its prompts as tokens, and how its answers are decoded.
- `loading`: how it is opened: from where, to which device, in which number type or quantisation.
- `blocks`: sets of decoder blocks, as numbers and as text.
- `vectors`: a direction for each block, with its algebra, its provenance and its file.
- `positions`: which tokens a vector is added at.
- `steering`: how it is added, as hooks on the blocks.
- `caches`: what transformers calls the key/value cache, by its version.
- `hidden_states`: how the states of chosen tokens are kept.
- `attention`: how the attention of chosen tokens is kept, and how rows attend to a prefix that they share.
- `prefixes`: chat head and audio, computed once, as a key/value cache.
- `plan`: from rows (instructions and steering) to what the model is to do.
- `run`: one call of the model that does it.
- `attention_maps`: attention over the audio, read in seconds.
- `hearing`: one audio with all that is read from it; `Hearing` and `Reading`, where a user begins.
- `several_audios`: many of them, encoded together, in groups whose rows are read in one call.
- `text_states`: states under an instruction with no audio at all, and a vector made of two.
- `models`: `load`, and the pocket models by name.

Beside the path of an audio: `verification` (a checkpoint against plain transformers), `gguf_vectors` (the files of
llama.cpp and repeng), `costs` (what a run needs, before it runs), `threads` (how many torch computes with) and
`environment` (cores and installed versions).
"""
