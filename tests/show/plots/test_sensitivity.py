"""Figures of the grid: cells and dots stand at the numbers, words do not touch, grey is enough, alt texts say it."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
import seaborn
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pictures import figure_test, title_test

from steer_utils.methods.settings import PAPER, Settings
from steer_utils.show.palette import HEAT
from steer_utils.show.plots import sensitivity as plots
from steer_utils.study.sensitivity import WIDTHS, grid_combinations

OWN = Settings(question="How many?", strength=16.0, blocks=(2,), keep_norm=False, read="share", read_blocks=(5,))


def summary(settings: Settings = OWN, *, thorough: bool = False, scenes: int = 100, **changes: float) -> pd.DataFrame:
    """What `sensitivity_summary` gives, with made figures: each combination has an overlap of its own, 20 to 98 %."""
    made = grid_combinations(8, settings, thorough=thorough, event_named=["own"])
    rows = [
        {"combination": number, "width": width, **each.levels(), "overlap": 0.02 * place}
        for number, each in enumerate(made)
        for place, width in enumerate(WIDTHS)
    ]
    table = pd.DataFrame(rows)
    table["overlap"] += 0.2 + 0.7 * (37 * table["combination"] % len(made)) / len(made)
    ends = {"low": table["overlap"] - 0.04, "high": table["overlap"] + 0.05, "iou_low": 0.1, "iou_high": 0.9}
    given = {"n": 3 * scenes, "scenes": scenes, "iou": table["overlap"] / 2, "chance": 0.278 * table["width"]}
    return table.assign(**{**given, **ends, **changes})


FIGURES = {
    "own plane": lambda: plots.plane_figure(summary(), "own"),
    "paper plane": lambda: plots.plane_figure(summary(), "paper"),
    "norm kept": lambda: plots.plane_figure(summary(thorough=True), "own", "kept"),
    "one scene": lambda: plots.plane_figure(summary(scenes=1, low=np.nan, high=np.nan)),
    "own star": lambda: plots.star_figure(summary(thorough=True), "own"),
    "paper star": lambda: plots.star_figure(summary(PAPER)),
}


test_figures = figure_test(FIGURES, more_than=30)


def _of(kind: str, table: pd.DataFrame, around: str = "own") -> tuple[str, tuple, tuple]:
    return kind, (table, around), (table.assign(overlap=0.5), around)


test_titles = title_test(
    plots,
    {
        "plane": _of("plane", summary()),
        "plane of one scene": _of("plane", summary(scenes=1, low=np.nan, high=np.nan), "paper"),
        "star": _of("star", summary()),
        "star of one scene": _of("star", summary(low=np.nan, high=np.nan)),
    },
)


def test_the_star_names_the_change_that_does_most_and_only_beyond_intervals() -> None:
    same = plots.star_figure(summary(low=0.0, high=1.0), "own").get_suptitle()
    assert same.endswith("single changes leaves their interval") and "; none of" in same
    table = summary()
    row = (table["factor"] == "strength") if "factor" in table else (table["strength"] == 1.0)
    low = table.assign(overlap=0.6, low=0.5, high=0.7)
    low.loc[row & (low["width"] == 1.0), ["overlap", "low", "high"]] = 0.1
    title = plots.star_figure(low, "own").get_suptitle().replace("\n", " ")
    assert "most strength λ: 1, 10 %" in title


@pytest.mark.parametrize("around", ["own", "paper"])
def test_cells_stand_at_their_numbers(around: str) -> None:
    table = summary()
    figure = plots.plane_figure(table, around)
    plane = table[(table["around"] == around) & (table["width"] == 1.0)].set_index(["read", "blocks", "strength"])
    norm, read_blocks = ("free", "5") if around == "own" else ("kept", "after")
    plane = plane[(plane["norm"] == norm) & (plane["read_blocks"] == read_blocks)]
    plane = plane[(plane["positions"] == "last") & (plane["rows"] == "last")]
    sets = [str(block) for block in range(7)] + ["0-3", "4-7", "0-7"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == sets
    own = plane.loc[("share", "2", 16.0) if around == "own" else ("difference", "4-7", 1.0), "overlap"]
    bare = 0
    for ax, read in zip(figure.axes[:2], ("share", "difference"), strict=True):
        assert [text.get_text() for text in ax.get_xticklabels()] == ["0.5", "1", "2", "4", "8", "16"]
        words = {
            (round(text.get_position()[1] - 0.5), round(text.get_position()[0] - 0.5)): text.get_text()
            for text in ax.texts
        }
        assert len(words) == 60
        for (row, column), said in words.items():
            cell = (read, sets[row], (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)[column])
            if around == "own" and min(map(int, re.findall(r"\d+", sets[row]))) >= 5:
                assert said == "–" and cell not in plane.index
            else:
                mean, low, high = (100 * plane.loc[cell, name] for name in ("overlap", "low", "high"))
                apart = not low <= 100 * own <= high
                assert said == (f"{mean - 100 * own:+.0f}".replace("-", "−") if apart else "")
                bare += not apart
                shown = ax.collections[0].get_array()[row, column]
                assert shown == pytest.approx(mean)
    assert bare, "what cannot be told from the settings has no number"
    note = figure.get_supxlabel()
    assert "chance 27.8 %" in note and "over 100 scenes" in note and ("–" in note) == (around == "own")


def test_the_settings_are_outlined_in_their_panel_only() -> None:
    def frames(figure: Figure) -> list[tuple[int, tuple[float, float]]]:
        return [
            (place, patch.get_xy())
            for place, ax in enumerate(figure.axes[:2])
            for patch in ax.patches
            if isinstance(patch, Rectangle)
        ]

    assert frames(FIGURES["own plane"]()) == [(0, (5, 2))]  # share, strength 16, block 2
    assert frames(FIGURES["paper plane"]()) == [(1, (1, 8))]  # difference, strength 1, blocks 4-7
    assert frames(FIGURES["norm kept"]()) == []  # the settings leave it free


def test_a_set_of_the_model_alone_is_in_its_own_plane_only() -> None:
    table = summary(Settings(question="How many?", strength=3.0, blocks=(1, 3), read="share"))
    own, paper = (plots.plane_figure(table, around).axes[0] for around in ("own", "paper"))
    assert "1, 3" in [text.get_text() for text in own.get_yticklabels()] and "3" in [
        text.get_text() for text in own.get_xticklabels()
    ]
    assert "1, 3" not in [text.get_text() for text in paper.get_yticklabels()]
    assert "–" not in {text.get_text() for text in paper.texts}


def test_the_colours_survive_grey_and_the_words_stand_out() -> None:
    colours = matplotlib.colormaps[HEAT](np.linspace(0, 1, 101))
    light = np.array([seaborn.utils.relative_luminance(colour) for colour in colours])
    assert (np.diff(light) < 0).all() and light[0] > 0.9 and light[-1] < 0.05
    ax = FIGURES["paper plane"]().axes[0]
    faces = ax.collections[0].get_facecolor()
    used = set()
    for text, face in zip(ax.texts, faces, strict=True):
        pair = sorted(seaborn.utils.relative_luminance(colour) for colour in (text.get_color(), face[:3]))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) > 4.5
        used.add(text.get_color())
    assert used == {"black", "white"}


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match=r"norm is 'kept'; the plane was measured for 'free' only.*thorough=True"):
        plots.plane_figure(summary(), "own", "kept")
    with pytest.raises(ValueError, match="around is 'own'; the summary has paper"):
        plots.plane_figure(summary(PAPER), "own")
    with pytest.raises(ValueError, match="around is 'mine'"):
        plots.star_figure(summary(), "mine")


def test_dots_stand_at_their_numbers() -> None:
    figure = FIGURES["own star"]()
    titles = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert list(titles) == list(plots.FACTOR_LABELS.values())
    width = titles["window, in event widths"]
    table = summary(thorough=True)
    point = table[(table["around"] == "own") & (table["varied"] == "")]
    dots = [line for line in width.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == pytest.approx(100 * point["overlap"].to_numpy())
    chances = [line.get_xdata()[0] for line in width.lines if line.get_marker() == "|"]
    assert chances == pytest.approx([13.9, 27.8, 41.7, 55.6])
    ends = [tuple(line.get_xdata()) for line in width.lines if len(line.get_xdata()) == 2]
    assert ends[1] == pytest.approx((100 * point["low"].iloc[1], 100 * point["high"].iloc[1]))
    filled = {
        title: sum(line.get_marker() == "o" and line.get_markerfacecolor() == plots.FOUND for line in ax.lines)
        for title, ax in titles.items()
    }
    assert set(filled.values()) == {1}  # the settings themselves, once in every factor
    names = [text.get_text() for text in titles["steered positions"].get_yticklabels()]
    assert names == ["last token", "all text", "event's words", "all tokens", "audio tokens"]
    assert width.texts[0].get_text().endswith(f"IoU {100 * point['iou'].iloc[0]:.1f}")
    single = plots.star_figure(summary(PAPER, scenes=1, low=np.nan, high=np.nan)).axes[0]
    assert not [line for line in single.lines if len(line.get_xdata()) == 2]


def test_alt_texts_hold_the_numbers() -> None:
    table = summary()
    said = plots.alt_text_plane(table, "own")
    plane = table[
        (table["around"] == "own")
        & (table["width"] == 1.0)
        & table["varied"].isin(["", "strength", "blocks", "strength, blocks"])
    ]
    best = plane.loc[plane["overlap"].idxmax()]
    chosen = plane[plane["varied"] == ""].iloc[0]
    for row in (best, plane.loc[plane["overlap"].idxmin()], chosen):
        low, high = 100 * row["low"], 100 * row["high"]
        words = f"{100 * row['overlap']:.1f} % ({low:.1f} to {high:.1f}) at strength {row['strength']:g} in block"
        assert words in said
    assert "Chance 27.8 %." in said and "norm free, blocks read: 5" in said
    star = plots.alt_text_star(table, "paper")
    own = table[(table["around"] == "paper") & (table["width"] == 1.0)]
    for label, factor in (("free", "norm"), ("share", "read"), ("all text", "positions")):
        (row,) = own[own["varied"] == factor].to_dict("records")
        assert f"{label} {100 * row['overlap']:.1f} %" in star
    assert "chance 27.8 %" in star and "IoU" in star and "nan" not in star
    assert "nan" not in plots.alt_text_star(summary(PAPER, low=np.nan, high=np.nan))
