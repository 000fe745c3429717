"""One call that finds where a queried sound is: `locate(lm, "street.wav", "dog bark")`.

Audio longer than the model takes in one go is heard in half-overlapping windows (`audio.stretches`). In each, the model
is asked whether the sound is there. The sound is then located in the window where the model is surest.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.methods.asking import presence_probability
from steer_utils.methods.base import Localisation, Query
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.methods.table import finder
from steer_utils.sound.audio import SILENCE, read_audio, stretches
from steer_utils.sound.spans import Interval, best_segment

DEFAULT_METHOD = "steering"


class UnknownEventError(ValueError):
    """A pocket model was asked for a sound outside what it knows."""


@dataclass(frozen=True, eq=False)
class Located:
    """Where a sound is, in seconds from the start of the audio, and how sure the model is.

    score      mean of the method's curve in the interval, times the number of audio tokens: for attention shares,
               how many times the even share (for differences: how much more than before)
    presence   probability that the sound is there at all, by the model's own yes or no
    window     the stretch of the audio that was heard for this (all of it, unless the audio is long)
    windows    how many such stretches the audio was cut into; silent ones are passed over
    curve      one value an audio token of `window` (None for methods without a curve)
    """

    event: str
    interval: Interval
    score: float
    presence: float
    method: str
    model: str
    duration: float
    window: Interval
    windows: int
    curve: np.ndarray | None
    samples: np.ndarray
    sampling_rate: int

    def as_dict(self) -> dict[str, object]:
        """The answer without the arrays, for json."""
        return {
            "event": self.event,
            "start": round(self.interval.start, 3),
            "end": round(self.interval.end, 3),
            "score": round(self.score, 3),
            "presence": round(self.presence, 4),
            "method": self.method,
            "model": self.model,
            "duration": round(self.duration, 3),
            "windows": self.windows,
        }

    def label_line(self) -> str:
        """A line of an Audacity label track: start, end and text, separated by tabs."""
        return f"{self.interval.start:.6f}\t{self.interval.end:.6f}\t{self.event}\n"


def locate(
    checkpoint: Checkpoint,
    audio: str | Path | np.ndarray,
    event: str,
    *,
    method: str = DEFAULT_METHOD,
    seconds: float | None = None,
    sampling_rate: int | None = None,
    settings: Settings | None = None,
    progress: Callable[[Iterable[float]], Iterable[float]] = iter,
) -> Located:
    """Find `event` in `audio` (a file, or an array with its `sampling_rate`).

    `seconds` is the width of the window; without it the width follows the curve (`spans.best_segment`), and methods
    without a curve take 2 s. Raises AudioError for what cannot be heard, UnknownEventError for a sound that a
    pocket model does not know, ValueError for an unknown method or width, all before the model runs; and ValueError
    for an answer without a time (method "asking").
    """
    settings = settings or model_settings(checkpoint)
    find = finder(method, settings)
    event = known_event(checkpoint, event)
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds is {seconds}; pass a positive width of the window")
    samples = read_audio(audio, sampling_rate=sampling_rate, target_rate=checkpoint.sampling_rate)
    checkpoint.prompt(settings.presence.format(event=event))  # refuses what no prompt can hold
    rate = checkpoint.sampling_rate
    duration = len(samples) / rate
    windows = dict(stretches(len(samples), rate, checkpoint.window_seconds, "slide"))
    surest: tuple[float, float, Hearing] | None = None
    for start in progress(list(windows)):
        window = samples[windows[start]]
        if np.abs(window).max() < SILENCE:  # what a model says of digital silence means nothing
            continue
        hearing = Hearing(checkpoint, window)
        presence = presence_probability(hearing, event, settings)
        if surest is None or presence > surest[0]:
            surest = (presence, start, hearing)
    assert surest is not None  # read_audio refuses sound that is silent all through
    presence, start, hearing = surest
    answer = find(hearing, Query(event, seconds or min(2.0, hearing.duration)), settings)
    interval, score = _extent(answer, hearing, seconds)
    return Located(
        event=event,
        interval=_clipped(interval.shifted(start), duration),
        score=score,
        presence=presence,
        method=method,
        model=checkpoint.name,
        duration=duration,
        window=Interval(start, start + hearing.duration),
        windows=len(windows),
        curve=answer.curve,
        samples=samples,
        sampling_rate=rate,
    )


def known_event(checkpoint: Checkpoint, event: str) -> str:
    """`event` as the model knows it. Raises UnknownEventError with the list of what a pocket model knows."""
    name = " ".join(event.split())
    if not name:
        raise UnknownEventError("the event is empty; name a sound, such as 'dog bark'")
    if checkpoint.events is None:
        return name
    known = {sound.lower(): sound for sound in checkpoint.events}
    if name.lower() in known:
        return known[name.lower()]
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownEventError(
        f"{checkpoint.name} does not know {event!r}.{hint} It knows: {', '.join(checkpoint.events)}. "
        "A full-size model takes any text."
    )


def _extent(answer: Localisation, hearing: Hearing, seconds: float | None) -> tuple[Interval, float]:
    """The interval and its score; the curve decides its width unless `seconds` does."""
    if answer.interval is None:
        raise ValueError(f"the model's answer names no time: {answer.answer!r}; try another method")
    if answer.curve is None:
        return answer.interval, answer.score
    if seconds is not None:
        return answer.interval, answer.score * hearing.span.count
    interval, mean = best_segment(answer.curve, hearing.span)
    return interval, mean * hearing.span.count


def _clipped(interval: Interval, duration: float) -> Interval:
    """Cut at the end of the audio: its last token can stand for a few milliseconds more than there are."""
    return Interval(interval.start, min(interval.end, duration))
