"""Ask the model itself: when a sound is (its answer is parsed strictly), and whether it is there at all."""

from __future__ import annotations

import re

import numpy as np
import torch

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Localisation, Method, Query
from steer_utils.methods.rounds import Answer, Steps, in_rounds
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import Interval

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


@in_rounds
def asking(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """Direct prompting: ask when, parse the answer strictly, centre the window on the answered time."""
    (answer,) = yield [Answer(hearing, Row(settings.ask.format(event=query.event)))]
    time = parse_time(answer, hearing.duration)
    if time is None:
        return Localisation(None, 0.0, answer=answer)
    return Localisation(_window_around(time.center, query.seconds, hearing.duration), 1.0, answer=answer)


def parse_time(answer: str, duration: float) -> Interval | None:
    """The time that an answer names, or None where it names none, several, or one outside the audio.

    Accepted: a range ("from 2.0 to 4.5 seconds", "[2.0, 4.5]"), a start and an end ("starts at 2 s and ends at 4 s"),
    one time ("at 3 s"), and a third of the audio by the single words start (beginning), middle or end, as pocket
    models are taught. Not accepted: a lone number without its unit, a length ("lasts 3 s"), a denial.
    """
    words = set(re.findall(r"[a-z]+", answer.lower()))
    if words & _DENIALS:
        return None
    if bounds := _RANGE.search(answer):
        rest = answer[bounds.end() :]  # a second range or a further time: which one is meant?
        clear = not (_RANGE.search(rest) or _SINGLE.search(rest))
        return _within(float(bounds[1]), float(bounds[2]), duration) if clear else None
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
    """start to end, cut at the end of the audio; None if that is no interval, or ends too far beyond the audio."""
    if not start < min(end, duration) or end > duration + _ROUNDING:
        return None
    return Interval(start, min(end, duration))


def _window_around(center: float, seconds: float, duration: float) -> Interval:
    """A window of `seconds` centred on `center`, moved where needed to stay inside the audio."""
    seconds = min(seconds, duration)
    start = float(np.clip(center - seconds / 2, 0.0, duration - seconds))
    return Interval(start, start + seconds)


def presence_probability(hearing: Hearing, event: str, settings: Settings) -> float:
    """Probability of yes against no as the first token of the answer to "is there a ...?", 0..1. One suffix pass."""
    reading = hearing.read(settings.presence.format(event=event))
    return float(yes_minus_no(reading.logits, *yes_and_no(hearing.checkpoint)).sigmoid())


def yes_and_no(checkpoint: Checkpoint) -> tuple[list[int], list[int]]:
    """The ids with which an answer of yes can begin, and those of no."""
    tokenizer = checkpoint.processor.tokenizer

    def first_tokens(*words: str) -> list[int]:
        return sorted({tokenizer(word, add_special_tokens=False).input_ids[0] for word in words})

    return first_tokens("yes", "Yes"), first_tokens("no", "No")


def yes_minus_no(logits: torch.Tensor, yes: list[int], no: list[int]) -> torch.Tensor:
    """The log odds of yes against no, of logits (..., vocab): (...)."""
    return logits[..., yes].logsumexp(-1) - logits[..., no].logsumexp(-1)


METHODS = (Method("asking", "asking when (direct prompting)", asking, "1 + answer tokens", "arXiv 2606.11400"),)
