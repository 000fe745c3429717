"""Checks on loading: tokens and seconds, how many audio tokens a sound becomes, and which slots prompts share."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from steer_utils.course.checks.answers import Wrong, answered, correct, near, number, refuse, values
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.sound.spans import AudioSpan

Count = Callable[[float], float]
DURATIONS = (0.5, 0.985, 0.99, 1.0, 1.02, 1.03, 1.1)  # seconds; each of COUNTED goes wrong at one of them at least


# -- 01.1 ----------------------------------------------------------------------------------------------------------
def token_times(seconds_of: Callable[[int], Any], token_at: Callable[[float], Any], span: AudioSpan) -> None:
    """`seconds_of(token)` gives the start and end in seconds of an audio token, `token_at(seconds)` the token at a
    time; both count audio tokens from 0 at the first one."""
    # Not the first token first: of token 0, rounding and counting positions look alike.
    width, tokens = span.seconds_per_token, (min(3, span.count - 1), span.count // 2, span.count - 1, 0)
    for token in tokens:
        start, end = values(seconds_of(token), (2,))
        if not (near(start, token * width) and near(end, (token + 1) * width)):
            raise Wrong(f"seconds_of({token}) is ({start:g}, {end:g}). {_time_hint(start, end, token, span)}")
    for token in tokens:
        for part in (0.25, 0.75):  # never at an edge, where rounding decides
            time = (token + part) * width
            got = number(token_at(time))
            if got != token:
                raise Wrong(f"token_at({time:.3g}) is {got:g}. {_token_hint(token_at, got, time, span)}")
    correct(
        f"{1 / width:.0f} tokens a second, {1000 * width:.0f} ms each: no time read from them is finer. "
        f"Token 0 is in slot {span.first}."
    )


def _time_hint(start: float, end: float, token: int, span: AudioSpan) -> str:
    width, length = span.seconds_per_token, end - start
    if near(start, (span.first + token) * width):
        return f"You counted from the start of the prompt; audio token 0 is in slot {span.first}, but begins at 0 s"
    if near(length, width / 2):
        return "So long is a position of the tower; pooling joins two of them to one audio token"
    if near(length, width / 4):
        return "So long is a mel frame; four of them become one audio token"
    if near(length, 1000 * width):
        return "These are milliseconds; give seconds"
    if near(start, (token + 0.5) * width):
        return "The first value is the middle of the token; give where it starts and where it ends"
    return f"Token 0 begins at 0 s, and each token lasts {width:g} s"


def _token_hint(token_at: Callable[[float], Any], got: float, time: float, span: AudioSpan) -> str:
    width, token = span.seconds_per_token, math.floor(time / span.seconds_per_token)
    if got != int(got):
        return "A token is counted in whole numbers: take the part before the point"
    if got == token + span.first:
        return f"This is the slot in the prompt; the audio begins at slot {span.first}, and its tokens count from 0"
    if got == math.floor(2 * time / width):
        return "You counted positions of the tower; two of them are one audio token"
    if got == token + 1:
        early = number(token_at((token + 0.25) * width))
        if early == token:
            return "In the later half of a token you are one too far: rounding takes the nearest edge, not the token"
        return "You are one too far: tokens count from 0"
    return f"Token k covers k × {width:g} s up to (k + 1) × {width:g} s"


# -- 01.2 ----------------------------------------------------------------------------------------------------------
def _frames(seconds: float) -> int:
    return math.ceil(round(16_000 * seconds) / 160)


def _tokens(frames: int) -> int:
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


#: What people count instead, and what to say to it. Every one gives another list over DURATIONS than the processor.
COUNTED: tuple[tuple[Count, str], ...] = (
    (lambda s: math.floor(25 * s), "25 × seconds, rounded down, loses a token where the convolution rounds up"),
    (lambda s: math.ceil(25 * s), "25 × seconds, rounded up, adds tokens that pooling drops"),
    (lambda s: round(25 * s), "25 × seconds, rounded, is nearly right, but each of the two steps rounds by itself"),
    (lambda s: _frames(s), "these are mel frames; the convolution and the pooling each halve them"),
    (lambda s: (_frames(s) - 1) // 2 + 1, "these are positions of the tower; pooling still joins them in pairs"),
    (lambda s: _tokens(round(16_000 * s) // 160), "a last mel frame that is not full counts too: round frames up"),
    (
        lambda s: _tokens(math.ceil(100 * s)),
        "100 × 1.1 is a little more than 110 for a computer; count samples first, round(seconds * 16000), and frames "
        "from them",
    ),
)


def audio_token_count(audio_tokens: Count, checkpoint: Checkpoint) -> None:
    """`audio_tokens(seconds)` gives how many audio tokens the processor makes of a sound."""
    given = [number(audio_tokens(seconds)) for seconds in DURATIONS]
    expected = [_processed(checkpoint, seconds) for seconds in DURATIONS]
    refuse(given, (([count(seconds) for seconds in DURATIONS], hint) for count, hint in COUNTED), same=operator.eq)
    for seconds, count, right in zip(DURATIONS, given, expected, strict=True):
        if count != right:
            raise Wrong(
                f"of {seconds} s the processor makes {right} audio tokens, not {count:g}. Go step by step: samples, "
                "mel frames, positions of the tower, tokens"
            )
    correct(
        f"0.99 s give {expected[2]} tokens, and 1.02 s give {expected[4]}: 25 a second holds on the whole, "
        "not at the end."
    )


def _processed(checkpoint: Checkpoint, seconds: float) -> int:
    """How many audio tokens the model's own processor makes of so much sound."""
    noise = np.random.default_rng(0).normal(size=round(seconds * checkpoint.sampling_rate)).astype(np.float32)
    text = checkpoint.prompt("Describe the sound.")
    ids = checkpoint.family.inputs(checkpoint.processor, text, noise, checkpoint.sampling_rate)["input_ids"]
    return int((ids == checkpoint.audio_token_id).sum())


