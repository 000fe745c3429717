"""Checks beyond the paper: a rotation between two spaces, what counts as transfer, which control rules out what."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from steer_utils.course.checks.answers import Wrong, answered, correct, judge, number, refuse, values

_close = partial(np.allclose, atol=1e-6)

#: A table to judge: overlap in per cent of a target's own vector, of the vector carried to it, and of the same carried
#: by a map of shuffled pairs; `more` is carried minus shuffled with its 95 % interval. Chance is 24 in each row.
CASES = pd.DataFrame(
    [
        {"pair": "A to B", "own": 92, "carried": 60, "shuffled": 57, "low": -5, "high": 11},
        {"pair": "A to C", "own": 93, "carried": 55, "shuffled": 26, "low": 20, "high": 38},
        {"pair": "B to C", "own": 41, "carried": 38, "shuffled": 23, "low": 8, "high": 22},
        {"pair": "C to A", "own": 90, "carried": 34, "shuffled": 31, "low": -6, "high": 12},
        {"pair": "C to B", "own": 30, "carried": 29, "shuffled": 28, "low": -7, "high": 9},
    ]
)
CASE_CHANCE = 24


def cases() -> pd.DataFrame:
    """The invented results of exercise 08.2, one row a pair of models; a copy."""
    return CASES.copy()


def rotation(answer: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """A function of (source, target), both (pairs, width), that gives the best rotation (width, width).

    It is tried on a rotated, shifted and slightly noisy copy.
    """
    if not callable(answered(answer)):
        raise Wrong("define a function rotation(source, target), and pass the function itself")
    rng = np.random.default_rng(4)
    truth = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    source = rng.normal(size=(60, 5)) * (3.0, 2.0, 1.0, 1.0, 0.5) + 4.0
    target = source @ truth + rng.normal(size=5) * 6.0 + rng.normal(size=source.shape) * 0.4
    given = values(answer(source.copy(), target.copy()), (5, 5))
    x, y = source - source.mean(axis=0), target - target.mean(axis=0)
    best = _procrustes(x, y)
    if _close(given, best):
        return correct(
            "Lengths and angles are kept, so it can fail where a ridge map succeeds: it has nothing to bend."
        )
    mistakes = (
        (best.T, "this turns the target into the source; swap the two, or transpose"),
        (_procrustes(source, target), "the two clouds have different middles; subtract the mean of each first"),
    )
    refuse(given, mistakes, same=_close)
    if not _close(given @ given.T, np.eye(5)):
        raise Wrong(
            "this is no rotation: R Rᵀ is not the identity. A least-squares map stretches; leave out the singular "
            "values of XᵀY"
        )
    raise Wrong("it is a rotation, but not the best one; take U Vᵀ of the singular value decomposition of XᵀY")


def _procrustes(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(source.T @ target)
    return np.asarray(left @ right)


def transferred(answer: object, table: pd.DataFrame) -> None:
    """The pairs of `table` (`cases`) whose vector transferred."""
    if answered(answer) in ("", "none") or isinstance(answer, str) or not isinstance(answer, (list, tuple, set)):
        raise Wrong('pass a list of pairs, such as ["A to B", "C to A"]')
    given, pairs = {str(pair) for pair in answer}, set(table["pair"])
    if unknown := sorted(given - pairs):
        raise Wrong(f"there is no pair {unknown[0]!r} in the table; it has: {', '.join(table['pair'])}")

    def where(wanted: pd.Series) -> set[str]:
        return set(table.loc[wanted, "pair"])

    expected = where(table["low"] > 0)
    if given == expected:
        return correct(
            "Carried beats shuffled beyond its interval. That one is still far below its target's own vector, and "
            "another's own vector is poor, is a second question."
        )
    if given == pairs:
        raise Wrong(
            "every overlap is above zero, and above chance too; compare with the shuffled control, not with zero: a "
            "map of mismatched pairs reaches that much without knowing anything"
        )
    if given in (where(table["carried"] > table["shuffled"] + 1), where(table["carried"] > CASE_CHANCE + 8)):
        raise Wrong("a larger number is not yet a difference; look at the interval of carried minus shuffled")
    if given in (where(table["carried"] >= 0.9 * table["own"]), where(table["own"] - table["carried"] <= 5)):
        raise Wrong(
            "being close to the target's own vector says little where that one finds nothing itself; compare with the "
            "shuffled control"
        )
    if missed := sorted(expected - given):
        raise Wrong(f"{missed[0]} is missing: its interval of carried minus shuffled lies above 0")
    raise Wrong(f"{min(given - expected)} is not one: its interval of carried minus shuffled holds 0")


def cut_control(window: object, beyond: object, summary: pd.DataFrame) -> None:
    """The window of `occlusion_summary` that rules out "any cut changes the answer", and by how much the
    presence drops beyond it when the found window is taken."""
    name = answered(window)
    answered(beyond)
    hints = {
        "true": "the true interval says how much a cut can do at most; which window says what any cut does?",
        "found": "the found window is what is tested; a control is a cut that should do nothing",
    }
    if name != "random":
        raise Wrong(hints.get(str(name), 'pass the name of a window: "found", "random" or "true"'))
    drops = summary[summary["measure"] == "presence"].set_index("window")["drop"]
    given, expected = number(beyond), float(drops["found"] - drops["random"])
    other = "the true interval is not asked for here; take the found window and the random one"
    mistakes = (
        (drops["found"], "this is the whole drop; take off what a random cut does by itself"),
        (-expected, "the other way round: found minus random"),
        (drops["true"] - drops["random"], other),
        (drops["found"] - drops["true"], other),
    )
    otherwise = "in the rows of measure 'presence', subtract the drop of the random window from that of the found one"
    judge(given, expected, mistakes, otherwise)
    correct(
        f"A random cut of the same width takes {drops['random']:.2f}, the found one {drops['found']:.2f}: it matters "
        "where the cut is made."
    )
