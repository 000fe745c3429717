"""Sound as samples: read safely, measured, and with a stretch masked.

Everything that enters the library as sound passes `read_audio`: what comes out is finite, audible, mono float32.
`active_span`, `rms_curve` and `mel_spectrogram` measure it; `occluded` takes a stretch out, and puts the audio's own
background or silence in its place.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import soundfile
import soxr

from steer_utils.sound.spans import Interval

TARGET_RATE = 16_000
SILENCE = 1e-6  # a peak below this (-120 dBFS) is silence
SHORTEST = 0.1  # seconds
FRAME = 0.02  # seconds of an RMS frame
MEL_FLOOR = 40.0  # Hz, lower edge of the mel spectrogram
FADE = 0.01  # seconds of the crossfade at each edge of a masked stretch
QUIETEST = 0.25  # seconds of the quietest stretch, which is taken for the background

Fill = Literal["noise", "silence"]  # of a masked stretch

#: What becomes of an audio that is longer than a model takes in one go.
WhenLonger = Literal["refuse", "slide", "cut"]


class AudioError(ValueError):
    """The sound cannot be used; the message says what was found and what to pass instead."""


def read_audio(
    source: str | os.PathLike[str] | np.ndarray, *, sampling_rate: int | None = None, target_rate: int = TARGET_RATE
) -> np.ndarray:
    """The sound in `source` as mono float32 (n,) at `target_rate`.

    `source` is a path to a file (WAV, FLAC, OGG, MP3, ...) or an array (samples,) or (samples, channels), which needs
    `sampling_rate`. Integers are scaled to [-1, 1); channels are averaged. Raises AudioError for a file that is
    missing or no sound, and for sound that is empty, shorter than 0.1 s, silent, or holds NaN or infinity.
    """
    target_rate = _checked_rate(target_rate, "target_rate")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        samples, rate = _decoded(path)
        label = f"the file {str(path)!r}"
        if sampling_rate is not None and _checked_rate(sampling_rate, "sampling_rate") != rate:
            raise AudioError(f"{label} is at {rate} Hz, not {sampling_rate} Hz; leave sampling_rate out for files")
    elif hasattr(source, "__array__"):
        if sampling_rate is None:
            raise AudioError("an array does not say its rate; pass sampling_rate=... (samples a second)")
        samples, rate = np.asarray(source), _checked_rate(sampling_rate, "sampling_rate")
        label = "the array"
    else:
        raise TypeError(f"cannot read sound from {type(source).__name__}; pass a path or a numpy array")
    mono = _mono(_floats(samples, label), label)
    if len(mono) / rate < SHORTEST:
        raise AudioError(f"{label} lasts {len(mono) / rate:.3f} s; at least {SHORTEST} s of sound is needed")
    if np.abs(mono).max() < SILENCE:
        raise AudioError(f"{label} is silent (peak below 1e-6 after averaging its channels)")
    if rate != target_rate:
        mono = soxr.resample(mono, rate, target_rate, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)


def check_several(audios: object) -> None:
    """Raises TypeError for one audio, file or array, where a list of them belongs: it could be iterated over too."""
    if isinstance(audios, (str, os.PathLike, np.ndarray)):
        raise TypeError(f"audios is one {type(audios).__name__}; pass a list of files or arrays")


def _decoded(path: Path) -> tuple[np.ndarray, int]:
    if path.is_dir():
        raise AudioError(f"{str(path)!r} is a folder; pass one sound file")
    if not path.exists():
        raise AudioError(f"there is no file {str(path)!r}")
    try:
        return soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError) as error:
        # TypeError: soundfile takes a file without a header (.raw) only with a rate, which a plain path lacks
        raise AudioError(f"cannot decode {str(path)!r} ({error}); pass a WAV, FLAC, OGG or MP3 file") from error


def _checked_rate(rate: Any, name: str) -> int:
    number = isinstance(rate, (int, float, np.integer)) and not isinstance(rate, bool)
    if not number or not 1_000 <= rate <= 768_000 or rate != int(rate):
        raise AudioError(f"{name} is {rate!r}; pass a whole number of samples a second, 1000 to 768000")
    return int(rate)


def _floats(samples: np.ndarray, label: str) -> np.ndarray:
    """`samples` as finite float32, integers scaled by their type's full range."""
    if samples.size == 0:
        raise AudioError(f"{label} is empty (shape {samples.shape})")
    if np.issubdtype(samples.dtype, np.integer):
        info = np.iinfo(samples.dtype)
        half = (float(info.max) - float(info.min) + 1) / 2
        middle = half if info.min == 0 else 0.0  # unsigned samples sit around the middle of their range
        return ((samples.astype(np.float64) - middle) / half).astype(np.float32)
    if not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(f"{label} holds {samples.dtype}; pass floating point or integer samples")
    with np.errstate(over="ignore"):
        floats = samples.astype(np.float32)
    bad = int(np.count_nonzero(~np.isfinite(floats)))
    if bad:
        what = "1 sample that is" if bad == 1 else f"{bad} samples that are"
        raise AudioError(f"{label} has {what} NaN or infinite; repair or cut them first")
    return floats


