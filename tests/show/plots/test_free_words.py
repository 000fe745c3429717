"""The figure of free words: every text a row, names in bold, both methods at their numbers."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure
from pictures import figure_test, title_test

from steer_utils.show.plots import free_words
from steer_utils.show.plots.free_words import alt_text_words, words_figure
from steer_utils.study.free_words import PHRASES, SYNONYMS


def summary(sounds: int = 9) -> pd.DataFrame:
    texts = [(sound, text) for sound in list(SYNONYMS)[:sounds] for text in (sound, *SYNONYMS[sound], *PHRASES[sound])]
    rows = [
        {"event": sound, "text": text, "steering": 0.3 + place / 100, "prompting-best": 0.2 + place / 100, "auc": 0.75}
        for place, (sound, text) in enumerate(texts)
    ]
    table = pd.DataFrame(rows)
    return table.assign(steering_low=table["steering"] - 0.1, steering_high=table["steering"] + 0.1, chance=0.24)


def figure(sounds: int = 9) -> Figure:
    return words_figure(summary(sounds))


test_figures = figure_test({"all": figure, "one": lambda: figure(1)}, more_than=15)

test_titles = title_test(
    free_words,
    {
        "all": ("words", (summary(),), (summary().assign(steering_low=0.1),)),
        "no interval": ("words", (summary(1).assign(steering_low=float("nan")),), (summary(1),)),
    },
)


def test_both_methods_stand_at_their_numbers_and_names_are_bold() -> None:
    first, second = figure().axes
    table = summary()
    dots = [line for ax in (first, second) for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == pytest.approx(list(100 * table["steering"]))
    labels = [label for ax in (first, second) for label in ax.get_yticklabels()]
    assert [label.get_text() for label in labels] == list(table["text"])
    assert {label.get_text() for label in labels if label.get_fontweight() == "bold"} == set(SYNONYMS)


def test_the_alt_text_says_every_mean() -> None:
    assert "alarm: alarm 30 / 20, buzzer 31 / 21" in alt_text_words(summary())
