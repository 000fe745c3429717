"""One call that finds where a queried sound is: `locate(lm, "street.wav", "dog bark")`; the same for many files, and
for many sounds in each (`locate_events`).

Audio longer than the model takes in one go is heard in half-overlapping windows (`audio.stretches`). In each, the model
is asked whether the sound is there. The sound is then located in the window where the model is surest.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.several_audios import check_batch, hear_groups
from steer_utils.methods.asking import presence_log_odds, probability_of
from steer_utils.methods.base import Finder, Localisation, Method, Query, find_in_each
from steer_utils.methods.calibration import Calibration, model_calibration
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.methods.table import finder
from steer_utils.sound.audio import AudioError, Recording, check_several, read_recording, stretches
from steer_utils.sound.measures import SILENCE
from steer_utils.sound.spans import Interval, best_segment

Audio = TypeVar("Audio", bound=str | Path | np.ndarray | Recording)
Progress = Callable[[Iterable[float]], Iterable[float]]

DEFAULT_METHOD = "steering"


class UnknownEventError(ValueError):
    """A pocket model was asked for a sound outside what it knows."""


class NoTimeError(ValueError):
    """The model was asked when, and its answer names no time."""


@dataclass(frozen=True, eq=False)
class Located:
    """Where a sound is, in seconds from the start of the audio, and how sure the model is.

    score      mean of the method's curve in the interval, times the number of audio tokens: for attention shares,
               how many times the even share (for differences: how much more than before)
    presence   probability that the sound is there at all, by the model's own yes or no
    probability  the same, calibrated (`calibration`); None where that was not measured for the model. In a long audio
               both are those of the stretch where they are highest
    window     the stretch of the audio that was heard for this (all of it, unless the audio is long)
    windows    how many such stretches the audio was cut into; silent ones are passed over
    curve      one value an audio token of `window` (None for methods without a curve)
    warnings   what was wrong with the audio, a sentence each: cut short, holes, channels that cancel, far too quiet
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
    warnings: tuple[str, ...] = ()
    probability: float | None = None

    @property
    def chance_that_it_is_there(self) -> float:
        """`probability`, or `presence` where there is none."""
        return self.presence if self.probability is None else self.probability

    def as_dict(self) -> dict[str, object]:
        """The answer without the arrays, for json."""
        return {
            "event": self.event,
            "start": round(self.interval.start, 3),
            "end": round(self.interval.end, 3),
            "score": round(self.score, 3),
            "presence": round(self.presence, 4),
            "probability": None if self.probability is None else round(self.probability, 4),
            "method": self.method,
            "model": self.model,
            "duration": round(self.duration, 3),
            "windows": self.windows,
            "warnings": list(self.warnings),
        }

    def label_line(self) -> str:
        """A line of an Audacity label track: start, end and text, separated by tabs."""
        return f"{self.interval.start:.6f}\t{self.interval.end:.6f}\t{self.event}\n"


def locate(
    checkpoint: Checkpoint,
    audio: str | Path | np.ndarray | Recording,
    event: str,
    *,
    method: str = DEFAULT_METHOD,
    seconds: float | None = None,
    sampling_rate: int | None = None,
    settings: Settings | None = None,
    progress: Progress = iter,
) -> Located:
    """Find `event` in `audio` (a file, an array with its `sampling_rate`, or a `Recording`).

    `seconds` is the width of the window; without it the width follows the curve (`spans.best_segment`), and methods
    without a curve take 2 s. What is wrong with an audio that can be heard all the same is an AudioWarning, and kept in
    the answer. Raises AudioError for what cannot be heard, UnknownEventError for a sound that a pocket model does not
    know, ValueError for an unknown method or width, all before the model runs; and ValueError for an answer without a
    time (method "asking").
    """
    task = _Task.checked(checkpoint, [event], [method], (), seconds, settings)
    ((_, answers),) = _answered(task, [audio], sampling_rate, None, progress)
    return _only(answers)


def locate_many(
    checkpoint: Checkpoint,
    audios: Iterable[Audio],
    event: str,
    *,
    method: str = DEFAULT_METHOD,
    seconds: float | None = None,
    sampling_rate: int | None = None,
    settings: Settings | None = None,
    batch: int | None = None,
    left_out: Callable[[Audio, ValueError], None] | None = None,
) -> Iterator[tuple[Audio, Located]]:
    """Find `event` in any number of audios, several encoded in one go; each is given back with what was found in it:

        for path, located in locate_many(lm, sorted(folder.glob("*.wav")), "dog bark"): ...

    As they are asked for, some at a time: a folder of thousands fits in memory. `batch`: as `AudioLM.hear_many` takes
    it, and how many are asked in one call (`several_audios.hear_groups`); the rest as `locate`, also what is raised, at
    once where it does not depend on an audio. `left_out` is called for an audio that cannot be heard, or whose answer
    names no time, and the others go on; without it that error is raised.
    """
    check_several(audios)
    task = _Task.checked(checkpoint, [event], [method], (), seconds, settings)
    check_batch(batch)
    return _each_only(_answered(task, audios, sampling_rate, batch, iter), left_out)


