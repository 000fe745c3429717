"""Checks on steering: adding a vector and keeping the norm, which blocks matter, and how strong is strong enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from steer_utils.course.checks.answers import Wrong, answered, called, correct, judge, near, number, values

_same = partial(np.allclose, rtol=1e-4, atol=1e-4)

TOKENS, WIDTH = 4, 6
TRIED = (2.0, -0.5, 0.0)  # strengths that the function is called with


# -- exercise 1 ------------------------------------------------------------------------------------------------------
def norm_kept(function: Callable[[torch.Tensor, torch.Tensor, float], Any]) -> None:
    """`function(hidden (tokens, width), vector (width,), strength)` -> h + λ v, each token scaled back to its own norm.

    It is called with tokens of very different norms.
    """
    generator = torch.Generator().manual_seed(4)
    sizes = torch.tensor([0.5, 1.0, 5.0, 20.0])[:, None]
    states = torch.randn(TOKENS, WIDTH, generator=generator) * sizes
    vector = 3.0 * torch.randn(WIDTH, generator=generator)
    for strength in TRIED:
        hidden = states.clone()
        returned = called(function, hidden, vector.clone(), strength)
        if not torch.equal(hidden, states):
            raise Wrong(
                "`hidden` itself was changed: write `hidden = hidden + ...`, not `hidden += ...`; the model may still "
                "need the old states elsewhere"
            )
        _judge_norm(values(returned, (TOKENS, WIDTH)), states.numpy(), vector.numpy(), strength)
    correct("Each token turns towards the vector and stays as long as it was; at strength 0 nothing happens at all.")


def _judge_norm(given: np.ndarray, states: np.ndarray, vector: np.ndarray, strength: float) -> None:
    def norm(rows: np.ndarray) -> np.ndarray:
        return np.linalg.norm(rows, axis=-1, keepdims=True)

    moved = states + strength * vector
    unit = states + strength * vector / norm(vector)
    alone = states + vector
    mistakes = (
        (moved, "the vector is added, but the norm is not restored: multiply by ‖h‖ / ‖h'‖"),
        (moved * norm(moved) / norm(states), "the ratio is the wrong way round: multiply by ‖h‖ / ‖h'‖, old over new"),
        (
            moved * np.linalg.norm(states) / np.linalg.norm(moved),
            "one norm was taken over all tokens together; each token keeps its own: `.norm(dim=-1, keepdim=True)`",
        ),
        (moved / norm(moved), "each token now has length 1: multiply by its old norm ‖h‖ too"),
        (
            unit * norm(states) / norm(unit),
            "the vector was taken at length 1; λ counts in units of the measured difference, so leave v as it is",
        ),
        (alone * norm(states) / norm(alone), "the strength is not used: add strength * vector"),
        (states, f"nothing was added at strength {strength:g}"),
    )
    otherwise = f"not so at strength {strength:g}: first h' = h + λ v, then h' · ‖h‖ / ‖h'‖, token by token"
    judge(given, moved * norm(states) / norm(moved), mistakes, otherwise, same=_same)


# -- exercise 2 ------------------------------------------------------------------------------------------------------
def unmoved_by(answer: Any, num_blocks: int, watched: Sequence[int]) -> None:
    """All blocks that can be steered without any change of the attention in the `watched` blocks.

    Steering block l changes attention from block l + 1 on, so these are max(watched) ... num_blocks - 1.
    """
    chosen = _blocks(answer, num_blocks)
    last, first = max(watched), min(watched)
    expected = set(range(last, num_blocks))
    if chosen == expected:
        return correct(
            f"Attention in block {last} is computed before block {last} has an output, so even that one comes too "
            f"late. Steering must start before the blocks that listen: here in block {last - 1} or earlier."
        )
    if chosen == expected - {last} and chosen:
        raise Wrong(
            f"block {last} is missing: a block's attention is computed before its output, and the output is what is "
            "steered"
        )
    if chosen == {num_blocks - 1}:
        raise Wrong("the last block moves no attention at all, right; but look for others that only move later blocks")
    if first < last and chosen == set(range(first, num_blocks)):
        raise Wrong(f"steering block {first} is too late for block {first}, but not for block {last}: both are watched")
    if moving := sorted(chosen - expected):
        raise Wrong(f"steering block {moving[0]} moves the attention of block {moving[0] + 1} and of every later one")
    missing = sorted(expected - chosen)
    raise Wrong(f"{len(missing)} more of the {num_blocks} blocks leave it as it is; the matrix above shows which")


def _blocks(answer: Any, num_blocks: int) -> set[int]:
    try:
        given = list(answered(answer))
    except TypeError:
        raise Wrong("pass a list of block numbers, such as [0, 1]") from None
    exact = {number(block) for block in given}
    numbers = {int(block) for block in exact}
    if not numbers or not exact <= set(range(num_blocks)):
        raise Wrong(f"block numbers run from 0 to {num_blocks - 1}; got {given}")
    return numbers


# -- exercise 3 ------------------------------------------------------------------------------------------------------
def smallest_strength(
    answer: Any, strengths: Sequence[float], share_at: Callable[[float], float], level: float = 0.5
) -> None:
    """The smallest of `strengths` at which `share_at` is above `level`.

    Where none is, any number counts, and the check says so.
    """
    shares = {float(strength): float(share_at(strength)) for strength in strengths}
    enough = [strength for strength, share in shares.items() if share > level]
    given = number(answer)
    most = max(shares, key=lambda strength: shares[strength])
    if not enough:
        return correct(f"None of these strengths gets there: the share is at most {shares[most]:.0%}, at λ = {most:g}.")
    right = min(enough)
    if near(given, right):
        best = f"the largest, {shares[most]:.0%}, takes λ = {most:g}"
        return correct(f"At λ = {right:g} the share is {shares[right]:.0%}; {best}.")
    if given not in shares:
        if any(near(given, share, 1e-3) for share in shares.values()):
            raise Wrong("that is a share of attention; the question is at which strength it is reached")
        if given == list(strengths).index(right):
            raise Wrong("that is a place in the list; give the strength that stands there")
        raise Wrong(f"{given:g} is none of the strengths {', '.join(f'{strength:g}' for strength in strengths)}")
    if shares[given] <= level:
        raise Wrong(f"at λ = {given:g} the share is {shares[given]:.0%}, not more than {level:.0%}")
    if given == most:
        raise Wrong("that strength has the largest share; a smaller one is enough")
    if given == next(strength for strength in shares if strength in enough):
        raise Wrong("that is the first one in the list that is enough; the list is not in order of strength")
    raise Wrong(f"λ = {given:g} is enough, but not the smallest that is")
