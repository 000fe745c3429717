"""Time: intervals in seconds, the audio tokens of a prompt, and the window where a curve is largest.

An audio token stands for a fixed stretch of the audio (0.04 s in both model families): token k covers
[k * 0.04, (k + 1) * 0.04) seconds. This module holds the only conversions between tokens and seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SMOOTHING = 0.2  # seconds over which `best_segment` smooths a curve


@dataclass(frozen=True, order=True)
class Interval:
    """A stretch of time in seconds: `Interval(3.28, 5.28)`.

    Raises ValueError if a bound is not finite or `end` is not after `start`.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", float(self.start))  # a numpy scalar would leak into json and reprs
        object.__setattr__(self, "end", float(self.end))
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"an interval needs finite bounds in seconds, got {self.start} to {self.end}")
        if self.end <= self.start:
            raise ValueError(f"an interval must end after it starts, got {self.start} to {self.end} seconds")

    def __str__(self) -> str:
        return f"{self.start:.2f}-{self.end:.2f} s"

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start

    @property
    def center(self) -> float:
        """The middle, in seconds."""
        return 0.5 * (self.start + self.end)

    def intersection(self, other: Interval) -> float:
        """Seconds that both intervals share; 0.0 if they do not meet."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))

    def covers(self, truth: Interval) -> float:
        """The paper's overlap |W ∩ E| / |E| of this window W with the true event E, in 0..1."""
        return self.intersection(truth) / truth.duration

    def iou(self, other: Interval) -> float:
        """Intersection over union in time, in 0..1."""
        shared = self.intersection(other)
        return shared / (self.duration + other.duration - shared)

    def cut(self, duration: float) -> Interval:
        """Cut at the end of an audio: its last token can stand for a few milliseconds more than there are."""
        return Interval(self.start, min(self.end, duration))

    def shifted(self, seconds: float) -> Interval:
        """The same stretch, `seconds` later."""
        return Interval(self.start + seconds, self.end + seconds)


@dataclass(frozen=True)
class AudioSpan:
    """Where the audio tokens of a prompt lie: `first` is the absolute slot of the first one, `count` how many.

    Raises ValueError for a negative slot, no tokens, or a token without duration.
    """

    first: int
    count: int
    seconds_per_token: float = 0.04

    def __post_init__(self) -> None:
        if self.first < 0 or self.count < 1:
            raise ValueError(f"an audio span needs first >= 0 and count >= 1, got {self.first} and {self.count}")
        if not (math.isfinite(self.seconds_per_token) and self.seconds_per_token > 0):
            raise ValueError(f"seconds_per_token must be a positive number, got {self.seconds_per_token}")

    @property
    def stop(self) -> int:
        """The slot after the last audio token."""
        return self.first + self.count

    @property
    def duration(self) -> float:
        """Seconds that the audio tokens stand for."""
        return self.count * self.seconds_per_token

    def centers(self) -> np.ndarray:
        """The middle of every audio token, (count,), in seconds."""
        return (np.arange(self.count) + 0.5) * self.seconds_per_token

    def interval(self, first: int, stop: int) -> Interval:
        """The time that audio tokens `first` to `stop - 1` stand for (counted from 0 at the first audio token)."""
        if not 0 <= first < stop <= self.count:
            raise ValueError(f"tokens {first} to {stop} are not a range within the {self.count} audio tokens")
        return Interval(first * self.seconds_per_token, stop * self.seconds_per_token)

    def tokens(self, interval: Interval) -> slice:
        """The audio tokens whose middle lies in [start, end), as a slice into a curve of `count` values."""
        first, stop = np.searchsorted(self.centers(), [interval.start, interval.end])
        return slice(int(first), int(stop))

    def window_tokens(self, seconds: float) -> int:
        """How many audio tokens a window of `seconds` spans, to the nearest (a half goes down), from 1 to all."""
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"a window needs a positive number of seconds, got {seconds}")
        # The duration of an interval is a difference: its rounding must not decide on which side of a half it falls.
        nearest = math.ceil(seconds / self.seconds_per_token - 0.5 - 1e-9)
        return min(self.count, max(1, nearest))


def best_window(curve: np.ndarray, span: AudioSpan, seconds: float) -> tuple[Interval, float]:
    """The window of `seconds` in which `curve` is largest, and the mean of the curve in it.

    `curve`: (count,), one value an audio token. The window moves by one token; the first one wins a tie.
    One cumulative sum: O(count). Raises ValueError for a curve of another length or with NaN or infinity in it.
    """
    values = checked_curve(curve, span.count)
    first, width = int(best_starts(values, span, seconds)), span.window_tokens(seconds)
    return span.interval(first, first + width), float(values[first : first + width].mean())


