"""Time: tokens and seconds, windows and overlap, and where a curve stands out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.sound.spans import AudioSpan, Interval, best_overlaps, best_segment, best_window

times = st.floats(0, 100, allow_nan=False)
lengths = st.floats(0.01, 20, allow_nan=False)
intervals = st.builds(lambda start, length: Interval(start, start + length), times, lengths)


def test_interval_measures() -> None:
    window, event = Interval(1.0, 3.0), Interval(2.0, 6.0)
    assert (window.duration, window.center) == (2.0, 2.0)
    assert window.intersection(event) == 1.0
    assert window.covers(event) == 0.25  # of the event, not of the window
    assert event.covers(window) == 0.5
    assert window.iou(event) == pytest.approx(1 / 5)
    assert window.shifted(0.5) == Interval(1.5, 3.5)
    assert Interval(0, 1).intersection(Interval(2, 3)) == 0.0
    assert str(Interval(3.28, 5.28)) == "3.28-5.28 s"


@given(intervals, intervals)
def test_overlap_identities(a: Interval, b: Interval) -> None:
    assert a.iou(b) == b.iou(a)
    assert 0 <= a.iou(b) <= 1 + 1e-9
    assert a.covers(a) == pytest.approx(1)
    assert a.covers(b) * b.duration == pytest.approx(b.covers(a) * a.duration)


@given(st.floats(), st.floats())
def test_interval_refuses_what_is_not_one(start: float, end: float) -> None:
    if math.isfinite(start) and math.isfinite(end) and end > start:
        assert Interval(start, end).duration >= 0
    else:
        with pytest.raises(ValueError, match="interval"):
            Interval(start, end)


def test_interval_holds_plain_floats() -> None:
    interval = Interval(np.float32(1), np.int64(2))  # type: ignore[arg-type]
    assert type(interval.start) is float and type(interval.end) is float


@pytest.mark.parametrize(("first", "count", "seconds"), [(-1, 3, 0.04), (0, 0, 0.04), (0, 3, 0.0), (0, 3, math.nan)])
def test_span_refuses_nonsense(first: int, count: int, seconds: float) -> None:
    with pytest.raises(ValueError):
        AudioSpan(first, count, seconds)


def test_tokens_and_seconds() -> None:
    span = AudioSpan(first=10, count=50)
    assert (span.stop, span.duration) == (60, 2.0)
    assert span.centers()[:2] == pytest.approx([0.02, 0.06])
    assert span.interval(0, 50) == Interval(0.0, 2.0)
    assert span.tokens(Interval(0.04, 0.12)) == slice(1, 3)
    assert span.tokens(Interval(5, 6)) == slice(50, 50)
    with pytest.raises(ValueError, match="not a range"):
        span.interval(3, 51)


@given(st.integers(0, 48), st.integers(1, 50))
def test_tokens_invert_interval(first: int, length: int) -> None:
    span = AudioSpan(0, 50)
    stop = min(50, first + length)
    assert span.tokens(span.interval(first, stop)) == slice(first, stop)


def test_window_tokens_stay_within_the_audio() -> None:
    span = AudioSpan(0, 50)
    assert [span.window_tokens(seconds) for seconds in (0.001, 0.04, 0.5, 1.0, 99.0)] == [1, 1, 12, 25, 50]
    with pytest.raises(ValueError, match="positive"):
        span.window_tokens(0.0)


@pytest.mark.parametrize("tokens", [10.5, 11.5, 12.5, 15.5, 33.5])
def test_the_same_duration_spans_the_same_window_wherever_it_starts(tokens: float) -> None:
    span = AudioSpan(0, 60)
    starts = np.linspace(0, 2, 97)
    widths = {span.window_tokens(Interval(start, start + tokens * 0.04).duration) for start in starts}
    assert widths == {span.window_tokens(tokens * 0.04)} == {int(tokens)}  # a half goes down, whatever the rounding


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.floats(0.01, 3))
def test_best_window_is_the_best_of_all(values: list[float], seconds: float) -> None:
    span = AudioSpan(0, len(values))
    curve = np.array(values)
    interval, score = best_window(curve, span, seconds)
    width = span.window_tokens(seconds)
    means = [curve[first : first + width].mean() for first in range(len(values) - width + 1)]
    assert score == pytest.approx(max(means), abs=1e-9)
    assert interval.duration == pytest.approx(width * 0.04)
    assert means[span.tokens(interval).start] == pytest.approx(score, abs=1e-9)


def test_best_window_takes_the_first_of_equals() -> None:
    curve = np.array([0.0, 0.1, 0.0, 0.1, 0.0])
    assert best_window(curve, AudioSpan(0, 5), 0.04)[0] == Interval(0.04, 0.08)
    assert best_window(np.full(200, 0.1), AudioSpan(0, 200), 1.0)[0].start == 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(0.05, 3.0), st.floats(0, 2), st.integers(0, 999), st.booleans())
def test_many_overlaps_at_once_are_those_of_best_window(
    count: int, seconds: float, start: float, seed: int, flat: bool
) -> None:
    span, truth = AudioSpan(5, count), Interval(start, start + seconds)
    rng = np.random.default_rng(seed)
    # whole numbers add up exactly, so that ties are ties in both, and the first window wins in both
    curves = np.ones((2, 3, count)) if flat else rng.integers(0, 50, (2, 3, count)).astype(float)
    expected = [[best_window(curve, span, seconds)[0].covers(truth) for curve in row] for row in curves]
    assert best_overlaps(curves, span, truth) == pytest.approx(np.array(expected), abs=1e-9)


@pytest.mark.parametrize("curve", [np.zeros(4), np.array([0, np.nan, 0]), np.array([0, np.inf, 0]), np.zeros((3, 1))])
def test_best_window_refuses(curve: np.ndarray) -> None:
    with pytest.raises(ValueError, match="curve"):
        best_window(curve, AudioSpan(0, 3), 0.04)


# Where a curve stands out when the width is not known ---------------------------------------------------------------


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
