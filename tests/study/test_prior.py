"""The positional prior: the mean of the other scenes' curves, and nothing of the own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from steer_utils.methods.base import Localisation
from steer_utils.sound.spans import Interval
from steer_utils.study.benchmark import positional_prior
from steer_utils.study.metrics import score_row

TOKENS = 40


def table(curves: dict[int, list[np.ndarray]]) -> pd.DataFrame:
    """By scene, one curve a query; tokens of 0.1 s, every query is 1.0-2.0 s."""
    rows = [
        score_row(
            {"scene": scene, "slot": "first", "event": f"event {place}", "source": "procedural", "truth_start": 1.0,
             "truth_end": 2.0, "others": [], "token_seconds": 0.1, "chance": 0.3},
            "steering", Localisation(Interval(1.0, 2.0), 0.0, curve),
        )
        for scene, own in curves.items()
        for place, curve in enumerate(own)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def peak(first: int) -> np.ndarray:
    curve = np.zeros(TOKENS)
    curve[first : first + 10] = 1.0
    return curve


def test_a_scene_is_not_among_its_own_others() -> None:
    rows = positional_prior(table({0: [peak(10), peak(10)], 1: [peak(25)], 2: [peak(25)]}))
    assert list(rows["method"]) == ["position"] * 4
    starts = dict(zip(zip(rows["scene"], rows["event"], strict=True), rows["start"], strict=True))
    assert starts[0, "event 0"] == starts[0, "event 1"] == pytest.approx(2.5)  # of scenes 1 and 2
    assert starts[1, "event 0"] == pytest.approx(1.0)  # two curves of scene 0 outweigh one of scene 2
    assert rows.loc[rows["scene"] == 1, "overlap"].tolist() == pytest.approx([1.0])


def test_it_equals_the_mean_of_the_other_curves() -> None:
    rng = np.random.default_rng(1)
    curves = {scene: [rng.random(TOKENS) for _ in range(3)] for scene in range(4)}
    rows = positional_prior(table(curves))
    for scene in curves:
        expected = np.mean([curve for other, own in curves.items() if other != scene for curve in own], axis=0)
        for found in rows.loc[rows["scene"] == scene, "curve"]:
            assert np.allclose(found, expected, rtol=1e-3)


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two scenes, got 1"):
        positional_prior(table({0: [peak(3)]}))
    with pytest.raises(ValueError, match=r"scenes of one length, these have \[30, 40\]"):
        positional_prior(table({0: [peak(3)], 1: [peak(3)[:30]]}))
