"""Sound as samples: read safely, measured, and with a stretch masked.

Everything that enters the library as sound passes `read_recording` or `read_audio`: what comes out is finite, audible,
mono float32, and what was wrong with the source is said. Files are decoded by `decoding`.
`active_span`, `rms_curve` and `mel_spectrogram` measure it; `occluded` takes a stretch out, and puts the audio's own
background or silence in its place.
"""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import soxr

from steer_utils.sound.decoding import Decoding, open_sound
from steer_utils.sound.file_parts import AudioError as AudioError
from steer_utils.sound.files import readable_name
from steer_utils.sound.spans import Interval

TARGET_RATE = 16_000
SILENCE = 1e-6  # a peak below this (-120 dBFS) is silence
SHORTEST = 0.1  # seconds
OFFSET = 0.005  # of the peak: a larger mean is taken out
QUIET, LOUD, LEVEL = 0.03, 1.5, 0.7  # peaks outside QUIET ... LOUD are brought to LEVEL, as pocket models were taught
#: Raised sound whose quietest frame is this far below its peak (-70 dB) was rounded to digital silence, which pocket
#: models were never taught: noise of a level that they were taught, -42 dBFS, goes over it.
SILENT_BELOW, DITHER = 10**-3.5, 10**-2.1
INTEGERS = 100.0  # a peak above this is that of integers, stored as floating point
CANCELLED = 0.1  # a mean of channels with less than this share of what unrelated ones would leave has lost its sound
IN_MEMORY = 256 * 2**20  # bytes of samples, 70 minutes at 16 kHz; more go into a temporary file
FRAME = 0.02  # seconds of an RMS frame
MEL_FLOOR = 40.0  # Hz, lower edge of the mel spectrogram
FADE = 0.01  # seconds of the crossfade at each edge of a masked stretch
QUIETEST = 0.25  # seconds of the quietest stretch, which is taken for the background

Fill = Literal["noise", "silence"]  # of a masked stretch

#: What becomes of an audio that is longer than a model takes in one go.
WhenLonger = Literal["refuse", "slide", "cut"]


class AudioWarning(UserWarning):
    """The sound can be used, but something was wrong with it; the message says what, and what was made of it."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Sound that was read: `samples` (n,), mono float32 at `rate`, and `warnings`: what was wrong, a sentence each."""

    samples: np.ndarray
    rate: int
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate

    def warn(self) -> None:
        """Each of `warnings` as an AudioWarning."""
        for text in self.warnings:
            warnings.warn(text, AudioWarning, stacklevel=3)


def read_audio(
    source: str | os.PathLike[str] | np.ndarray, *, sampling_rate: int | None = None, target_rate: int = TARGET_RATE
) -> np.ndarray:
    """The sound in `source` as mono float32 (n,) at `target_rate`.

    These are the samples of `read_recording`, whose errors it raises; what that warns of is an AudioWarning here.
    """
    recording = read_recording(source, sampling_rate=sampling_rate, target_rate=target_rate)
    recording.warn()
    return recording.samples


def read_recording(
    source: str | os.PathLike[str] | np.ndarray, *, sampling_rate: int | None = None, target_rate: int = TARGET_RATE
) -> Recording:
    """The sound in `source`, of any length, and what was wrong with it.

    `source` is a path to a file (WAV, FLAC, OGG, MP3, ...) or a pipe, or an array (samples,) or (samples, channels),
    which needs `sampling_rate`. Integers are scaled to [-1, 1). Channels are averaged; where they cancel each other,
    the loudest is taken. A mean that is not 0 is taken out, and what is much too quiet or too loud for a model is
    brought to a peak of 0.7. Sound of more than an hour lies in a temporary file (`np.memmap`), not in memory.

    Raises AudioError for a file that is missing or no sound, for sound that is empty, shorter than 0.1 s, silent, or
    holds NaN or infinity, and for floating point samples in another range than [-1, 1].
    """
    target_rate = _checked_rate(target_rate, "target_rate")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        label = f"the file {readable_name(path)!r}"
        with open_sound(path) as stream:
            decoding = Decoding(stream, label)
            if sampling_rate is not None and _checked_rate(sampling_rate, "sampling_rate") != decoding.rate:
                raise AudioError(
                    f"{label} is at {decoding.rate} Hz, not {sampling_rate} Hz; leave sampling_rate out for files"
                )
            return decoded_recording(decoding, label, target_rate)
    if not hasattr(source, "__array__"):
        raise TypeError(f"cannot read sound from {type(source).__name__}; pass a path or a numpy array")
    if sampling_rate is None:
        raise AudioError("an array does not say its rate; pass sampling_rate=... (samples a second)")
    samples, rate = _checked_array(np.asarray(source)), _checked_rate(sampling_rate, "sampling_rate")
    firsts = range(0, len(samples), rate)
    return _recording(lambda: (samples[first : first + rate] for first in firsts), rate, "the array", target_rate)


