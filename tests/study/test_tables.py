"""The benchmark's table as text, json and file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steer_utils.study import report as tables
from steer_utils.study.benchmark import SLOTS
from steer_utils.study.report import (
    check_table_target,
    p_text,
    read_table,
    report_json,
    report_text,
    summary,
    write_table,
)


def drawn(method: str) -> dict[str, object]:
    """Curves for steering alone."""
    if method != "steering":
        return {"auroc": None, "pointing": None, "curve": None}
    return {"auroc": 0.9, "pointing": True, "curve": [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]}


def table(scenes: int = 4, methods: tuple[str, ...] = ("steering", "random")) -> pd.DataFrame:
    """A made-up run: steering overlaps by 0.6 to 0.8, random by half of that."""
    rows = [
        {
            "scene": scene, "slot": slot, "event": f"event {slot}", "source": "procedural", "method": method,
            "truth_start": 1.0, "truth_end": 2.0, "start": 1.1, "end": 2.1,
            "overlap": (0.6 + 0.2 * (scene % 2)) / (1 if method == "steering" else 2), "iou": 0.5,
            "chance": chance, "failed": method == "asking", "answer": "", "others": [[4.0, 5.0]],
            "token_seconds": 0.5, "own": True, "center_error": 0.1, **drawn(method),
        }
        for scene in range(scenes)
        for slot, chance in zip(SLOTS, (0.2, 0.4, 0.2), strict=True)
        for method in methods
    ]  # fmt: skip
    made = pd.DataFrame(rows).astype({"auroc": float, "pointing": float})
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
    overlaps, curves = overlaps.split("curves, without a known width")
    assert curves.split("steering (ours)")[1].split()[:3] == ["0.90", "100.0", "%"] and "random" not in curves
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
    read = read_table(path) if suffix == ".parquet" else pd.read_csv(path)
    scalars = [name for name in made.columns if name not in ("others", "curve", "answer")]
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
