"""Titles of overlap by method: what stands beside steering, and a difference only beyond intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from steer_utils.show.plots.overlap_titles import overlap_title, slot_title


def table(mavs: float, wide: float = 0.02, chance: float = 0.28) -> pd.DataFrame:
    rows = pd.DataFrame({"method": ["steering", "mavs"], "overlap": [0.7, mavs], "chance": chance})
    return rows.assign(low=rows["overlap"] - wide, high=rows["overlap"] + wide)


@pytest.mark.parametrize(
    ("mavs", "wide", "level"),
    [(0.5, 0.02, "above"), (0.68, 0.02, "about level with"), (0.9, 0.02, "below"), (0.5, np.nan, "beside")],
)
def test_steering_stands_beside_the_best_of_the_others(mavs: float, wide: float, level: str) -> None:
    assert overlap_title({"a": table(mavs, wide)}) == (
        f"Steering finds 70 %, {level} MAVS, {100 * mavs:.0f} %; chance 28 %"
    )


def test_without_steering_the_best_is_named_and_of_several_models_each() -> None:
    assert overlap_title({"a": table(0.5)[1:]}) == "MAVS finds 50 %; chance 28 %"
    assert overlap_title({"a": table(0.5), "b": table(0.9)}) == (
        "Steering finds 70 % in a and 70 % in b; above the best of the others in 1 of 2"
    )
    assert overlap_title(dict.fromkeys("abcd", table(0.5, np.nan))) == "Steering finds 70 % in 4 models"


def test_what_finds_less_than_chance_in_a_place_is_said() -> None:
    slots = {"first": table(0.5), "middle": table(0.3, chance=0.42), "last": table(0.5)}
    assert slot_title(slots) == "Steering finds 70 % at all places, about level; MAVS less than chance in the middle"
    assert slot_title({"first": table(0.5)[:1], "last": table(0.5)[1:]}) == "Overlap at 2 places in a scene"
