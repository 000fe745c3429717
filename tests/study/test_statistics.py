"""Intervals, tests and chance: closed forms, simulation, coverage, calibration under the null, and enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from steer_utils.sound.spans import AudioSpan, Interval, best_window
from steer_utils.study.metrics import rotated_overlaps
from steer_utils.study.statistics import (
    RESAMPLES,
    Estimate,
    NullTest,
    chance_corrected,
    circular_shift_null,
    cluster_mean,
    difference_record,
    estimate_columns,
    holm,
    mean_record,
    paired_difference,
    random_overlap,
    roc_estimate,
    sign_flip,
)

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


def test_unequal_scenes_are_drawn_with_all_their_queries() -> None:
    rng = np.random.default_rng(8)
    sizes = rng.integers(1, 9, size=12)
    clusters, values = np.repeat(np.arange(12), sizes), rng.normal(size=(sizes.sum(), 3)) + rng.normal(size=3)
    values += sizes[clusters][:, None]  # large scenes have large values: a scene a vote would give another interval
    times = np.random.default_rng(6).multinomial(12, np.full(12, 1 / 12), size=RESAMPLES)
    means = [values[np.repeat(np.arange(len(values)), drawn[clusters])].mean(axis=0) for drawn in times]
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    columns = estimate_columns(values, clusters, seed=6)
    assert columns.mean == pytest.approx(values.mean(axis=0))
    assert columns.low == pytest.approx(low) and columns.high == pytest.approx(high)
    assert (columns.n, columns.clusters) == (sizes.sum(), 12)
    for column, number in zip(values.T, range(3), strict=True):
        estimate = cluster_mean(column, clusters, seed=6)
        assert (estimate.low, estimate.high) == pytest.approx((low[number], high[number]))


def test_the_order_of_rows_and_names_of_scenes_do_not_matter_and_the_seed_decides() -> None:
    rng = np.random.default_rng(4)
    values, clusters = rng.random(60), np.repeat(np.arange(20), 3)
    first = cluster_mean(values, clusters)
    assert cluster_mean(values, clusters) == first
    order = rng.permutation(60)
    shuffled = cluster_mean(values[order], clusters[order] * 7)
    assert shuffled == Estimate(*(pytest.approx(part) for part in (first.mean, first.low, first.high)), 60, 20)
    assert cluster_mean(values, clusters, seed=1).low != first.low


@settings(deadline=None)  # the machine may be busy
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


# Power -----------------------------------------------------------------------------------------------------------


def overlaps_like_a_method(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Half good hits, a third misses, the rest in between: mean 0.53, sd 0.41."""
    kind = rng.random(shape)
    near, part = rng.uniform(0.8, 1.0, shape), rng.uniform(0.0, 0.8, shape)
    return np.where(kind < 0.5, near, np.where(kind < 0.83, 0.0, part))


@pytest.mark.parametrize(("alike", "expected"), [(0.0, 0.034), (0.2, 0.040)])
def test_200_scenes_of_3_queries_give_the_stated_half_width(alike: float, expected: float) -> None:
    rng = np.random.default_rng(7)
    own = overlaps_like_a_method(rng, (200, 3))
    shared = overlaps_like_a_method(rng, (200, 1))
    # Each query takes its scene's draw with this chance: two of a scene then correlate by its square.
    values = np.where(rng.random((200, 3)) < math.sqrt(alike), shared, own).ravel()
    assert values.std() == pytest.approx(0.42, abs=0.02)  # the assumption
    estimate = cluster_mean(values, np.repeat(np.arange(200), 3))
    assert estimate.half_width == pytest.approx(expected, abs=0.003)


def test_half_width_is_half_the_interval() -> None:
    assert Estimate(0.5, 0.4, 0.7, 6, 2).half_width == pytest.approx(0.15)
    assert math.isnan(cluster_mean(np.array([0.1, 0.2]), np.array([0, 0])).half_width)


# The circular-shift null -----------------------------------------------------------------------------------------

SPAN = AudioSpan(0, 60)
EVENTS = (Interval(0.08, 0.6), Interval(0.88, 1.4), Interval(1.72, 2.24))