def _mono(samples: np.ndarray, label: str) -> np.ndarray:
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2:
        raise AudioError(f"{label} has shape {samples.shape}; pass (samples,) or (samples, channels)")
    if samples.shape[1] > samples.shape[0]:
        raise AudioError(f"{label} has shape {samples.shape}, more channels than samples; pass it transposed")
    return samples.mean(axis=1, dtype=np.float32)


# -- measures --------------------------------------------------------------------------------------------------------
def frame_rms(samples: np.ndarray, size: int) -> np.ndarray:
    """Root mean square of consecutive frames of `size` samples; the last frame may be shorter."""
    starts = np.arange(0, len(samples), size)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    return np.sqrt(power / np.minimum(size, len(samples) - starts))


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


def stretches(
    count: int,
    rate: int,
    longest: float,
    when_longer: WhenLonger,
    *,
    label: str = "the audio",
    listener: str = "the model",
) -> list[tuple[float, slice]]:
    """What is heard of `count` samples by a model that takes `longest` s in one go: (start in seconds, slice) of parts.

    Audio that is no longer than that is one part. What becomes of longer audio is decided here, and chosen by callers:

    "refuse"  AudioError, which names `label` and `listener`
    "slide"   parts of `longest` seconds, half overlapping, the last one flush with the end
    "cut"     its first `longest` seconds
    """
    duration = count / rate
    if when_longer == "refuse":
        if duration > longest + 1e-9:
            raise AudioError(
                f"{label} is {duration:.1f} s long, but {listener} takes at most {longest:g} s in one go; cut it, or "
                "use steer_utils.locate, which works in windows"
            )
        return [(0.0, slice(0, count))]
    starts = sliding_starts(duration, longest, longest / 2) if when_longer == "slide" else [0.0]
    firsts = [round(start * rate) for start in starts]
    return [(start, slice(first, first + int(longest * rate))) for start, first in zip(starts, firsts, strict=True)]


def sliding_starts(duration: float, window: float, hop: float) -> list[float]:
    """Starts (s) of windows that together cover `duration` seconds: every `hop`, the last one flush with the end.

    A sound no longer than the window needs one window. Raises ValueError when hop > window (it would leave gaps).
    """
    if not (0 < duration < math.inf and 0 < window < math.inf and 0 < hop <= window):
        raise ValueError(f"duration {duration}, window {window}, hop {hop}: all must be positive and hop <= window")
    last = max(0.0, duration - window)
    steps = math.ceil(last / hop - 1e-9)
    return [min(step * hop, last) for step in range(steps + 1)]


def rms_curve(samples: np.ndarray, rate: int, seconds_per_token: float, count: int) -> np.ndarray:
    """RMS of the sound under each of `count` audio tokens: float64 (count,). Past the end of the sound it is 0."""
    edges = np.round(np.arange(count + 1) * seconds_per_token * rate).astype(np.int64)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    inside = np.minimum(edges, len(samples))
    return np.sqrt(np.maximum(np.diff(energy[inside]), 0.0) / np.maximum(np.diff(edges), 1))


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


# -- a stretch taken out ---------------------------------------------------------------------------------------------
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
    level = float(np.sqrt(np.mean(quiet**2)))
    colour = np.abs(np.fft.rfft(quiet * np.hanning(len(quiet))))
    if level == 0 or not colour.any():
        return np.zeros(count)
    bins = np.fft.rfftfreq(count)
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(bins))
    noise = np.fft.irfft(np.interp(bins, np.fft.rfftfreq(len(quiet)), colour) * np.exp(1j * phases), count)
    loudness = float(np.sqrt(np.mean(noise**2)))
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
