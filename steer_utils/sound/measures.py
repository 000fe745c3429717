"""Measures of sound as samples: its level over time, from where to where it sounds, its mel spectrogram."""

from __future__ import annotations

import math

import numpy as np

from steer_utils.sound.file_parts import AudioError
from steer_utils.sound.spans import Interval

SILENCE = 1e-6  # a peak below this (-120 dBFS) is silence
FRAME = 0.02  # seconds of an RMS frame
MEL_FLOOR = 40.0  # Hz, lower edge of the mel spectrogram


def rms(samples: np.ndarray) -> float:
    """Root mean square of all samples."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def frame_rms(samples: np.ndarray, size: int) -> np.ndarray:
    """Root mean square of consecutive frames of `size` samples; the last frame may be shorter."""
    starts = np.arange(0, len(samples), size)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    return np.sqrt(power / np.minimum(size, len(samples) - starts))


def rms_curve(samples: np.ndarray, rate: int, seconds_per_token: float, count: int) -> np.ndarray:
    """RMS of the sound under each of `count` audio tokens: float64 (count,). Past the end of the sound it is 0."""
    edges = np.round(np.arange(count + 1) * seconds_per_token * rate).astype(np.int64)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    inside = np.minimum(edges, len(samples))
    return np.sqrt(np.maximum(np.diff(energy[inside]), 0.0) / np.maximum(np.diff(edges), 1))


def active_span(samples: np.ndarray, rate: int, floor_db: float = -40.0) -> Interval:
    """From the first to the last 20 ms frame whose RMS is above `floor_db` of the loudest frame's, in seconds.

    Raises AudioError when everything is silent (there is no loudest frame).
    """
    size = max(1, round(FRAME * rate))
    rms = frame_rms(samples, size) if len(samples) else np.zeros(1)
    if rms.max() < SILENCE:
        raise AudioError("the sound is silent, so no span of it is active")
    loud = np.flatnonzero(rms >= rms.max() * 10 ** (floor_db / 20))
    return Interval(float(loud[0] * size / rate), float(min((loud[-1] + 1) * size, len(samples)) / rate))


def mel_spectrogram(samples: np.ndarray, rate: int, *, bands: int = 64, hop: float = 0.01) -> np.ndarray:
    """Log-mel power in dB below the loudest cell, (bands, frames), 25 ms Hann windows every `hop` s, floor -80 dB."""
    size, step = round(0.025 * rate), max(1, round(hop * rate))
    padded = np.pad(samples.astype(np.float32), (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(samples) : step]
    power = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32), n=1 << (size - 1).bit_length())) ** 2
    mel = power @ _mel_filters(power.shape[1], rate, bands).T
    decibels = 10 * np.log10(np.maximum(mel, 1e-12))
    return np.maximum(decibels - decibels.max(), -80.0).T.astype(np.float32)


def mel_band(hz: float, rate: int, bands: int = 64) -> float:
    """Where a frequency lies on the axis of `mel_spectrogram`, counted in bands (for axis ticks)."""
    return float((_mel(hz) - _mel(MEL_FLOOR)) / (_mel(rate / 2) - _mel(MEL_FLOOR)) * (bands + 1) - 0.5)


def _mel(hz: float) -> float:
    return 2595.0 * math.log10(1 + hz / 700)


def _mel_filters(bins: int, rate: int, bands: int) -> np.ndarray:
    """Triangles (bands, bins) evenly spaced in mel = 2595 log10(1 + f/700) from 40 Hz to half the rate."""
    mel = np.linspace(_mel(MEL_FLOOR), _mel(rate / 2), bands + 2)
    corners = 700 * (10 ** (mel / 2595) - 1)
    hz = np.linspace(0, rate / 2, bins)
    rising = (hz - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - hz) / np.diff(corners)[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling))
