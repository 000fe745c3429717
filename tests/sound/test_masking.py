"""A stretch taken out: nothing else changes, and what fills it sounds like the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tones import rms

from steer_utils.sound.masking import background, occluded, window_apart
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.spans import Interval

RATE = 16_000


NOISE = 0.01 * np.random.default_rng(0).normal(size=2 * RATE)
TONE = (NOISE + 0.5 * np.sin(np.arange(2 * RATE) / 8) * (np.arange(2 * RATE) > RATE)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1.9), st.floats(0.001, 2.0), st.sampled_from(["noise", "silence"]))
def test_only_the_window_changes(start: float, width: float, fill: str) -> None:
    window, before = Interval(start, start + width), TONE.copy()
    first, stop = round(start * RATE), min(round((start + width) * RATE), len(TONE))
    changed = occluded(TONE, RATE, window, fill=fill)  # type: ignore[arg-type]
    assert changed.dtype == np.float32 and changed is not TONE and np.array_equal(TONE, before)
    assert np.array_equal(changed[:first], TONE[:first]) and np.array_equal(changed[stop:], TONE[stop:])
    fade = min(160, (stop - first) // 2)
    assert fill == "noise" or not changed[first + fade : stop - fade].any()


def test_silence_is_faded_in_and_out() -> None:
    ones = np.ones(RATE, np.float32)
    left = occluded(ones, RATE, Interval(0.25, 0.5), fill="silence")[4000:8000]
    assert np.all(np.diff(left[:160]) < 0) and np.all(np.diff(left[-160:]) > 0) and not left[160:-160].any()
    np.testing.assert_allclose(left, left[::-1], atol=1e-6)
    assert left[0] > 0.999 and abs(left[79] + left[80] - 1) < 1e-6  # a raised cosine: half way at 5 ms
    edge = occluded(ones, RATE, Interval(0.0, 0.5), fill="silence")
    assert edge[0] == 0 and edge[7999] > 0.999  # no fade where the audio begins
    assert not occluded(ones, RATE, Interval(0.0, 1.0), fill="silence").any()


def test_the_filler_has_the_level_and_colour_of_the_background() -> None:
    maker = SceneMaker(("bell", "siren", "rain"), noise_db=(-40.0, -40.0), seconds=8.0)
    for index in range(3):
        scene = maker.scene(index, 1)
        filler = background(scene.samples, scene.rate, 3 * RATE, seed=index)
        assert abs(20 * np.log10(rms(filler)) + 40) < 2
    slow = np.convolve(NOISE, np.ones(20) / 20, mode="same")  # dull noise, then a loud bright sound
    filler = background(np.concatenate([slow, TONE]), RATE, RATE)
    power = np.abs(np.fft.rfft(filler)) ** 2
    assert power[:800].sum() > 10 * power[2000:].sum()
    assert np.abs(filler).max() < 6 * rms(slow)
    assert not np.array_equal(filler, background(np.concatenate([slow, TONE]), RATE, RATE, seed=1))


def test_digital_silence_stays_silence() -> None:
    quiet = np.concatenate([np.zeros(RATE), TONE]).astype(np.float32)
    assert not background(quiet, RATE, 500).any()
    assert not occluded(quiet, RATE, Interval(1.5, 2.5))[int(1.6 * RATE) : int(2.4 * RATE)].any()


@pytest.mark.parametrize("count", [1, 2, 7, 320])
def test_short_audio_has_a_background_too(count: int) -> None:
    short = TONE[: 10 * count]
    assert np.isfinite(background(short, RATE, count)).all()
    assert np.isfinite(occluded(short, RATE, Interval(0.0, count / RATE))).all()


@settings(deadline=None)
@given(st.floats(0, 8), st.floats(0.01, 8), st.integers(0, 1000))
def test_the_other_window_lies_apart(start: float, width: float, seed: int) -> None:
    assume(start + width <= 8.0)
    window = Interval(start, start + width)
    other = window_apart(window, 8.0, np.random.default_rng(seed))
    assert abs(other.duration - window.duration) < 1e-9 and other.start >= -1e-9 and other.end <= 8.0 + 1e-9
    if max(window.start, 8.0 - window.end) >= window.duration:
        assert other.intersection(window) < 1e-9
    else:  # as far as possible
        ends = [Interval(0.0, window.duration), Interval(8.0 - window.duration, 8.0)]
        assert other.intersection(window) <= min(map(window.intersection, ends)) + 1e-9


def test_the_other_window_is_uniform_over_both_sides() -> None:
    rng, window = np.random.default_rng(0), Interval(3.0, 4.0)
    starts = np.array([window_apart(window, 8.0, rng).start for _ in range(4000)])
    before, after = starts[starts < 3], starts[starts > 3]
    assert abs(len(before) / 4000 - 2 / 5) < 0.03  # 2 s of room before, 3 s after
    assert abs(before.mean() - 1.0) < 0.06 and abs(after.mean() - 5.5) < 0.08


def test_bad_windows_are_said() -> None:
    with pytest.raises(ValueError, match="pass one of noise, silence"):
        occluded(TONE, RATE, Interval(0, 1), fill="music")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"2\.50-3\.00 s has no sample of an audio of 2\.00 s"):
        occluded(TONE, RATE, Interval(2.5, 3.0))
    with pytest.raises(ValueError, match="wider than the audio"):
        window_apart(Interval(0, 3), 2.0, np.random.default_rng(0))
