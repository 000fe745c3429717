"""Figures of attention over time: values at their places, one scale, words that do not touch, alt texts that tell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import figure_test, title_test

from steer_utils.show.plots import attention as plots
from steer_utils.show.plots.attention import RowPanel, alt_text_rows, alt_text_sound, rows_figure, sound_figure
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.spans import AudioSpan, Interval

SPAN = AudioSpan(10, 100)
NOISE = np.random.default_rng(0).normal(0, 0.05, 4 * 16_000).astype(np.float32)
SCENE = Scene(NOISE, 16_000, (Event("bell", Interval(0.2, 1.2)), Event("person sneeze", Interval(1.3, 2.4))))
BELL = np.where(np.arange(100) == 20, 0.505, 0.005)  # its peak is at 0.82 s
LATE = np.where(np.arange(100) == 90, 0.505, 0.005)


def panel(title: str = "unsteered", rows: int = 6) -> RowPanel:
    curves = np.stack([BELL, LATE] * (rows // 2))
    return RowPanel(title, curves, [str(row) for row in range(rows)], [f"{10 * row} %" for row in range(rows)])


def rows(*panels: RowPanel) -> Figure:
    return rows_figure(panels, SCENE, SPAN, "decoder block", query="bell", noted="in the bell")


def curves() -> Figure:
    return sound_figure(SCENE, {"unsteered": LATE, "steered": BELL}, SPAN, "bell")


FIGURES: dict[str, Callable[[], Figure]] = {
    "blocks": lambda: rows(panel(), panel("steered")),
    "many": lambda: rows(panel(rows=2), panel(rows=32)),
    "curves": curves,
}


test_figures = figure_test(FIGURES)


BLOCKS = ([panel(), panel("steered")], SCENE, SPAN, "decoder block")
SOUGHT = SimpleNamespace(
    rows_figure=partial(plots.rows_figure, query="bell"), alt_text_rows=partial(plots.alt_text_rows, query="bell")
)
BOTH, ONE = {"unsteered": LATE, "steered": BELL}, {"unsteered": LATE}
test_titles = title_test(
    plots,
    {
        "rows without a query": ("rows", ([panel()], *BLOCKS[1:]), ([panel(rows=2)], *BLOCKS[1:])),
        "curves": ("sound", (SCENE, BOTH, SPAN, "bell"), (SCENE, ONE, SPAN)),
        "curves without a query": ("sound", (SCENE, ONE, SPAN), (SCENE, BOTH, SPAN, "bell")),
    },
)
test_titles_of_a_sought_event = title_test(SOUGHT, {"rows": ("rows", BLOCKS, ([panel(rows=2)], *BLOCKS[1:]))})


def test_heat_maps_hold_the_curves_in_even_shares_on_one_scale() -> None:
    sharp = RowPanel("steered", np.stack([BELL, np.full(100, 0.01)]), ["0", "1"])
    axes = rows(panel(), sharp).axes
    first, second = axes[1].images[0], axes[2].images[0]
    np.testing.assert_allclose(first.get_array(), panel().curves * 100)
    np.testing.assert_allclose(second.get_array()[1], 1)
    assert first.get_clim() == second.get_clim() and first.get_clim()[0] == 0
    assert first.get_extent() == [0, 4, 5.5, -0.5] and axes[2].get_xlim() == (0, 4)
    notes = [text.get_text() for text in axes[1].texts]
    assert notes == ["0 %", "10 %", "20 %", "30 %", "40 %", "50 %"] and not axes[2].texts


def test_of_many_rows_some_are_labelled() -> None:
    labels = [text.get_text() for text in rows(panel(rows=40)).axes[1].get_yticklabels()]
    assert labels == [str(row) for row in range(0, 40, 3)]


def test_curves_stand_on_the_right_axis_and_differ_without_colour() -> None:
    figure = curves()
    lines = [line for line in figure.axes[1].lines if len(line.get_xdata()) == 100]
    np.testing.assert_allclose(lines[0].get_xdata(), SPAN.centers())
    assert [line.get_ydata().max() for line in lines] == pytest.approx([50.5, 50.5])
    assert len({line.get_linestyle() for line in lines}) == 2
    assert figure.axes[1].get_ylabel() == "attention (times even share)"


def test_alt_texts_hold_the_numbers() -> None:
    said = alt_text_rows([panel(rows=2)], SCENE, SPAN, "decoder block", query="bell", noted="in the bell")
    assert "bell 0.20-1.20 s" in said and "unsteered: 0 at 0.82 s (0 %), 1 at 3.62 s (10 %)." in said
    heard = alt_text_sound(SCENE, {"steered": BELL}, SPAN, "bell")
    assert "steered: highest at 0.82 s (50.5 times even share), 2.5 in the bell" in heard
    plain = alt_text_rows([RowPanel("steered", BELL[None], ["0"])], SCENE, SPAN, "head")
    assert "steered: 0 at 0.82 s." in plain and "sought" not in plain and "brackets" not in plain


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        rows_figure([], SCENE, SPAN, "head")
    for wrong in ({}, dict.fromkeys("abcd", BELL)):
        with pytest.raises(ValueError, match="pass 1 to 3"):
            sound_figure(SCENE, wrong, SPAN)
    with pytest.raises(ValueError, match="and 1 labels"):
        RowPanel("x", panel().curves, ["0"])
    with pytest.raises(ValueError, match="6 rows, and 1 notes"):
        RowPanel("x", panel().curves, panel().labels, ["0 %"])
