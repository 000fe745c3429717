"""What a method is asked, what it finds, and what the table of methods says about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .hearing import Hearing
from .settings import Settings
from .spans import Interval, best_window

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
class Found:
    """Where a method puts the sound. `interval` is None where an answer could not be parsed; `curve` has one
    value an audio token (None for methods without one)."""

    interval: Interval | None
    score: float
    curve: np.ndarray | None = None
    answer: str = ""


Finder = Callable[[Hearing, Query, Settings], Found]


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


def windowed(curve: np.ndarray, hearing: Hearing, query: Query) -> Found:
    """The window of the known width with the largest sum of `curve` (tokens,), as every method of curves ends."""
    interval, score = best_window(curve, hearing.span, query.seconds)
    return Found(interval, score, curve)