def best_starts(curves: np.ndarray, span: AudioSpan, seconds: float) -> np.ndarray:
    """The first token of each curve's best window of `seconds`: (..., tokens) -> (...).

    What `best_window` takes, for many curves at once. Curves are not checked: one that holds NaN gives token 0.
    """
    curves, width = np.asarray(curves, dtype=np.float64), span.window_tokens(seconds)
    cumulative = np.concatenate([np.zeros((*curves.shape[:-1], 1)), np.cumsum(curves, axis=-1)], axis=-1)
    return first_best(cumulative[..., width:] - cumulative[..., :-width], np.abs(curves).sum(axis=-1, keepdims=True))


def first_best(sums: np.ndarray, size: np.ndarray | float) -> np.ndarray:
    """The first window of those with the largest sum: (..., windows) -> (...). `size`: Σ |curve|, (..., 1).

    The sums are differences of a cumulative one, whose rounding must not break ties: the first window within a rounding
    error of the best is taken.
    """
    slack = 1e-12 * np.maximum(1.0, size)
    return (sums >= sums.max(axis=-1, keepdims=True) - slack).argmax(axis=-1)


def best_segment(curve: np.ndarray, span: AudioSpan, least_seconds: float = 0.3) -> tuple[Interval, float]:
    """Where `curve` stands out, when the width is not known: the stretch with the largest sum above the mean level.

    The curve is smoothed over 0.2 s, its mean subtracted, and the stretch of largest sum taken (O(count)), widened to
    `least_seconds` about its middle. Returns the interval and the mean of the curve in it. Of a flat curve it is the
    first `least_seconds`. Raises ValueError as `best_window` does.
    """
    values = checked_curve(curve, span.count)
    least = span.window_tokens(least_seconds)
    kernel = np.ones(span.window_tokens(SMOOTHING))
    # Divided by how many tokens each sum has: zeros beyond the ends would pull the curve down there.
    inside = np.convolve(np.ones(span.count), kernel, mode="same")
    above = np.convolve(values, kernel, mode="same") / inside - values.mean()
    above[np.abs(above) < 1e-12 * np.abs(values).max()] = 0.0  # differences this small are rounding
    # Largest rise of the cumulative sum: from the lowest point before each end, the latest one where several tie.
    cumulative = np.concatenate([[0.0], np.cumsum(above)])
    stop = 1 + int(np.argmax(cumulative[1:] - np.minimum.accumulate(cumulative)[:-1]))
    first = stop - 1 - int(np.argmin(cumulative[:stop][::-1]))
    if stop - first < least:
        first = min(max(0, first - (least - (stop - first)) // 2), span.count - least)
        stop = first + least
    return span.interval(first, stop), float(values[first:stop].mean())


def best_overlaps(curves: np.ndarray, span: AudioSpan, truth: Interval) -> np.ndarray:
    """Overlap |W ∩ E| / |E| of each curve's best window, as wide as `truth`, with it: (..., tokens) -> (...)."""
    width = span.window_tokens(truth.duration)
    return window_overlaps(best_starts(curves, span, truth.duration), width, span, truth)


def window_overlaps(starts: np.ndarray, tokens: int, span: AudioSpan, truth: Interval) -> np.ndarray:
    """Overlap |W ∩ E| / |E| with `truth` of each window that begins at a token of `starts` (any shape): the same shape.

    All windows are `tokens` long; as `Interval.covers`, many at once.
    """
    first = starts * span.seconds_per_token
    shared = np.minimum(first + tokens * span.seconds_per_token, truth.end) - np.maximum(first, truth.start)
    return np.clip(shared, 0.0, None) / truth.duration


def checked_curve(curve: np.ndarray, count: int) -> np.ndarray:
    """`curve` as numbers, (tokens,). Raises ValueError for another length, or NaN or infinity in it."""
    values = np.asarray(curve, dtype=np.float64)
    if values.shape != (count,):
        raise ValueError(f"the curve has shape {values.shape}, but there are {count} tokens")
    if bad := np.count_nonzero(~np.isfinite(values)):
        raise ValueError(f"the curve has {count} values, {bad} of them NaN or infinite; pass finite ones")
    return values
