"""What steering is read from: the contrast of a query, and the attention once a vector is added.

Steering and its controls differ in the vector only; all of them go through here, so that nothing else can differ.

What a method is asked, what it finds, and what the table of methods says about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import Positions
from steer_utils.lm.steering import Injection, Rule
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.settings import Heads, Settings
from steer_utils.sound.spans import Interval, best_window

POSITION = "position"  # the one method that is made from the curves of another, once a run is done


@dataclass(frozen=True)
class Query:
    """A sound by name, the width of the window in seconds, a seed for methods that draw, and the other sounds of
    the scene, for methods that swap."""

    event: str
    seconds: float
    seed: int = 0
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Localisation:
    """Where a method puts the sound. `interval` is None where an answer could not be parsed; `curve` has one
    value an audio token (None for methods without one)."""

    interval: Interval | None
    score: float
    curve: np.ndarray | None = None
    answer: str = ""


Finder = Callable[[Hearing, Query, Settings], Localisation]


@dataclass(frozen=True)
class Method:
    """A row of the table: how it finds, what it costs, where it comes from.

    `find` is None for a method that is made from the rows of others once a run is done (the positional prior).
    """

    name: str
    label: str
    find: Finder | None
    passes: str
    source: str


def localise(curve: np.ndarray, hearing: Hearing, query: Query) -> Localisation:
    """The window of the known width with the largest sum of `curve` (tokens,), as every method of curves ends."""
    interval, score = best_window(curve, hearing.span, query.seconds)
    return Localisation(interval, score, curve)


def contrast_of(hearing: Hearing, query: Query, settings: Settings) -> SteeringVector:
    """The vector of a query: focus on the event minus the neutral instruction, acting on the steered blocks.

    v_l = h_l(audio, p+) - h_l(audio, p-) at the last prompt token (arXiv 2606.11400). Cost: two suffix passes.
    """
    vector = hearing.contrast(
        settings.positive.format(event=query.event), settings.negative, prompt=settings.contrast_question
    )
    return vector.select(settings.steered_blocks(hearing.checkpoint.num_blocks))


def steered_row(
    settings: Settings,
    vector: SteeringVector,
    *,
    positions: Positions = "last",
    rule: Rule = "add",
    event: str | None = None,
) -> Row:
    """The row of a steered read-out: the question of `settings`, with λ `vector` added where `positions` says.

    λ and whether the norm is kept are those of `settings`. `event`: the words that positions "event" means.
    """
    injection = Injection(vector, settings.strength, positions, rule)
    return Row(settings.question, (injection,), settings.keep_norm, event if positions == "event" else None)


def steered_attention(hearing: Hearing, vector: SteeringVector, settings: Settings) -> AttentionMap:
    """The attention under the neutral question with `vector` added: itself ("share"), or minus the unsteered one.

    Cost: one suffix pass, two for the difference.
    """
    steered = steered_row(settings, vector)
    if settings.read == "share":
        (reading,) = hearing.read_rows([steered])
        return reading.attention
    reading, base = hearing.read_rows([steered, Row(settings.question)])
    return reading.attention - base.attention


def steered_curve(
    hearing: Hearing, vector: SteeringVector, settings: Settings, heads: Heads | None = None
) -> np.ndarray:
    """The curve over audio tokens, (tokens,): mean over all heads of `settings.read_blocks`, or over `heads` alone."""
    attention = steered_attention(hearing, vector, settings)
    return attention.curve(settings.read_blocks) if heads is None else attention.curve_of_heads(heads)


def steering_heads(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Steering, read from the heads that `tuning.select_heads` chose on development classes ("per-head selection").

    Raises ValueError where none were chosen.
    """
    if settings.read_heads is None:
        raise ValueError("the settings name no heads to read; choose them with tuning.select_heads, or set read_heads")
    vector = contrast_of(hearing, query, settings)
    return localise(steered_curve(hearing, vector, settings, settings.read_heads), hearing, query)
