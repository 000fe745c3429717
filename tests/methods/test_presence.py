"""The model's own yes or no as one number."""

from __future__ import annotations

import math

import pytest
import torch

from steer_utils.lm.hearing import Hearing
from steer_utils.methods.asking import presence_probability, yes_and_no, yes_minus_no
from steer_utils.methods.settings import PAPER


def test_the_odds_are_those_of_the_words() -> None:
    logits = torch.tensor([0.3, 1.0, -2.0, 0.5]).log_softmax(0)
    weight = logits.exp()
    odds = math.log(float((weight[0] + weight[2]) / weight[3]))
    assert float(yes_minus_no(logits, [0, 2], [3])) == pytest.approx(odds, abs=1e-6)
    assert yes_minus_no(logits[None].repeat(5, 1), [0], [3]).shape == (5,)


def test_the_words_are_told_apart(hearing: Hearing) -> None:
    yes, no = yes_and_no(hearing.checkpoint)
    assert yes and no and not set(yes) & set(no)


def test_presence_is_a_probability_of_the_question(hearing: Hearing) -> None:
    asked = hearing.read(PAPER.presence.format(event="bell"))
    expected = yes_minus_no(asked.logits, *yes_and_no(hearing.checkpoint)).sigmoid()
    assert presence_probability(hearing, "bell", PAPER) == pytest.approx(float(expected)) and 0 < float(expected) < 1
