"""The figure of where a row goes: parts stacked to 1, lines at their values, refusals that say what to pass."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import figure_test

from steer_utils.show.plots.mass import alt_text_mass, mass_figure

BLOCKS = np.arange(30)
AUDIO = 0.05 + 0.3 * (BLOCKS == 21)
PARTS = {"audio": AUDIO, "question": np.full(30, 0.1), "chat template": 0.55 - AUDIO, "first token": np.full(30, 0.35)}
MARKED = {"steered": 2 * AUDIO, "prompted": 1.5 * AUDIO}


def thirty() -> Figure:
    return mass_figure(PARTS, MARKED)


test_figures = figure_test({"thirty": thirty, "two": lambda: mass_figure({"audio": np.ones(2)})}, more_than=5)


def test_parts_are_stacked_and_lines_stand_at_their_values() -> None:
    ax = thirty().axes[0]
    audio, question, *_, first = ax.containers
    assert [bar.get_height() for bar in audio] == pytest.approx(list(AUDIO))
    assert [bar.get_y() for bar in question] == pytest.approx(list(AUDIO))
    assert first[21].get_y() + first[21].get_height() == pytest.approx(1)
    steered, prompted = ax.lines
    np.testing.assert_allclose(steered.get_ydata(), 2 * AUDIO)
    assert steered.get_label() == "audio, steered"
    assert steered.get_linestyle() != prompted.get_linestyle() and steered.get_marker() != prompted.get_marker()
    assert [text.get_text() for text in ax.get_xticklabels()] == [str(block) for block in range(0, 30, 2)]


def test_the_alt_text_has_every_part_in_every_block() -> None:
    said = alt_text_mass(
        {"audio": np.array([0.3, 0.25]), "first token": np.array([0.7, 0.75])}, {"steered": np.array([0.5, 1])}
    )
    assert "audio: 30, 25. first token: 70, 75. steered: 50, 100." in said
    assert said.startswith("Audio in block 1: 25 % of the row, steered 100 %. ")
    assert alt_text_mass({"audio": np.array([0.3, 0.25])}).startswith("Audio: 28 % of the row, mean of all blocks. ")


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(ValueError, match=r"sum to 0\.90 to 0\.90; together they must sum to 1"):
        mass_figure({"audio": np.full(3, 0.9)})
    for wrong in ({}, {name: np.full(3, 0.2) for name in "abcde"}):
        with pytest.raises(ValueError, match="pass 1 to 4 parts and up to 2 lines"):
            mass_figure(wrong)
    with pytest.raises(ValueError, match="1 parts and 3 lines"):
        mass_figure({"audio": np.ones(3)}, dict.fromkeys("abc", np.ones(3)))