@dataclass(frozen=True, eq=False)
class EventAnswer:
    """What was found of one sound in one audio.

    log_odds   of yes against no, where they are highest
    hearing    the stretch that was heard for it, from second `start` of the audio on
    located    by method: where it is, or why the method names no time
    """

    event: str
    log_odds: float
    hearing: Hearing
    start: float
    located: Mapping[str, Located | NoTimeError]


def locate_events(
    checkpoint: Checkpoint,
    audios: Iterable[Audio],
    events: Sequence[str],
    *,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    external: Sequence[Method] = (),
    seconds: float | None = None,
    sampling_rate: int | None = None,
    settings: Settings | None = None,
    batch: int | None = None,
) -> Iterator[tuple[Audio, list[EventAnswer] | AudioError]]:
    """Find several sounds in any number of audios: each audio is encoded once, and all questions about it share calls.

    Each audio is given back with an answer an event, in their order; one that cannot be heard, with its AudioError, and
    the others go on. `external`: methods that are not in the table (`clap.ClapLocator.method()`). The rest is as in
    `locate_many`. Raises, before anything is heard, ValueError for no events or one named twice, UnknownEventError, and
    ValueError for methods as `locate` does.
    """
    check_several(audios)
    task = _Task.checked(checkpoint, events, methods, external, seconds, settings)
    check_batch(batch)
    return _answered(task, audios, sampling_rate, batch, iter)


@dataclass(frozen=True)
class _Task:
    """What is to be found, and how: checked before anything is heard."""

    checkpoint: Checkpoint
    events: tuple[str, ...]
    finders: Mapping[str, Finder]  # by the name of the method
    seconds: float | None
    settings: Settings
    calibration: Calibration | None

    @classmethod
    def checked(
        cls,
        checkpoint: Checkpoint,
        events: Sequence[str],
        methods: Sequence[str],
        external: Sequence[Method],
        seconds: float | None,
        settings: Settings | None,
    ) -> _Task:
        settings = settings or model_settings(checkpoint)
        finders = {name: finder(name, settings) for name in methods}
        finders |= {method.name: method.find for method in external if method.find is not None}
        names = tuple(known_event(checkpoint, event) for event in events)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"the events are {', '.join(names) or 'none'}; pass each sound once, and at least one")
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"seconds is {seconds}; pass a positive width of the window")
        for name in names:
            checkpoint.prompt(settings.presence.format(event=name))  # refuses what no prompt can hold
        return cls(checkpoint, names, finders, seconds, settings, model_calibration(checkpoint, settings))


class _Surest(NamedTuple):
    """Where the log odds of an event are highest: their value, where that stretch begins, and its hearing."""

    odds: float
    start: float
    hearing: Hearing


@dataclass(frozen=True, eq=False)
class _Window(Generic[Audio]):
    """A stretch of one of several audios, from second `start` on. `last`: the last of this audio, of `windows`."""

    place: int
    audio: Audio
    recording: Recording
    start: float
    stretch: slice
    windows: int
    last: bool


def _at_rate(audio: str | Path | np.ndarray | Recording, sampling_rate: int | None, rate: int) -> Recording:
    """`audio`, read at `rate`; what is wrong with it is warned of, if that is not known yet."""
    if not isinstance(audio, Recording):
        recording = read_recording(audio, sampling_rate=sampling_rate, target_rate=rate)
        recording.warn()
        return recording
    if audio.rate == rate:
        return audio
    return replace(read_recording(audio.samples, sampling_rate=audio.rate, target_rate=rate), warnings=audio.warnings)


def _windows(
    checkpoint: Checkpoint,
    audios: Iterable[Audio],
    sampling_rate: int | None,
    progress: Progress,
    unheard: list[tuple[int, Audio, AudioError]],
) -> Iterator[_Window[Audio]]:
    """All windows of all audios, but for silent ones: what a model says of digital silence means nothing.

    Audios that cannot be read are put into `unheard`, with their place among all.
    """
    rate = checkpoint.sampling_rate
    for place, audio in enumerate(audios):
        try:
            recording = _at_rate(audio, sampling_rate, rate)
        except AudioError as error:
            unheard.append((place, audio, error))
            continue
        samples = recording.samples
        windows = dict(stretches(len(samples), rate, checkpoint.window_seconds, "slide"))
        audible = [start for start, window in windows.items() if np.abs(samples[window]).max() >= SILENCE]
        for start in progress(list(windows)):
            if start in audible:  # never none: read_recording refuses sound that is silent all through
                yield _Window(place, audio, recording, start, windows[start], len(windows), start == audible[-1])


