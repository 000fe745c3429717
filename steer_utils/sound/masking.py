"""A stretch of sound taken out: the audio's own background or silence is put in its place."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from steer_utils.sound.measures import FRAME, frame_rms, rms
from steer_utils.sound.spans import Interval

FADE = 0.01  # seconds of the crossfade at each edge of a masked stretch
QUIETEST = 0.25  # seconds of the quietest stretch, which is taken for the background

Fill = Literal["noise", "silence"]


def occluded(samples: np.ndarray, rate: int, window: Interval, *, fill: Fill = "noise", seed: int = 0) -> np.ndarray:
    """`samples` (n,) float32 with `window` replaced by background noise or silence; a new array.

    Outside the window nothing changes. Within it 10 ms at each edge are a crossfade, but not at an edge of the audio.
    Raises ValueError for an unknown fill, or a window outside the audio.
    """
    check_fill(fill)
    first, stop = (int(np.clip(round(bound * rate), 0, len(samples))) for bound in (window.start, window.end))
    if first >= stop:
        raise ValueError(f"the window {window} has no sample of an audio of {len(samples) / rate:.2f} s")
    count = stop - first
    filler = background(samples, rate, count, seed) if fill == "noise" else np.zeros(count)
    fade = min(round(FADE * rate), count // 2)
    ramp = np.sin(0.5 * np.pi * (np.arange(fade) + 0.5) / max(1, fade)) ** 2
    amount = np.ones(count)
    if first > 0:
        amount[:fade] = ramp
    if stop < len(samples):
        amount[count - fade :] = ramp[::-1]
    changed = samples.astype(np.float32, copy=True)
    changed[first:stop] = (1 - amount) * samples[first:stop] + amount * filler
    return changed


def check_fill(fill: Fill) -> None:
    """Raises ValueError for a fill that does not exist."""
    if fill not in get_args(Fill):
        raise ValueError(f"fill is {fill!r}; pass one of {', '.join(get_args(Fill))}")


def background(samples: np.ndarray, rate: int, count: int, seed: int = 0) -> np.ndarray:
    """Noise (count,) as loud and as coloured as the quietest quarter second of `samples`.

    Its spectrum with random phases: white noise of the same level would be a new sound. Digital silence stays silence.
    """
    size = round(FRAME * rate)
    power = frame_rms(samples, size)[: max(1, len(samples) // size)] ** 2  # a last, shorter frame would win by chance
    frames = min(len(power), round(QUIETEST / FRAME))
    sums = np.convolve(power, np.ones(frames), mode="valid")
    start = int(np.argmin(sums)) * size
    quiet = np.asarray(samples[start : start + frames * size], dtype=np.float64)
    level = rms(quiet)
    colour = np.abs(np.fft.rfft(quiet * np.hanning(len(quiet))))
    if level == 0 or not colour.any():
        return np.zeros(count)
    bins = np.fft.rfftfreq(count)
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(bins))
    noise = np.fft.irfft(np.interp(bins, np.fft.rfftfreq(len(quiet)), colour) * np.exp(1j * phases), count)
    loudness = rms(noise)
    return noise * (level / loudness) if loudness > 0 else noise


def window_apart(window: Interval, duration: float, rng: np.random.Generator) -> Interval:
    """A window of equal width, placed uniformly where it does not touch `window` in 0 ... duration seconds.

    Where no such place is left, the end of the audio that shares less with it. Raises ValueError for a window that is
    wider than the audio.
    """
    width = window.duration
    if width > duration + 1e-9:
        raise ValueError(f"the window {window} is wider than the audio of {duration:.2f} s")
    ranges = ((0.0, window.start - width), (window.end, duration - width))  # of its start, before and after
    free = [(low, high) for low, high in ranges if high >= low]
    if not free:
        return min((Interval(0.0, width), Interval(duration - width, duration)), key=window.intersection)
    room = np.array([high - low for low, high in free])
    chances = room / room.sum() if room.sum() > 0 else np.full(len(free), 1 / len(free))
    start = float(rng.uniform(*free[int(rng.choice(len(free), p=chances))]))
    return Interval(start, start + width)
