"""Attention-logit scaling towards the audio, a rival of steering: nothing is added, the softmax is sharpened.

Kulkarni et al. (arXiv 2606.17417) multiply the attention scores of audio tokens by alpha before the softmax, and find
that this helps temporal questions where raising the weight of the audio does not: attention is given out anew among the
audio tokens. One block (their block 20 of 32, alpha 2) helps most.

They locate nothing, so how to read it is ours to declare. With scores s over the audio, the share of attention in a
scaled block is softmax(alpha s): the same tokens win as without, by more. What a scaled block changes elsewhere is the
last token's state, and so the scores of later blocks. The prompt is the focus instruction ("Focus on the dog bark. ..."
with the question that prompting alone does best with, once that was chosen); every token behind the audio is scaled,
the audio's own states are not. The curve is the scaled share, or scaled minus unscaled, over blocks from the first
scaled one on. Alpha, block and what is read are chosen on development classes (`tuning_rivals`).

Cost: one suffix pass with scaled keys, one more for the difference; keys of the scaled blocks are copied.
"""

from __future__ import annotations

from functools import partial

from steer_utils.lm.blocks import Blocks
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Localisation, Method, Query, localise, read_out
from steer_utils.methods.rounds import Read, Steps, in_rounds
from steer_utils.methods.settings import Scaling, Settings


@in_rounds
def attention_scaling(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """Scores of the audio scaled in one block; as declared, the one that lies as deep as block 20 of 32."""
    chosen, count = settings.scaling or Scaling(), hearing.checkpoint.num_blocks
    return (yield from scaled.steps(hearing, query, settings, chosen, chosen.blocks or (20 * count // 32,)))


@in_rounds
def attention_scaling_all(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """Scores of the audio scaled in every block."""
    chosen = settings.scaling_all or Scaling()
    every = tuple(range(hearing.checkpoint.num_blocks))
    return (yield from scaled.steps(hearing, query, settings, chosen, chosen.blocks or every))


@in_rounds
def scaled(hearing: Hearing, query: Query, settings: Settings, chosen: Scaling, blocks: Blocks) -> Steps[Localisation]:
    """The window under the focus prompt, with the audio's scores scaled in these blocks as `chosen` says.

    A factor of 1 is prompting itself ("share"), or zero everywhere ("difference"). A model takes another factor in each
    block by `Hearing.with_scaled_audio`.
    """
    row = Row(settings.focus(query.event, chosen.question))
    sharper = hearing.with_scaled_audio(dict.fromkeys(blocks, chosen.factor))
    first = min(block % hearing.checkpoint.num_blocks for block in blocks)
    read = chosen.read_blocks or range(first, hearing.checkpoint.num_blocks)
    wanted = [Read(sharper, row), *([Read(hearing, row)] if chosen.read == "difference" else [])]
    reading, *base = yield wanted
    plain = base[0].attention if base else reading.attention
    return localise(read_out(reading.attention, plain, chosen.read, tuple(read)), hearing, query)


_scaling = partial(
    Method, passes="1 or 2", source="arXiv 2606.17417", labels=True, extra="2nd pass", suffixes=2, standard=False
)
METHODS = (
    _scaling("attention-scaling", "audio scores scaled, one block", attention_scaling),
    _scaling("attention-scaling-all", "audio scores scaled, all blocks", attention_scaling_all),
)
