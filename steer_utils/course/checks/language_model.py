"""Checks on a real language model: heads that share keys, which comparison is fair, and the area under a ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from steer_utils.course.checks.answers import Wrong, answered, called, correct, judge, number, refuse, values

#: Invented claims "steering beats prompting by so many points": what question and blocks of each were chosen on, and
#: the difference with its 95 % interval.
CLAIMS = pd.DataFrame(
    [
        ("A", "development", "development", 9.0, 4.0, 14.0),
        ("B", "development", "fixed", 38.0, 33.0, 43.0),
        ("C", "test", "development", 12.0, 7.0, 17.0),
        ("D", "development", "development", 1.5, -0.5, 3.5),
        ("E", "development", "development", 3.0, 1.0, 5.0),
        ("F", "test", "test", 21.0, 15.0, 27.0),
    ],
    columns=["claim", "chosen_steering", "chosen_prompting", "difference", "low", "high"],
)


def claims() -> pd.DataFrame:
    """The invented claims of exercise 10.2; a copy."""
    return CLAIMS.copy()


def row_weights(answer: Any) -> None:
    """A function (q, k) -> attention weights of one query token, (heads, tokens), with grouped keys."""
    generator = torch.Generator().manual_seed(3)
    for heads, key_heads, tokens, dim in ((9, 3, 7, 8), (8, 2, 5, 16), (4, 4, 6, 8)):
        q = torch.randn(heads, dim, generator=generator)
        k = torch.randn(key_heads, tokens, dim, generator=generator)
        given = values(called(answer, q.clone(), k.clone()), (heads, tokens))
        group = heads // key_heads
        scores = torch.einsum("hd,htd->ht", q, k.repeat_interleave(group, dim=0))
        expected = _softmax(scores / dim**0.5)
        if np.allclose(given, expected, atol=1e-5):
            continue
        tiled = torch.einsum("hd,htd->ht", q, k.repeat(group, 1, 1))
        mistakes = (
            (_softmax(tiled / dim**0.5), "neighbouring heads share their keys: 0, 0, 0, 1, 1, 1; not 0, 1, 2, 0, 1, 2"),
            (_softmax(scores), "divide the products by √dim before the softmax"),
            (_softmax(scores / dim), "divide by √dim, not by dim"),
            ((scores / dim**0.5).numpy(), "these are the scores; the weights are their softmax over tokens"),
        )
        refuse(given, mistakes, same=lambda one, other: np.allclose(one, other, atol=1e-5))
        if not np.allclose(given.sum(axis=1), 1, atol=1e-4):
            raise Wrong("each head's weights must sum to 1 over the tokens: softmax over the last axis")
        raise Wrong("these are weights, but not of each head with the keys of its own group")
    correct("A third of the keys is kept for the same number of heads: that is what makes long audio affordable.")


def _softmax(scores: torch.Tensor) -> np.ndarray:
    return scores.softmax(dim=-1).numpy()


def holding(answer: Any, table: pd.DataFrame) -> None:
    """The claims of `table` (`claims`) that hold: chosen with equal care, and an interval above zero."""
    if isinstance(answered(answer), str) or not isinstance(answer, (list, tuple, set)):
        raise Wrong('pass a list of names, such as ["A", "C"]')
    given, names = {str(name) for name in answer}, set(table["claim"])
    if unknown := sorted(given - names):
        raise Wrong(f"there is no claim {unknown[0]!r}; there are {', '.join(table['claim'])}")
    steering, prompting = (table[f"chosen_{side}"] for side in ("steering", "prompting"))
    above = table["low"] > 0
    development = steering.eq("development") & prompting.eq("development")

    def where(wanted: pd.Series) -> set[str]:
        return set(table.loc[wanted, "claim"])

    mistakes = (
        (where(above), "an interval above zero is not enough: see what question and blocks were chosen on"),
        (where(development), "one of these has an interval that holds zero"),
        (where(above & steering.eq("development")), "prompting that was given no choice is not prompting at its best"),
        (where(above & steering.eq(prompting)), "chosen with equal care, but one pair on the very scenes of the test"),
        (where(table["difference"].eq(table["difference"].max())), "the largest difference is the least fair one"),
    )
    same = where(development & above)
    if given != same:
        refuse(given, mistakes, same=lambda one, other: one == other)
        missed, extra = sorted(same - given), sorted(given - same)
        raise Wrong(f"{missed[0]} is missing" if missed else f"{extra[0]} does not hold: look at its three columns")
    correct("The largest difference of the table is not among them: it was made by not letting prompting choose.")


def roc_area(answer: Any) -> None:
    """A function (there, absent) -> share of pairs in the right order, a tie counting half."""
    rng = np.random.default_rng(8)
    for count, other in ((40, 25), (12, 30)):
        there = rng.normal(1.0, 1.0, count).round(1)  # rounded, so that some are equal
        absent = rng.normal(0.0, 1.0, other).round(1)
        pairs = there[:, None] - absent[None, :]
        expected = float(((pairs > 0) + 0.5 * (pairs == 0)).mean())
        threshold = float(np.concatenate([there > 0, absent <= 0]).mean())
        mistakes = (
            (1 - expected, "that is the chance of the wrong order: swap the two"),
            ((pairs > 0).mean(), "equal values count half: they say nothing either way"),
            ((pairs >= 0).mean(), "equal values count half: they say nothing either way"),
            (threshold, "that is how often a threshold of 0 is right; no threshold is asked for"),
            (
                there.mean() - absent.mean(),
                "that is a difference of means; the question is how many pairs are in order",
            ),
        )
        otherwise = "compare every value of `there` with every one of `absent`, and take the mean"
        judge(number(called(answer, there, absent)), expected, mistakes, otherwise)
    correct("0.5 cannot tell, 1 always can, and no threshold had to be chosen.")
