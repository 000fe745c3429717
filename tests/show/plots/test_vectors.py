"""Figures of many vectors: what they share is computed right, numbers at their places, words that do not touch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pictures import figure_test, title_test

from steer_utils.show.plots import vectors as plots

NAMES = ["dog bark", "bell", "engine", "person sneeze", "rain", "alarm", "helicopter", "cricket", "fire crackling"]


def many(names: int = 9, each: int = 6, blocks: int = 3) -> tuple[np.ndarray, list[str], list[str | None]]:
    """Vectors that are their event in block 0 and their pitch in the last one, with a little noise."""
    rng = np.random.default_rng(0)
    events = [f"{NAMES[place % 9]}{'' if place < 9 else place}" for place in range(names) for _ in range(each)]
    pitches: list[str | None] = [("high", "low")[place % 2] for place in range(names * each)]
    directions = 0.1 * rng.normal(size=(names * each, blocks, 24))
    directions[:, 0] += rng.normal(size=(names, 24)).repeat(each, axis=0)
    directions[:, -1, 0] += [5.0 if pitch == "high" else -5.0 for pitch in pitches]
    return directions, events, pitches


def matrices(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    made = rng.uniform(-0.4, 0.8, size=(2, count, count))
    made[:, range(count), range(count)] = 0.97
    return made


def norms(blocks: int = 6) -> pd.DataFrame:
    kinds = ["Is it high or low?", "How many sounds are there?", "Describe the sound.", "audio minus silence"]
    rows = [
        (kind, block, 0.3 * (place + 1) + 0.01 * block + spread)
        for place, kind in enumerate(kinds)
        for block in range(blocks)
        for spread in (-0.1, 0.0, 0.1)
    ]
    return pd.DataFrame(rows, columns=["what", "block", "ratio"])


FIGURES: dict[str, Callable[[], Figure]] = {
    "pca": lambda: plots.pca_figure(*many(), (0, 2)),
    "pca of many events": lambda: plots.pca_figure(*many(14), (0, 2)),
    "cosines": lambda: plots.cosine_figure(matrices(9), NAMES, (0, 5)),
    "cosines of many events": lambda: plots.cosine_figure(matrices(14), many(14, 1)[1], (0, 31)),
    "norms": lambda: plots.norm_figure(norms()),
    "norms of a deep model": lambda: plots.norm_figure(norms(32)),
}


test_figures = figure_test(FIGURES)

test_titles = title_test(
    plots,
    {
        "pca": ("pca", (*many(), (0, 2)), (*many(14), (0, 2))),
        "cosines": ("cosine", (matrices(9), NAMES, (0, 5)), (matrices(9) / 2, NAMES, (0, 5))),
        "norms": ("norm", (norms(),), (norms(30),)),
    },
)


def test_principal_components_against_the_covariance() -> None:
    cloud = np.random.default_rng(2).normal(size=(60, 5)) * [5, 3, 1, 0.5, 0.1] + 7
    scores, shares = plots.principal_components(cloud)
    values, vectors = np.linalg.eigh(np.cov(cloud.T))
    assert shares == pytest.approx(values[::-1][:2] / values.sum())
    expected = (cloud - cloud.mean(axis=0)) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), atol=1e-9)
    assert (scores.max(axis=0) >= -scores.min(axis=0)).all()
    np.testing.assert_allclose(plots.principal_components(-cloud)[0], scores, atol=1e-9)  # the sign is fixed
    for wrong in (cloud[:2], cloud[0], np.ones((4, 5))):
        with pytest.raises(ValueError, match=r"three or more vectors|are the same"):
            plots.principal_components(wrong)


def test_variance_between() -> None:
    points = np.array([[0.0, 0], [2, 0], [10, 0], [12, 0]])
    assert plots.variance_between(points, "aabb") == pytest.approx(25 / 26)
    assert plots.variance_between(points, "abab") == pytest.approx(1 / 26)
    assert plots.variance_between(points, [0, 1, 2, 3]) == pytest.approx(1)
    assert plots.variance_between(points, [None] * 4) == pytest.approx(0)
    labels = np.random.default_rng(3).permutation(np.arange(300) % 10)
    noise = np.random.default_rng(4).normal(size=(300, 40))
    assert plots.variance_between(noise, list(labels)) == pytest.approx(9 / 299, abs=0.01)


def test_points_stand_at_their_coordinates_and_pitch_is_seen() -> None:
    directions, events, pitches = many()
    early, late = plots.pca_figure(directions, events, pitches, (0, 2)).axes
    assert (early.get_title(loc="left"), late.get_title(loc="left")) == ("after block 0", "after block 2")
    scores, shares = plots.principal_components(directions[:, 2])
    drawn = np.concatenate([each.get_offsets() for each in late.collections])
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(scores[:, 0]))
    assert f"{shares[0]:.0%} of the variance" in late.get_xlabel()
    filled = [each for each in late.collections if len(each.get_facecolors()) and len(each.get_offsets())]
    hollow = [each for each in late.collections if not len(each.get_facecolors()) and len(each.get_offsets())]
    assert len(filled) == len(hollow) == 9
    signs = {np.sign(each.get_offsets()[0][0]) for each in filled}
    assert len(signs) == 1 and signs != {np.sign(hollow[0].get_offsets()[0][0])}


def test_events_differ_without_colour() -> None:
    legend = plots.pca_figure(*many(14), (0,)).legends[0]
    markers = [line.get_marker() for line in legend.get_lines()]
    assert len(set(markers[:14])) == 14
    assert [text.get_text() for text in legend.get_texts()][14:] == ["filled: high", "open: low"]
    directions, events, _ = many()
    without = plots.pca_figure(directions, events, [None] * len(events), (0,)).legends[0]
    assert len(without.get_texts()) == 9


def test_cells_hold_the_numbers() -> None:
    made = matrices(9)
    figure = plots.cosine_figure(made, NAMES, (0, 5))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == NAMES
    for ax, matrix in zip(figure.axes, made, strict=False):
        np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), matrix)
        said = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in ax.texts}
        assert said[2, 4] == f"{matrix[2, 4]:.1f}".replace("-0.0", "0.0") and said[3, 3] == "1.0"
    assert not plots.cosine_figure(matrices(14), many(14, 1)[1], (0, 5)).axes[0].texts


def test_lines_stand_at_the_means() -> None:
    ax = plots.norm_figure(norms().sample(frac=1, random_state=0).sort_values("what")).axes[0]
    lines = [line for line in ax.lines if len(line.get_xdata()) == 6]
    assert sorted(line.get_ydata()[0] for line in lines) == pytest.approx([0.3, 0.6, 0.9, 1.2])
    for line in lines:
        assert np.abs(line.get_xdata() - np.arange(6)).max() < 0.25
        assert line.get_ydata()[5] - line.get_ydata()[0] == pytest.approx(0.05)
    bars = ax.collections[0].get_segments()
    assert bars[0][1][1] - bars[0][0][1] == pytest.approx(0.2)
    assert ax.get_ylim()[0] == 0


def test_alt_texts_hold_the_numbers() -> None:
    directions, events, pitches = many()
    said = plots.alt_text_pca(directions, events, pitches, (0, 2))
    early = plots.variance_between(directions[:, 0], events)
    assert "54 steering vectors of 9 events" in said and f"the event explains {early:.0%} of it, pitch" in said
    assert "pitch" not in plots.alt_text_pca(directions, events, [None] * len(events), (0, 2))
    made = matrices(9)
    made[1, 2, 6] = 0.9
    said = plots.alt_text_cosines(made, NAMES, (0, 5))
    assert "0.97 within an event" in said and "most between engine and helicopter (0.90)" in said
    said = plots.alt_text_norms(norms())
    assert "Is it high or low? 0.30 to 0.35; How many sounds are there? 0.60 to 0.65" in said


def test_what_cannot_be_drawn_is_said() -> None:
    for function in (plots.norm_figure, plots.alt_text_norms):
        with pytest.raises(ValueError, match="nothing to draw"):
            function(norms().iloc[:0])
    for function in (plots.cosine_figure, plots.alt_text_cosines):
        with pytest.raises(ValueError, match=r"shape \(1, 9, 9\)"):
            function(matrices(9), NAMES, (0,))
