"""The figure of repeated trainings: a mark a training at its number, and an alt text that says the range."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure
from pictures import figure_test

from steer_utils.show.plots.repeats import alt_text_repeats, repeats_figure

METHODS = ("steering", "steering-heads", "steering-paper", "prompting", "prompting-best", "asking")


def training(model: str, seed: int, base: float) -> dict[str, Any]:
    overlap = {name: [base - 0.1 * place, 0.0, 1.0] for place, name in enumerate(METHODS)}
    return {"model": model, "seed": seed, "ships": seed == 1, "procedural": {"chance": 0.24, "overlap": overlap}}


TRAININGS = [
    training("pocket-a-long-name", 1, 0.9),
    training("pocket-a-long-name", 2, 0.7),
    training("pocket-b", 1, 0.8),
    training("pocket-b", 2, 0.81),
    training("pocket-b", 3, 0.6),
    training("pocket-once", 1, 0.5),
]


def figure() -> Figure:
    return repeats_figure(TRAININGS)


test_figures = figure_test({"figure": figure}, more_than=15)


def test_marks_stand_at_the_numbers_and_one_training_alone_is_left_out() -> None:
    first, second = figure().axes
    marks = [line for line in second.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in marks[:3]] == pytest.approx([80, 81, 60])
    assert [line.get_markerfacecolor() == "white" for line in marks[:3]] == [False, True, True]
    assert len([line for line in first.lines if line.get_marker() == "o"]) == 2 * len(METHODS)
    assert second.get_title() == "b\nsteering: 60 to 81 % in 3 trainings"


def test_the_words_say_the_range() -> None:
    said = alt_text_repeats(TRAININGS)
    assert "pocket-b, 3 trainings: steering (ours) 60 to 81 %" in said and "chance 24 %" in said
    assert "once" not in said


def test_one_training_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="pocket-once was trained and measured more than once"):
        repeats_figure(TRAININGS[-1:])
