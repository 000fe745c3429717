"""Made sound for the tests of what reads and measures it, and its level."""

from __future__ import annotations

import numpy as np

RATE = 16_000


def sine(seconds: float = 0.5, hz: float = 440.0, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def tones(*seconds: float) -> list[np.ndarray]:
    """Tones of these lengths, each of another pitch."""
    return [sine(length, 200 + 400 * number).astype(np.float32) for number, length in enumerate(seconds)]


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=float))))
