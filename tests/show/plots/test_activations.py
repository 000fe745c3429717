"""Figures of states, words and maps: numbers at their places, texts that do not touch, alt texts that say it all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import drawn_texts, figure_test, title_test

from steer_utils.show.plots import activations as plots
from steer_utils.show.plots.activations import MapMemory


def norms(blocks: int = 6) -> dict[str, np.ndarray]:
    """Kind k has the median (k + 1) times the station, and is spread around it."""
    spread = np.linspace(0.5, 1.5, 21)
    kinds = ("chat before the audio", "audio", "instruction, and chat after it")
    made = {kind: (place + 1) * np.outer(np.arange(1, blocks + 2), spread) for place, kind in enumerate(kinds)}
    return {**made, "last token of the prompt": np.arange(1.0, blocks + 2)[:, None]}


def words(blocks: int = 6) -> dict[str, tuple[list[str], np.ndarray]]:
    questions = ("Describe the sound.", "Do you hear the rooster?", "Which sound is second?", "When is the dog bark?")
    said = ["nothing", "antidisestablishment", "\n", "$x_1$", *["中文"] * (blocks - 4)]
    return {question: (said, np.linspace(0.1, 1, blocks)) for question in questions}


def memory(name: str, factor: float, longest: float) -> MapMemory:
    seconds = np.geomspace(1, longest, 30)
    return MapMemory(name, seconds, factor * (25 * seconds) ** 2, 8 * factor * 25 * seconds, rows=8)


MODELS = [memory("pocket-qwen2-audio", 36 * 4, 8), memory("Audio Flamingo 3", 784 * 2, 600)]
FIGURES: dict[str, Callable[[], Figure]] = {
    "norms": lambda: plots.norm_figure(norms()),
    "norms of a deep model": lambda: plots.norm_figure(norms(32)),
    "words": lambda: plots.lens_figure(words()),
    "words of a deep model": lambda: plots.lens_figure(words(32)),
    "memory": lambda: plots.memory_figure(MODELS),
    "memory of one model": lambda: plots.memory_figure(MODELS[1:]),
}


test_figures = figure_test(FIGURES)

test_titles = title_test(
    plots,
    {
        "norms": ("norm", (norms(),), (norms(4),)),
        "words": ("lens", (words(),), ({"Now?": (["no", "no", "yes"], np.ones(3))},)),
        "memory": ("memory", (MODELS,), (MODELS[1:],)),
    },
)


def test_norms_stand_at_their_medians() -> None:
    figure = plots.norm_figure(norms())
    (ax,) = figure.axes
    lines = [line for line in ax.lines if len(line.get_xdata()) == 7]
    for line, factor in zip(lines, (1, 2, 3, 1), strict=True):
        assert line.get_ydata() == pytest.approx(factor * np.arange(1, 8))
        assert np.abs(line.get_xdata() - np.arange(7)).max() < 0.25
    bars = ax.collections
    assert len(bars) == 3  # one token has no spread
    np.testing.assert_allclose(bars[0].get_segments()[0][:, 1], [0.6, 1.4])
    looks = {(line.get_marker(), str(line.get_linestyle()), line.get_markerfacecolor()) for line in lines}
    assert len(looks) == 4
    assert ax.get_xticklabels()[0].get_text() == "in" and ax.get_xticklabels()[1].get_text() == "0"


def test_words_stand_in_their_cells() -> None:
    figure = plots.lens_figure(words())
    texts = {
        (round(text.get_position()[0]), round(text.get_position()[1])): text.get_text() for text in figure.axes[0].texts
    }
    assert len(texts) == 24
    assert texts[2, 0] == "nothing  0.10" and texts[0, 3] == r"\$x_1\$  0.64" and texts[1, 1].startswith("antidisesta…")
    assert plots.plain(" the\n") == "the" and plots.plain("中") == r"\u4e2d"


def test_memory_stands_at_the_numbers() -> None:
    figure = plots.memory_figure(MODELS)
    for ax, model in zip(figure.axes, MODELS, strict=True):
        full, kept = [line for line in ax.lines if len(line.get_xdata()) == 30]
        np.testing.assert_allclose(full.get_ydata(), model.full)
        np.testing.assert_allclose(kept.get_ydata(), model.kept)
        assert full.get_linestyle() != kept.get_linestyle()
    said = [text for text, _ in drawn_texts(figure)]
    assert {"full maps: 353 GB", "8 rows: 188 MB", "a GPU of 80 GB"} <= set(said)


@pytest.mark.parametrize(
    ("count", "said"), [(12, "12 B"), (1500, "1.5 kB"), (7.29e6, "7.29 MB"), (352.8e9, "353 GB"), (2e12, "2 TB")]
)
def test_sizes_are_decimal(count: float, said: str) -> None:
    assert plots.size(count) == said


def test_alt_texts_hold_the_numbers() -> None:
    said = plots.alt_text_norms(norms())
    assert "audio: 2 on entering, 4 after block 0, 14 at last" in said
    read = plots.alt_text_lens(words())
    assert "Which sound is second? nothing 0.10, antidisesta… 0.28" in read
    weighed = plots.alt_text_memory(MODELS)
    assert "Audio Flamingo 3, 1 to 600 s: full maps 980 kB to 353 GB (more than 80 GB from" in weighed
    assert "8 rows 314 kB to 188 MB" in weighed and "never more than 80 GB" in weighed


def test_what_cannot_be_drawn_is_said() -> None:
    for kinds in (
        {},
        {"audio": np.ones(3)},
        {"audio": np.ones((1, 3))},
        {"audio": np.ones((3, 2)), "text": np.ones((4, 2))},
    ):
        with pytest.raises(ValueError, match=r"kinds? "):
            plots.norm_figure(kinds)
    for columns in ({}, {"a": (["x"], np.ones(2))}):
        with pytest.raises(ValueError, match="for each block"):
            plots.lens_figure(columns)
    with pytest.raises(ValueError, match="one to three models"):
        plots.memory_figure([])
