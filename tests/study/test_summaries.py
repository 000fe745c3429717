"""Summaries: figures by method and slot, paired differences, tests, and the report as one json object."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from steer_utils.sound.files import json_safe
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study.report import differences, report_dict, significance, summary

NAMES = tuple(SOUNDS)[:3]
TOKENS = 60  # of 0.1 s: events at 0-2, 2-4 and 4-6 s


def drawn(method: str, place: int) -> dict[str, Any]:
    """The columns of curves: steering's stands on the true event, the others have none."""
    curve = None
    if method == "steering":
        curve = np.where(np.arange(TOKENS) // 20 == place, 1.0, 0.0).tolist()
    return {"truth_start": 2.0 * place, "truth_end": 2.0 * place + 2.0, "token_seconds": 0.1, "curve": curve,
            "auroc": None if curve is None else 1.0, "pointing": None if curve is None else True}  # fmt: skip


@pytest.fixture
def table() -> pd.DataFrame:
    """Twenty scenes: steering overlaps 0.8, 0.6, 0.4 by slot, random as chance says, asking fails in the first slot."""
    rows = []
    for scene in range(20):
        for place, slot in enumerate(("first", "middle", "last")):
            chance = (0.2, 0.4, 0.2)[place]
            for method, overlap in (("random", chance), ("steering", 0.8 - 0.2 * place), ("asking", 0.3 * place)):
                failed = method == "asking" and place == 0
                rows.append(
                    {"scene": scene, "slot": slot, "event": NAMES[place], "method": method, "overlap": overlap,
                     "iou": overlap / 2, "chance": chance, "failed": failed, "own": method == "steering",
                     "center_error": None if failed else 1.0 + place, **drawn(method, place)}
                )  # fmt: skip
    made = pd.DataFrame(rows)
    made.attrs = {"model": "m", "revision": "r", "settings": {"strength": 1.0}, "scenes": {"seed": 0}, "versions": {}}
    return made


def test_summary_by_method_and_slot(table: pd.DataFrame) -> None:
    rows = summary(table).set_index(["method", "slot"])
    assert list(rows.index) == [
        (m, s) for m in ("steering", "asking", "random") for s in ("all", "first", "middle", "last")
    ]
    assert rows.loc[("steering", "all"), ["overlap", "low", "high"]].tolist() == pytest.approx([0.6] * 3)
    assert rows.loc[("steering", "middle"), "overlap"] == pytest.approx(0.6)
    assert rows.loc[("steering", "all"), "chance"] == pytest.approx(0.8 / 3)
    assert rows["n"].tolist() == [60, 20, 20, 20] * 3
    assert rows.loc["random", "corrected"].tolist() == pytest.approx([0.0] * 4)
    assert rows.loc[("steering", "middle"), "corrected"] == pytest.approx((0.6 - 0.4) / 0.6)
    assert rows.loc["asking", "failed"].tolist() == pytest.approx([1 / 3, 1.0, 0.0, 0.0])
    assert rows.loc[("steering", "last"), "iou"] == pytest.approx(0.2)


def test_differences_are_paired_by_query(table: pd.DataFrame) -> None:
    gaps = differences(table.sample(frac=1, random_state=0))
    assert list(gaps) == ["asking", "random"]
    assert gaps["random"].mean == pytest.approx(0.6 - 0.8 / 3)
    assert (gaps["random"].n, gaps["random"].clusters) == (60, 20)
    same = table[table["method"] == "steering"]
    twin = pd.concat([same, same.assign(method="random")])
    assert differences(twin)["random"].mean == differences(twin)["random"].high == 0.0
    with pytest.raises(ValueError, match="no rows of 'steering'; it has: random"):
        differences(table[table["method"] == "random"])
    with pytest.raises(ValueError, match="finite"):
        differences(table.drop(index=1))  # a query that steering lacks


def test_the_report_is_one_json_object(table: pd.DataFrame) -> None:
    made = json.loads(json.dumps(report_dict(table), allow_nan=False))
    assert (made["model"], made["settings"]["strength"], made["settings"]["scenes"]) == ("m", 1.0, {"seed": 0})
    assert len(made["rows"]) == 12
    first = made["rows"][0]
    assert {"method", "slot", "n", "overlap", "low", "high", "chance"} <= set(first)
    assert (first["method"], first["slot"], first["n"]) == ("steering", "all", 60)
    assert made["steering_minus"]["random"]["mean"] == pytest.approx(1 / 3)
    assert report_dict(table[table["method"] == "random"])["steering_minus"] == {}


def test_summary_of_what_needs_no_width(table: pd.DataFrame) -> None:
    rows = summary(table).set_index(["method", "slot"])
    assert rows.loc[("steering", "all"), ["auroc", "pointing", "own"]].tolist() == [1.0, 1.0, 1.0]
    assert np.isnan(rows.loc[("random", "all"), "auroc"]) and np.isnan(rows.loc[("random", "all"), "pointing"])
    assert rows.loc["asking", "center_error"].tolist()[2:] == [2.0, 3.0]
    assert np.isnan(rows.loc[("asking", "first"), "center_error"])  # it named no time there
    assert rows.loc[("steering", "all"), ["recall_0.3", "recall_0.5", "recall_0.7"]].tolist() == pytest.approx(
        [2 / 3, 0, 0]
    )


def test_two_tests_a_method(table: pd.DataFrame) -> None:
    rows = significance(table).set_index("method")
    assert list(rows.index) == ["steering", "asking", "random"]
    assert rows.loc["steering", "p_null"] < 0.001 and 0.2 < rows.loc["steering", "null_mean"] < 0.5
    assert np.isnan(rows.loc["random", "p_null"])  # no curves
    assert np.isnan(rows.loc["steering", "p_flip"])
    assert (rows.loc[["asking", "random"], "p_flip"] < 0.001).all()
    assert (rows.loc[["asking", "random"], "p_holm"] >= rows.loc[["asking", "random"], "p_flip"]).all()
    alone = significance(table[table["method"] == "random"])
    assert json_safe(alone.to_dict("records")) == [
        {"method": "random", "null_mean": None, "p_null": None, "p_flip": None, "p_holm": None}
    ]
