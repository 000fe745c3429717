"""Ways to find a queried sound in time: each turns (hearing, query, settings) into an interval.

Attention methods make a curve over audio tokens and take the window of the known event width with the largest
sum (the width is an oracle, and declared as one). All of them read the row of the last prompt token and average
heads. `passes` counts forward passes of a short suffix behind the shared prefix, which is computed once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .audio import rms_curve
from .batches import Row
from .hearing import Hearing
from .settings import Settings, paper_settings
from .spans import Interval, best_window
from .steering import Injection


@dataclass(frozen=True)
class Query:
    """A sound by name, the width of the window in seconds, and a seed for methods that draw."""

    event: str
    seconds: float
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """Where a method puts the sound. `interval` is None where an answer could not be parsed; `curve` has one
    value an audio token (None for methods without one)."""

    interval: Interval | None
    score: float
    curve: np.ndarray | None = None
    answer: str = ""


@dataclass(frozen=True)
class Method:
    """A row of the table: how it finds, what it costs, where it comes from."""

    name: str
    label: str
    find: Callable[[Hearing, Query, Settings], Found]
    passes: str
    source: str


def _windowed(curve: np.ndarray, hearing: Hearing, query: Query) -> Found:
    interval, score = best_window(curve, hearing.span, query.seconds)
    return Found(interval, score, curve)


def steering(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """Steer the neutral question with the contrast of two instructions; read where the attention then is."""
    vector = hearing.contrast(
        settings.positive.format(event=query.event), settings.negative, prompt=settings.question
    ).select(settings.steered_blocks(hearing.checkpoint.num_blocks))
    steered = Row(settings.question, steer=(Injection(vector, settings.strength),), keep_norm=settings.keep_norm)
    if settings.read == "share":
        (reading,) = hearing.read_rows([steered])
        return _windowed(reading.attention.curve(settings.read_blocks), hearing, query)
    reading, base = hearing.read_rows([steered, Row(settings.question)])
    return _windowed((reading.attention - base.attention).curve(settings.read_blocks), hearing, query)


def steering_paper(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """The paper's difference read-out exactly as declared in `settings.PAPER`."""
    return steering(hearing, query, paper_settings(settings))


