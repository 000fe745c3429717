"""Checks on locating: the sliding window, the chance of a place, and whether one method beats another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steer_utils.course.checks.answers import Wrong, answered, correct, judge, near, number, refuse
from steer_utils.study.statistics import Estimate, cluster_mean, paired_difference

GRID = 0.012  # how far a chance found by enumeration on a grid, or by many random draws, may lie from the exact one
RESAMPLED = 0.15  # of the interval's width: how far its ends may lie from ours, as other random draws put them


# -- 06.1: the sliding window ----------------------------------------------------------------------------------------
def sliding(window_start: Callable[[np.ndarray, int], Any]) -> None:
    """Exercise 06.1: `window_start(curve, width)` is the first token of the window of `width` tokens with the largest
    sum; the first of equals. Whole numbers are used, so that no rounding decides."""
    answered(window_start)
    curve = np.random.default_rng(4).integers(-9, 10, size=60).astype(float)
    _interior(window_start, curve, 8)
    late = np.concatenate([np.arange(20.0), [30.0, 30.0, 30.0]])
    if _start(window_start, late, 3) != 20:
        raise Wrong(
            "a window may also end with the last token: of T tokens there are T - width + 1 placements, not T - width"
        )
    twice = np.array([0.0, 5, 5, 0, 0, 5, 5, 0])
    if _start(window_start, twice, 2) != 1:
        raise Wrong("two windows have the same sum here, and the first one should win: np.argmax does that")
    if _start(window_start, curve, len(curve)) != 0 or _start(window_start, curve, 1) != int(np.argmax(curve)):
        raise Wrong("try it with a window as long as the curve (it begins at 0), and with one of a single token")
    correct("With the cumulative sum each placement costs one subtraction, however wide the window is.")


def _interior(window_start: Callable[[np.ndarray, int], Any], curve: np.ndarray, width: int) -> None:
    """A curve whose best window lies inside: an answer that is wrong here tells which mistake it is."""
    sums = np.convolve(curve, np.ones(width), mode="valid")
    right = int(np.argmax(sums))
    value = number(window_start(curve.copy(), width))
    ends = 'that is where the window ends; say where it begins (np.convolve needs mode="valid")'
    middle = 'that is the middle of the window; say where it begins (np.convolve needs mode="valid")'
    large = "that is how large the sum (or mean) is; say where: np.argmax instead of max"
    mistakes = (
        (right + width - 1, ends),
        (right + width, ends),
        (right + width // 2, middle),
        (right + (width - 1) // 2, middle),
        (sums.max(), large),
        (sums.max() / width, large),
        (right - 1, "that is one token early: the cumulative sum needs a 0 in front, so that entry k sums k tokens"),
        (np.argmax(curve), "that is the largest single token; the sum over all tokens of the window decides"),
        (np.argmin(sums), "that window has the smallest sum, not the largest"),
    )
    otherwise = f"of {len(curve)} tokens, the best window of {width} begins at {right}; yours begins at {value:g}"
    judge(value, right, mistakes, otherwise)


def _start(window_start: Callable[[np.ndarray, int], Any], curve: np.ndarray, width: int) -> float:
    try:
        return number(window_start(curve.copy(), width))
    except (IndexError, ValueError) as error:
        raise Wrong(f"with {len(curve)} tokens and a window of {width} it fails: {error}") from error


# -- 06.2: the chance of a place -------------------------------------------------------------------------------------
def chance(chance_at: Callable[[float, float, float], Any]) -> None:
    """Exercise 06.2: `chance_at(start, width, duration)` is the expected share of an event from `start` on, `width`
    seconds long, that a window of the same width covers when it is placed uniformly in `duration` seconds."""
    answered(chance_at)
    edge, middle = (number(chance_at(start, 5.0, 17.0)) for start in (0.0, 6.0))
    _chance_mistakes(edge, middle)
    for start, width, duration in ((12.0, 5.0, 17.0), (1.5, 5.0, 17.0), (5.0, 5.0, 15.0), (2.0, 3.0, 10.0)):
        given, expected = number(chance_at(start, width, duration)), _chance(start, width, duration)
        if abs(given - expected) > GRID:
            raise Wrong(
                f"an event of {width:g} s from {start:g} s on in {duration:g} s has {expected:.3f}, yours {given:.3f}: "
                "the same rule must hold for any place, also between edge and middle, and at the far end"
            )
    mean = np.mean([_chance(start, 5.0, 17.0) for start in (0.0, 6.0, 12.0)])
    correct(f"The middle has twice the chance of an edge; over the three slots it is {100 * mean:.1f} %.")


def _chance_mistakes(edge: float, middle: float) -> None:
    if abs(edge - _chance(0, 5, 17)) <= GRID and abs(middle - _chance(6, 5, 17)) <= GRID:
        return
    if abs(edge - 5 / 17) <= GRID and abs(middle - 5 / 17) <= GRID:
        raise Wrong(
            "width / duration is the chance of a window that may hang over the ends (or wrap round); this one may "
            "not: it begins between 0 and duration - width"
        )
    if near(edge, middle, 1e-3):
        raise Wrong(
            "edge and middle come out the same; few of the windows reach an event at the edge, because none can begin "
            "before 0: count only the placements there are"
        )
    if max(edge, middle) > 1.0:
        raise Wrong("a share lies between 0 and 1; are these percent, or seconds? Divide by the event's width")
    if middle > 0.7:
        raise Wrong("that is how often the window touches the event; what counts is the share of the event it covers")
    if abs(edge - _chance(6, 5, 17)) <= GRID:
        raise Wrong("edge and middle are exchanged: `start` is where the event begins, and 0 is an edge")
    raise Wrong(
        f"at the edge (0, 5, 17) this gives {edge:.3f}, in the middle (6, 5, 17) {middle:.3f}; average the overlap in "
        "seconds over all placements, then divide by the width"
    )


def _chance(start: float, width: float, duration: float) -> float:
    """Exact: the triangle of overlaps has area width², less the corners cut off where no window can begin."""
    room = duration - width - start
    cut = (max(0.0, width - start) ** 2 + max(0.0, width - room) ** 2) / (2 * width)
    return (width - cut) / (duration - width)


# -- 06.3: is one method better? -------------------------------------------------------------------------------------
def better(answer: Any, verdict: Any, first: np.ndarray, second: np.ndarray, scenes: np.ndarray) -> None:
    """Exercise 06.3: `answer` is (mean, low, high) of first - second over the same queries, with the 95 % interval of
    a bootstrap over scenes; `verdict` is "yes", "no" or "cannot tell": whether the first is better."""
    if isinstance(answer, Estimate):
        answer = (answer.mean, answer.low, answer.high)
    if not isinstance(answered(answer), (list, tuple, np.ndarray)) or len(answer) != 3:
        raise Wrong("give three numbers: (mean, low, high)")
    answered(verdict)
    mean, low, high = (number(value) for value in answer)
    right = paired_difference(first, second, scenes)
    _difference_mistakes(mean, low, high, right, first, second, scenes)
    expected = "yes" if right.low > 0 else "no" if right.high < 0 else "cannot tell"
    if str(verdict).strip().lower() != expected:
        raise Wrong(
            f"the numbers are right: from {right.low:+.3f} to {right.high:+.3f}. 0 lies "
            f"{'in' if expected == 'cannot tell' else 'outside'} that interval; what does this say about {verdict!r}?"
        )
    correct(f"{right.clusters} scenes: {right.mean:+.3f} ({right.low:+.3f} to {right.high:+.3f}), so {expected!r}.")


def _difference_mistakes(
    mean: float, low: float, high: float, right: Estimate, first: np.ndarray, second: np.ndarray, scenes: np.ndarray
) -> None:
    def same(a: float, b: float) -> bool:
        return near(low, a) and near(high, b)

    if near(mean, right.mean) and same(right.low, right.high):
        return
    if not near(mean, right.mean):
        sign = "the sign is turned: it is the first minus the second"
        refuse(
            mean,
            [(-right.mean, sign), (100 * right.mean, "these are percentage points; give shares, as the table does")],
        )
        raise Wrong(f"the mean of first - second is {right.mean:+.4f}, yours {mean:+.4f}")
    queries = paired_difference(first, second, np.arange(len(first)))
    if same(queries.low, queries.high):
        raise Wrong(
            "this interval draws queries as if each were a sample of its own; queries of one scene share its audio, "
            "so pass the scenes as the clusters"
        )
    one, other = (cluster_mean(np.asarray(values, float), scenes) for values in (first, second))
    quadrature = float(np.hypot(one.half_width, other.half_width))
    if same(one.low - other.high, one.high - other.low) or same(mean - quadrature, mean + quadrature):
        raise Wrong(
            "this interval is made from the two methods' own intervals, as if they had heard different scenes; "
            "subtract query by query first: what makes a scene hard for both cancels"
        )
    slack = RESAMPLED * (right.high - right.low)
    if abs(low - right.low) > slack or abs(high - right.high) > slack:
        raise Wrong(f"the mean is right; the 95 % interval over scenes is {right.low:+.3f} to {right.high:+.3f}")
