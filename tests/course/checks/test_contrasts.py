"""The checks in `contrasts`: the right answer passes, a blank is refused, each typical mistake has its own hint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from steer_utils.course.checks import Wrong, contrasts
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.vectors import SteeringVector

POSITIVE, NEGATIVE, QUESTION = "Focus on the dog bark.", "Listen to the whole audio.", "Is it high or low?"


@pytest.fixture
def states(hearing: Hearing) -> tuple[torch.Tensor, torch.Tensor]:
    """The two states of the pair, (blocks, width) each."""
    plus, minus = (hearing.read(f"{instruction} {QUESTION}").hidden for instruction in (POSITIVE, NEGATIVE))
    return plus, minus


def vector(hearing: Hearing) -> SteeringVector:
    return hearing.contrast(POSITIVE, NEGATIVE, prompt=QUESTION)


def test_subtraction(hearing: Hearing, states: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plus, minus = states
    for right in (plus - minus, (plus - minus).numpy(), vector(hearing)):
        contrasts.subtraction(right, hearing, POSITIVE, NEGATIVE, QUESTION)
        assert "Correct. After block 0 the two states differ by" in capsys.readouterr().out


def test_mistakes_in_subtraction(hearing: Hearing, states: Any) -> None:
    plus, minus = states
    mistakes = {
        "nothing is here yet": ...,
        "the shape is": (plus - minus)[0],
        "the positive state alone": plus,
        "the negative state alone": minus,
        "the sign": minus - plus,
        "this is the sum": plus + minus,
        "the question is missing": hearing.contrast(POSITIVE, NEGATIVE),
        "the length is not": vector(hearing).normalised(),
        r"Focus on the dog bark. Is it high or low\?' and .* and subtract": torch.ones_like(plus),
    }
    for hint, answer in mistakes.items():
        with pytest.raises(Wrong, match=hint):
            contrasts.subtraction(answer, hearing, POSITIVE, NEGATIVE, QUESTION)
    with pytest.raises(Wrong, match="the length is not"):
        contrasts.subtraction(0.5 * (plus - minus), hearing, POSITIVE, NEGATIVE, QUESTION)


def test_block_cosine(capsys: pytest.CaptureFixture[str]) -> None:
    directions = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 2.0]])
    example = SteeringVector(directions, (0, 1, 2), torch.ones(3))
    contrasts.block_cosine(torch.tensor(0.8), example, 0, 1)
    assert "Correct. The last two blocks have 0.89" in capsys.readouterr().out
    mistakes = {
        "nothing is here yet": None,
        "the dot product": 8.0,
        "with itself": 1.0,
        "the angle": float(np.arccos(0.8)),
        "cosine distance": 0.2,
        "between -1 and 1": 2.5,
        r"`vector.directions\[0\]` and `vector.directions\[1\]`": 0.5,
        "one finite number": example.cosine(example),
    }
    for hint, answer in mistakes.items():
        with pytest.raises(Wrong, match=hint):
            contrasts.block_cosine(answer, example, 0, 1)
    with pytest.raises(Wrong, match="the angle"):
        contrasts.block_cosine(np.degrees(np.arccos(0.8)), example, 0, 1)


def test_own_pair(hearing: Hearing, capsys: pytest.CaptureFixture[str]) -> None:
    reference = hearing.contrast("Listen for the dog bark.", "Consider all of the audio.", prompt=QUESTION)
    asked = (hearing, "dog bark", reference, (POSITIVE, NEGATIVE), QUESTION)
    right = ("  Listen for the dog bark. ", "Consider all of the audio.")
    contrasts.own_pair(right, *asked)
    assert "Correct. A cosine of at least 1.00" in capsys.readouterr().out
    mistakes: dict[str, object] = {
        "nothing is here yet": ...,
        "a pair is two sentences": "Listen for the dog bark.",
        "is empty": ("Listen for the dog bark.", " "),
        "use your own words": (POSITIVE.lower(), "Consider all of the audio."),
        "does not name the dog bark: the two may be the wrong way round": right[::-1],
        "does not name the dog bark: say what to hear": ("Listen for it.", "Consider all of the audio."),
        "the name drops out": (right[0], "Forget the dog bark."),
        "leave the question out": (f"{right[0]} {QUESTION}", right[1]),
        "'All.' is no instruction": ("Ignore the dog bark.", "All."),
        "'dog bark' is no instruction": ("dog bark", "x"),
        "does not know 'Ignore'": ("Ignore the dog bark.", right[1]),
        "does not know 'x'": (right[0], "x x x"),
        "where they agree least the cosine is": ("The dog bark dog bark bell.", "Bell siren bell!"),
    }
    for hint, answer in mistakes.items():
        with pytest.raises(Wrong, match=hint):
            contrasts.own_pair(answer, *asked)


def test_longest(hearing: Hearing, capsys: pytest.CaptureFixture[str]) -> None:
    candidates = {
        "event or whole": (POSITIVE, NEGATIVE),
        "two focuses": ("Focus on the bell.", "Listen for the bell."),
        "bell or siren": ("Focus on the bell.", "Focus on the siren."),
        "two questions": (QUESTION, "How many sounds are there?"),
    }
    ratios = {name: hearing.contrast(*pair).norm_ratio() for name, pair in candidates.items()}
    blocks = range(len(ratios["two questions"]))
    for block in blocks:
        in_order = sorted(ratios, key=lambda name: float(ratios[name][block]))
        contrasts.longest(in_order[-1], hearing, candidates, block)
        assert f"Correct. {in_order[-1]!r}" in capsys.readouterr().out
        for wrong in in_order[1:-1]:
            with pytest.raises(Wrong, match=r"the longest in the last block|and another has more"):
                contrasts.longest(wrong, hearing, candidates, block)
        with pytest.raises(Wrong, match="use max, not min"):
            contrasts.longest(in_order[0], hearing, candidates, block)
    for blank in (None, ...):
        with pytest.raises(Wrong, match="nothing is here yet"):
            contrasts.longest(blank, hearing, candidates, 0)
    for other in (1.3, "bell"):
        with pytest.raises(Wrong, match="one of: event or whole, two focuses"):
            contrasts.longest(other, hearing, candidates, 0)


class _Stub:
    """A hearing whose contrast has chosen norm ratios: the positive sentence says which."""

    def contrast(self, positive: str, negative: str) -> SteeringVector:
        ratios = torch.tensor([float(number) for number in positive.split()])
        return SteeringVector(torch.diag(ratios), tuple(range(len(ratios))), torch.ones(len(ratios)))


def test_another_block_is_told_apart() -> None:
    stub: Any = _Stub()
    candidates = {"early": ("3 1", ""), "late": ("2 4", ""), "middling": ("2.5 2", ""), "short": ("1 1", "")}
    contrasts.longest("early", stub, candidates, 0)
    with pytest.raises(Wrong, match="'late' is the longest in the last block; asked for is block 0"):
        contrasts.longest("late", stub, candidates, 0)
    with pytest.raises(Wrong, match=r"'middling' has 2.50 in block 0, and another has more"):
        contrasts.longest("middling", stub, candidates, 0)