def smooth_noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise with neighbours alike, of a law that no rotation changes."""
    spectrum = np.fft.rfft(rng.normal(size=count)) * np.exp(-np.arange(count // 2 + 1) / 6)
    return np.fft.irfft(spectrum, count)


def bump(span: AudioSpan, event: Interval) -> np.ndarray:
    """A curve with its peak in the middle of the event."""
    return np.exp(-(((span.centers() - event.center) / 0.2) ** 2))


def noise_p(rng: np.random.Generator, one_curve_a_scene: bool) -> float:
    curves, truths, scenes = [], [], []
    for scene in range(10):
        shared = smooth_noise(rng, SPAN.count)
        for event in EVENTS:
            curves.append(shared if one_curve_a_scene else smooth_noise(rng, SPAN.count))
            truths.append(event)
            scenes.append(scene)
    return circular_shift_null(curves, truths, SPAN, scenes, resamples=200, seed=int(rng.integers(2**31))).p


@pytest.mark.parametrize("one_curve_a_scene", [False, True])
def test_noise_has_an_even_p(one_curve_a_scene: bool) -> None:
    """With one curve a scene, its three overlaps are tied: rotating them apart would crowd p about one half."""
    rng = np.random.default_rng(8)
    found = [noise_p(rng, one_curve_a_scene) for _ in range(150)]
    assert kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.10


def test_curves_that_follow_the_events_are_not_chance() -> None:
    rng = np.random.default_rng(9)
    truths, scenes = list(EVENTS) * 10, np.repeat(np.arange(10), 3)
    curves = [bump(SPAN, event) + 0.3 * rng.normal(size=SPAN.count) for event in truths]
    test = circular_shift_null(curves, truths, SPAN, scenes, resamples=999)
    assert test.p == 1 / 1000
    assert test.observed > 0.7 > test.null_high
    apart = circular_shift_null(curves, [*truths[1:], truths[0]], SPAN, scenes, resamples=999)  # each asked for another
    assert apart.p > 0.9


def ragged() -> tuple[list[np.ndarray], list[Interval], list[AudioSpan], list[str]]:
    """Two scenes of different lengths, with two queries and one."""
    rng = np.random.default_rng(10)
    spans = [AudioSpan(4, 9), AudioSpan(4, 14, 0.02), AudioSpan(4, 9)]
    truths = [Interval(0.05, 0.15), Interval(0.1, 0.17), Interval(0.21, 0.36)]
    return [rng.random(span.count) for span in spans], truths, spans, ["b", "a", "b"]


def test_the_null_is_what_all_pairs_of_rotations_give() -> None:
    curves, truths, spans, scenes = ragged()

    def overlap(query: int, shift: int) -> float:
        window, _ = best_window(np.roll(curves[query], shift), spans[query], truths[query].duration)
        return window.covers(truths[query])

    every = np.array([(overlap(0, b) + overlap(2, b) + overlap(1, a)) / 3 for b in range(9) for a in range(14)])
    test = circular_shift_null(curves, truths, spans, scenes, resamples=40_000)
    assert test.observed == pytest.approx(every[0])
    assert test.null_mean == pytest.approx(every.mean(), abs=4 * every.std() / 200)
    assert (test.null_low, test.null_high) == pytest.approx(tuple(np.percentile(every, (2.5, 97.5))), abs=0.02)
    assert test.p == pytest.approx(np.mean(every >= every[0] - 1e-12), abs=0.01)


def test_the_null_does_not_see_scale_level_order_or_names() -> None:
    curves, truths, spans, scenes = ragged()
    expected = circular_shift_null(curves, truths, spans, scenes, resamples=500)
    assert circular_shift_null([3 * curve + 7 for curve in curves], truths, spans, scenes, resamples=500) == expected
    assert circular_shift_null(curves, truths, spans, [5, 2, 5], resamples=500) == expected
    assert circular_shift_null(curves, truths, spans, scenes, resamples=500, seed=1) != expected
    turned = [np.roll(curve, 3) for curve in curves]  # another observation, the same null
    everywhere = circular_shift_null(turned, truths, spans, scenes, resamples=20_000)
    assert everywhere.observed != expected.observed
    once = circular_shift_null(curves, truths, spans, scenes, resamples=20_000)
    assert everywhere.null_mean == pytest.approx(once.null_mean, abs=0.01)
    swapped = [[part[index] for index in (0, 2, 1)] for part in (curves, truths, spans, scenes)]
    assert circular_shift_null(*swapped, resamples=500) == NullTest(
        *(pytest.approx(part) for part in (expected.observed, expected.null_mean, expected.null_low)),
        pytest.approx(expected.null_high),
        expected.p,
    )


def test_a_flat_curve_is_as_good_as_its_rotations() -> None:
    test = circular_shift_null([np.full(60, 0.1)] * 3, EVENTS, SPAN, [0, 0, 0], resamples=99)
    assert test.p == 1.0
    assert (test.null_low, test.null_high, test.null_mean) == pytest.approx((test.observed,) * 3)


def test_a_habit_of_position_also_beats_its_rotations() -> None:
    """The limit that the docstring states: the same curve for all, which knows no event, passes for better."""
    curves = [bump(SPAN, EVENTS[1])] * 60
    test = circular_shift_null(curves, list(EVENTS) * 20, SPAN, np.repeat(np.arange(20), 3), resamples=999)
    assert test.p == 1 / 1000
    assert test.observed == pytest.approx(1 / 3, abs=0.02)


def test_rotations_of_a_spike_have_about_the_analytic_chance() -> None:
    span, width = AudioSpan(0, 425), 125  # the paper's form: 17 s, a 5 s event
    events = slots(5.0, 1.0)
    block = (np.arange(425) < width).astype(float)
    for event in events:
        kept = rotated_overlaps(block, span, event)[: 425 - width + 1]  # the rotations that split no window
        assert kept.mean() == pytest.approx(random_overlap(event, span, 5.0))


def replaced(index: int, value: object) -> Callable[[], NullTest]:
    def call() -> NullTest:
        arguments: list = [[np.arange(60.0)] * 3, list(EVENTS), [SPAN] * 3, [0, 0, 1]]
        arguments[index] = value
        return circular_shift_null(*arguments)

    return call


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (replaced(0, [np.zeros(60)] * 2), "2 curves, 3 truths, 3 spans, 3 scenes"),
        (replaced(3, [0]), "1 scenes"),
        (replaced(0, [np.zeros(60), np.zeros(59), np.zeros(60)]), r"query 1: .*\(59,\).* 60 tokens"),
        (replaced(0, [np.zeros(60), np.full(60, math.nan), np.zeros(60)]), "query 1: .*60 of them NaN"),
        (replaced(1, [EVENTS[0], EVENTS[1], Interval(2.5, 3.0)]), "query 2: the event at 2.50-3.00 s lies outside"),
        (replaced(2, [SPAN, SPAN]), "2 spans"),
        (lambda: circular_shift_null([], [], SPAN, []), "got 0 curves"),
        (lambda: circular_shift_null([np.zeros(60)], [EVENTS[0]], SPAN, [0], resamples=0), "resamples is 0"),
        (
            lambda: circular_shift_null(
                [np.zeros(60), np.zeros(50)], [EVENTS[0]] * 2, [SPAN, AudioSpan(0, 50)], ["x", "x"]
            ),
            "query 1 of scene x has 50 audio tokens, an earlier one 60",
        ),
    ],
)
def test_what_cannot_be_rotated_is_refused(call: Callable[[], NullTest], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# The paired sign-flip test ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.8])
def test_few_scenes_are_enumerated(shift: float) -> None:
    rng = np.random.default_rng(11)
    scenes = np.array([3, 1, 1, 2, 5, 5, 5, 4, 0, 0, 6])  # of unequal sizes
    first, second = rng.normal(shift, 1, scenes.size), rng.normal(size=scenes.size)
    difference = first - second
    means = [np.mean(np.array(signs)[scenes] * difference) for signs in product((1, -1), repeat=7)]
    expected = np.mean(np.abs(means) >= abs(difference.mean()) - 1e-12)
    assert sign_flip(first, second, scenes) == pytest.approx(expected)
    assert sign_flip(second, first, scenes) == pytest.approx(expected)  # two-sided


def test_many_scenes_are_sampled_and_agree_with_the_normal_law() -> None:
    rng = np.random.default_rng(12)
    difference = rng.normal(0.12, 1, 200)
    z = difference.sum() / math.sqrt((difference**2).sum())
    p = sign_flip(difference, np.zeros(200), np.arange(200), resamples=4000)
    assert p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.03)
    assert 0.01 < p < 0.5  # the comparison is not one of two zeros
    assert p == sign_flip(difference, np.zeros(200), np.arange(200), resamples=4000)
    assert sign_flip(np.ones(200), np.zeros(200), np.arange(200), resamples=99) == pytest.approx(2 / 100)


def test_equal_methods_have_an_even_p_though_the_queries_of_a_scene_are_alike() -> None:
    """Flipping query by query would take the scene's common part for evidence."""
    rng = np.random.default_rng(13)
    scenes = np.repeat(np.arange(14), 3)
    found = []
    for _ in range(250):
        difference = np.repeat(rng.normal(0, 1, 14), 3) + rng.normal(0, 0.3, 42)
        found.append(sign_flip(difference, np.zeros(42), scenes, resamples=200, seed=int(rng.integers(2**31))))
    assert kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.09


