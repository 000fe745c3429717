"""The checks in `steering`: the right answer passes, a blank is refused, each known mistake gets its own hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hints import hint_test, right_test

from steer_utils.course.checks.steering import norm_kept, smallest_strength, unmoved_by

Adding = Callable[[torch.Tensor, torch.Tensor, float], Any]


def norm(rows: torch.Tensor) -> torch.Tensor:
    return rows.norm(dim=-1, keepdim=True)


def right(hidden: torch.Tensor, vector: torch.Tensor, strength: float) -> torch.Tensor:
    moved = hidden + strength * vector
    return moved * norm(hidden) / norm(moved)


def in_place(hidden: torch.Tensor, vector: torch.Tensor, strength: float) -> torch.Tensor:
    old = norm(hidden)
    hidden += strength * vector
    return hidden * old / norm(hidden)


test_norm_kept_passes = right_test(norm_kept, right, lambda *given: right(*given).numpy())

test_norm_kept_mistakes = hint_test(
    norm_kept,
    (lambda h, v, s: h + s * v, "norm is not restored"),
    (lambda h, v, s: (h + s * v) * norm(h + s * v) / norm(h), "wrong way round"),
    (lambda h, v, s: (h + s * v) * h.norm() / (h + s * v).norm(), "all tokens together"),
    (lambda h, v, s: (h + s * v) / norm(h + s * v), "length 1: multiply"),
    (lambda h, v, s: right(h, v / v.norm(), s), "taken at length 1; λ counts"),
    (lambda h, v, s: right(h, v, 1.0), "strength is not used"),
    (lambda h, v, s: h, "nothing was added"),
    (in_place, "itself was changed"),
    (lambda h, v, s: right(h, v, s)[-1], "the shape is"),
    (lambda h, v, s: right(h, -v, s), "token by token"),
    (None, "nothing is here yet"),
    (..., "nothing is here yet"),
    (lambda *given: None, "nothing is here yet"),
    (lambda *given: ..., "nothing is here yet"),
)

test_unmoved_by_passes = right_test(
    lambda answer: unmoved_by(answer, 6, (1, 3)),
    [3, 4, 5],
    (5, 4, 3),
    {3, 4, 5},
    range(3, 6),
    says="in block 2 or earlier",
)

test_unmoved_by_mistakes = hint_test(
    lambda answer: unmoved_by(answer, 6, (1, 3)),
    (..., "nothing is here yet"),
    ([...], "nothing is here yet"),
    (3, "pass a list"),
    ([], "run from 0 to 5"),
    ([6], "run from 0 to 5"),
    ([3.5, 4, 5], "run from 0 to 5"),
    ([4, 5], "block 3 is missing"),
    ([5], "look for others"),
    ([1, 2, 3, 4, 5], "too late for block 1, but not for block 3"),
    ([0, 1], "moves the attention of block 1 "),
    ([3, 5], "1 more of the 6 blocks"),
)


STRENGTHS = [8, 0.5, 4, 0.25, 16]
SHARES = {8: 0.7, 0.5: 0.52, 4: 0.9, 0.25: 0.2, 16: 0.6}


def test_smallest_strength_passes(capsys: pytest.CaptureFixture[str]) -> None:
    smallest_strength(0.5, STRENGTHS, SHARES.__getitem__)
    assert "52%; the largest, 90%, takes λ = 4" in capsys.readouterr().out
    smallest_strength(16, STRENGTHS, lambda strength: 0.1)
    assert "None of these strengths gets there" in capsys.readouterr().out


test_smallest_strength_mistakes = hint_test(
    lambda answer: smallest_strength(answer, STRENGTHS, SHARES.__getitem__),
    (..., "nothing is here yet"),
    ([0.5, 8], "one finite number"),
    (1, "a place in the list"),
    (0.9, "a share of attention"),
    (3, "none of the strengths"),
    (0.25, "the share is 20%, not more than 50%"),
    (4, "a smaller one is enough"),
    (8, "not in order of strength"),
    (16, "not the smallest"),
)
