"""The checks in `locating`: right answers pass, and each likely mistake gets its own hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hints import hint_test, right_test

from steer_utils.course.checks import Wrong
from steer_utils.course.checks import locating as checks
from steer_utils.sound.spans import AudioSpan, Interval
from steer_utils.study.statistics import cluster_mean, paired_difference, random_overlap

Start = Callable[[np.ndarray, int], Any]


def sums(curve: np.ndarray, width: int, mode: Any = "valid") -> np.ndarray:
    return np.convolve(curve, np.ones(width), mode=mode)


def running(curve: np.ndarray, width: int) -> int:
    total = np.concatenate([[0.0], np.cumsum(curve)])
    return int(np.argmax(total[width:] - total[:-width]))


def without_zero(curve: np.ndarray, width: int) -> int:
    total = np.cumsum(curve)
    return int(np.argmax(total[width:] - total[:-width]))


def last_of_equals(curve: np.ndarray, width: int) -> int:
    totals = sums(curve, width)
    return len(totals) - 1 - int(np.argmax(totals[::-1]))


def short(curve: np.ndarray, width: int) -> int:
    if width == len(curve):
        raise ValueError("attempt to get argmax of an empty sequence")
    return running(curve, width)


test_sliding_right = right_test(checks.sliding, running, lambda curve, width: int(np.argmax(sums(curve, width))))

test_sliding_wrong = hint_test(
    checks.sliding,
    (..., "nothing is here yet"),
    (lambda curve, width: None, "nothing is here yet"),
    (lambda curve, width: int(np.argmax(sums(curve, width, "same"))), "middle of the window"),
    (lambda curve, width: int(np.argmax(sums(curve, width, "full"))), "where the window ends"),
    (lambda curve, width: sums(curve, width).max(), "how large the sum"),
    (lambda curve, width: sums(curve, width).max() / width, "how large the sum"),
    (without_zero, "a 0 in front"),
    (lambda curve, width: int(np.argmax(curve)), "largest single token"),
    (lambda curve, width: int(np.argmin(sums(curve, width))), "smallest sum"),
    (lambda curve, width: 3, "begins at 28; yours begins at 3"),
    (last_of_equals, "the first one should win"),
    (short, "with 60 tokens and a window of 60 it fails: attempt"),
    (lambda curve, width: running(curve, width) + (width == len(curve)), "as long as the curve"),
    (lambda curve, width: int(np.argmax(sums(curve, width)[: len(curve) - width])), "also end with the last"),
)


def by_grid(start: float, width: float, duration: float) -> float:
    span = AudioSpan(0, round(duration / 0.04))
    return random_overlap(Interval(start, start + width), span, width)


def drawn(start: float, width: float, duration: float) -> float:
    begins = np.random.default_rng(0).uniform(0, duration - width, 20_000)
    shared = np.minimum(begins, start) + width - np.maximum(begins, start)
    return float(np.clip(shared, 0, None).mean() / width)


test_chance_right = right_test(checks.chance, by_grid, drawn, checks._chance, says="27.8 %")


def touching(start: float, width: float, duration: float) -> float:
    return (min(duration - width, start + width) - max(0.0, start - width)) / (duration - width)


test_chance_wrong = hint_test(
    checks.chance,
    (None, "nothing is here yet"),
    (lambda start, width, duration: None, "nothing is here yet"),
    (lambda start, width, duration: width / duration, "hang over the ends"),
    (lambda start, width, duration: width / (duration - width), "come out the same"),
    (lambda start, width, duration: 100 * by_grid(start, width, duration), "a share lies between"),
    (lambda start, width, duration: width * by_grid(start, width, duration), "a share lies between"),
    (touching, "how often the window touches"),
    (lambda start, width, duration: by_grid(6.0 - start, width, duration), "are exchanged"),
    (lambda start, width, duration: 0.1 if start else 0.05, "at the edge .* gives 0.050"),
    (lambda start, width, duration: width / (duration - width) / (1 if start else 2), "between edge and middle"),
)


SCENES = np.repeat(np.arange(30), 3)
_HARD = np.repeat(np.random.default_rng(1).uniform(0.2, 0.8, 30), 3)  # how easy a scene is, for both methods
_NOISE = np.random.default_rng(2).normal(size=(2, 90))
FIRST, SECOND = _HARD + 0.08 + 0.05 * _NOISE[0], _HARD + 0.05 * _NOISE[1]


def test_better_right(capsys: pytest.CaptureFixture[str]) -> None:
    right = paired_difference(FIRST, SECOND, SCENES)
    checks.better((right.mean, right.low, right.high), "yes", FIRST, SECOND, SCENES)
    checks.better(right, " Yes", FIRST, SECOND, SCENES)
    other_draws = paired_difference(FIRST, SECOND, SCENES, seed=5)
    checks.better([other_draws.mean, other_draws.low, other_draws.high], "yes", FIRST, SECOND, SCENES)
    turned = paired_difference(SECOND, FIRST, SCENES)
    checks.better(turned, "no", SECOND, FIRST, SCENES)
    none = paired_difference(FIRST, FIRST + 0.05 * _NOISE[1], SCENES)
    checks.better(none, "cannot tell", FIRST, FIRST + 0.05 * _NOISE[1], SCENES)
    assert capsys.readouterr().out.count("Correct. 30 scenes") == 5


def test_better_wrong() -> None:
    right = paired_difference(FIRST, SECOND, SCENES)
    naive = paired_difference(FIRST, SECOND, np.arange(90))
    own, other = cluster_mean(FIRST, SCENES), cluster_mean(SECOND, SCENES)
    both = float(np.hypot(own.half_width, other.half_width))
    triple = (right.mean, right.low, right.high)
    for answer, verdict, hint in (
        (None, "yes", "nothing is here yet"),
        (triple, None, "nothing is here yet"),
        ((..., ..., ...), "yes", "nothing is here yet"),
        (right.mean, "yes", "give three numbers"),
        (tuple(-value for value in triple), "no", "the sign is turned"),
        (tuple(100 * value for value in triple), "yes", "percentage points"),
        ((0.5, 0.4, 0.6), "yes", "the mean of first - second is"),
        ((naive.mean, naive.low, naive.high), "yes", "share its audio"),
        ((right.mean, own.low - other.high, own.high - other.low), "cannot tell", "subtract query by query"),
        ((right.mean, right.mean - both, right.mean + both), "cannot tell", "subtract query by query"),
        ((right.mean, right.mean - 0.3, right.mean + 0.3), "cannot tell", "the mean is right; the 95 % interval"),
        (triple, "cannot tell", "0 lies outside that interval"),
    ):
        with pytest.raises(Wrong, match=hint):
            checks.better(answer, verdict, FIRST, SECOND, SCENES)
