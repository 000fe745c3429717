"""Asking the model: when it hears a sound, which answers count as a time, and whether the sound is there."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from localising import OWN, find

from steer_utils.lm.hearing import Hearing
from steer_utils.methods.asking import parse_time, presence_probability, yes_and_no, yes_minus_no
from steer_utils.methods.settings import PAPER
from steer_utils.sound.spans import Interval


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("From 1.0 to 1.4 seconds.", Interval(0.95, 1.45)),  # centred, as wide as the event
        ("at 0 s", Interval(0.0, 0.5)),
        ("2.0 seconds", Interval(1.5, 2.0)),  # moved to stay inside
        ("end", Interval(2 - 1 / 3 - 0.25, 2 - 1 / 3 + 0.25)),
        ("a dog barks", None),
    ],
)
def test_asking_centres_the_window_on_the_answer(
    one_hearing: Hearing, monkeypatch: pytest.MonkeyPatch, answer: str, expected: Interval | None
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Hearing, "answers", lambda self, rows: asked.append(rows[0].instruction) or [answer])
    found = find("asking", one_hearing, replace(OWN, ask="When is the {event}?"))
    assert asked == ["When is the dog bark?"]
    assert found.answer == answer and found.curve is None
    if expected is None:
        assert found.interval is None
    else:
        assert found.interval is not None
        assert (found.interval.start, found.interval.end) == pytest.approx((expected.start, expected.end))


def test_asking_a_real_model_gives_its_answer(hearing: Hearing) -> None:
    found = find("asking", hearing, OWN)
    assert found.answer == hearing.answer(OWN.ask.format(event="dog bark")) != ""


# Answers that name a time -------------------------------------------------------------------------------------------

ACCEPTED = {
    "from 2.0 to 4.5 seconds": (2.0, 4.5),
    "The dog bark happens from 0 to 8.0 seconds.": (0.0, 8.0),
    "Between 2 and 4 s": (2.0, 4.0),
    "2-4": (2.0, 4.0),
    "2.0s – 4.5s.": (2.0, 4.5),
    "[2.0, 4.5]": (2.0, 4.5),
    "It lasts from 2 until 4.": (2.0, 4.0),
    "from 6 to 8.3 sec": (6.0, 8.0),  # models round; cut at the end of the audio
    "It starts at 2 s and ends at 4 s.": (2.0, 4.0),
    "The start is 2.0 seconds and the end is 4.5 seconds.": (2.0, 4.5),
    "at 3 s": (2.98, 3.02),
    "3.5 Seconds": (3.48, 3.52),
    "Around 0 s": (0.0, 0.02),
    "start": (0.0, 8 / 3),
    "At the beginning.": (0.0, 8 / 3),
    "in the Middle": (8 / 3, 16 / 3),
    "at the end, the very end": (16 / 3, 8.0),
}
REFUSED = (
    "",
    "9" * 400 + " s",
    "from 1 to " + "9" * 400,
    *(
        "a dog barks | 3 | at 3 | from 4 to 2 s | from 2 to 2 s | from 6 to 9 seconds | at 8.5 s | "
        "at 4 s and at 2 s | 2 to 3 barks | 5 to 7 % | 3 sirens | 3rd | from -1 to 2 s | 0:02 to 0:04 | "
        "at 12:03 s | 2,5 s | 1.2.3 s | it lasts 3 seconds | for 3 s | 3 seconds long | "
        "from 1 to 2 s and from 4 to 5 s | 1 s, 2 s, 3 s | at 1 s, at 2 s, at 3 s | start or end | "
        "from the start to the end | not at the end | it does not happen | never | weekend | restart"
    ).split(" | "),
)


@pytest.mark.parametrize(("answer", "expected"), ACCEPTED.items())
def test_answers_that_name_a_time(answer: str, expected: tuple[float, float]) -> None:
    time = parse_time(answer, 8.0)
    assert time is not None
    assert (time.start, time.end) == pytest.approx(expected)


@pytest.mark.parametrize("answer", REFUSED)
def test_answers_that_name_none(answer: str) -> None:
    assert parse_time(answer, 8.0) is None


@given(st.text(alphabet="0123456789.,:-– stoandecifrmh", max_size=40), st.floats(0.1, 60))
def test_any_answer_gives_a_time_in_the_audio_or_none(answer: str, duration: float) -> None:
    time = parse_time(answer, duration)
    assert time is None or (0.0 <= time.start <= duration and time.end <= duration + 0.02 + 1e-9)


@given(st.integers(0, 790), st.integers(1, 400))
def test_a_range_is_read_as_written(start: int, length: int) -> None:
    end = min(800, start + length)
    time = parse_time(f"from {start / 100} to {end / 100} seconds", 8.0)
    assert time is not None and (time.start, time.end) == (start / 100, end / 100)


# Whether it is there ------------------------------------------------------------------------------------------------


def test_the_odds_are_those_of_the_words() -> None:
    logits = torch.tensor([0.3, 1.0, -2.0, 0.5]).log_softmax(0)
    weight = logits.exp()
    odds = math.log(float((weight[0] + weight[2]) / weight[3]))
    assert float(yes_minus_no(logits, [0, 2], [3])) == pytest.approx(odds, abs=1e-6)
    assert yes_minus_no(logits[None].repeat(5, 1), [0], [3]).shape == (5,)
    several = torch.stack([logits, 2 * logits, -logits])
    alone = torch.stack([yes_minus_no(row, [0, 2], [1, 3]) for row in several])
    torch.testing.assert_close(yes_minus_no(several, [0, 2], [1, 3]), alone)


def test_the_words_are_told_apart(hearing: Hearing) -> None:
    yes, no = yes_and_no(hearing.checkpoint)
    assert yes and no and not set(yes) & set(no)


def test_presence_is_yes_against_no(hearing: Hearing) -> None:
    logits = hearing.read(PAPER.presence.format(event="bell")).logits.double()
    yes, no = (hearing.checkpoint.processor.tokenizer(word).input_ids[0] for word in ("yes", "no"))
    expected = float(logits[yes].exp() / (logits[yes].exp() + logits[no].exp()))
    assert presence_probability(hearing, "bell", PAPER) == pytest.approx(expected, abs=1e-6)
    assert 0.0 < expected < 1.0