def test_sign_flip_at_its_limits() -> None:
    values = np.random.default_rng(14).random(12)
    assert sign_flip(values, values.copy(), np.arange(12)) == 1.0
    assert sign_flip(values + 1, values, np.zeros(12)) == 1.0  # one scene shows nothing
    assert sign_flip(values + 1, values, np.arange(12)) == pytest.approx(2 / 2**12)
    with pytest.raises(ValueError, match="resamples is 0"):
        sign_flip(values, values, np.arange(12), resamples=0)
    with pytest.raises(ValueError, match=r"\(12,\) and \(3,\)"):
        sign_flip(values, np.zeros(3), np.arange(12))
    with pytest.raises(ValueError, match="1 of them NaN"):
        sign_flip(np.array([1.0, math.nan]), np.zeros(2), np.arange(2))
    with pytest.raises(ValueError, match="got 0 values"):
        sign_flip(np.array([]), np.array([]), np.array([]))


# Holm ------------------------------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    # Ordered: .005 x 4, .01 x 3, .03 x 2, .04 x 1 -> .02, .03, .06, and .04 raised to .06.
    adjusted = holm({"c": 0.04, "a": 0.01, "d": 0.03, "b": 0.005})
    assert list(adjusted) == ["c", "a", "d", "b"]
    assert list(adjusted.values()) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({"only": 0.03}) == {"only": 0.03}


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(st.text("abcde", max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    for name, p in p_values.items():
        assert p <= adjusted[name] <= min(1.0, len(p_values) * p) + 1e-12
        assert all(adjusted[name] <= adjusted[other] for other in p_values if p < p_values[other])


@pytest.mark.parametrize(
    ("p_values", "message"),
    [({"a": 0.1, "b": math.nan}, "got b: nan"), ({"a": -0.1}, "a: -0.1"), ({"a": 1.1}, "a: 1.1"), ({}, "got none")],
)
def test_holm_refuses(p_values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        holm(p_values)


# -- many measures at once --------------------------------------------------------------------------------------------
def several_measures(scenes: int, columns: int = 4, per: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(scenes)
    values = rng.normal(size=(scenes * per, columns)) + np.linspace(0, 0.4, columns)
    order = rng.permutation(scenes * per)
    return values, np.repeat(np.arange(scenes), per)[order]


@pytest.mark.parametrize("scenes", [2, 5, 40])
def test_intervals_of_columns_are_those_of_cluster_mean(scenes: int) -> None:
    values, clusters = several_measures(scenes)
    found = estimate_columns(values, clusters, seed=3)
    assert (found.n, found.clusters) == (3 * scenes, scenes)
    for column, measure in enumerate(values.T):
        one = cluster_mean(measure, clusters, seed=3)
        np.testing.assert_allclose(
            [found.mean[column], found.low[column], found.high[column]], [one.mean, one.low, one.high], atol=1e-12
        )


@pytest.mark.parametrize("scenes", [1, 2, 5, 9])
def test_columns_of_few_scenes_are_tested_exactly(scenes: int) -> None:
    values, clusters = several_measures(scenes)
    expected = [sign_flip(measure, 0 * measure, clusters) for measure in values.T]
    np.testing.assert_allclose(estimate_columns(values, clusters).p, expected, atol=1e-12)


def test_columns_of_many_scenes_are_tested_by_the_same_draws() -> None:
    values, clusters = several_measures(40)
    expected = np.array([sign_flip(measure, 0 * measure, clusters) for measure in values.T])
    found = estimate_columns(values, clusters).p
    assert np.all(np.abs(found - expected) < 4 * np.sqrt(2 * expected / 10_000) + 4e-4)
    assert found.min() < 0.05 < found.max()  # the comparison spans both
    doubled = estimate_columns(np.hstack([values, values]), clusters).p
    assert doubled.tolist() == [*found, *found]


def test_columns_without_change_are_no_evidence() -> None:
    for scenes in (3, 40):
        found = estimate_columns(np.zeros((2 * scenes, 2)), np.repeat(np.arange(scenes), 2))
        assert found.p.tolist() == [1.0, 1.0] and found.low.tolist() == found.high.tolist() == [0.0, 0.0]


def test_p_of_columns_is_uniform_where_nothing_is_there() -> None:
    rng = np.random.default_rng(5)
    signs = np.repeat(rng.choice((-1, 1), size=(30, 200)), 2, axis=0)  # the queries of a scene agree
    p = estimate_columns(np.abs(rng.normal(size=(60, 200))) * signs, np.repeat(np.arange(30), 2), resamples=2000).p
    assert 0.01 < np.mean(p < 0.05) < 0.1 and 0.4 < np.mean(p < 0.5) < 0.6


def test_one_scene_gives_columns_no_interval() -> None:
    found = estimate_columns(np.array([[1.0], [3.0]]), np.array([0, 0]))
    assert found.mean.tolist() == [2.0] and np.isnan(found.low).all() and found.p.tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clusters": np.arange(3)}, "one cluster a query"),
        ({"values": np.ones(4)}, "one cluster a query"),
        ({"values": np.ones((4, 0))}, "one cluster a query"),
        ({"resamples": 0}, "at least one resample"),
        ({"values": np.array([[1.0, np.nan]] + 3 * [[1.0, 1.0]])}, "8 values, 1 of them NaN"),
        ({"values": np.array([[1.0, np.inf]] + 3 * [[1.0, 1.0]])}, "8 values, 1 of them NaN or infinite"),
    ],
)
def test_columns_that_cannot_be_averaged_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_columns(**{"values": np.ones((4, 2)), "clusters": np.arange(4), "resamples": 100, **change})


def test_records_are_the_estimates_by_scene() -> None:
    values, scenes = several_measures(6, columns=2)
    index = pd.MultiIndex.from_arrays([scenes, range(18)], names=["scene", "event"])
    first, second = (pd.Series(column, index=index) for column in values.T)
    mean, gap = cluster_mean(values[:, 0], scenes), paired_difference(values[:, 0], values[:, 1], scenes)
    assert mean_record(first).items() >= {"mean": mean.mean, "low": mean.low, "high": mean.high, "n": 18}.items()
    assert math.isnan(mean_record(first)["p"])
    p = sign_flip(values[:, 0], values[:, 1], scenes)
    assert difference_record(first, second) == {
        "mean": gap.mean,
        "low": gap.low,
        "high": gap.high,
        "n": 18,
        "scenes": 6,
        "p": p,
    }


def test_few_scenes_are_counted_exactly_up_to_the_last_pattern() -> None:
    """Two scenes have 4 patterns of signs, three have 8: half of the extreme ones are on each side."""
    for scenes, p in ((2, 0.5), (3, 0.25)):
        ones, clusters = np.ones((scenes, 1)), np.arange(scenes)
        for resamples in (2**scenes, 2**scenes + 1):
            assert estimate_columns(ones, clusters, resamples=resamples).p == pytest.approx([p])
            assert sign_flip(ones[:, 0], 0 * ones[:, 0], clusters, resamples=resamples) == pytest.approx(p)
        drawn = estimate_columns(ones, clusters, resamples=2**scenes - 1).p  # one pattern too many: drawn
        assert drawn[0] != pytest.approx(p)


# -- ROC area -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40))
def test_roc_area_is_the_share_of_pairs_in_order(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores, there = rng.normal(size=count).round(1), np.arange(count) % 3 == 0  # with ties
    estimate = roc_estimate(scores, there, rng.integers(0, 5, count))
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[there] for b in scores[~there]]
    assert estimate.mean == pytest.approx(np.mean(pairs)) and estimate.n == count
    assert estimate.low <= estimate.high or np.isnan(estimate.low)


def test_roc_area_draws_scenes_and_not_scores() -> None:
    """Scenes that are all alike leave nothing to draw; one scene has no interval; one kind missing has no area."""
    scores, there, clusters = np.tile([2.0, 1.0, 0.0], 6), np.tile([True, False, True], 6), np.repeat(np.arange(6), 3)
    alike = roc_estimate(scores, there, clusters)
    assert alike.mean == alike.low == alike.high == 0.5 and alike.clusters == 6
    mixed = roc_estimate(scores + 3.0 * (clusters % 2) * there, there, clusters)
    assert mixed.low < mixed.mean < mixed.high
    assert np.isnan(roc_estimate(scores, there, np.zeros(18)).low)
    assert np.isnan(roc_estimate(scores, np.ones(18, bool), clusters).mean)
    with pytest.raises(ValueError, match="finite"):
        roc_estimate(np.array([np.nan, 1.0]), np.array([True, False]), np.array([0, 1]))
