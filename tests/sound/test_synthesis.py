"""Building blocks of the procedural sounds: each does exactly what its name says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.sound.synthesis import (
    RATE,
    REGISTER_RATIO,
    SPREAD,
    band,
    faded,
    groups,
    hits,
    register_hz,
    seconds_of,
    steady,
    tone,
    wander,
)


def level_at(samples: np.ndarray, hz: float) -> float:
    """Amplitude of the sine of `hz` in samples of a whole second."""
    assert len(samples) == RATE
    return 2 * float(np.abs(np.fft.rfft(samples)[round(hz)])) / RATE


def test_faded_touches_only_the_edges() -> None:
    ones = np.ones(1000, dtype=np.float32)
    out = faded(ones, 0.01, 10_000)
    assert out.dtype == np.float32
    assert np.array_equal(out[100:-100], ones[100:-100])
    assert np.array_equal(out, out[::-1])
    assert (np.diff(out[:100]) > 0).all()
    assert (ones == 1).all()  # the input is not changed
    assert np.array_equal(faded(ones, 0.0, 10_000), ones)


@given(st.integers(1, 400), st.floats(0, 0.2))
def test_short_sounds_are_faded_too(length: int, seconds: float) -> None:
    out = faded(np.ones(length), seconds, 1000)
    assert out.shape == (length,)
    assert np.array_equal(out, out[::-1])
    assert out.max() == 1.0 if length > 4 else out.max() > 0.4


def test_a_tone_has_the_harmonics_it_was_given_and_no_others() -> None:
    samples = tone(np.full(RATE, 500.0), [1.0, 0.5, 0.25], np.random.default_rng(0))
    for harmonic, weight in ((1, 1.0), (2, 0.5), (3, 0.25), (4, 0.0), (7, 0.0)):
        assert level_at(samples, 500 * harmonic) == pytest.approx(weight, abs=2e-3)


def test_harmonics_that_would_alias_are_dropped() -> None:
    samples = tone(np.full(RATE, 3000.0), [1.0, 1.0, 1.0])  # 9 kHz would come back as 7 kHz
    assert level_at(samples, 6000) == pytest.approx(1.0, abs=2e-2)
    assert level_at(samples, 7000) < 2e-2


def test_a_band_passes_its_centre_and_holds_back_the_rest() -> None:
    def passed(hz: float) -> float:
        return level_at(band(np.sin(2 * np.pi * hz * seconds_of(2 * RATE)), 1000, 5.0)[RATE:], hz)

    assert passed(1000) == pytest.approx(1.0, abs=1e-3)
    assert passed(1100) == pytest.approx(2**-0.5, abs=0.03)  # half the power at half a bandwidth (centre / q / 2)
    assert passed(250) < 0.06 > passed(4000)


def test_hits_add_up_and_are_cut_at_the_end() -> None:
    out = hits(100, [0.0, 50 / RATE, 52 / RATE, 98 / RATE, 1.0], lambda i: np.full(5, 10.0**i))
    assert out[:6].tolist() == [1, 1, 1, 1, 1, 0]
    assert out[50:58].tolist() == [10, 10, 110, 110, 110, 100, 100, 0]
    assert out[97:].tolist() == [0, 1000, 1000]


@settings(deadline=None)
@given(st.integers(800, 80_000), st.floats(0.05, 0.9), st.floats(0, 0.3), st.integers(0, 99))
def test_steady_onsets_reach_the_end_a_period_apart(n: int, period: float, jitter: float, seed: int) -> None:
    onsets = steady(n, period, jitter, np.random.default_rng(seed))
    assert 0 <= onsets[0] <= 0.02
    assert onsets[-1] >= n / RATE
    assert (np.abs(np.diff(onsets) / period - 1) <= jitter + 1e-9).all()


@given(st.integers(800, 80_000), st.integers(1, 4), st.integers(0, 3), st.integers(0, 99))
def test_groups_have_their_size_and_their_pauses(n: int, low: int, more: int, seed: int) -> None:
    onsets = groups(n, (low, low + more), 0.1, 0.5, 0.1, np.random.default_rng(seed))
    pauses = np.flatnonzero(np.diff(onsets) > 0.3)
    assert onsets[-1] >= n / RATE
    assert 0 <= onsets[0] <= 0.02
    sizes = np.diff(np.concatenate([[-1], pauses]))
    assert low <= sizes.min() <= sizes.max() <= low + more
    assert (np.abs(np.delete(np.diff(onsets), pauses) / 0.1 - 1) <= 0.1 + 1e-9).all()


@given(st.integers(2, 40_000), st.floats(0.5, 20), st.integers(0, 99))
def test_a_wandering_curve_stays_in_bounds_and_is_joined(n: int, points: float, seed: int) -> None:
    curve = wander(n, points, np.random.default_rng(seed))
    assert curve.shape == (n,)
    assert np.abs(curve).max() <= 1
    if n > 100:
        corners = max(2, int(n / RATE * points) + 2)
        assert np.abs(np.diff(curve)).max() <= 2 * (corners - 1) / (n - 1) + 1e-9


def test_registers_are_apart_by_their_ratio_whatever_the_draw() -> None:
    rng = np.random.default_rng(0)
    low, high = ([register_hz(100.0, pitch, rng) for _ in range(500)] for pitch in (0.0, 1.0))
    assert (1 - SPREAD) * 100 <= min(low) < 92 and 108 < max(low) <= (1 + SPREAD) * 100
    assert np.mean(high) / np.mean(low) == pytest.approx(REGISTER_RATIO, rel=0.02)
    assert min(high) > max(low)
