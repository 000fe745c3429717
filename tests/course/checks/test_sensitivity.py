"""The checks of the elective on sensitivity: right answers pass, and each known mistake has its own hint."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hints import hint_test, right_test

from steer_utils.course.checks import sensitivity


def parts(cells: np.ndarray, here: list[int]) -> tuple[int, list[int]]:
    return int(cells[here].mean(axis=0).argmax()), [place for place in range(len(cells)) if place not in here]


def right(cells: np.ndarray, here: list[int]) -> tuple[float, float]:
    best, others = parts(cells, here)
    return cells[here, best].mean(), cells[others, best].mean()


def best_of_others(cells: np.ndarray, here: list[int]) -> tuple[float, float]:
    best, others = parts(cells, here)
    return cells[here, best].mean(), cells[others].mean(axis=0).max()


def with_all(cells: np.ndarray, here: list[int]) -> tuple[float, float]:
    best, _ = parts(cells, here)
    return cells[here, best].mean(), cells[:, best].mean()


def chosen_on_all(cells: np.ndarray, here: list[int]) -> tuple[float, float]:
    best, (_, others) = int(cells.mean(axis=0).argmax()), parts(cells, here)
    return cells[here, best].mean(), cells[others, best].mean()


test_the_winner_elsewhere = right_test(sensitivity.elsewhere, right, says="Here 0.")

test_each_slip_has_its_hint = hint_test(
    sensitivity.elsewhere,
    (lambda cells, here: ..., "nothing is here yet"),
    (lambda cells, here: 0.5, "return two numbers"),
    (best_of_others, "must be the one chosen on `here`"),
    (with_all, "leave out those that chose"),
    (chosen_on_all, "choose it on `here` alone"),
    (lambda cells, here: (cells[here].max(), 0.0), "best single cell"),
    (lambda cells, here: (0.0, 0.0), "the column with the largest mean"),
)


LEVELS = pd.DataFrame({"min": [90.0, 28.0, 95.0], "max": [95.5, 95.0, 95.0]}, index=["strength", "read_blocks", "norm"])


test_the_factors_that_matter = right_test(
    lambda answer: sensitivity.matters(answer, LEVELS), ["read_blocks", "strength"], says="read_blocks, strength"
)

test_each_wrong_choice_of_factors_has_its_hint = hint_test(
    lambda answer: sensitivity.matters(answer, LEVELS),
    (..., "nothing is here yet"),
    ("norm", "a list of names"),
    (["noise"], "'noise' is no factor; they are strength, read_blocks, norm"),
    (["read_blocks", "strength", "norm"], r"'norm' moves it by 0\.0 points"),
    (["read_blocks"], "1 more"),
)
