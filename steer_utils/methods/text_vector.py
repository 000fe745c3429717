"""Steering with a vector made from text alone: the contrast of both instructions with no audio, not even silence.

    v_l = h_l(p+) - h_l(p-)       at the last prompt token, the audio turn left out

It is added to the audio's prompt as the vector of `steering` is. Vectors made from text carry over to speech (Nudging
Hidden States, arXiv 2603.14636); one that carries over to locating sounds needs no audio to be made, and serves all.
Strength, blocks, norm and read-out are chosen for it on development classes (`tuning_rivals`), out of the candidates
that `steering` has; the words are those of `steering`.

Cost: two short forwards with no audio, then one suffix pass, two for the difference.
"""

from __future__ import annotations

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.text_states import text_contrast
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.base import Localisation, Method, Query, localise, steered_curve
from steer_utils.methods.rounds import Steps, in_rounds
from steer_utils.methods.settings import Settings


@in_rounds
def text_vector(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """Steer the neutral question with the contrast of two instructions that heard nothing."""
    chosen = settings.used_as(settings.text_vector)
    vector = contrast_from_text(hearing.checkpoint, query.event, settings)
    acting = vector.select(chosen.steered_blocks(hearing.checkpoint.num_blocks))
    return localise((yield from steered_curve.steps(hearing, acting, chosen)), hearing, query)


def contrast_from_text(checkpoint: Checkpoint, event: str, settings: Settings) -> SteeringVector:
    """The vector of an event in all blocks, in the words of `settings`. Raises what `text_contrast` raises."""
    positive = settings.positive.format(event=event)
    return text_contrast(checkpoint, positive, settings.negative, prompt=settings.contrast_question)


METHODS = (
    Method(
        "text-vector",
        "steering, vector from text alone",
        text_vector,
        "1 or 2, and 2 of text",
        "after arXiv 2603.14636",
        labels=True,
        extra="2nd pass",
        suffixes=2,
        standard=False,
    ),
)
