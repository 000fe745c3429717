"""The checks in `benchmarks`: right answers pass, blanks are refused, each known mistake gets its own hint."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import pytest
from hints import hint_test

from steer_utils.course.checks import benchmarks
from steer_utils.course.checks.benchmarks import Proposed
from steer_utils.study.statistics import cluster_mean

PROPOSED = [
    ("4-1000-A.ogg", "dog bark"),  # new
    ("4-2000-A.ogg", "siren"),  # a class the settings were chosen on
    ("1-3000-A.ogg", "rain"),  # heard, same name
    ("1-4000-A-10.wav", "rain"),  # heard, as ESC-50 calls it
    ("1-4000-B-10.wav", "rain"),  # another take of the same clip
]
TRAINED = {"1-3000-A.ogg", "1-4000-A.ogg"}
DEVELOPMENT = ("siren", "drum")


def plain(file: str) -> str:
    return "-".join(re.split(r"[-.]", file)[:3])


def right_leaks(proposed: Proposed, trained: Collection[str], development: Collection[str]) -> list[str]:
    heard = {plain(file) for file in trained}
    return [file for file, name in proposed if name in development or plain(file) in heard]


def test_leaks_right(capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks.leaks(right_leaks, PROPOSED, TRAINED, DEVELOPMENT)
    assert "3 of 5 must go: 1 by class, 2 as recordings" in capsys.readouterr().out


test_leaks_wrong = hint_test(
    lambda found: benchmarks.leaks(lambda *_: found, PROPOSED, TRAINED, DEVELOPMENT),
    (None, "nothing is here yet"),
    ([], "nothing was found"),
    (["4-2000-A.ogg"], "by class only"),
    (["4-2000-A.ogg", "1-3000-A.ogg"], "another file name"),
    (["1-3000-A.ogg", "1-4000-A-10.wav"], "a class on which the settings were chosen"),
    (["4-2000-A.ogg", "1-3000-A.ogg", "1-4000-A-10.wav", "1-4000-B-10.wav"], "another take"),
    ([file for file, _ in PROPOSED if file != "1-4000-B-10.wav"], "1 too many and 0 too few"),
    (["siren"], "is a class"),
    (["x.wav"], "no file of the proposal"),
    (3, "a list or a set"),
)


def overlaps() -> tuple[np.ndarray, np.ndarray]:
    """Ten scenes in which one of three queries is hit, and no two."""
    rng = np.random.default_rng(3)
    return np.concatenate([rng.permutation([1.0, 0.0, 0.1]) for _ in range(10)]), np.repeat(np.arange(10), 3)


def ratio(values: np.ndarray, scenes: np.ndarray) -> float:
    return cluster_mean(values, scenes, seed=5).half_width / cluster_mean(values, np.arange(len(values))).half_width


def test_width_ratio_right(capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks.width_ratio(ratio, *overlaps())
    assert "too wide, because queries compete" in capsys.readouterr().out
    rng = np.random.default_rng(0)
    benchmarks.width_ratio(ratio, np.repeat(rng.uniform(size=12), 2), np.repeat(np.arange(12), 2))
    assert "too narrow, because queries stand" in capsys.readouterr().out


test_width_ratio_wrong = hint_test(
    lambda answer: benchmarks.width_ratio(answer, *overlaps()),
    (lambda values, scenes: None, "nothing is here yet"),
    (lambda values, scenes: 1 / ratio(values, scenes), "upside down"),
    (lambda values, scenes: 1.0, "no difference"),
    (lambda values, scenes: ratio(values, scenes) ** 2, "variances"),
    (lambda values, scenes: 9.0, r"not 9\.0"),
    (lambda values, scenes: 3**0.5, "as they are given"),
)


def test_scenes_needed_right(capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks.scenes_needed(10, comparisons=16)
    assert capsys.readouterr().out == "Correct. With 10 scenes the smallest adjusted p is 0.03; with 9 it is 0.06.\n"
    benchmarks.scenes_needed(6, comparisons=1)


test_scenes_needed_wrong = hint_test(
    lambda answer: benchmarks.scenes_needed(answer, comparisons=16),
    (..., "nothing is here yet"),
    (6, "for one comparison"),
    (9, "one too few: .* Either you stopped one early, or the 2 is missing"),
    (5, "two-sided"),
    (11, "one off"),
    (200, "patterns"),
    ("ten", "must be a number"),
)


P_VALUES = {"a": 0.02, "b": 0.04, "c": 0.03, "d": 0.005}


def test_holm_right(capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks.holm([0.06, 0.06, 0.06, 0.02], P_VALUES)
    assert "Below 0.05 were 4 of 4; Bonferroni leaves 1, Holm 1." in capsys.readouterr().out


test_holm_wrong = hint_test(
    lambda answer: benchmarks.holm(answer, P_VALUES),
    (..., "nothing is here yet"),
    ([0.02, 0.04, 0.03, 0.005], "none is adjusted"),
    ([0.08, 0.16, 0.12, 0.02], "Bonferroni"),
    ([0.06, 0.04, 0.06, 0.02], "running maximum"),
    ([0.04, 0.04, 0.04, 0.02], "Benjamini-Hochberg"),
    ([0.02, 0.06, 0.06, 0.06], "order of the names"),
    ([0.5, 0.5, 0.5, 0.5], "sort the p values"),
    ([0.06, 0.06], "shape"),
)
