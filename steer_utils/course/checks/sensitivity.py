"""Checks of the elective on sensitivity: the best setting measured elsewhere, and which factors move a result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from steer_utils.course.checks.answers import Wrong, answered, called, correct, near, number

Elsewhere = Callable[[np.ndarray, list[int]], Any]
POINTS = 5.0  # of overlap, in per cent: what counts as moved


def elsewhere(function: Elsewhere) -> None:
    """`function(cells, here)`: the mean of the setting that is best on the scenes `here`, there and on all others.

    Tried on random overlaps (scenes, settings).
    """
    cells = np.random.default_rng(8).uniform(size=(8, 5))
    here = [0, 2, 5]
    others = [scene for scene in range(len(cells)) if scene not in here]
    returned = called(function, cells.copy(), list(here))
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise Wrong("return two numbers: the mean on the scenes that chose, and that on the others")
    there, away = (number(value) for value in returned)
    best = int(cells[here].mean(axis=0).argmax())
    expected = float(cells[here, best].mean()), float(cells[others, best].mean())
    if near(there, expected[0]) and near(away, expected[1]):
        return correct(
            f"Here {there:.2f} where it was chosen, {away:.2f} elsewhere, and there is nothing but chance in it."
        )
    if near(away, float(cells[others].mean(axis=0).max())):
        raise Wrong("the second is the best of the other scenes: the setting must be the one chosen on `here`")
    if near(away, float(cells[:, best].mean())):
        raise Wrong("the second holds all scenes: leave out those that chose")
    overall = int(cells.mean(axis=0).argmax())
    if near(there, float(cells[here, overall].mean())):
        raise Wrong("the setting is chosen on all scenes: choose it on `here` alone")
    if near(there, float(cells[here].max())):
        raise Wrong("that is the best single cell: choose by the mean over the scenes of `here`")
    raise Wrong("choose the column with the largest mean over the rows `here`; then its mean over the other rows")


def matters(answer: Iterable[str], levels: pd.DataFrame) -> None:
    """The factors (rows of `levels`, with min and max in %) that move the overlap by more than POINTS."""
    given = answered(answer)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise Wrong("pass a list of names of factors")
    chosen = set(given)
    if unknown := sorted(chosen - set(levels.index)):
        raise Wrong(f"{unknown[0]!r} is no factor; they are {', '.join(levels.index)}")
    span = levels["max"] - levels["min"]
    expected = set(levels.index[span > POINTS])
    if chosen == expected:
        return correct(f"{', '.join(sorted(expected)) or 'None of them'}: the others could be anything they were here.")
    if more := sorted(chosen - expected):
        raise Wrong(f"{more[0]!r} moves it by {span[more[0]]:.1f} points, not more than {POINTS:g}")
    raise Wrong(f"{len(expected - chosen)} more: look at the differences of both columns")
