"""Figures of shifts and causal tests: numbers at their places, words that do not touch, alt texts that say it all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pictures import figure_test, title_test

from steer_utils.show.plots import shifts as shift_plots
from steer_utils.study.attention_shift import CONDITIONS
from steer_utils.study.causality import SWAP_MEASURES, SWAPS, WINDOWS


def shifts(blocks: int = 8, **changes: float) -> pd.DataFrame:
    """Condition c moves measure m of block b by 0.01 (c + 1) (b + 1); the interval is a tenth of it to each side."""
    rows = [
        (measure, condition, block, 0.01 * (place + 1) * (block + 1))
        for measure in ("mass", "js", "inside")
        for place, condition in enumerate(CONDITIONS)
        for block in range(blocks)
    ]
    table = pd.DataFrame(rows, columns=["measure", "condition", "block", "mean"])
    return table.assign(**{"low": 0.9 * table["mean"], "high": 1.1 * table["mean"], **changes})


def occlusions(**changes: float) -> pd.DataFrame:
    cuts = [(window, drop, 0.05, 0.02) for window, drop in zip(WINDOWS, (0.6, 0.1, 0.8), strict=True)]
    rows = [
        (measure, window, drop, drop - half, drop + half, p)
        for measure in ("presence", "listed", "changed")
        for window, drop, half, p in (*cuts, ("found - random", 0.5, 0.1, 0.0002))
    ]
    table = pd.DataFrame(rows, columns=["measure", "window", "drop", "low", "high", "p"])
    return table.assign(**{"before": 0.9, "after": 0.9 - table["drop"], **changes})


def swaps() -> pd.DataFrame:
    rows = [
        (measure, condition, against, 0.2 * place)
        for measure in SWAP_MEASURES
        for place, condition in enumerate(SWAPS)
        for against in ("", "unsteered")
    ]
    table = pd.DataFrame(rows, columns=["measure", "condition", "against", "mean"])
    return table.assign(low=table["mean"] - 0.1, high=table["mean"] + 0.1)


FIGURES: dict[str, Callable[[], Figure]] = {
    "shift": lambda: shift_plots.shift_figure(shifts()),
    "shift of a deep model": lambda: shift_plots.shift_figure(shifts(32), ("mass", "js", "inside")),
    "occlusion": lambda: shift_plots.occlusion_figure(occlusions()),
    "swap": lambda: shift_plots.swap_figure(swaps()),
}


test_figures = figure_test(FIGURES)


NO_ENDS = {"low": np.nan, "high": np.nan}
test_titles = title_test(
    shift_plots,
    {
        "shift": ("shift", (shifts(),), (shifts(4),)),
        "shift of one scene": ("shift", (shifts(**NO_ENDS),), (shifts(),)),
        "occlusion": ("occlusion", (occlusions(),), (occlusions(before=0.7),)),
        "occlusion of one scene": ("occlusion", (occlusions(**NO_ENDS),), (occlusions(),)),
        "swap": ("swap", (swaps(),), (swaps().assign(mean=0.5, low=0.3, high=0.7),)),
    },
)


def test_titles_say_a_difference_only_beyond_intervals() -> None:
    further = shift_plots.occlusion_figure(occlusions()).get_suptitle()
    assert "goes from 90 % to 30 %, further down than without another window" in further.replace("\n", " ")
    level = shift_plots.occlusion_figure(occlusions(low=-0.1, high=0.9)).get_suptitle()
    assert "no further down than" in level.replace("\n", " ")
    swapped = shift_plots.swap_figure(swaps().assign(low=0.0, high=1.0)).get_suptitle()
    assert (
        "name the event first: with its vector 40 %, with another event's vector 60 % (about level)"
        in swapped.replace("\n", " ")
    )


def test_lines_stand_at_the_numbers_in_their_units() -> None:
    figure = shift_plots.shift_figure(shifts().sample(frac=1, random_state=0))
    rows = np.array(figure.axes).reshape(2, len(CONDITIONS))
    for axes, unit, scale in zip(rows, ("points", "bits"), (100, 1), strict=True):
        assert axes[0].get_ylabel().endswith(f"({unit})")
        order = {ax.get_title().replace("\n", " "): ax for ax in rows[0]}
        assert set(order) == set(CONDITIONS)
        for ax, top in zip(axes, rows[0], strict=True):
            place = list(CONDITIONS).index(top.get_title().replace("\n", " "))
            own = [line for line in ax.lines if line.get_marker() not in ("None", "")]
            assert len(own) == 1
            assert own[0].get_ydata() == pytest.approx(scale * 0.01 * (place + 1) * np.arange(1, 9))
            assert list(own[0].get_xdata()) == list(range(8))
            (broken,) = [line for line in ax.lines if line.get_linewidth() == 1.1]
            bars = np.reshape(broken.get_ydata(), (8, 3))
            middles = scale * 0.01 * (place + 1) * np.arange(1, 9)
            assert bars[:, :2] == pytest.approx(np.outer(middles, [0.9, 1.1])) and np.isnan(bars[:, 2]).all()
            assert list(broken.get_xdata()[::3]) == list(range(8))
        assert len({tuple(ax.get_ylim()) for ax in axes}) == 1, "panels of a row have one scale"


def test_each_panel_has_its_name_and_the_first_condition_behind() -> None:
    figure = shift_plots.shift_figure(shifts())
    titles = [ax.get_title().replace("\n", " ") for ax in figure.axes[: len(CONDITIONS)]]
    assert titles == list(CONDITIONS) and not figure.legends
    behind = [sum(line.get_zorder() == 0 for line in ax.lines) for ax in figure.axes[: len(CONDITIONS)]]
    assert behind == [0] + [1] * (len(CONDITIONS) - 1)


def test_a_single_scene_has_no_intervals() -> None:
    mass = shift_plots.shift_figure(shifts(low=np.nan, high=np.nan)).axes[0]
    assert all(np.isnan(line.get_ydata()).all() for line in mass.lines if line.get_linewidth() == 1.1)
    said = shift_plots.alt_text_shift(shifts(low=np.nan, high=np.nan))
    assert "steering +8.0 in block 7" in said and "nan" not in said
    assert "nan" not in shift_plots.alt_text_occlusion(occlusions(low=np.nan, high=np.nan))
    shift_plots.occlusion_figure(occlusions(low=np.nan, high=np.nan))


def test_pairs_stand_at_the_numbers() -> None:
    presence, listed = shift_plots.occlusion_figure(occlusions()).axes
    assert "says the sound is there" in presence.get_title() and "%" in listed.get_xlabel()
    dots = [line for line in presence.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == pytest.approx([90, 30, 90, 80, 90, 10])
    bars = [line.get_xdata() for line in presence.lines if line.get_linewidth() == 2.6]
    np.testing.assert_allclose(bars, [[25, 35], [75, 85], [5, 15]])
    assert "-50.0 (-60.0 to -40.0), p < 0.001" in presence.get_xlabel()


def test_rates_stand_at_the_numbers() -> None:
    axes = shift_plots.swap_figure(swaps()).axes
    assert len(axes) == len(SWAP_MEASURES)
    for ax in axes:
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in dots] == pytest.approx([0, 20, 40, 60, 80])
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels == ["unsteered", "prompting", "its vector", "another event's vector", "random vector"]
    assert len(shift_plots.swap_figure(swaps().query("measure == 'only'")).axes) == 1


def test_alt_texts_hold_the_numbers() -> None:
    said = shift_plots.alt_text_shift(shifts())
    assert "steering +8.0 (7.2 to 8.8) in block 7" in said and "prompting +0.240 (0.216 to 0.264) in block 7" in said
    heard = shift_plots.alt_text_occlusion(occlusions())
    assert "without the window read out 30.0 % instead of 90.0 %" in heard
    assert "without another of equal width 80.0 %" in heard
    assert "-50.0 (-60.0 to -40.0), p < 0.001" in heard
    swapped = shift_plots.alt_text_swap(swaps())
    assert "Names it alone: unsteered 0 %, prompting 20 %, its vector 40 %" in swapped


def test_what_cannot_be_drawn_is_said() -> None:
    for measures in ((), ("mess",), ("effective",)):
        for function in (shift_plots.shift_figure, shift_plots.alt_text_shift):
            with pytest.raises(ValueError, match="the summary has mass, js, inside"):
                function(shifts(), measures)
    with pytest.raises(ValueError, match="nothing to draw"):
        shift_plots.swap_figure(swaps().iloc[:0])
