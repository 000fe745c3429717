"""Sound as samples, read safely; and what is heard of it where it is longer than a model takes in one go.

Everything that enters the library as sound passes `read_recording` or `read_audio`: what comes out is finite, audible,
mono float32, and what was wrong with the source is said. Files are decoded by `decoding`.
"""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import soxr

from steer_utils.sound.decoding import Decoding, open_sound
from steer_utils.sound.file_parts import AudioError as AudioError
from steer_utils.sound.files import readable_name
from steer_utils.sound.measures import FRAME, SILENCE, frame_rms

TARGET_RATE = 16_000
SHORTEST = 0.1  # seconds
OFFSET = 0.005  # of the peak: a larger mean is taken out
DRIFT, SLOW = 0.1, 20.0  # where the mean of a half second is still above DRIFT of the peak, so is all below SLOW Hz
QUIET, LOUD, LEVEL = 0.03, 1.5, 0.7  # peaks outside QUIET ... LOUD are brought to LEVEL, as pocket models were taught
CLICK = 0.1  # of the peak: what is softer all through but for one or two frames is softer than a click
#: Raised sound whose quietest frame is this far below its peak (-70 dB) was rounded to digital silence, which pocket
#: models were never taught: noise of a level that they were taught, -42 dBFS, goes over it.
SILENT_BELOW, DITHER = 10**-3.5, 10**-2.1
INTEGERS = 100.0  # a peak above this is that of integers, stored as floating point
CANCELLED = 0.35  # a mean with less than this share of what unrelated channels would leave has lost the loudest one
IN_MEMORY = 256 * 2**20  # bytes of samples, 70 minutes at 16 kHz; more go into a temporary file


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
    halves = np.concatenate([_frames(part, target_rate // 2).mean(axis=1) for part in parts])
    drift = float(np.abs(halves).max(initial=0.0))
    if drift > DRIFT * peak:
        found.append(f"{label} has an offset that changes (by {drift:.2f}); what is below {SLOW:g} Hz is taken out")
        _without_drift(parts, target_rate)
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
    tops = np.concatenate([np.abs(_frames(part, round(FRAME * target_rate))).max(axis=1) for part in parts])
    rest = float(np.partition(tops, -3)[-3])  # a click lies in one frame, or in two
    if rest < min(QUIET, CLICK * tops.max()):
        found.append(
            f"{label} is very quiet (peak {20 * math.log10(max(rest, SILENCE)):.0f} dBFS) but for a click at "
            f"{int(tops.argmax()) * FRAME:.2f} s; cut that out, or the rest is hardly heard"
        )
    return Recording(samples, target_rate, tuple(found))


def _frames(samples: np.ndarray, size: int) -> np.ndarray:
    """Consecutive frames of (samples,) or (samples, channels): (frames, size, ...); a last, shorter one is left out."""
    return samples[: len(samples) // size * size].reshape(-1, size, *samples.shape[1:])


def _without_drift(parts: Iterable[np.ndarray], rate: int) -> None:
    """High-pass filter the parts of a sound in place."""
    from scipy.signal import butter, sosfilt, sosfilt_zi

    sections = butter(2, SLOW, "highpass", fs=rate, output="sos")
    state: np.ndarray | None = None
    for part in parts:
        state = sosfilt_zi(sections) * part[0] if state is None else state
        part[:], state = sosfilt(sections, part, zi=state)


def _peak(parts: Iterable[np.ndarray]) -> float:
    return max(float(np.abs(part).max()) for part in parts)


class _Mix:
    """One channel of a sound, or the mean of all, at another rate, from blocks (frames, channels) of it.

    `cancelling`: seconds in which the mean of the channels has lost the loudest one. `loudest`: a channel, in them.
    """

    def __init__(
        self, blocks: Iterable[np.ndarray], rate: int, label: str, target_rate: int, *, channel: int | None = None
    ) -> None:
        frames = bad = 0
        whole, peak, self.channels = True, 0.0, 1
        powers: list[np.ndarray] = []  # (2, frames, channels) of 50 ms: each channel's own, and what the mean has of it
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
                powers.append(_frame_powers(mono, floats, max(1, round(0.05 * rate))))
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
            power, kept = np.concatenate(powers, axis=1)
            each = power.mean(axis=1)
            heard = each > max(SILENCE**2, 1e-4 * each.max())  # not what is 40 dB below the loudest
            # Unrelated channels leave 1 / channels of the loudest one in their mean, opposite ones nothing.
            loudest = power.argmax(axis=1)[:, None]
            share = self.channels * np.take_along_axis(kept / np.maximum(power, SILENCE**2), loudest, axis=1)[:, 0]
            lost = heard & (share < CANCELLED)
            self.cancelling = 0.05 * int(lost.sum())
            self.loudest = int(power[lost].sum(axis=0).argmax())


def _frame_powers(mean: np.ndarray, channels: np.ndarray, size: int) -> np.ndarray:
    """Variance of each channel, and its covariance with their mean, in frames of `size`: (2, frames, channels)."""
    frames = _frames(channels, size)
    frames = frames - frames.mean(axis=1, keepdims=True)
    return np.stack([frames.var(axis=1), (frames * _frames(mean[:, None], size)).mean(axis=1)])


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
