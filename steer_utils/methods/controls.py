"""Controls of steering: a random vector, the right one backwards, that of another event, and no vector at all.

Each turns (hearing, query, settings) into an interval as `steering` does. Those with a vector keep its blocks, its
strength, norm and read-out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from steer_utils.lm.hearing import Shown
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Localisation, Method, Need, Query, contrast_of, localise, steered_curve
from steer_utils.methods.rounds import Read, Steps, in_rounds
from steer_utils.methods.settings import Settings
from steer_utils.methods.steering import steering


@in_rounds
def random_vector(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """Steering with a random direction, as long as the contrast in each block; drawn with the query's seed."""
    vector = yield from contrast_of.steps(hearing, query, settings)
    curve = yield from steered_curve.steps(hearing, vector.random_like(query.seed), settings)
    return localise(curve, hearing, query)


@in_rounds
def negative(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """Steering with -λ: away from the event."""
    return (yield from steering.steps(hearing, query, replace(settings, strength=-settings.strength)))


@in_rounds
def swapped(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """Steering with the vector of another event of the scene, picked with the query's seed out of `query.others`.

    Score it against the true interval of the queried event: where the vector decides, they hardly overlap.
    Raises ValueError for a query that names no others.
    """
    return (yield from steering.steps(hearing, query.for_another_event(), settings))


@in_rounds
def unsteered(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """The attention peak under the neutral question: the same window whatever is queried."""
    (reading,) = yield [Read(hearing, Row(settings.question))]
    return localise(reading.attention.curve(settings.peak_blocks), hearing, query)


OTHER_EVENTS = Need("a query that names the other events of the scene", lambda settings, others, scenes: others)

_steered = partial(Method, passes="3 or 4", labels=True, extra="2nd pass", suffixes=4)
METHODS = (
    _steered("random-vector", "steering, random vector", random_vector, source="equal norm in each block"),
    _steered("negative", "steering backwards", negative, source="-lambda"),
    _steered("swapped", "steering to another event", swapped, source="scored on the queried event", needs=OTHER_EVENTS),
    Method(
        "unsteered", "unsteered attention peak", unsteered, "1", "neutral question, no vector", labels=True, suffixes=1
    ),
)