def _answered(
    task: _Task, audios: Iterable[Audio], sampling_rate: int | None, batch: int | None, progress: Progress
) -> Iterator[tuple[Audio, list[EventAnswer] | AudioError]]:
    """Each audio in its order, with the answers about it or why it cannot be heard. What is asked of a group of windows
    is read in one go."""
    unheard: list[tuple[int, Audio, AudioError]] = []
    windows = _windows(task.checkpoint, audios, sampling_rate, progress, unheard)
    groups = hear_groups(
        task.checkpoint, ((window, window.recording.samples[window.stretch]) for window in windows), batch
    )
    surest: dict[str, _Surest] = {}
    for group in groups:
        finished: list[tuple[_Window[Audio], dict[str, _Surest]]] = []
        log_odds = presence_log_odds([hearing for _, hearing in group], task.events, task.settings)
        for (window, hearing), log_odds_here in zip(group, log_odds, strict=True):
            for event, odds in zip(task.events, log_odds_here, strict=True):
                if event not in surest or odds > surest[event].odds:
                    surest[event] = _Surest(odds, window.start, hearing)
            if window.last:
                finished.append((window, surest))
                surest = {}
        for (window, _), answers in zip(finished, _answers(task, finished, joined=batch != 1), strict=True):
            while unheard and unheard[0][0] < window.place:
                yield unheard.pop(0)[1:]
            yield window.audio, answers
    for _, audio, error in unheard:
        yield audio, error


def _answers(
    task: _Task, finished: Sequence[tuple[_Window[Audio], dict[str, _Surest]]], joined: bool
) -> list[list[EventAnswer]]:
    """An answer an event of each audio, given its last window. Events that are surest in the same stretch share the
    model's calls; `joined`: all do."""
    sought: dict[Hearing, list[str]] = {}
    for _, surest in finished:
        for event in task.events:
            sought.setdefault(surest[event].hearing, []).append(event)
    asked = [
        (hearing, [Query(event, task.seconds or min(2.0, hearing.duration)) for event in events])
        for hearing, events in sought.items()
    ]
    localised: dict[tuple[Hearing, str], list[Localisation]] = {}
    for part in [asked] if joined else [[one] for one in asked]:
        found = find_in_each(part, list(task.finders.values()), task.settings)
        for (hearing, queries), answers in zip(part, found, strict=True):
            localised |= {(hearing, query.event): answer for query, answer in zip(queries, answers, strict=True)}
    return [
        [_answer(task, window, event, surest[event], localised[surest[event].hearing, event]) for event in task.events]
        for window, surest in finished
    ]


def _answer(
    task: _Task,
    window: _Window[Audio],
    event: str,
    surest: _Surest,
    answers: Sequence[Localisation],
) -> EventAnswer:
    located = {
        method: _in_window(task, window, event, surest, method, answer)
        for method, answer in zip(task.finders, answers, strict=True)
    }
    return EventAnswer(event, surest.odds, surest.hearing, surest.start, located)


def _in_window(
    task: _Task, window: _Window[Audio], event: str, surest: _Surest, method: str, answer: Localisation
) -> Located | NoTimeError:
    """Where the event is in the stretch where it is surest; any other window of its audio tells the rest."""
    odds, start, hearing = surest
    duration = window.recording.duration
    try:
        interval, score = _extent(answer, hearing, task.seconds)
    except NoTimeError as error:
        return error
    return Located(
        event=event,
        interval=interval.shifted(start).cut(duration),
        score=score,
        presence=probability_of(odds),
        method=method,
        model=task.checkpoint.name,
        duration=duration,
        window=Interval(start, start + hearing.duration),
        windows=window.windows,
        curve=answer.curve,
        samples=window.recording.samples,
        sampling_rate=task.checkpoint.sampling_rate,
        warnings=window.recording.warnings,
        probability=None if task.calibration is None else task.calibration.probability(odds),
    )


def _only(answers: list[EventAnswer] | AudioError) -> Located:
    """The answer to one event by one method. Raises the error that stands in its place."""
    if isinstance(answers, AudioError):
        raise answers
    ((located,),) = (answer.located.values() for answer in answers)
    if isinstance(located, NoTimeError):
        raise located
    return located


def _each_only(
    answered: Iterator[tuple[Audio, list[EventAnswer] | AudioError]],
    left_out: Callable[[Audio, ValueError], None] | None,
) -> Iterator[tuple[Audio, Located]]:
    for audio, answers in answered:
        try:
            located = _only(answers)
        except (AudioError, NoTimeError) as error:
            if left_out is None:
                raise
            left_out(audio, error)
        else:
            yield audio, located


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
        raise NoTimeError(f"the model's answer names no time: {answer.answer!r}; try another method")
    if answer.curve is None:
        return answer.interval, answer.score
    if seconds is not None:
        return answer.interval, answer.score * hearing.span.count
    interval, mean = best_segment(answer.curve, hearing.span)
    return interval, mean * hearing.span.count
