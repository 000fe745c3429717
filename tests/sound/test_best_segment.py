"""best_segment: where a curve stands out when the width is not known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.sound.spans import AudioSpan, Interval, best_segment


def bump(count: int, first: int, stop: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    curve = np.full(count, low)
    curve[first:stop] = high
    return curve


@pytest.mark.parametrize(("first", "stop"), [(40, 80), (0, 40), (160, 200), (100, 115)])
def test_a_bump_is_found_to_a_token_or_two_also_at_the_edges(first: int, stop: int) -> None:
    curve = bump(200, first, stop, low=0.2)
    interval, score = best_segment(curve, AudioSpan(7, 200))
    assert interval.start == pytest.approx(first * 0.04, abs=0.09)
    assert interval.end == pytest.approx(stop * 0.04, abs=0.09)
    assert score == pytest.approx(curve[round(interval.start / 0.04) : round(interval.end / 0.04)].mean())


def test_the_level_and_scale_of_the_curve_do_not_matter() -> None:
    curve, span = np.random.default_rng(0).random(120) + bump(120, 30, 60), AudioSpan(0, 120)
    interval = best_segment(curve, span)[0]
    for other in (curve + 5.0, curve * 1e-6, 300 * curve - 7):
        assert best_segment(other, span)[0] == interval


def test_noise_around_a_long_event_does_not_hide_it() -> None:
    curve = bump(200, 60, 130) + 0.5 * np.random.default_rng(1).normal(size=200)
    assert best_segment(curve, AudioSpan(0, 200))[0].iou(Interval(2.4, 5.2)) > 0.85


def test_the_longer_of_two_equal_bumps_wins_and_a_short_dip_is_bridged() -> None:
    curve = bump(200, 20, 40) + bump(200, 100, 140)
    assert best_segment(curve, AudioSpan(0, 200))[0].center == pytest.approx(4.8, abs=0.1)
    curve[118:122] = 0.0
    interval = best_segment(curve, AudioSpan(0, 200))[0]
    assert (interval.start, interval.end) == pytest.approx((4.0, 5.6), abs=0.1)


def test_a_peak_is_widened_about_its_middle() -> None:
    interval, score = best_segment(bump(100, 50, 51, high=100.0), AudioSpan(0, 100), least_seconds=1.0)
    assert interval.duration == pytest.approx(1.0)
    assert interval.center == pytest.approx(2.02, abs=0.05)
    assert score == pytest.approx(100 / 25)
    for token in (0, 99):  # and stays within the audio
        interval = best_segment(bump(100, token, token + 1, high=100.0), AudioSpan(0, 100), least_seconds=1.0)[0]
        assert interval.duration == pytest.approx(1.0)
        assert interval.start >= 0.0 and interval.end <= 4.0 + 1e-9


@pytest.mark.parametrize("level", [0.0, 0.1, -3.0, 1e9])
def test_of_a_flat_curve_it_is_the_beginning(level: float) -> None:
    interval, score = best_segment(np.full(100, level), AudioSpan(0, 100), least_seconds=0.32)
    assert interval == Interval(0.0, 0.32)
    assert score == pytest.approx(level)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_an_audio_of_a_few_tokens(count: int) -> None:
    interval, score = best_segment(np.arange(count, dtype=float), AudioSpan(0, count))
    assert interval == AudioSpan(0, count).interval(0, count)  # shorter than the least width: all of it
    assert score == pytest.approx((count - 1) / 2)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=80), st.floats(0.01, 4))
def test_any_curve_gives_a_stretch_of_the_audio_that_is_wide_enough(values: list[float], least: float) -> None:
    curve, span = np.array(values), AudioSpan(0, len(values))
    interval, score = best_segment(curve, span, least)
    tokens = span.tokens(interval)
    assert 0 <= tokens.start < tokens.stop <= span.count
    assert tokens.stop - tokens.start >= span.window_tokens(least)
    assert score == pytest.approx(curve[tokens].mean(), abs=1e-9)


@given(st.lists(st.integers(-9, 9), min_size=5, max_size=40))
def test_it_is_the_best_of_all_stretches_above_the_mean(values: list[int]) -> None:
    curve, span = np.array(values, float), AudioSpan(0, len(values))
    padded = [curve[max(0, token - 2) : token + 3].mean() for token in range(span.count)]  # over 0.2 s, cut at the ends
    above = np.array(padded) - curve.mean()
    sums = {
        (first, stop): above[first:stop].sum()
        for first in range(span.count)
        for stop in range(first + 1, span.count + 1)
    }
    tokens = span.tokens(best_segment(curve, span, least_seconds=0.04)[0])
    assert sums[tokens.start, tokens.stop] == pytest.approx(max(sums.values()), abs=1e-9)


@pytest.mark.parametrize(
    ("curve", "least", "message"),
    [
        (np.zeros(4), 0.3, "3 tokens"),
        (np.zeros((3, 1)), 0.3, "3 tokens"),
        (np.array([0.0, np.nan, 0.0]), 0.3, "NaN"),
        (np.array([0.0, np.inf, 0.0]), 0.3, "infinite"),
        (np.zeros(3), 0.0, "positive"),
    ],
)
def test_what_is_no_curve_or_width_is_refused(curve: np.ndarray, least: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_segment(curve, AudioSpan(0, 3), least)
