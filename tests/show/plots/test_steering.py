"""Figures of steering: numbers at their places, words that do not touch, alt texts that hold the numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import figure_test, title_test

from steer_utils.show.plots import steering as plots

STRENGTHS = [-64, -16, -8, -4, -2, -1, -0.5, 0, 0.5, 1, 2, 4, 8, 16, 64]
LEVELS = [0.5, 1, 2, 4, 8, 16, 32]


def reach(blocks: int = 6) -> np.ndarray:
    """Steering block i moves block j > i by 0.01 (i + j); the very last pair downwards."""
    change = np.add.outer(np.arange(blocks), np.arange(blocks)) * 0.01 * np.triu(np.ones((blocks, blocks)), 1)
    change[blocks - 2, blocks - 1] = -0.05
    return change


def shares() -> dict[str, list[float]]:
    return {
        name: [0.1 * (place + 1) + 0.003 * number for number in range(len(STRENGTHS))]
        for place, name in enumerate(("engine", "dog bark", "bell"))
    }


LIMITS = {"engine": (0.1, 0.15), "dog bark": (0.2, 0.25), "bell": (0.3, 0.35)}
OWN = {"share": [0.1 * place for place in range(1, 8)], "kl": [float(place) for place in range(7)]}
NOISE = {"share": np.tile([[0.1], [0.3]], (1, 7)), "kl": np.tile([[1.0], [2.0]], (1, 7))}
RISES = np.linspace(-0.02, 0.3, 40).reshape(8, 5)
SETS = ["0", "1", "2", "3", "4", "0-2", "3-5", "0-5"]
FIVE = [0.5, 1, 2, 4, 16]

FIGURES: dict[str, Callable[[], Figure]] = {
    "reach": lambda: plots.reach_figure(reach()),
    "reach of a deep model": lambda: plots.reach_figure(reach(32)),
    "strength": lambda: plots.strength_figure(STRENGTHS, shares(), LIMITS),
    "blocks": lambda: plots.blocks_figure(RISES, SETS, FIVE, "share in the sound, 2 scenes"),
    "blocks of a deep model": lambda: plots.blocks_figure(np.ones((45, 5)), [str(b) for b in range(45)], FIVE, "share"),
    "control": lambda: plots.control_figure(LEVELS, OWN, NOISE),
}


test_figures = figure_test(FIGURES)

test_titles = title_test(
    plots,
    {
        "reach": ("reach", (reach(),), (reach(4),)),
        "strength": (
            "strength",
            (STRENGTHS, shares(), LIMITS),
            (STRENGTHS, {"bell": shares()["engine"]}, LIMITS),
        ),
        "control": (
            "control",
            (LEVELS, OWN, NOISE),
            (LEVELS, {name: rows[0] for name, rows in NOISE.items()}, NOISE),
        ),
    },
)


def test_cells_hold_their_numbers_and_nothing_is_left_empty() -> None:
    ax = plots.reach_figure(reach()).axes[0]
    written = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in ax.texts}
    assert len(written) == 15 and written[0, 5] == "+5" and written[3, 4] == "+7" and written[4, 5] == "−5"
    assert not plots.reach_figure(reach(32)).axes[0].texts
    blocks = plots.blocks_figure(RISES, SETS, FIVE, "share").axes[0]
    assert [text.get_text() for text in blocks.texts][:2] == ["−2", "−1"] and len(blocks.texts) == 40
    assert [label.get_text() for label in blocks.get_yticklabels()] == SETS


def test_lines_stand_at_the_numbers() -> None:
    shuffled = np.random.default_rng(0).permutation(len(STRENGTHS))
    given = {name: [values[place] for place in shuffled] for name, values in shares().items()}
    ax = plots.strength_figure([STRENGTHS[place] for place in shuffled], given, LIMITS).axes[0]
    lines = [line for line in ax.lines if len(line.get_xdata()) == len(STRENGTHS)]
    for line, values in zip(lines, shares().values(), strict=True):
        assert list(line.get_xdata()) == STRENGTHS
        assert line.get_ydata() == pytest.approx(100 * np.array(values))
    dotted = [line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() != 0.6]
    assert dotted[1:] == pytest.approx([10, 15, 20, 25, 30, 35])
    looks = {(str(line.get_linestyle()), line.get_marker()) for line in lines}
    assert len(looks) == 3  # told apart without colour


def test_control_shows_mean_and_range() -> None:
    share, kl = plots.control_figure(LEVELS, OWN, NOISE).axes
    assert share.lines[0].get_ydata() == pytest.approx([20] * 7) and kl.lines[0].get_ydata() == pytest.approx([1.5] * 7)
    assert share.lines[1].get_ydata() == pytest.approx(100 * np.array(OWN["share"]))
    assert share.collections[0].get_paths()[0].get_extents().bounds[1::2] == pytest.approx((10, 20))


def test_alt_texts_hold_the_numbers() -> None:
    reached = plots.alt_text_reach(reach())
    assert "of block 0 +5.0 in block 5" in reached and "of block 5 none" in reached
    said = plots.alt_text_strength(STRENGTHS, shares(), LIMITS)
    assert "dog bark 20 % at -64, 22 % at 0, 24 % at 64 (in the limit 25 %)" in said
    assert "blocks 0-5 +30.0 at strength 16" in plots.alt_text_blocks(RISES, SETS, FIVE, "share")
    heard = plots.alt_text_control(LEVELS, OWN, NOISE)
    assert "70 against 20 at strength 32" in heard and "6.0 against 1.5 at strength 32" in heard


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(blocks, blocks\)"):
        plots.reach_figure(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="8 sets of blocks, 2 strengths"):
        plots.blocks_figure(RISES, SETS, [1, 2], "share")