def check_several(audios: object) -> None:
    """Raises TypeError for one audio, file or array, where a list of them belongs: it could be iterated over too."""
    if isinstance(audios, (str, os.PathLike, np.ndarray)):
        raise TypeError(f"audios is one {type(audios).__name__}; pass a list of files or arrays")


def decoded_recording(decoding: Decoding, label: str, target_rate: int) -> Recording:
    """All sound of a file that is being decoded. Raises AudioError as `read_recording` does."""
    recording = _recording(decoding.blocks, decoding.rate, label, target_rate)
    return replace(recording, warnings=(*decoding.warnings, *recording.warnings))


def _recording(blocks: Callable[[], Iterable[np.ndarray]], rate: int, label: str, target_rate: int) -> Recording:
    """`blocks()`: the whole sound, (frames, channels) at a time; called again where its channels cancel each other."""
    _checked_rate(rate, f"the rate of {label}")
    mix = _Mix(blocks(), rate, label, target_rate)
    found = []
    if mix.cancelling >= SHORTEST:
        found.append(
            f"{label} has channels that cancel each other for {mix.cancelling:.1f} s; channel {mix.loudest + 1} of "
            f"{mix.channels}, the loudest, is heard alone"
        )
        mix = _Mix(blocks(), rate, label, target_rate, channel=mix.loudest)
    samples = mix.samples
    parts = [samples[first : first + 2**20] for first in range(0, len(samples), 2**20)]
    mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / len(samples)
    peak = _peak(parts)
    if abs(mean) > OFFSET * peak:
        for part in parts:
            part -= np.float32(mean)
        peak = _peak(parts)
    if peak < SILENCE:
        raise AudioError(f"{label} is silent (peak below 1e-6 after averaging its channels)")
    if not QUIET <= peak <= LOUD:
        change = 20 * math.log10(LEVEL / peak)
        for part in parts:
            part *= np.float32(LEVEL / peak)
        if change > 0:
            what, how = f"is very quiet (peak {20 * math.log10(peak):.0f} dBFS)", f"{change:.0f} dB louder"
            if min(float(frame_rms(part, round(FRAME * target_rate)).min()) for part in parts) < SILENT_BELOW * LEVEL:
                how += ", over a faint noise where it was silent"
                rng = np.random.default_rng(0)
                for part in parts:
                    part += np.float32(DITHER) * rng.standard_normal(len(part), dtype=np.float32)
        else:
            what, how = f"is too loud (peak {peak:.2f})", f"{-change:.0f} dB softer"
        found.append(f"{label} {what}; it is heard {how}")
    return Recording(samples, target_rate, tuple(found))


def _peak(parts: Iterable[np.ndarray]) -> float:
    return max(float(np.abs(part).max()) for part in parts)


class _Mix:
    """One channel of a sound, or the mean of all, at another rate, from blocks (frames, channels) of it.

    `cancelling`: seconds in which the mean of the channels is much softer than they are. `loudest`: a channel.
    """

    def __init__(
        self, blocks: Iterable[np.ndarray], rate: int, label: str, target_rate: int, *, channel: int | None = None
    ) -> None:
        frames = bad = 0
        whole, peak, self.channels = True, 0.0, 1
        powers: list[np.ndarray] = []  # of 50 ms each: of the mean, and of each channel
        store = _Store()
        stream = soxr.ResampleStream(rate, target_rate, 1, dtype="float32", quality="HQ")
        for block in blocks:
            floats = _floats(block)
            frames, self.channels = frames + len(floats), floats.shape[1]
            infinite = ~np.isfinite(floats)
            if infinite.any():
                bad += int(infinite.sum())
                floats = np.where(infinite, np.float32(0), floats)
            peak = max(peak, float(np.abs(floats).max()))
            whole = whole and bool((floats == np.rint(floats)).all())
            if peak > INTEGERS or (whole and peak > LOUD):
                raise AudioError(_out_of_range(label, peak))
            mono = floats.mean(axis=1) if channel is None else floats[:, channel]
            if channel is None and self.channels > 1:
                powers.append(_frame_powers(np.column_stack([mono, floats]), max(1, round(0.05 * rate))))
            store.add(mono if rate == target_rate else stream.resample_chunk(mono))
        if rate != target_rate and frames:
            store.add(stream.resample_chunk(np.zeros(0, np.float32), last=True))
        if not frames:
            raise AudioError(f"{label} is empty")
        if bad:
            what = "1 sample that is" if bad == 1 else f"{bad} samples that are"
            raise AudioError(f"{label} has {what} NaN or infinite; repair or cut them first")
        if frames / rate < SHORTEST:
            raise AudioError(f"{label} lasts {frames / rate:.3f} s; at least {SHORTEST} s of sound is needed")
        self.samples = store.array()
        self.cancelling, self.loudest = 0.0, 0
        if powers:
            power = np.concatenate(powers)
            each = power[:, 1:].mean(axis=1)
            heard = each > max(SILENCE**2, 1e-4 * each.max())  # not what is 40 dB below the loudest
            # Uncorrelated channels give a mean of 1 / channels of their power, opposite ones give nothing.
            self.cancelling = 0.05 * int((heard & (self.channels * power[:, 0] < CANCELLED * each)).sum())
            self.loudest = int(power[:, 1:].sum(axis=0).argmax())


