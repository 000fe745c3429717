"""The checks in `beyond`: right answers pass, blanks are refused, and each known mistake has its own hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hints import hint_test, right_test
from scipy.linalg import orthogonal_procrustes

from steer_utils.course.checks import beyond

Fit = Callable[[np.ndarray, np.ndarray], Any]


def fitted(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    return orthogonal_procrustes(source - source.mean(axis=0), target - target.mean(axis=0))[0]


def by_hand(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd((source - source.mean(0)).T @ (target - target.mean(0)))
    return left @ right


test_the_rotation = right_test(beyond.rotation, fitted, by_hand)

test_wrong_rotations = hint_test(
    beyond.rotation,
    (None, "nothing is here yet"),
    (lambda source, target: ..., "nothing is here yet"),
    (3, "pass the function itself"),
    (lambda source, target: fitted(target, source), "swap the two, or transpose"),
    (lambda source, target: fitted(source, target).T, "swap the two, or transpose"),
    (lambda source, target: orthogonal_procrustes(source, target)[0], "subtract the mean of each"),
    (lambda source, target: np.linalg.lstsq(source - source.mean(0), target - target.mean(0))[0], "no rotation"),
    (lambda source, target: np.eye(5), "not the best one"),
    (lambda source, target: orthogonal_procrustes(source, target), "must be an array|the shape is"),
    (lambda source, target: source, "the shape is"),
)


def test_what_transferred(capsys: pytest.CaptureFixture[str]) -> None:
    for right in (["A to C", "B to C"], {"B to C", "A to C"}):
        beyond.transferred(right, beyond.cases())
    assert capsys.readouterr().out.count("Correct. ") == 2
    table = beyond.cases()
    table["own"] = 0  # of a copy
    assert beyond.cases()["own"].max() == 93


test_wrong_verdicts = hint_test(
    lambda answer: beyond.transferred(answer, beyond.cases()),
    (..., "nothing is here yet"),
    (list(beyond.cases()["pair"]), "not with zero"),
    (["A to B", "A to C", "B to C", "C to A"], "interval of carried minus shuffled"),
    (["B to C", "C to B"], "close to the target's own vector"),
    (["A to C"], "B to C is missing"),
    (["A to C", "B to C", "A to B"], "A to B is not one"),
    ("A to C", "pass a list"),
    (["A to Z"], "no pair 'A to Z'"),
)


DROPS = [("presence", "found", 0.8), ("presence", "random", 0.1), ("presence", "true", 0.9), ("listed", "found", 0.3)]
SUMMARY = pd.DataFrame(DROPS, columns=["measure", "window", "drop"])


test_the_control_of_a_cut = right_test(
    lambda answer: beyond.cut_control(*answer, SUMMARY),
    ("random", 0.7),
    says="A random cut of the same width takes 0.10, the found one 0.80",
)

test_wrong_controls = hint_test(
    lambda window, gap: beyond.cut_control(window, gap, SUMMARY),
    (None, 0.7, "nothing is here yet"),
    ("random", ..., "nothing is here yet"),
    ("true", 0.7, "at most"),
    ("found", 0.7, "what is tested"),
    ("steering", 0.7, "name of a window"),
    ("random", 0.8, "the whole drop"),
    ("random", -0.7, "the other way round"),
    ("random", -0.1, "not asked for"),
    ("random", 0.3, "measure 'presence'"),
)
