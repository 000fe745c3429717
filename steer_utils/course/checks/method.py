"""Checks of the method in forty lines: turning by position, and which ways to a share are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from steer_utils.course.checks.answers import Wrong, answered, called, correct, judge, values

_close = partial(np.allclose, atol=1e-5)

Turn = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any]
TOKENS, WIDTH = 5, 6


# -- RoPE ------------------------------------------------------------------------------------------------------------
def turn(function: Turn) -> None:
    """`function(x, cos, sin)`, all (tokens, width): channel i and channel i + width/2 turned together, as Qwen2 does.

    Tried on random numbers and angles.
    """
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(TOKENS, WIDTH, generator=generator)
    angles = torch.arange(TOKENS)[:, None] * torch.tensor([1.0, 0.3, 0.05]).repeat(2)
    cos, sin = angles.cos(), angles.sin()
    given = values(called(function, x.clone(), cos, sin), x.shape)
    first, second = x.chunk(2, dim=-1)
    swapped = torch.stack([-x[:, 1::2], x[:, 0::2]], dim=-1).flatten(1)  # neighbours as pairs, as other models do
    mistakes = (
        (x, "nothing is turned: the answer is x itself"),
        (x * cos, "that is half of it: what turns into a channel from its partner, times sin, is missing"),
        (
            x * cos - torch.cat([-second, first], -1) * sin,
            "it turns the other way: the first half gets -second, times sin",
        ),
        (
            x * cos + torch.cat([second, first], -1) * sin,
            "a turn keeps lengths, this does not: the first half gets *minus* the second",
        ),
        (x * cos + swapped * sin, "neighbours are paired here; Qwen2 pairs channel i with channel i + width/2"),
        (
            x * sin + torch.cat([-second, first], -1) * cos,
            "cos and sin have changed places: at position 0 nothing may turn",
        ),
    )
    expected = x * cos + torch.cat([-second, first], dim=-1) * sin
    otherwise = "x times cos, plus the partners (minus the second half, then the first) times sin"
    judge(given, expected.numpy(), [(wrong.numpy(), hint) for wrong, hint in mistakes], otherwise, same=_close)
    one, other = (called(function, x[:2], cos[at : at + 2], sin[at : at + 2]) for at in (0, 3))
    at_start, later = (float(pair[0] @ pair[1]) for pair in (one, other))
    correct(f"Two neighbours have the product {at_start:.2f} at the start, and {later:.2f} three positions later.")


# -- ways to a share -------------------------------------------------------------------------------------------------
def same_share(answer: Iterable[str], shares: Mapping[str, torch.Tensor]) -> None:
    """Whether `answer` names all of `shares` (name -> (heads, tokens)) that equal the first of them, and no other."""
    names = list(shares)
    reference = shares[names[0]]
    equal = {name for name in names[1:] if torch.allclose(shares[name], reference, atol=1e-5)}
    given = answered(answer)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise Wrong("pass a list of names, such as ['cut first']")
    chosen = set(given)
    if unknown := sorted(chosen - set(names)):
        raise Wrong(f"{unknown[0]!r} is none of them; they are called {', '.join(names[1:])}")
    chosen.discard(names[0])
    if chosen == equal:
        return correct(
            f"{', '.join(sorted(equal))}: a softmax over some slots is that over all, cut out and divided by its sum.\n"
            "What it cannot tell is the sum, the mass."
        )
    if too_many := sorted(chosen - equal):
        gap = float((shares[too_many[0]] - reference).abs().max())
        raise Wrong(f"{too_many[0]!r} differs, by up to {gap:.2f} of the share: compare with torch.allclose")
    raise Wrong(f"{len(equal - chosen)} more: compare each with the first one")
