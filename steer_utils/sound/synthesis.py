"""Building blocks of the procedural sounds: onset times, harmonic tones, resonant bands, fades. All at 16 kHz.

onsets = steady(n, period=0.5, jitter=0.05, rng=rng)                      # when something strikes, seconds
strike = tone(np.full(m, 440.0), [1, 0.5, 0.25], rng) * decay             # what is heard, (m,)
samples = faded(hits(n, onsets, lambda i: strike), 0.02, RATE)            # (n,)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy.signal import lfilter

RATE = 16_000  # samples a second of every procedural sound
REGISTER_RATIO = 2.3  # high / low register of a kind: 1.2 octaves
SPREAD = 0.10  # natural variation of the register, as a fraction either way


def faded(samples: np.ndarray, seconds: float, rate: int) -> np.ndarray:
    """A copy of `samples` (n,) with linear fades of `seconds` at both edges (at most a quarter of the sound each)."""
    n = min(int(seconds * rate), len(samples) // 4)
    out = samples.copy()
    if n > 0:
        ramp = (np.arange(1, n + 1) / (n + 1)).astype(samples.dtype)
        out[:n] *= ramp
        out[-n:] *= ramp[::-1]
    return out


def register_hz(low_hz: float, pitch: float, rng: np.random.Generator) -> float:
    """The frequency of one event: its register's centre, varied by a few per cent so that no two are alike."""
    return low_hz * REGISTER_RATIO**pitch * (1.0 + rng.uniform(-SPREAD, SPREAD))


def seconds_of(n: int) -> np.ndarray:
    """When each of n samples is heard, seconds."""
    return np.arange(n) / RATE


def tone(hz: np.ndarray, weights: Iterable[float], rng: np.random.Generator | None = None) -> np.ndarray:
    """A harmonic tone along the frequency curve `hz` (n,); weights[k] is the amplitude of harmonic k + 1.

    One period is tabulated and read out at the running phase: the cost does not grow with the number of harmonics.
    Harmonics that would pass 7.6 kHz are dropped (no aliasing). Phases are random when `rng` is given (a smooth
    tone), zero otherwise (a pulse train: sharp, buzzing).
    """
    size = 4096
    spectrum = np.zeros(size // 2 + 1, dtype=complex)
    kept = np.asarray(list(weights), dtype=float)[: max(1, int(7600 / hz.max()))]
    spectrum[1 : len(kept) + 1] = kept
    if rng is not None:
        spectrum[1 : len(kept) + 1] *= np.exp(2j * np.pi * rng.random(len(kept)))
    table = np.fft.irfft(spectrum) * size / 2
    cycles = np.cumsum(hz / RATE)
    return table[(cycles * size).astype(np.int64) & (size - 1)]


def band(samples: np.ndarray, centre_hz: float, q: float) -> np.ndarray:
    """Two-pole band-pass (0 dB at its centre): coefficients are three lines, no filter design."""
    w = 2 * np.pi * min(centre_hz, 7500.0) / RATE
    alpha = np.sin(w) / (2 * q)
    return lfilter([alpha, 0.0, -alpha], [1 + alpha, -2 * np.cos(w), 1 - alpha], samples)


def hits(n: int, onsets: Iterable[float], make: Callable[[int], np.ndarray]) -> np.ndarray:
    """Sum of `make(i)` placed at each onset (seconds); what would pass the end is cut."""
    out = np.zeros(n)
    for i, onset in enumerate(onsets):
        start = int(onset * RATE)
        if start >= n:
            break
        hit = make(i)[: n - start]
        out[start : start + len(hit)] += hit
    return out


def steady(n: int, period: float, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """Onsets (seconds) about `period` apart, each step varied by the fraction `jitter`."""
    count = int(n / RATE / (period * (1 - jitter))) + 2
    return rng.uniform(0.0, 0.02) + np.concatenate(
        [[0.0], np.cumsum(period * rng.uniform(1 - jitter, 1 + jitter, count))]
    )


def groups(
    n: int, counts: tuple[int, int], inner: float, pause: float, jitter: float, rng: np.random.Generator
) -> np.ndarray:
    """Onsets (seconds) in groups of counts[0]..counts[1], `inner` apart; `pause` from a group's last to the next."""
    onsets = [rng.uniform(0.0, 0.02)]
    while onsets[-1] < n / RATE:
        for _ in range(rng.integers(counts[0], counts[1] + 1) - 1):
            onsets.append(onsets[-1] + inner * rng.uniform(1 - jitter, 1 + jitter))
        onsets.append(onsets[-1] + pause * rng.uniform(1 - jitter, 1 + jitter))
    return np.array(onsets)


def wander(n: int, points_a_second: float, rng: np.random.Generator) -> np.ndarray:
    """A slow random curve (n,) in [-1, 1]: random points joined by straight lines."""
    count = max(2, int(n / RATE * points_a_second) + 2)
    return np.interp(np.linspace(0, count - 1, n), np.arange(count), rng.uniform(-1, 1, count))
