"""The benchmark's table as text, json and file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steer_utils import tables
from steer_utils.benchmark import SLOTS, summary
from steer_utils.tables import aligned, check_table_target, report_json, report_text, write_table


def table(scenes: int = 4, methods: tuple[str, ...] = ("steering", "random")) -> pd.DataFrame:
    """A made-up run: steering overlaps by 0.6 to 0.8, random by half of that."""
    rows = [
        {
            "scene": scene, "slot": slot, "event": f"event {slot}", "source": "procedural", "method": method,
            "truth_start": 1.0, "truth_end": 2.0, "start": 1.1, "end": 2.1,
            "overlap": (0.6 + 0.2 * (scene % 2)) / (1 if method == "steering" else 2), "iou": 0.5,
            "chance": chance, "failed": method == "asking", "answer": "",
        }
        for scene in range(scenes)
        for slot, chance in zip(SLOTS, (0.2, 0.4, 0.2), strict=True)
        for method in methods
    ]  # fmt: skip
    made = pd.DataFrame(rows)
    made.attrs = {
        "model": "tiny", "revision": "r", "methods": list(methods), "settings": {"strength": 1.0}, "versions": {},
        "scenes": {"scenes": scenes, "seed": 7, "classes": ["bell", "siren"], "sounds": "12 recordings",
                   "left_out": 5},
    }  # fmt: skip
    return made


def test_text_says_what_was_run_and_every_number() -> None:
    text = report_text(table(methods=("steering", "asking", "random")))
    assert "tiny: 4 scenes, 12 queries, seed 7, 12 recordings" in text
    assert "classes queried: bell, siren" in text
    assert "recordings left out because the model was trained on them: 5" in text
    assert "100 % of the answers name no time" in text
    overlaps, after = text.split("steering minus")
    lines = {line.split("  ")[0]: line.split() for line in overlaps.splitlines() if line}
    assert lines["chance of that slot"][-4:] == ["26.7", "20.0", "40.0", "20.0"]
    assert "70.0" in lines["steering (ours)"] and "35.0" in lines["random window"]
    assert "+35.0 [" in after and "steering (ours)" not in after


def test_text_without_intervals_or_other_methods() -> None:
    text = report_text(table(scenes=1, methods=("random",)))
    assert "nan" not in text.lower() and "minus" not in text and "names no time" not in text


def test_json_is_strict_and_has_every_row() -> None:
    found = json.loads(report_json(table(scenes=1)), parse_constant=lambda name: pytest.fail(f"{name} in json"))
    assert found["model"] == "tiny" and found["settings"]["scenes"]["seed"] == 7
    assert [(row["method"], row["slot"]) for row in found["rows"]] == [
        (method, slot) for method in ("steering", "random") for slot in ("all", *SLOTS)
    ]
    assert found["rows"][0]["overlap"] == pytest.approx(0.6) and found["rows"][0]["low"] is None
    assert {"n", "low", "high", "chance"} <= set(found["rows"][0])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_files_hold_the_same_rows(tmp_path: Path, suffix: str) -> None:
    made, path = table(), tmp_path / f"a{suffix}"
    write_table(made, path)
    read = pd.read_parquet(path) if suffix == ".parquet" else pd.read_csv(path, keep_default_na=False)
    pd.testing.assert_frame_equal(read, made, check_dtype=False)
    if suffix == ".parquet":
        assert read.attrs == made.attrs
        assert np.allclose(summary(read)["overlap"], summary(made)["overlap"])


def test_without_pyarrow_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'steer-utils\[tables\]'"):
        check_table_target(tmp_path / "a.parquet")
    check_table_target(tmp_path / "a.csv")


def test_columns_are_aligned() -> None:
    assert aligned([["a", "bb", "c"], ["aaa", "b", ""]]) == ["a    bb  c", "aaa  b"]
