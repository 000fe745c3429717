"""Time: tokens and seconds, windows and overlap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.sound.spans import AudioSpan, Interval, best_window

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


@pytest.mark.parametrize("curve", [np.zeros(4), np.array([0, np.nan, 0]), np.array([0, np.inf, 0]), np.zeros((3, 1))])
def test_best_window_refuses(curve: np.ndarray) -> None:
    with pytest.raises(ValueError, match="curve"):
        best_window(curve, AudioSpan(0, 3), 0.04)
