"""Asking the model: when it hears a sound, and whether the sound is there. (Which answers count: test_answers.)"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from localising import OWN, find

from steer_utils.lm.hearing import Hearing
from steer_utils.methods.asking import presence_probability, yes_and_no, yes_minus_no
from steer_utils.methods.settings import PAPER
from steer_utils.sound.spans import Interval


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("From 1.0 to 1.4 seconds.", Interval(0.95, 1.45)),  # centred, as wide as the event
        ("at 0 s", Interval(0.0, 0.5)),
        ("2.0 seconds", Interval(1.5, 2.0)),  # moved to stay inside
        ("It starts at 1 s.", Interval(1.0, 1.5)),
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
    assert found.unread == ("" if expected else "no time")
    if expected is None:
        assert found.interval is None
    else:
        assert found.interval is not None
        assert (found.interval.start, found.interval.end) == pytest.approx((expected.start, expected.end))


def test_asking_a_real_model_gives_its_answer(hearing: Hearing) -> None:
    found = find("asking", hearing, OWN)
    assert found.answer == hearing.answer(OWN.ask.format(event="dog bark")) != ""


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
