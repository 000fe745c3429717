"""Instruction steering: the course's own way, over chosen heads, and as the paper declares it (arXiv 2606.11400).

The neutral question is steered with the contrast of two instructions over the same audio, v = h(p+) - h(p-). The curve
is where the attention of the last prompt token then goes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from steer_utils.lm.hearing import Shown
from steer_utils.methods.base import Localisation, Method, Need, Query, contrast_of, localise, steered_curve
from steer_utils.methods.rounds import Steps, in_rounds
from steer_utils.methods.settings import Settings, paper_settings


@in_rounds
def steering(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """Steer the neutral question with the contrast of two instructions; read where the attention then is."""
    vector = yield from contrast_of.steps(hearing, query, settings)
    curve = yield from steered_curve.steps(hearing, vector, settings)
    return localise(curve, hearing, query)


@in_rounds
def steering_heads(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """Steering, read from the heads that `tuning.select_heads` chose on development classes ("per-head selection").

    Raises ValueError where none were chosen.
    """
    if settings.read_heads is None:
        raise ValueError("the settings name no heads to read; choose them with tuning.select_heads, or set read_heads")
    vector = yield from contrast_of.steps(hearing, query, settings)
    curve = yield from steered_curve.steps(hearing, vector, settings, settings.read_heads)
    return localise(curve, hearing, query)


@in_rounds
def steering_paper(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """The paper's difference read-out exactly as declared in `settings.PAPER`: h' is scaled back to the norm of h."""
    return (yield from steering.steps(hearing, query, paper_settings(settings)))


@in_rounds
def steering_paper_free(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """The same with the sum alone, h' = h + lambda v, which is all that the paper states; its norm is left free."""
    return (yield from steering.steps(hearing, query, replace(paper_settings(settings), keep_norm=False)))


def _steers_alike(one: Settings, other: Settings) -> bool:
    """Whether `steering` does the same under both."""
    said = ("positive", "negative", "question", "contrast_question", "strength", "blocks", "keep_norm", "read")
    return all(getattr(one, name) == getattr(other, name) for name in (*said, "read_blocks"))


CHOSEN_HEADS = Need(
    "settings with read_heads (tuning.select_heads)",
    lambda settings, others, scenes: settings.read_heads is not None,
)

_steering = partial(Method, extra="2nd pass", suffixes=4)
METHODS = (
    _steering(
        "steering",
        "steering (ours)",
        steering,
        "3 or 4",
        "as arXiv 2606.11400, set on development classes",
        labels=True,
    ),
    _steering(
        "steering-heads",
        "steering, per-head selection",
        steering_heads,
        "3 or 4",
        "heads chosen on the same",
        labels=True,
        needs=CHOSEN_HEADS,
    ),
    _steering(
        "steering-paper",
        "steering (paper, as declared)",
        steering_paper,
        "4",
        "arXiv 2606.11400",
        equals=lambda settings: "steering" if _steers_alike(settings, paper_settings(settings)) else "",
    ),
    _steering(
        "steering-paper-free",
        "steering (paper, norm left free)",
        steering_paper_free,
        "4",
        "arXiv 2606.11400",
        equals=lambda settings: (
            "steering" if _steers_alike(settings, replace(paper_settings(settings), keep_norm=False)) else ""
        ),
    ),
)