def _frame_powers(columns: np.ndarray, size: int) -> np.ndarray:
    """Variance of each column in frames of `size` rows: (frames, columns); a last, shorter frame is left out."""
    count = len(columns) // size
    return columns[: count * size].reshape(count, size, columns.shape[1]).var(axis=1)


class _Store:
    """Samples that come bit by bit: in memory, and in a temporary file when there are many."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def add(self, samples: np.ndarray) -> None:
        """Float32 (n,), behind what is there."""
        self._memory += np.ascontiguousarray(samples, dtype=np.float32).tobytes()
        if len(self._memory) > IN_MEMORY or self._file:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the samples
            self._file.write(self._memory)
            self._memory.clear()

    def array(self) -> np.ndarray:
        """All samples (n,), which can be written to."""
        if self._file is None:
            return np.frombuffer(self._memory, dtype=np.float32)
        self._file.flush()
        return np.asarray(np.memmap(self._file, dtype=np.float32, mode="r+"))


def _out_of_range(label: str, peak: float) -> str:
    """What to say of floating point samples that are integers in disguise."""
    full = next((2**bits for bits in (7, 15, 23, 31) if peak <= 2**bits), None)
    hint = (
        f"divide them by {full}, if they were {full.bit_length()}-bit integers"
        if full
        else "divide them by their full scale"
    )
    return f"{label} holds samples as large as {peak:g}, but floating point samples lie in [-1, 1]; {hint}"


def _checked_rate(rate: Any, name: str) -> int:
    number = isinstance(rate, (int, float, np.integer)) and not isinstance(rate, bool)
    if not number or not 1_000 <= rate <= 768_000 or rate != int(rate):
        raise AudioError(f"{name} is {rate!r}; pass a whole number of samples a second, 1000 to 768000")
    return int(rate)


def _checked_array(samples: np.ndarray) -> np.ndarray:
    """`samples` as (frames, channels), of a type that can be read."""
    label, numbers = "the array", (np.integer, np.floating)
    if samples.size == 0:
        raise AudioError(f"{label} is empty (shape {samples.shape})")
    if not issubclass(samples.dtype.type, numbers):
        raise AudioError(f"{label} holds {samples.dtype}; pass floating point or integer samples")
    if samples.ndim not in (1, 2):
        raise AudioError(f"{label} has shape {samples.shape}; pass (samples,) or (samples, channels)")
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
        raise AudioError(f"{label} has shape {samples.shape}, more channels than samples; pass it transposed")
    if samples.dtype in (np.int64, np.uint64) and (peak := max(abs(int(samples.min())), int(samples.max()))) < 2**31:
        raise AudioError(
            f"{label} holds {samples.dtype}, but none larger than {peak}; integers are scaled by their type's range, "
            "so pass it as int16 or int32"
        )
    return samples.reshape(len(samples), -1)


def _floats(samples: np.ndarray) -> np.ndarray:
    """`samples` as float32, integers scaled by their type's full range."""
    if np.issubdtype(samples.dtype, np.integer):
        info = np.iinfo(samples.dtype)
        half = (float(info.max) - float(info.min) + 1) / 2
        middle = half if info.min == 0 else 0.0  # unsigned samples sit around the middle of their range
        return ((samples.astype(np.float64) - middle) / half).astype(np.float32)
    with np.errstate(over="ignore"):
        return samples.astype(np.float32)


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
