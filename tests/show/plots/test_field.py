"""The figure of field recordings: precision and recall at their numbers, a title beyond intervals only."""

from __future__ import annotations

import pandas as pd
import pytest
from pictures import figure_test, title_test

from steer_utils.show.plots import field
from steer_utils.show.plots.field import field_figure
from steer_utils.study.field import CRITERIA, LOUDNESS

METHODS = ("steering", "prompting-best", LOUDNESS, "clap")


def summary(**changes: float) -> pd.DataFrame:
    rows = [
        {"method": method, "criterion": criterion, "precision": 0.9 - 0.1 * place - 0.1 * number, "recall": 0.5}
        for place, method in enumerate(METHODS)
        for number, criterion in enumerate(CRITERIA)
    ]
    table = pd.DataFrame(rows)
    for measure in ("precision", "recall"):
        table = table.assign(**{f"{measure}_low": table[measure] - 0.02, f"{measure}_high": table[measure] + 0.02})
    return table.assign(**changes)


test_figures = figure_test({"field": lambda: field_figure(summary())})

test_titles = title_test(
    field,
    {
        "field": ("field", (summary(),), (summary(precision_low=0.0, precision_high=1.0),)),
        "one method": ("field", (summary()[:4],), (summary(precision=float("nan")),)),
    },
)


def test_the_title_says_a_difference_only_beyond_intervals() -> None:
    said = field_figure(summary()).get_suptitle().replace("\n", " ")
    assert "80 % has an IoU of 0.5 or more, above prompting, best question, 70 %; it finds 50 % so" in said
    assert "about level with" in field_figure(summary(precision_low=0.0, precision_high=1.0)).get_suptitle()


def test_marks_stand_at_their_numbers() -> None:
    left, right = field_figure(summary()).axes
    dots = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([90, 80, 70, 60])
    assert {line.get_xdata()[0] for line in right.lines if line.get_marker() == "o"} == {50}
