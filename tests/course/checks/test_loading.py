"""The checks in `loading`: right answers pass, blanks are told, and each usual mistake gets its own hint."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hints import hint_test

from steer_utils.course.checks import Wrong, loading
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.sound.spans import AudioSpan

SPAN = AudioSpan(15, 50)
FIRST, SECOND = "Focus on the dog bark.", "Listen to the whole audio."


# -- 01.1 ----------------------------------------------------------------------------------------------------------
def seconds_of(token: int) -> tuple[float, float]:
    return token * 0.04, (token + 1) * 0.04


def token_at(seconds: float) -> int:
    return int(seconds / 0.04)


def test_times_right(capsys: pytest.CaptureFixture[str]) -> None:
    loading.token_times(seconds_of, token_at, SPAN)
    loading.token_times(lambda token: list(seconds_of(token)), lambda time: float(time // 0.04), SPAN)
    assert "Correct." in capsys.readouterr().out


test_times_wrong = hint_test(
    lambda wrong: loading.token_times(wrong, token_at, SPAN),
    (lambda token: (0.04 * (15 + token), 0.04 * (16 + token)), "start of the prompt"),
    (lambda token: (0.02 * token, 0.02 * (token + 1)), "position of the tower"),
    (lambda token: (0.01 * token, 0.01 * (token + 1)), "mel frame"),
    (lambda token: (40 * token, 40 * (token + 1)), "milliseconds"),
    (lambda token: (0.04 * token + 0.02, 0.04 * token + 0.06), "middle of the token"),
    (lambda token: (0.04 * token, 0.04 * token + 1), "lasts 0.04 s"),
    (lambda token: 0.04 * token, "shape"),
    (lambda token: ..., "nothing is here yet"),
)


test_token_wrong = hint_test(
    lambda wrong: loading.token_times(seconds_of, wrong, SPAN),
    (lambda time: round(time / 0.04), "nearest edge"),
    (lambda time: math.ceil(time / 0.04), "count from 0"),
    (lambda time: time / 0.04, "whole numbers"),
    (lambda time: int(time / 0.04) + 15, "slot in the prompt"),
    (lambda time: int(time / 0.02), "positions of the tower"),
    (lambda time: 40 * int(time / 0.04) + 7, "Token k covers"),
    (lambda time: None, "nothing is here yet"),
)


# -- 01.2 ----------------------------------------------------------------------------------------------------------
def audio_tokens(seconds: float) -> int:
    frames = math.ceil(round(seconds * 16_000) / 160)
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def test_count_right(lm: AudioLM, capsys: pytest.CaptureFixture[str]) -> None:
    loading.audio_token_count(audio_tokens, lm)
    assert "0.99 s give 25 tokens, and 1.02 s give 25" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda s: int(25 * s), "rounded down"),
        (lambda s: math.ceil(25 * s), "rounded up, adds"),
        (lambda s: round(25 * s), "each of the two steps"),
        (lambda s: math.ceil(round(16_000 * s) / 160), "these are mel frames"),
        (lambda s: (math.ceil(round(16_000 * s) / 160) + 1) // 2, "positions of the tower"),
        (lambda s: ((round(16_000 * s) // 160 - 1) // 2 + 1 - 2) // 2 + 1, "not full"),
        (lambda s: ((math.ceil(100 * s) - 1) // 2 + 1 - 2) // 2 + 1, "count samples first"),
        (lambda s: audio_tokens(s) + 1, "of 0.5 s the processor makes 12"),
        (lambda s: "many", "must be a number"),
        (lambda s: None, "nothing is here yet"),
    ],
)
def test_count_wrong(wrong: Any, hint: str, tiny_models: dict[str, AudioLM]) -> None:
    with pytest.raises(Wrong, match=hint):
        loading.audio_token_count(wrong, tiny_models["qwen2_audio"])


def test_every_hint_of_the_count_can_be_reached() -> None:
    right = [audio_tokens(seconds) for seconds in loading.DURATIONS]
    lists = [[count(seconds) for seconds in loading.DURATIONS] for count, _ in loading.COUNTED]
    assert right not in lists and all(lists.count(counts) == 1 for counts in lists)


# -- 01.3 ----------------------------------------------------------------------------------------------------------
def shared(a: Sequence[int], b: Sequence[int]) -> int:
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    return count


def test_shared_right(hearing: Hearing, capsys: pytest.CaptureFixture[str]) -> None:
    loading.shared_slots(shared, hearing, FIRST, SECOND)
    printed, kept = capsys.readouterr().out, hearing.prefix_length
    qwen = hearing.checkpoint.family.model_type == "qwen2_audio"  # its audio ends with a marker, after the last token
    assert f"share {kept + qwen} of" in printed and ("and 1 more" in printed) is qwen
    assert ("slots: those that" in printed) is not qwen


def stumbles(a: Sequence[int], b: Sequence[int]) -> int:
    return next(place for place in range(len(a)) if a[place] != b[place])


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda a, b: sum(x == y for x, y in zip(a, b, strict=False)), "behind the first difference"),
        (lambda a, b: shared(a, b) - 1, "last shared slot"),
        (lambda a, b: shared(a, b) + 1, "one too many"),
        (lambda a, b: len(set(a) & set(b)), "occur in both"),
        (stumbles, "beginning of the other"),
        (lambda a, b: shared(a, b) if len(a) < 9 else 99, "the two prompts you say 99"),
        (lambda a, b: ..., "nothing is here yet"),
    ],
)
def test_shared_wrong(wrong: Callable[..., int], hint: str, hearing: Hearing) -> None:
    with pytest.raises(Wrong, match=hint):
        loading.shared_slots(wrong, hearing, FIRST, SECOND)
