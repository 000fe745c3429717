"""Checks of exercises that need a thought: right answers pass, and each known mistake gets its own hint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hints import hint_test, right_test

from steer_utils.course.checks.reasoning import CLAIMS, claims, control, flaws, honest_figure, specific
from steer_utils.lm.vectors import SteeringVector

TABLE = pd.DataFrame(  # lesson 07's, on 300 scenes
    {
        "steering": (0.958, 0.952, 0.962, 0.240),
        "prompting": (0.912, 0.906, 0.918, 0.240),
        "prompting-best": (0.953, 0.948, 0.958, 0.240),
        "negative": (0.000, 0.000, 0.001, 0.240),
        "random-vector": (0.257, 0.234, 0.282, 0.240),
    },
    index=["overlap", "low", "high", "chance"],
).T
VECTOR = SteeringVector(
    torch.randn(3, 200, generator=torch.Generator().manual_seed(0)), blocks=(0, 1, 2), hidden_norms=torch.ones(3)
)


test_the_flaws = right_test(
    lambda answer: flaws(answer, TABLE),
    ["B", "D"],
    ["d", "b"],
    "B, D",
    ("B", "D", "B"),
    says="Not from this table: B, D.",
)

test_mistakes_about_flaws = hint_test(
    lambda answer: flaws(answer, TABLE),
    (["B"], "one more"),
    ([], "2 more"),
    (["A", "B", "D"], "A does follow"),
    (["E"], "no claim E"),
    (7, "list of letters"),
    (None, "nothing is here yet"),
)


def test_the_table_decides_what_follows() -> None:
    """On another run other claims may fall: no letter is right by itself."""
    better = TABLE.copy()
    better.loc["random-vector", "low"] = 0.25
    better.loc["prompting-best", ["low", "high"]] = (0.92, 0.94)
    flaws([], better)
    assert len(claims().splitlines()) == len(CLAIMS) == 4


def half(vector: SteeringVector, seed: int) -> SteeringVector:
    mixed = vector.directions + vector.random_like(seed).directions
    return replace(vector, directions=mixed / mixed.norm(dim=1, keepdim=True) * vector.norms()[:, None])


def shuffled(vector: SteeringVector, seed: int) -> SteeringVector:
    order = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
    return replace(vector, directions=vector.directions[:, order])


test_a_control = right_test(
    lambda function: control(function, VECTOR), lambda vector, seed: vector.random_like(seed), shuffled
)

test_mistakes_about_a_control = hint_test(
    lambda function: control(function, VECTOR),
    (lambda vector, seed: 0 * vector, "cannot fail"),
    (lambda vector, seed: vector, "the vector itself"),
    (lambda vector, seed: -1 * vector, "backwards"),
    (lambda vector, seed: 2 * vector.random_like(seed), "norm differs"),
    (lambda vector, seed: vector.random_like(5), "two seeds"),
    (lambda vector, seed: vector.random_like(int(torch.randint(10**6, (1,)))), "another control each time"),
    (lambda vector, seed: (vector + vector.random_like(seed)).normalised(), "norm differs"),
    (half, "still points along the vector"),
    (lambda vector, seed: vector.directions, "return a SteeringVector"),
    (lambda vector, seed: 1 / 0, "ZeroDivisionError"),
    (None, "nothing is here yet"),
)


def test_the_honest_figure(capsys: pytest.CaptureFixture[str]) -> None:
    honest_figure("b", (5 / 3) / (95 / 93), 93.0, 95.0, 90.0)
    assert capsys.readouterr().out.startswith("Correct. As drawn in A one bar is 1.6 times too long")


test_mistakes_about_the_figure = hint_test(
    lambda choice, value: honest_figure(choice, value, 93.0, 95.0, 90.0),
    ("A", 1.63, "no intervals"),
    ("B", 5 / 3, "as drawn"),
    ("B", 95 / 93, "ratio of the numbers"),
    ("B", (95 / 93) / (5 / 3), "turned round"),
    ("B", 2.0, "divide (larger"),
    ("C", 1.0, "choose 'A' or 'B'"),
    ("B", None, "nothing is here yet"),
)


VECTORS = {name: np.arange(6.0) + place for place, name in enumerate(("bell", "dog", "rain"))}


def centred(vectors: Any) -> Any:
    mean = np.mean(list(vectors.values()), axis=0)
    return {name: vector - mean for name, vector in vectors.items()}


def others_out(vectors: Any) -> Any:
    return {
        name: vectors[name] - np.mean([vectors[other] for other in vectors if other != name], axis=0)
        for name in vectors
    }


def in_place(vectors: Any) -> Any:
    mean = np.mean(list(vectors.values()), axis=0)
    for vector in vectors.values():
        vector -= mean
    return vectors


test_what_is_specific = right_test(lambda function: specific(function, VECTORS), centred)

test_mistakes_about_what_is_specific = hint_test(
    lambda function: specific(function, VECTORS),
    (lambda vectors: vectors, "nothing was taken out"),
    (
        lambda vectors: {name: vector - vector.mean() for name, vector in vectors.items()},
        "each vector's own numbers",
    ),
    (others_out, "*other* sounds"),
    (in_place, "have changed"),
    (lambda vectors: list(vectors.values()), "a dictionary"),
    (lambda vectors: {name: 2 * vector for name, vector in vectors.items()}, "the mean of all"),
    (lambda vectors: {name: vector[:2] for name, vector in vectors.items()}, "shape"),
)
