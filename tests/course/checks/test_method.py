"""The checks of the method in forty lines: right answers pass, blanks are refused, each known mistake has its hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hints import hint_test, right_test

from steer_utils.course.checks import method

Turned = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any]


def partners(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


def swapped(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([-x[:, 1::2], x[:, 0::2]], dim=-1).flatten(1)


def test_a_right_turn(capsys: pytest.CaptureFixture[str]) -> None:
    method.turn(lambda x, cos, sin: x * cos + partners(x) * sin)
    said = capsys.readouterr().out
    assert said.startswith("Correct.")
    start, later = (word for word in said.replace(",", "").split() if word.lstrip("-").replace(".", "").isdigit())
    assert start == later, "the product of neighbours is the same at every position"


test_each_slip_of_a_turn_has_its_hint = hint_test(
    method.turn,
    (lambda x, cos, sin: ..., "nothing is here yet"),
    (lambda x, cos, sin: x, "nothing is turned"),
    (lambda x, cos, sin: x * cos, "half of it"),
    (lambda x, cos, sin: x * cos - partners(x) * sin, "the other way"),
    (
        lambda x, cos, sin: x * cos + partners(x).abs() * 0 + torch.cat(x.chunk(2, -1)[::-1], -1) * sin,
        "keeps lengths",
    ),
    (lambda x, cos, sin: x * cos + swapped(x) * sin, "neighbours are paired"),
    (lambda x, cos, sin: x * sin + partners(x) * cos, "changed places"),
    (lambda x, cos, sin: 2 * x, "x times cos, plus the partners"),
    (lambda x, cos, sin: x[0], "the shape is"),
)


SHARES = {
    "as above": torch.tensor([[0.2, 0.8]]),
    "cut first": torch.tensor([[0.2, 0.8]]),
    "no scale": torch.tensor([[0.1, 0.9]]),
}


test_the_same_share = right_test(
    lambda names: method.same_share(names, SHARES),
    ["cut first"],
    {"cut first", "as above"},
    says="cut first: a softmax over some slots",
)

test_each_wrong_choice_has_its_hint = hint_test(
    lambda answer: method.same_share(answer, SHARES),
    (..., "nothing is here yet"),
    ("cut first", "a list of names"),
    (["cut last"], "none of them; they are called cut first, no scale"),
    (["cut first", "no scale"], r"'no scale' differs, by up to 0\.10"),
    ([], "1 more"),
)
