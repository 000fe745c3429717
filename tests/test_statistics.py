"""Intervals and chance: closed forms, simulation, and the coverage of the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.spans import AudioSpan, Interval
from steer_utils.statistics import Estimate, chance_corrected, cluster_mean, paired_difference, random_overlap

STEP = 0.04


def slots(seconds: float, gap: float, count: int = 3) -> list[Interval]:
    """`count` events of `seconds` in a row with `gap` between them, from 0."""
    starts = [index * (seconds + gap) for index in range(count)]
    return [Interval(start, start + seconds) for start in starts]


# Chance ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "seconds"), [(0.0, 1.3, 1.3), (2.01, 3.47, 1.46), (5.1, 8.0, 2.0), (1, 7, 0.5)]
)
def test_random_overlap_is_what_random_windows_give(start: float, end: float, seconds: float) -> None:
    span, truth = AudioSpan(3, 200), Interval(start, end)
    width = span.window_tokens(seconds)
    firsts = np.random.default_rng(0).integers(span.count - width + 1, size=4000)
    simulated = [span.interval(first, first + width).covers(truth) for first in firsts]
    error = 4 * np.std(simulated) / math.sqrt(len(simulated))
    assert random_overlap(truth, span, seconds) == pytest.approx(np.mean(simulated), abs=error)


def test_three_touching_events_have_a_mean_chance_of_a_third() -> None:
    chances = [random_overlap(truth, AudioSpan(0, 375), 5.0) for truth in slots(5.0, 0.0)]
    assert np.mean(chances) == pytest.approx(1 / 3, abs=0.002)
    assert chances == pytest.approx([0.25, 0.5, 0.25], abs=0.003)


def test_the_papers_form_has_the_papers_random_figure() -> None:
    chances = [random_overlap(truth, AudioSpan(0, round(17 / STEP)), 5.0) for truth in slots(5.0, 1.0)]
    assert chances == pytest.approx([0.2083, 0.4167, 0.2083], abs=0.002)  # ∫ of a triangle over 12 s of placements
    assert np.mean(chances) == pytest.approx(0.278, abs=0.001)


def test_chance_at_its_limits() -> None:
    span = AudioSpan(0, 100)
    assert random_overlap(Interval(1.0, 2.0), span, 4.0) == 1.0  # the window is the audio
    assert random_overlap(Interval(1.0, 2.0), span, 99.0) == 1.0
    assert random_overlap(Interval(5.0, 6.0), span, 1.0) == 0.0  # beyond the audio
    for seconds in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="positive"):
            random_overlap(Interval(1.0, 2.0), span, seconds)


def test_chance_corrected() -> None:
    assert chance_corrected(0.3, 0.3) == 0.0
    assert chance_corrected(1.0, 0.3) == pytest.approx(1.0)
    assert chance_corrected(0.1, 0.4) == pytest.approx(-0.5)
    assert math.isnan(chance_corrected(1.0, 1.0))
    for chance in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="chance"):
            chance_corrected(0.5, chance)


# Intervals -------------------------------------------------------------------------------------------------------


def test_the_interval_is_the_textbook_one_for_many_independent_scenes() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, 400)
    estimate = cluster_mean(values, np.arange(400))
    half = 1.96 * values.std() / math.sqrt(400)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert (estimate.n, estimate.clusters) == (400, 400)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(40), 3)
    covered = 0
    for _ in range(120):
        values = np.repeat(rng.normal(0.5, 0.2, 40), 3) + rng.normal(0, 0.1, 120)  # queries of a scene are alike
        estimate = cluster_mean(values, clusters)
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.87 <= covered / 120 <= 0.99


def test_copies_in_a_scene_add_no_certainty() -> None:
    scenes = np.random.default_rng(3).random(50)
    copied, names = np.repeat(scenes, 3), np.repeat(np.arange(50), 3)
    by_scene, by_query = cluster_mean(copied, names), cluster_mean(copied, np.arange(150))
    assert by_scene.mean == pytest.approx(by_query.mean)
    assert (by_scene.high - by_scene.low) / (by_query.high - by_query.low) == pytest.approx(math.sqrt(3), rel=0.1)
    once = cluster_mean(scenes, np.arange(50))
    assert (by_scene.low, by_scene.high) == pytest.approx((once.low, once.high))


def test_scenes_of_unequal_size_weigh_by_their_queries() -> None:
    estimate = cluster_mean(np.array([1.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "a", "b"]))
    assert estimate.mean == 0.75
    assert (estimate.low, estimate.high) == (0.0, 1.0)  # both drawn from a, or both from b


def test_the_order_of_rows_and_names_of_scenes_do_not_matter_and_the_seed_decides() -> None:
    rng = np.random.default_rng(4)
    values, clusters = rng.random(60), np.repeat(np.arange(20), 3)
    first = cluster_mean(values, clusters)
    assert cluster_mean(values, clusters) == first
    order = rng.permutation(60)
    shuffled = cluster_mean(values[order], clusters[order] * 7)
    assert shuffled == Estimate(*(pytest.approx(part) for part in (first.mean, first.low, first.high)), 60, 20)
    assert cluster_mean(values, clusters, seed=1).low != first.low


@given(st.floats(-1e6, 1e6), st.integers(2, 30))
def test_scenes_that_agree_have_no_spread(value: float, scenes: int) -> None:
    estimate = cluster_mean(np.full(3 * scenes, value), np.repeat(np.arange(scenes), 3))
    assert estimate.low <= estimate.mean <= estimate.high
    assert estimate.high - estimate.low <= 1e-9 * max(1.0, abs(value))


def test_one_scene_has_no_interval() -> None:
    estimate = cluster_mean(np.array([0.2, 0.4]), np.array([5, 5]))
    assert estimate.mean == pytest.approx(0.3)
    assert math.isnan(estimate.low) and math.isnan(estimate.high)
    assert (estimate.n, estimate.clusters) == (2, 1)


def test_the_difference_of_equal_columns_is_exactly_zero() -> None:
    values, scenes = np.random.default_rng(5).random(30), np.repeat(np.arange(10), 3)
    assert paired_difference(values, values.copy(), scenes) == Estimate(0.0, 0.0, 0.0, 30, 10)
    shift = paired_difference(values + 0.25, values, scenes)
    assert (shift.mean, shift.low, shift.high) == pytest.approx((0.25, 0.25, 0.25))


def test_pairing_takes_out_what_both_share() -> None:
    rng = np.random.default_rng(6)
    hard, scenes = rng.random(90), np.repeat(np.arange(30), 3)
    first, second = hard + 0.05 + rng.normal(0, 0.01, 90), hard + rng.normal(0, 0.01, 90)
    paired = paired_difference(first, second, scenes)
    assert paired.low > 0.03
    assert cluster_mean(first, scenes).low < cluster_mean(second, scenes).high  # apart they look alike


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], [], "got 0 values"),
        ([0.1, math.nan], [0, 1], "2 values, 1 of them NaN"),
        ([math.inf, 0.1], [0, 1], "1 of them NaN or infinite"),
        ([0.1, 0.2], [0], "lists of one length"),
        ([[0.1], [0.2]], [[0], [1]], "lists of one length"),
    ],
)
def test_what_cannot_be_averaged_is_refused(values: list, clusters: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_mean(np.array(values), np.array(clusters))


def test_pairs_need_equal_lengths() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        paired_difference(np.zeros(3), np.zeros(2), np.arange(3))
