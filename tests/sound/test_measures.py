"""Measures of sound: where it is active, its level under each token, its mel spectrogram."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tones import RATE, sine

from steer_utils.sound.audio import AudioError
from steer_utils.sound.measures import active_span, mel_band, mel_spectrogram, rms_curve


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 1.5), st.floats(0.1, 1.0), st.sampled_from([8_000, 16_000, 44_100]))
def test_active_span_finds_the_sound(start: float, length: float, rate: int) -> None:
    samples = np.zeros(3 * rate)
    first = round(start * rate)
    samples[first : first + round(length * rate)] = sine(length, 1000.0, rate)[: round(length * rate)]
    samples += 1e-4 * np.random.default_rng(0).standard_normal(len(samples))  # 70 dB below
    span = active_span(samples, rate)
    assert -0.0201 <= span.start - start <= 0.0201
    assert -0.0201 <= span.end - (start + length) <= 0.0201


def test_active_span_floor_and_silence() -> None:
    samples = np.concatenate([0.05 * sine(1.0), sine(1.0)])  # the first second is 26 dB below the second
    assert active_span(samples, RATE).start == 0.0
    assert active_span(samples, RATE, floor_db=-10).start == pytest.approx(1.0, abs=0.02)
    for silent in (np.zeros(100), np.zeros(0)):
        with pytest.raises(AudioError, match="silent"):
            active_span(silent, RATE)


def test_rms_curve_is_the_rms_of_each_token() -> None:
    samples = np.random.default_rng(0).standard_normal(RATE)
    curve = rms_curve(samples, RATE, 0.04, 25)
    assert np.allclose(curve, np.sqrt((samples.reshape(25, 640) ** 2).mean(1)), rtol=1e-9)
    longer = rms_curve(samples, RATE, 0.04, 30)
    assert longer.shape == (30,)
    assert np.allclose(longer[:25], curve)
    assert (longer[25:] == 0).all()


def test_rms_curve_is_highest_where_it_is_loud() -> None:
    samples = 0.1 * np.ones(RATE)
    samples[8000:9600] = 1.0
    assert set(np.flatnonzero(rms_curve(samples, RATE, 0.04, 25) > 0.5)) == {12, 13, 14}


@pytest.mark.parametrize("hz", [300.0, 1000.0, 3000.0])
def test_mel_spectrogram_puts_a_tone_in_its_band(hz: float) -> None:
    mel = mel_spectrogram(sine(1.0, hz).astype(np.float32), RATE)
    assert mel.shape == (64, 100)
    assert mel.max() == 0.0
    assert mel.min() >= -80.0
    assert (np.abs(mel[:, 10:90].argmax(0) - (mel_band(hz, RATE) - 0.5)) <= 1.0).all()


def test_mel_spectrogram_puts_a_click_at_its_time() -> None:
    samples = np.zeros(RATE, dtype=np.float32)
    samples[8000] = 1.0
    assert mel_spectrogram(samples, RATE).sum(0).argmax() in (49, 50, 51)
