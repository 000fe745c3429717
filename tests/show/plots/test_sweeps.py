"""The heat map of a sweep: numbers where they belong, the choice outlined, words that do not touch, all of it said."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pictures import assert_good, drawn_texts
from sweep_work import made_table

from steer_utils.runs.sweep_results import chosen, summarised
from steer_utils.show.plots.sweeps import alt_text_heat, heat_figure


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return made_table(("lab/pocket-qwen2-audio", "pocket-audio-flamingo-3"))


@pytest.fixture(scope="module")
def summary(table: pd.DataFrame) -> pd.DataFrame:
    return summarised(table)


@pytest.fixture(scope="module")
def best(table: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    return chosen(table, summary)


@pytest.fixture(scope="module")
def figure(summary: pd.DataFrame, best: pd.DataFrame) -> Figure:
    return heat_figure(summary, best)


def test_figure(summary: pd.DataFrame, best: pd.DataFrame) -> None:
    assert_good(lambda: heat_figure(summary, best), more_than=60)


def test_the_title_says_the_choice_beside_a_random_vector(summary: pd.DataFrame, best: pd.DataFrame) -> None:
    one = summary[summary["model"] == "pocket-audio-flamingo-3"]
    title = heat_figure(one, best[best["model"] == "pocket-audio-flamingo-3"]).get_suptitle().replace("\n", " ")
    assert re.fullmatch(r"Chosen on other classes, steering finds \d+ %, above a random vector, \d+ %", title)
    assert alt_text_heat(one, best[best["model"] == "pocket-audio-flamingo-3"]).startswith(f"{title}. ")
    level = heat_figure(summary.assign(low=0.0, high=1.0), best).get_suptitle().replace("\n", " ")
    assert level.count("about level with a random vector") == 2
    assert "2 settings" not in heat_figure(summary, best.iloc[:0]).get_suptitle()


def test_each_cell_shows_its_own_mean(figure: Figure, summary: pd.DataFrame) -> None:
    panel = figure.axes[3]  # second row, second model: the test classes
    drawn = np.ma.getdata(panel.collections[0].get_array()).reshape(2, 3)
    own = summary[(summary["model"] == "pocket-audio-flamingo-3") & (summary["split"] == "test")]
    wanted = own[own["vector"].isin(["steering", "none"])].pivot(index="blocks", columns="strength", values="overlap")
    assert drawn == pytest.approx(100 * wanted.loc[["early", "late"], [0.0, 2.0, 8.0]].to_numpy())
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0", "2", "8"]
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["early", "late"]


def test_the_choice_is_outlined_on_both_splits_and_not_on_the_control(figure: Figure) -> None:
    """Early, at 8: first row, third column."""
    for number, panel in enumerate(figure.axes[:6]):
        frames = [patch.get_xy() for patch in panel.patches if isinstance(patch, Rectangle)]
        assert frames == ([(2, 0)] if number < 4 else [])


def test_what_was_not_measured_is_a_dash(summary: pd.DataFrame, best: pd.DataFrame) -> None:
    gone = (summary["blocks"] == "late") & (summary["strength"] == 2) & (summary["model"] == "pocket-audio-flamingo-3")
    texts = [text for text, _ in drawn_texts(heat_figure(summary[~gone], best))]
    assert texts.count("–") == 3


def test_one_scene_shows_no_interval() -> None:
    table = made_table(("one",), seeds=1, scenes=1)
    summary = summarised(table)
    texts = [text for text, _ in drawn_texts(heat_figure(summary, chosen(table, summary)))]
    assert not any("±" in text for text in texts) and any("mean, 1 scene of 1 seed" in text for text in texts)


def test_a_question_is_drawn_by_itself(table: pd.DataFrame) -> None:
    other = table.assign(question="How loud?", overlap=table["overlap"] / 2)
    both = pd.concat([table, other], ignore_index=True)
    summary = summarised(both)
    best = chosen(both, summary)
    loud = heat_figure(summary, best, "How loud?")
    assert not any(patch for panel in loud.axes for patch in panel.patches if isinstance(patch, Rectangle))
    assert "asking “How loud?”" in alt_text_heat(summary, best, "How loud?")
    assert "outlined" not in alt_text_heat(summary, best, "How loud?")
    with pytest.raises(ValueError, match="question is 'Why'; the sweep asked 'How many"):
        heat_figure(summary, best, "Why")


def test_the_alt_text_says_the_choice_and_the_range(summary: pd.DataFrame, best: pd.DataFrame) -> None:
    said = alt_text_heat(summary, best)
    test = summary[(summary["model"] == "pocket-audio-flamingo-3") & (summary["split"] == "test")]
    steering = test[test["vector"] == "steering"]["overlap"]
    row = best.iloc[1]
    for number in (steering.min(), steering.max(), row["overlap"], row["development"], test["chance"].mean()):
        assert f"{100 * number:.1f} %" in said
    assert "strength 8 in blocks early" in said and "lab/" not in said
