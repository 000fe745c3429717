"""What steering is read from: the contrast of a query, and the attention once a vector is added.

Steering and its controls differ in the vector only; all of them go through here, so that nothing else can differ.
"""

from __future__ import annotations

import numpy as np

from .batches import Row
from .hearing import Hearing
from .maps import AttentionMap
from .queries import Found, Query, windowed
from .settings import Heads, Settings
from .steering import Injection
from .vectors import SteeringVector


def contrast_of(hearing: Hearing, query: Query, settings: Settings) -> SteeringVector:
    """The vector of a query: focus on the event minus the neutral instruction, acting on the steered blocks.

    v_l = h_l(audio, p+) - h_l(audio, p-) at the last prompt token (arXiv 2606.11400). Cost: two suffix passes.
    """
    vector = hearing.contrast(
        settings.positive.format(event=query.event), settings.negative, prompt=settings.contrast_question
    )
    return vector.select(settings.steered_blocks(hearing.checkpoint.num_blocks))


def steered_attention(hearing: Hearing, vector: SteeringVector, settings: Settings) -> AttentionMap:
    """The attention under the neutral question with `vector` added: itself ("share"), or minus the unsteered one.

    Cost: one suffix pass, two for the difference.
    """
    steered = Row(settings.question, steer=(Injection(vector, settings.strength),), keep_norm=settings.keep_norm)
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


def steering_heads(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """Steering, read from the heads that `tuning.select_heads` chose on development classes ("per-head selection").

    Raises ValueError where none were chosen.
    """
    if settings.read_heads is None:
        raise ValueError("the settings name no heads to read; choose them with tuning.select_heads, or set read_heads")
    vector = contrast_of(hearing, query, settings)
    return windowed(steered_curve(hearing, vector, settings, settings.read_heads), hearing, query)
