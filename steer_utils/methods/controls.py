"""Controls of steering: what is left without the vector, with a wrong one, or with the right one backwards.

Each turns (hearing, query, settings) into an interval as `steering` does, with its blocks, strength, norm and read-out.
"""

from __future__ import annotations

from dataclasses import replace

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Localisation, Query, contrast_of, localise, steered_curve
from steer_utils.methods.settings import Settings


def contrast_prompting(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """The same contrast by prompting alone: attention share under p+ minus that under p-, no vector.

    Both instructions stand before the question that `steering` asks; read from `settings.prompt_blocks`.
    """
    positive = settings.positive.format(event=query.event)
    plus, minus = hearing.read_rows(
        [Row(f"{instruction} {settings.question}") for instruction in (positive, settings.negative)]
    )
    return localise((plus.attention - minus.attention).curve(settings.prompt_blocks), hearing, query)


def negative(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Steering with -λ: away from the event."""
    backwards = replace(settings, strength=-settings.strength)
    return localise(steered_curve(hearing, contrast_of(hearing, query, settings), backwards), hearing, query)


def random_vector(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Steering with a random direction, as long as the contrast in each block; drawn with the query's seed."""
    vector = contrast_of(hearing, query, settings).random_like(query.seed)
    return localise(steered_curve(hearing, vector, settings), hearing, query)


def swapped(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Steering with the vector of another event of the scene, picked with the query's seed out of `query.others`.

    Score it against the true interval of the queried event: where the vector decides, they hardly overlap.
    Raises ValueError for a query that names no others.
    """
    if not query.others:
        raise ValueError(f"the query for {query.event!r} names no other event; pass Query(..., others=...)")
    other = replace(query, event=query.others[query.seed % len(query.others)])
    return localise(steered_curve(hearing, contrast_of(hearing, other, settings), settings), hearing, query)
