"""Checks of exercises that need a thought: find the flaw, design a control, choose a figure, explain a surprise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pandas import DataFrame

from steer_utils.course.checks.answers import Wrong, answered, called, correct, judge, number, values
from steer_utils.lm.vectors import SteeringVector

#: What a report says of the table of methods, and when it follows from it. A row: overlap, low, high, chance (0..1).
CLAIMS: dict[str, tuple[str, Callable[[DataFrame], bool]]] = {
    "A": (
        "Steering finds more of the event than prompting before the same question.",
        lambda table: table.loc["steering", "low"] > table.loc["prompting", "high"],
    ),
    "B": (
        "Steering finds more of the event than prompting before its best question.",
        lambda table: table.loc["steering", "low"] > table.loc["prompting-best", "high"],
    ),
    "C": (
        "Steered backwards, the window lies off the event more often than a random one.",
        lambda table: table.loc["negative", "high"] < table.loc["negative", "chance"],
    ),
    "D": (
        "A random vector finds more of the event than a random window.",
        lambda table: table.loc["random-vector", "low"] > table.loc["random-vector", "chance"],
    ),
}


def claims() -> str:
    """The four sentences of the report, one a line."""
    return "\n".join(f"{letter}  {sentence}" for letter, (sentence, _) in CLAIMS.items())


def flaws(answer: Any, table: DataFrame) -> None:
    """Are the letters in `answer` those of the claims that do not follow from the table?"""
    given = answered(answer)
    if isinstance(given, str):
        given = given.replace(",", " ").split() if len(given) > 1 else [given]
    try:
        letters = {str(letter).strip().upper() for letter in given}
    except TypeError:
        raise Wrong(f"give a list of letters such as ['A'], not {type(given).__name__}") from None
    if not letters <= set(CLAIMS):
        raise Wrong(f"there is no claim {', '.join(sorted(letters - set(CLAIMS)))}; the letters are A, B, C and D")
    expected = {letter for letter, (_, follows) in CLAIMS.items() if not follows(table)}
    if letters == expected:
        said = ", ".join(sorted(expected)) or "none"
        return correct(f"Not from this table: {said}. What looks like a difference must survive its interval.")
    if wrongly := sorted(letters - expected):
        raise Wrong(f"{wrongly[0]} does follow: the intervals of what it compares do not meet")
    missed = len(expected - letters)
    more = "is one more" if missed == 1 else f"are {missed} more"
    raise Wrong(f"there {more} that the table does not show: the mean looks right, the interval says otherwise")


def control(function: Callable[[SteeringVector, int], Any], vector: SteeringVector) -> None:
    """Is `function(vector, seed)` a control that could fail: of the vector's norms, and of another direction?"""
    made = [called(function, vector, seed) for seed in (1, 2, 1)]
    if not all(isinstance(one, SteeringVector) for one in made):
        raise Wrong(f"return a SteeringVector (vector.random_like makes one), not {type(made[0]).__name__}")
    first, second, again = (one.directions.float() for one in made)
    own = vector.directions.float()
    if first.shape != own.shape:
        raise Wrong(f"the control has shape {tuple(first.shape)}, the vector {tuple(own.shape)}: keep the blocks")
    norms = first.norm(dim=1)
    if float(norms.max()) == 0:
        raise Wrong("a vector of norm 0 moves nothing, whatever is true: it cannot fail, so it controls nothing")
    if not torch.allclose(norms, own.norm(dim=1), rtol=1e-3):
        raise Wrong(
            "its norm differs from the vector's in some block: then a weaker effect might only be a weaker push"
        )
    cosine = torch.nn.functional.cosine_similarity(first, own, dim=1)
    acting = own.norm(dim=1) > 0
    if float(cosine[acting].min()) > 0.99:
        raise Wrong("that is the vector itself: it would do the same, and show nothing")
    if float(cosine[acting].max()) < -0.99:
        raise Wrong("that is the vector backwards: a good control of the sign, but its direction is not another one")
    along = float(cosine[acting].abs().max())
    if along > 6 / own.shape[1] ** 0.5:  # six standard deviations of random directions
        raise Wrong(f"it still points along the vector (cosine {along:.2f}): a part of the effect is left in it")
    if torch.equal(first, second):
        raise Wrong("two seeds give the same control: one draw may be special, and you could not try another")
    if not torch.equal(first, again):
        raise Wrong("the same seed gives another control each time: nobody could repeat your result")
    correct("The vector's norms, another direction. If it moved attention as far, the direction would explain nothing.")


def honest_figure(choice: Any, exaggeration: Any, first: float, second: float, start: float) -> None:
    """Is B chosen, and `exaggeration` by how much the bars that begin at `start` overstate first : second?"""
    letter = str(answered(choice)).strip().upper()
    given = number(exaggeration)
    if letter not in ("A", "B"):
        raise Wrong(f"choose 'A' or 'B', not {choice!r}")
    if letter == "A":
        raise Wrong("A shows no intervals, and its bars begin high up: the eye compares lengths that mean nothing")
    drawn, real = max(first, second) - start, max(first, second)
    other = min(first, second)
    expected = (drawn / (other - start)) / (real / other)
    mistakes = (
        (drawn / (other - start), "that is the ratio of the bars as drawn; divide it by the ratio of the two numbers"),
        (real / other, "that is the ratio of the numbers; the bars as drawn have another one"),
        (1 / expected, "turned round: as drawn over as it is, so that a value above 1 is an exaggeration"),
    )
    judge(given, expected, mistakes, "divide (larger - start) / (smaller - start) by larger / smaller", 1e-3)
    correct(
        f"As drawn in A one bar is {given:.2g} times too long against the other. B has the intervals, and they overlap."
    )


def specific(function: Callable[[Mapping[str, np.ndarray]], Any], vectors: Mapping[str, np.ndarray]) -> None:
    """Does `function(vectors)` take out of each vector what is common to all: their mean?"""
    names = list(vectors)
    width = len(vectors[names[0]])
    rng = np.random.default_rng(0)
    parts = {name: rng.normal(size=width) for name in names}
    common = 10 * rng.normal(size=width)
    trial = {name: parts[name] + common for name in names}
    before = {name: vector.copy() for name, vector in trial.items()}
    given = called(function, trial)
    if not isinstance(given, Mapping) or set(given) != set(names):
        raise Wrong("return a dictionary with the same names, each with its vector")
    if any(not np.array_equal(trial[name], before[name]) for name in names):
        raise Wrong("the vectors that were passed in have changed: subtract into new arrays (not -=)")
    got = np.stack([values(given[name], (width,)) for name in names])
    wanted = np.stack([trial[name] for name in names])
    if np.allclose(got, wanted - wanted.mean(axis=0)):
        return correct("What every vector says, 'one sound is asked for', is gone. Look at the cosines again.")
    if np.allclose(got, wanted):
        raise Wrong("nothing was taken out")
    if np.allclose(got, wanted - wanted.mean(axis=1, keepdims=True)):
        raise Wrong("that is the mean of each vector's own numbers; what is common is the mean over the *sounds*")
    rest = [np.mean([trial[other] for other in names if other != name], axis=0) for name in names]
    if np.allclose(got, wanted - np.stack(rest)):
        raise Wrong("that is the mean of the *other* sounds, another one for each; use one mean for all")
    raise Wrong("subtract from each vector the mean of all of them")
