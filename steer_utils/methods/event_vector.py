"""Steering with a vector read at the event's name, where `steering` reads it at the last prompt token.

    v_l = mean over the name's tokens of h_l(audio, p+) - mean over the words of p- of h_l(audio, p-)

The tokens of an event's name carry its coarse time (On Temporal Binding in Large Audio-Language Models: Primus &
Widmer, 2026). What stands in their place in the neutral instruction is that instruction itself, all its tokens. No
question comes before either, so none has a part in the vector. It is added at the last prompt token, as `steering`'s.
Strength, blocks, norm and read-out are chosen for it on development classes (`tuning_rivals`), out of the candidates
that `steering` has.

Cost: that of `steering`.
"""

from __future__ import annotations

from steer_utils.lm.hearing import Hearing, contrast_rows, contrast_vector
from steer_utils.lm.plan import Row
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.base import Localisation, Method, Query, localise, steered_curve
from steer_utils.methods.rounds import Read, Steps, in_rounds
from steer_utils.methods.settings import Settings


@in_rounds
def event_vector(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """Steer the neutral question with what the event's name stands for behind this audio."""
    chosen = settings.used_as(settings.event_vector)
    vector = yield from contrast_at_the_name.steps(hearing, query, settings)
    acting = vector.select(chosen.steered_blocks(hearing.checkpoint.num_blocks))
    return localise((yield from steered_curve.steps(hearing, acting, chosen)), hearing, query)


@in_rounds
def contrast_at_the_name(hearing: Hearing, query: Query, settings: Settings) -> Steps[SteeringVector]:
    """The vector of a query in all blocks. Cost: two suffix passes.

    Raises ValueError where the instruction does not hold the event's name as words of their own.
    """
    positive = settings.positive.format(event=query.event)
    plus, minus = contrast_rows(hearing.checkpoint, positive, settings.negative, settings.contrast_question)
    plus = Row(plus.instruction, event=query.event, hidden_at="event")
    minus = Row(minus.instruction, event=settings.negative, hidden_at="event")
    named, neutral = yield [Read(hearing, plus), Read(hearing, minus)]
    return contrast_vector(hearing.checkpoint, named, neutral, positions="event", note=", at the event's name")


METHODS = (
    Method(
        "event-vector",
        "steering, vector read at the event's name",
        event_vector,
        "3 or 4",
        "after Primus & Widmer 2026",
        labels=True,
        extra="2nd pass",
        suffixes=4,
        standard=False,
    ),
)