def prompting(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """Attention under the focus instruction itself, before the question that `steering` asks; nothing steered."""
    instruction = f"{settings.positive.format(event=query.event)} {settings.question}"
    return _windowed(hearing.read(instruction).attention.curve(settings.prompt_blocks), hearing, query)


def prompting_best(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """The same before the question that serves prompting best (chosen on development classes, as its blocks)."""
    instruction = f"{settings.positive.format(event=query.event)} {settings.prompt_question}"
    return _windowed(hearing.read(instruction).attention.curve(settings.prompt_best_blocks), hearing, query)


def unsteered(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """The attention peak under the neutral question: the same window whatever is queried."""
    return _windowed(hearing.read(settings.question).attention.curve(settings.peak_blocks), hearing, query)


def asking(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """Direct prompting: ask when, parse the answer strictly, centre the window on the answered time."""
    answer = hearing.answer(settings.ask.format(event=query.event))
    said = parse_time(answer, hearing.duration)
    if said is None:
        return Found(None, 0.0, answer=answer)
    return Found(_window_around(said.center, query.seconds, hearing.duration), 1.0, answer=answer)


def loudest(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """The loudest window of the audio: no model, the same window whatever is queried. The curve is a share, as
    attention is: RMS of each token over the sum of all."""
    span = hearing.span
    curve = rms_curve(hearing.samples, hearing.checkpoint.sampling_rate, span.seconds_per_token, span.count)
    return _windowed(curve / max(float(curve.sum()), 1e-12), hearing, query)


def random_window(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """A window placed uniformly at token steps, drawn with the query's seed."""
    width = hearing.span.window_tokens(query.seconds)
    start = int(np.random.default_rng(query.seed).integers(hearing.span.count - width + 1))
    return Found(hearing.span.interval(start, start + width), 0.0)


_BEFORE, _AFTER = r"(?<![\w.,:-])", r"(?![:\d]|[.,]\d)"  # not within a clock time, a decimal comma, a negative number
_NUMBER = r"(\d+(?:\.\d+)?)" + _AFTER
_UNIT = r"(?:s|secs?|seconds?)\b"
_JOIN = r"(?:[-–—]|,\s|(?:to|and|until|till)\b)"
_RANGE = re.compile(
    rf"{_BEFORE}{_NUMBER}\s*(?:{_UNIT})?\s*{_JOIN}\s*{_NUMBER}(?:\s*{_UNIT}|(?!\s*[\w%]))", re.IGNORECASE
)
_SINGLE = re.compile(rf"(\w+)?\s*{_BEFORE}{_NUMBER}\s*{_UNIT}", re.IGNORECASE)
_LEADS = {"", "at", "around", "about", "near", "approximately", "is", "start", "starts", "end", "ends"}  # before a time
_PLACES = {"start": 0, "beginning": 0, "middle": 1, "end": 2}
_DENIALS = {"no", "not", "never", "neither", "nor"}
_LENGTHS = {"duration", "length", "long", "lasts", "lasted", "lasting"}
_ROUNDING = 0.5  # seconds by which an answered end may lie beyond the audio


def parse_time(answer: str, duration: float) -> Interval | None:
    """The time that an answer names, or None where it names none, several, or one outside the audio.

    Accepted: a range ("from 2.0 to 4.5 seconds", "[2.0, 4.5]"), a start and an end ("starts at 2 s and ends at 4 s"),
    one time ("at 3 s"), and a third of the audio by the single words start (beginning), middle or end: what pocket
    models are taught. A lone number without its unit, a length ("lasts 3 s") and a denial are no time.
    """
    words = set(re.findall(r"[a-z]+", answer.lower()))
    if words & _DENIALS:
        return None
    if found := _RANGE.search(answer):
        rest = answer[found.end() :]  # a second range or a further time: which one is meant?
        clear = not (_RANGE.search(rest) or _SINGLE.search(rest))
        return _within(float(found[1]), float(found[2]), duration) if clear else None
    if words & _LENGTHS:
        return None
    if singles := _SINGLE.findall(answer):
        if not all(lead.lower() in _LEADS for lead, _ in singles) or len(singles) > 2:
            return None
        times = [float(time) for _, time in singles]
        if len(times) == 2:
            return _within(times[0], times[1], duration)
        return Interval(max(0.0, times[0] - 0.02), times[0] + 0.02) if times[0] <= duration else None
    places = {_PLACES[word] for word in words & _PLACES.keys()}
    if len(places) != 1:
        return None
    third = places.pop()
    return Interval(third * duration / 3, (third + 1) * duration / 3)


def _within(start: float, end: float, duration: float) -> Interval | None:
    """The interval cut at the end of the audio, if it is one and lies in it."""
    if not start < min(end, duration) or end > duration + _ROUNDING:
        return None
    return Interval(start, min(end, duration))


def _window_around(center: float, seconds: float, duration: float) -> Interval:
    """A window of `seconds` centred on `center`, moved where needed to stay inside the audio."""
    seconds = min(seconds, duration)
    start = float(np.clip(center - seconds / 2, 0.0, duration - seconds))
    return Interval(start, start + seconds)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("steering", "steering (ours)", steering, "3 or 4", "as arXiv 2606.11400, set on development classes"),
        Method("steering-paper", "steering (paper, as declared)", steering_paper, "4", "arXiv 2606.11400"),
        Method("prompting", "prompting only, same question", prompting, "1", "same instruction, no vector"),
        Method("prompting-best", "prompting only, its best question", prompting_best, "1", "chosen for prompting"),
        Method("unsteered", "unsteered attention peak", unsteered, "1", "neutral question, no vector"),
        Method("asking", "asking when (direct prompting)", asking, "1 + answer tokens", "arXiv 2606.11400"),
        Method("loudest", "loudest window", loudest, "0", "RMS per audio token"),
        Method("random", "random window", random_window, "0", "uniform at token steps"),
    )
}


def method_named(name: str) -> Method:
    """Raises ValueError listing the methods for a name that is none."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; pass one of {', '.join(METHODS)}")
    return METHODS[name]
