"""The benchmark's table: figures with intervals, differences and tests; as text, json and file."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

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


def made(scenes: int = 20, methods: tuple[str, ...] = ("steering", "asking", "random")) -> pd.DataFrame:
    """Steering overlaps 0.8, 0.6, 0.4 by slot, random as chance says, asking fails in the first slot. Steering has
    curves, which stand on the true event; the others have none."""
    rows = []
    for scene, (place, slot), method in product(range(scenes), enumerate(SLOTS), methods):
        chance, failed, steered = (0.2, 0.4, 0.2)[place], method == "asking" and place == 0, method == "steering"
        overlap = {"random": chance, "steering": 0.8 - 0.2 * place, "asking": 0.3 * place}[method]
        rows.append(
            {
                "scene": scene,
                "slot": slot,
                "event": NAMES[place],
                "source": "procedural",
                "method": method,
                "truth_start": 2.0 * place,
                "truth_end": 2.0 * place + 2.0,
                "overlap": overlap,
                "iou": overlap / 2,
                "chance": chance,
                "failed": failed,
                "answer": "at 2 s" if method == "asking" else "",
                "unread": "" if not failed else "no time" if scene % 4 else "ambiguous",
                "others": [[8.0, 9.0]],
                "token_seconds": 0.1,
                "own": steered,
                "center_error": None if failed else 1.0 + place,
                "auroc": 1.0 if steered else None,
                "pointing": True if steered else None,
                "curve": np.where(np.arange(TOKENS) // 20 == place, 1.0, 0.0).tolist() if steered else None,
            }
        )
    table = pd.DataFrame(rows).astype({"auroc": float, "pointing": float})
    table.attrs = {
        "model": "tiny",
        "revision": "r",
        "methods": list(methods),
        "settings": {"strength": 1.0},
        "versions": {},
        "scenes": {"scenes": scenes, "seed": 7, "classes": ["bell", "siren"], "sounds": "12 recordings", "left_out": 5},
    }
    return table


@pytest.fixture
def table() -> pd.DataFrame:
    return made()


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
    report = json.loads(json.dumps(report_dict(table), allow_nan=False))
    assert (report["model"], report["settings"]["strength"], report["settings"]["scenes"]["seed"]) == ("tiny", 1.0, 7)
    assert len(report["rows"]) == 12
    first = report["rows"][0]
    assert {"method", "slot", "n", "overlap", "low", "high", "chance"} <= set(first)
    assert (first["method"], first["slot"], first["n"]) == ("steering", "all", 60)
    assert report["steering_minus"]["random"]["mean"] == pytest.approx(1 / 3)
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


def test_text_says_what_was_run_and_every_number() -> None:
    text = report_text(made(4))
    assert "tiny: 4 scenes, 12 queries, seed 7, 12 recordings" in text
    assert "classes queried: bell, siren" in text
    assert "recordings left out because the model was trained on them: 5" in text
    assert (
        "asking when (direct prompting): a time was read in 8 of 12 answers; the others count as 0: "
        "3 no time, 1 ambiguous" in text
    )
    overlaps, after = text.split("steering minus")
    overlaps, curves = overlaps.split("curves, without a known width")
    assert curves.split("steering (ours)")[1].split()[:3] == ["1.00", "100.0", "%"] and "random" not in curves
    lines = {line.split("  ")[0]: line.split() for line in overlaps.splitlines() if line}
    assert lines["chance of that slot"][-4:] == ["26.7", "20.0", "40.0", "20.0"]
    assert "60.0" in lines["steering (ours)"] and "26.7" in lines["random window"]
    assert "+33.3 [" in after and "steering (ours)" not in after


def test_text_without_intervals_or_other_methods() -> None:
    text = report_text(made(1, ("random",)))
    assert "nan" not in text.lower() and "minus" not in text and "answers" not in text


def test_a_run_of_an_earlier_version_says_how_many_answers_were_read() -> None:
    earlier = made(4, ("steering", "asking")).drop(columns="unread")
    assert "a time was read in 8 of 12 answers; the others count as 0: 4 no time" in report_text(earlier)
    assert summary(earlier)["ambiguous"].isna().all()
    every = made(4, ("asking",)).assign(failed=False)
    assert "a time was read in 12 of 12 answers\n" in report_text(every) + "\n"


def test_json_is_strict_and_has_every_row() -> None:
    found = json.loads(
        report_json(made(1, ("steering", "random"))), parse_constant=lambda name: pytest.fail(f"{name} in json")
    )
    assert found["model"] == "tiny" and found["settings"]["scenes"]["seed"] == 7
    assert [(row["method"], row["slot"]) for row in found["rows"]] == [
        (method, slot) for method in ("steering", "random") for slot in ("all", *SLOTS)
    ]
    assert found["rows"][0]["overlap"] == pytest.approx(0.6) and found["rows"][0]["low"] is None
    assert {"n", "low", "high", "chance"} <= set(found["rows"][0])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_files_hold_the_same_rows(tmp_path: Path, suffix: str) -> None:
    whole, path = made(), tmp_path / f"a{suffix}"
    write_table(whole, path)
    read = read_table(path) if suffix == ".parquet" else pd.read_csv(path)
    scalars = [name for name in whole.columns if name not in ("others", "curve", "answer", "unread")]
    assert ("curve" in read) is (suffix == ".parquet")
    pd.testing.assert_frame_equal(read[scalars], whole[scalars], check_dtype=False)
    if suffix == ".parquet":
        assert report_text(read) == report_text(whole)
        assert read.attrs == whole.attrs
        assert np.allclose(summary(read)["overlap"], summary(whole)["overlap"])


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
