"""The transfer figure: numbers at their places, words that do not touch, an alt text that says it all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pictures import figure_test, title_test

from steer_utils.show.plots import transfer
from steer_utils.show.plots.transfer import alt_text_transfer, transfer_figure

VECTORS = ("its own", "carried, names in the fit", "carried, names not in it", "carried by shuffled pairs", "random")


def summary(**changes: float) -> pd.DataFrame:
    overlap = 0.9 - 0.15 * np.arange(len(VECTORS))
    columns = {"vector": VECTORS, "overlap": overlap, "low": overlap - 0.05, "high": overlap + 0.05, "chance": 0.24}
    return pd.DataFrame({**columns, **changes})


def curve(lift: float = 0.0) -> pd.DataFrame:
    names = np.array([1, 2, 4, 8, 12])
    overlap = 0.25 + 0.02 * names + lift
    return pd.DataFrame({"names": names, "overlap": overlap, "low": overlap - 0.08, "high": overlap + 0.08})


PANELS = {"small to large": summary(), "large to small": summary()}
CURVES = {"small to large": curve(), "large to small": curve(0.1)}


def figure() -> Figure:
    return transfer_figure(PANELS, CURVES)


test_figures = figure_test({"figure": figure}, more_than=25)

test_titles = title_test(
    transfer,
    {
        "figure": ("transfer", (PANELS, CURVES), ({"a": summary()}, CURVES)),
        "no interval": ("transfer", ({"a": summary(low=np.nan)}, {}), ({"a": summary()}, {})),
    },
)


def test_dots_and_lines_stand_at_the_numbers() -> None:
    first, second, growth = figure().axes
    dots = [line for line in first.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == pytest.approx([90, 75, 60, 45, 30])
    assert [line.get_markerfacecolor() == "white" for line in dots] == [True, False, False, False, True]
    assert [label.get_text() for label in first.get_yticklabels()] == list(VECTORS)
    assert not [label for label in second.get_yticklabels() if label.get_text()]
    lines = [line for line in growth.lines if len(line.get_xdata()) == 5]
    np.testing.assert_allclose(lines[1].get_ydata() - lines[0].get_ydata(), 10)
    assert (lines[0].get_marker(), lines[0].get_linestyle()) != (lines[1].get_marker(), lines[1].get_linestyle())
    assert growth.get_ylabel() == "overlap (%)" and "names" in growth.get_xlabel()


def test_a_single_scene_has_no_intervals() -> None:
    one = {"only": summary(low=np.nan, high=np.nan)}
    first, growth = transfer_figure(one, {"only": curve().assign(low=np.nan)}).axes
    assert not [line for line in first.lines if line.get_linewidth() == 2 and len(line.get_xdata()) == 2]
    assert not [line for line in growth.lines if line.get_linewidth() == 1.1]
    assert "nan" not in alt_text_transfer(one, {})


def test_the_alt_text_holds_the_means() -> None:
    said = alt_text_transfer(PANELS, CURVES)
    assert "small to large: its own 90 %, carried, names in the fit 75 %" in said and "chance 24 %" in said
    assert "large to small, by the number of names that the map was fitted on: 37 % with 1, 39 % with 2" in said


def test_panels_of_other_vectors_are_refused() -> None:
    for panels in ({}, {"a": summary(), "b": summary().iloc[1:]}, {"a": summary().iloc[:0]}):
        with pytest.raises(ValueError, match="same vectors"):
            transfer_figure(panels, {})
