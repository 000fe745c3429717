"""Checks of lesson 00: right answers pass, and each known mistake gets its own hint."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hints import hint_test, right_test

from steer_utils.course.checks import Wrong
from steer_utils.course.checks.start import overlap, share_backwards
from steer_utils.lm.hearing import Hearing
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import Interval

SETTINGS = Settings(question="Describe the sound.", blocks=(0,), read_blocks=(1,))
EVENT = Interval(0.4, 1.2)


def shares(hearing: Hearing, sign: float) -> tuple[float, int]:
    """The share in the event, steered `sign` times, and how many tokens the event has."""
    vector = hearing.contrast("Focus on the siren.", "Listen to the whole audio.").select([0])
    attention = hearing.read(SETTINGS.question, steer=sign * vector, keep_norm=SETTINGS.keep_norm).attention
    inside = hearing.span.tokens(EVENT)
    return float(attention.curve(blocks=SETTINGS.read_blocks)[inside].sum()), inside.stop - inside.start


def check_share(hearing: Hearing, answer: object) -> None:
    vector = hearing.contrast("Focus on the siren.", "Listen to the whole audio.").select([0])
    share_backwards(answer, hearing, vector, SETTINGS, EVENT)  # type: ignore[arg-type]


def test_the_share_backwards(hearing: Hearing, capsys: pytest.CaptureFixture[str]) -> None:
    check_share(hearing, shares(hearing, -1.0)[0])
    assert capsys.readouterr().out.startswith("Correct. Backwards")


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda hearing: shares(hearing, 1.0)[0], "change the sign"),
        (lambda hearing: shares(hearing, 0.0)[0], "without steering"),
        (lambda hearing: 100 * shares(hearing, -1.0)[0], "not in per cent"),
        (lambda hearing: shares(hearing, -1.0)[0] / shares(hearing, -1.0)[1], "a share is their sum"),
        (lambda hearing: 7.0, "sum the curve"),
        (lambda hearing: ..., "nothing is here yet"),
    ],
)
def test_mistakes_with_the_share(hearing: Hearing, mistake: Callable[[Hearing], object], hint: str) -> None:
    with pytest.raises(Wrong, match=hint):
        check_share(hearing, mistake(hearing))


test_the_overlap = right_test(overlap, lambda found, truth: found.covers(truth))


def signed(found: Interval, truth: Interval) -> float:
    return (min(found.end, truth.end) - max(found.start, truth.start)) / truth.duration


test_mistakes_with_the_overlap = hint_test(
    overlap,
    (signed, "must become 0"),
    (lambda found, truth: found.iou(truth), "intersection over union"),
    (lambda found, truth: found.intersection(truth) / found.duration, "not by that of the window"),
    (lambda found, truth: found.intersection(truth), "count the seconds"),
    (lambda found, truth: None, "nothing is here yet"),
)
