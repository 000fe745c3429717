"""The figure of a training: lines at the numbers, legible, an alt text with every mean."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure
from pictures import figure_test, title_test

from steer_utils.show.plots import training
from steer_utils.show.plots.training import ANSWERS, METHODS, alt_text_over_steps, over_steps_figure

STEPS = (0, 50, 100, 150, 200, 250, 300, 400, 500, 600)


def rows() -> pd.DataFrame:
    table = [
        {"step": step, "method": method, "overlap": 0.2 + 0.1 * place + step / 2000}
        for place, method in enumerate(METHODS)
        for step in STEPS
    ]
    made = pd.DataFrame(table)
    return made.assign(low=made["overlap"] - 0.05, high=made["overlap"] + 0.05, chance=0.24)


def answers() -> pd.DataFrame:
    return pd.DataFrame([{"step": step, "right": {kind: step / 600 for kind in ANSWERS}} for step in STEPS])


def figure() -> Figure:
    return over_steps_figure(rows(), answers())


test_figures = figure_test({"figure": figure}, more_than=20)

test_titles = title_test(training, {"figure": ("over_steps", (rows(), answers()), (rows().assign(low=0.1), answers()))})


def test_lines_stand_at_the_numbers() -> None:
    upper, lower = figure().axes
    assert list(upper.lines[0].get_ydata()) == pytest.approx([100 * step / 600 for step in STEPS])
    steering = lower.lines[0]
    assert list(steering.get_ydata()) == pytest.approx([20 + step / 20 for step in STEPS])
    assert len({line.get_marker() for line in lower.lines}) == len(METHODS) + 1  # and the line of chance
    assert lower.get_ylabel() == "overlap (%)" and lower.get_xlabel() == "steps of training"


def test_the_alt_text_says_every_mean() -> None:
    text = alt_text_over_steps(rows(), answers())
    assert "Overlap, steering: 20 at 0, 22 at 50" in text and "Chance 24 %" in text
