"""The checks of the elective on sensitivity: right answers pass, and each known mistake has its own hint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from steer_utils.course.checks import Wrong, sensitivity


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


def test_the_winner_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    sensitivity.elsewhere(right)
    assert capsys.readouterr().out.startswith("Correct. Here 0.")


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda cells, here: ..., "nothing is here yet"),
        (lambda cells, here: 0.5, "return two numbers"),
        (best_of_others, "must be the one chosen on `here`"),
        (with_all, "leave out those that chose"),
        (chosen_on_all, "choose it on `here` alone"),
        (lambda cells, here: (cells[here].max(), 0.0), "best single cell"),
        (lambda cells, here: (0.0, 0.0), "the column with the largest mean"),
    ],
)
def test_each_slip_has_its_hint(function: Any, hint: str) -> None:
    with pytest.raises(Wrong, match=hint):
        sensitivity.elsewhere(function)


LEVELS = pd.DataFrame({"min": [90.0, 28.0, 95.0], "max": [95.5, 95.0, 95.0]}, index=["strength", "read_blocks", "norm"])


def test_the_factors_that_matter(capsys: pytest.CaptureFixture[str]) -> None:
    sensitivity.matters(["read_blocks", "strength"], LEVELS)
    assert "Correct. read_blocks, strength" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (..., "nothing is here yet"),
        ("norm", "a list of names"),
        (["noise"], "'noise' is no factor; they are strength, read_blocks, norm"),
        (["read_blocks", "strength", "norm"], r"'norm' moves it by 0\.0 points"),
        (["read_blocks"], "1 more"),
    ],
)
def test_each_wrong_choice_of_factors_has_its_hint(answer: Any, hint: str) -> None:
    with pytest.raises(Wrong, match=hint):
        sensitivity.matters(answer, LEVELS)
