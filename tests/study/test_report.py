"""The benchmark's table: figures with intervals, differences and tests; as text, json and file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from steer_utils.sound.files import json_safe
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study import report as tables
from steer_utils.study.benchmark import SLOTS
from steer_utils.study.report import (
    check_table_target,
    differences,
    p_text,
    read_table,
    report_dict,
    report_json,
    report_text,
    significance,
    summary,
    write_table,
)

# -- summaries -------------------------------------------------------------------------------------------------------
NAMES = tuple(SOUNDS)[:3]
TOKENS = 60  # of 0.1 s: events at 0-2, 2-4 and 4-6 s


def drawn(method: str, place: int) -> dict[str, Any]:
    """The columns of curves: steering's stands on the true event, the others have none."""
    curve = None
    if method == "steering":
        curve = np.where(np.arange(TOKENS) // 20 == place, 1.0, 0.0).tolist()
    return {
        "truth_start": 2.0 * place,
        "truth_end": 2.0 * place + 2.0,
        "token_seconds": 0.1,
        "curve": curve,
        "auroc": None if curve is None else 1.0,
        "pointing": None if curve is None else True,
    }


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
                    {
                        "scene": scene,
                        "slot": slot,
                        "event": NAMES[place],
                        "method": method,
                        "overlap": overlap,
                        "iou": overlap / 2,
                        "chance": chance,
                        "failed": failed,
                        "unread": "ambiguous" if failed and scene < 5 else "no time" if failed else "",
                        "own": method == "steering",
                        "center_error": None if failed else 1.0 + place,
                        **drawn(method, place),
                    }
                )
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
    assert rows.loc["asking", "ambiguous"].tolist() == pytest.approx([1 / 12, 0.25, 0.0, 0.0])
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


# -- text, json and files --------------------------------------------------------------------------------------------
def curve_scores(method: str) -> dict[str, object]:
    """Curves for steering alone."""
    if method != "steering":
        return {"auroc": None, "pointing": None, "curve": None}
    return {"auroc": 0.9, "pointing": True, "curve": [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]}


def small_table(scenes: int = 4, methods: tuple[str, ...] = ("steering", "random")) -> pd.DataFrame:
    """A made-up run: steering overlaps by 0.6 to 0.8, random by half of that."""
    rows = [
        {
            "scene": scene,
            "slot": slot,
            "event": f"event {slot}",
            "source": "procedural",
            "method": method,
            "truth_start": 1.0,
            "truth_end": 2.0,
            "start": 1.1,
            "end": 2.1,
            "overlap": (0.6 + 0.2 * (scene % 2)) / (1 if method == "steering" else 2),
            "iou": 0.5,
            "chance": chance,
            "failed": method == "asking" and slot != "last",
            "answer": "at 2 s" if method == "asking" else "",
            "unread": {"first": "no time", "middle": "ambiguous", "last": ""}[slot] if method == "asking" else "",
            "others": [[4.0, 5.0]],
            "token_seconds": 0.5,
            "own": True,
            "center_error": 0.1,
            **curve_scores(method),
        }
        for scene in range(scenes)
        for slot, chance in zip(SLOTS, (0.2, 0.4, 0.2), strict=True)
        for method in methods
    ]
    made = pd.DataFrame(rows).astype({"auroc": float, "pointing": float})
    made.attrs = {
        "model": "tiny",
        "revision": "r",
        "methods": list(methods),
        "settings": {"strength": 1.0},
        "versions": {},
        "scenes": {"scenes": scenes, "seed": 7, "classes": ["bell", "siren"], "sounds": "12 recordings", "left_out": 5},
    }
    return made


def test_text_says_what_was_run_and_every_number() -> None:
    text = report_text(small_table(methods=("steering", "asking", "random")))
    assert "tiny: 4 scenes, 12 queries, seed 7, 12 recordings" in text
    assert "classes queried: bell, siren" in text
    assert "recordings left out because the model was trained on them: 5" in text
    assert (
        "asking when (direct prompting): a time was read in 4 of 12 answers; the others count as 0: "
        "4 no time, 4 ambiguous" in text
    )
    overlaps, after = text.split("steering minus")
    overlaps, curves = overlaps.split("curves, without a known width")
    assert curves.split("steering (ours)")[1].split()[:3] == ["0.90", "100.0", "%"] and "random" not in curves
    lines = {line.split("  ")[0]: line.split() for line in overlaps.splitlines() if line}
    assert lines["chance of that slot"][-4:] == ["26.7", "20.0", "40.0", "20.0"]
    assert "70.0" in lines["steering (ours)"] and "35.0" in lines["random window"]
    assert "+35.0 [" in after and "steering (ours)" not in after


def test_text_without_intervals_or_other_methods() -> None:
    text = report_text(small_table(scenes=1, methods=("random",)))
    assert "nan" not in text.lower() and "minus" not in text and "answers" not in text


def test_a_run_of_an_earlier_version_says_how_many_answers_were_read() -> None:
    earlier = small_table(methods=("steering", "asking")).drop(columns="unread")
    assert "a time was read in 4 of 12 answers; the others count as 0: 8 no time" in report_text(earlier)
    assert summary(earlier)["ambiguous"].isna().all()
    every = small_table(methods=("asking",)).assign(failed=False)
    assert "a time was read in 12 of 12 answers\n" in report_text(every) + "\n"


def test_json_is_strict_and_has_every_row() -> None:
    found = json.loads(report_json(small_table(scenes=1)), parse_constant=lambda name: pytest.fail(f"{name} in json"))
    assert found["model"] == "tiny" and found["settings"]["scenes"]["seed"] == 7
    assert [(row["method"], row["slot"]) for row in found["rows"]] == [
        (method, slot) for method in ("steering", "random") for slot in ("all", *SLOTS)
    ]
    assert found["rows"][0]["overlap"] == pytest.approx(0.6) and found["rows"][0]["low"] is None
    assert {"n", "low", "high", "chance"} <= set(found["rows"][0])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_files_hold_the_same_rows(tmp_path: Path, suffix: str) -> None:
    made, path = small_table(), tmp_path / f"a{suffix}"
    write_table(made, path)
    read = read_table(path) if suffix == ".parquet" else pd.read_csv(path)
    scalars = [name for name in made.columns if name not in ("others", "curve", "answer", "unread")]
    assert ("curve" in read) is (suffix == ".parquet")
    pd.testing.assert_frame_equal(read[scalars], made[scalars], check_dtype=False)
    if suffix == ".parquet":
        assert report_text(read) == report_text(made)
        assert read.attrs == made.attrs
        assert np.allclose(summary(read)["overlap"], summary(made)["overlap"])


def test_only_a_table_of_the_benchmark_is_read(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(other)
    with pytest.raises(ValueError, match="lacks methods, model, scenes, settings"):
        read_table(other)
    other.write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="cannot be read as a parquet table"):
        read_table(other)
    with pytest.raises(ValueError, match="there is no file"):
        read_table(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"no \.parquet; a csv has lost settings and curves"):
        read_table(tmp_path / "a.csv")


def test_p_values_are_no_surer_than_the_draws() -> None:
    assert [p_text(p) for p in (0.0001, 0.04, None, float("nan"))] == ["< 0.001", "0.040", "-", "-"]


def test_without_pyarrow_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'steer-utils\[tables\]'"):
        check_table_target(tmp_path / "a.parquet")
    check_table_target(tmp_path / "a.csv")
