"""Audio-specialist heads: steering, read from all heads, each weighted by how much it listens.

A few heads do the listening, and how much of their attention goes to the audio tells which (Are Audio-Language Models
Listening?, arXiv 2603.06854, which picks them so and then adds what audio has over silence; that vector is
`audio_steering`'s). Here the weights are ours to declare:

    w_h = m_h^p / Σ m^p       m_h: the part of head h's attention that goes to the audio at all, 0..1
    curve = Σ w_h share_h     over all heads of all blocks after the first steered one

`steering-heads` picks heads by labels, and `steering` picks blocks by labels; this picks neither: the heads weigh
themselves in each query, and a head that hardly looks at the audio hardly counts. p = 0 is the mean over all these
heads, p = 1 the mean of raw attention weights, a large p a few heads. p, and share or difference, are chosen on
development classes (`tuning_rivals`); the vector, its strength and its blocks are those of `steering`.

Cost: that of `steering`.
"""

from __future__ import annotations

import numpy as np
import torch

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Localisation, Method, Query, contrast_of, localise, steered_row
from steer_utils.methods.rounds import Read, Steps, in_rounds
from steer_utils.methods.settings import Settings, Specialists


@in_rounds
def specialist_heads(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """Steering, its heads weighted by their own attention to the audio."""
    chosen = settings.specialists or Specialists()
    vector = yield from contrast_of.steps(hearing, query, settings)
    plain = [Read(hearing, Row(settings.question))] if chosen.read == "difference" else []
    steered, *base = yield [Read(hearing, steered_row(settings, vector)), *plain]
    curve = weighted_curve(steered.attention, base[0].attention if base else None, chosen.power)
    return localise(curve, hearing, query)


def weighted_curve(steered: AttentionMap, base: AttentionMap | None, power: float) -> np.ndarray:
    """Σ w_h share_h, (tokens,), over the heads of all blocks that steering can have changed; the weights are those of
    the steered map. Of the difference to `base` where one is given.

    Raises ValueError where the last block was steered, which leaves none.
    """
    steered.audio_mass()  # raises for the last block
    mass = steered.mass[steered.first_block :].mean(dim=-1).double()  # (blocks, heads)
    share = (steered if base is None else steered - base).share[steered.first_block :].mean(dim=2).double()
    loudest = mass.max()
    weights = (
        mass / loudest if loudest > 0 else torch.ones_like(mass)
    ) ** power  # the largest is 1, whatever the power
    return ((weights[..., None] * share).sum(dim=(0, 1)) / weights.sum()).numpy()


METHODS = (
    Method(
        "specialist-heads",
        "steering, heads weighted by listening",
        specialist_heads,
        "3 or 4",
        "weights after arXiv 2603.06854",
        labels=True,
        extra="2nd pass",
        suffixes=4,
        standard=False,
    ),
)