# -- 01.3 ----------------------------------------------------------------------------------------------------------
def shared_slots(
    shared: Callable[[Sequence[int], Sequence[int]], int], hearing: Hearing, first: str, second: str
) -> None:
    """`shared(a, b)` gives how many slots two prompts (lists of token ids) share from the start.

    It is tried on short lists, then on the prompts of two instructions.
    """
    pairs = [([7, 7, 8, 9, 5, 4, 3], [7, 7, 8, 6, 5, 4, 3]), ([7, 8], [8, 7]), ([7, 8, 9], [7, 8, 9, 5])]
    one, other = (_ids(hearing, instruction) for instruction in (first, second))
    for a, b in [*pairs, (one, other)]:
        got, right = _called(shared, a, b), _common(a, b)
        if got != right:
            shown = f"{a} and {b}" if len(a) < 9 else "the two prompts"
            raise Wrong(f"of {shown} you say {got:g}. {_shared_hint(got, a, b)}")
    count, kept = _common(one, other), hearing.prefix_length
    which = (
        f"the {kept} that a hearing keeps, and {count - kept} more" if count > kept else "those that a hearing keeps"
    )
    correct(f"They share {count} of {len(one)} and {len(other)} slots: {which}.")


def _ids(hearing: Hearing, instruction: str) -> list[int]:
    tokens, audio = hearing.checkpoint.tokens(instruction), hearing.checkpoint.audio_token_id
    return [*tokens.head[:-1], *[audio] * hearing.span.count, *tokens.tail]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _called(shared: Callable[[Sequence[int], Sequence[int]], int], a: list[int], b: list[int]) -> float:
    try:
        return number(answered(shared(list(a), list(b))))
    except (StopIteration, IndexError):
        raise Wrong(
            "one prompt may be the beginning of the other, and then nothing differs: end where the shorter one ends"
        ) from None


def _shared_hint(got: float, a: Sequence[int], b: Sequence[int]) -> str:
    right = _common(a, b)
    if got == right - 1:
        return "This is the last shared slot; slots count from 0, so there is one more of them than its number"
    if got == right + 1:
        return "This is one too many: the first slot that differs is not shared"
    if got == sum(x == y for x, y in zip(a, b, strict=False)):
        return "You count equal slots behind the first difference too; they follow other words, so their states differ"
    if got == len(set(a) & set(b)):
        return "You count tokens that occur in both, wherever they are; compare slot by slot, from the start"
    return "Go through both from the start, and stop at the first slot that differs"
