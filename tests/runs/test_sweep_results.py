"""What a sweep found: intervals against their textbook forms, and a choice that never sees the test scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sweep_work import made_table, short_sweep

from steer_utils.runs.sweep_results import (
    chosen,
    results_json,
    results_text,
    summarised,
    t_interval,
    tidy,
    write_results,
)
from steer_utils.study.statistics import cluster_mean, paired_difference, sign_flip


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return made_table()


@pytest.fixture(scope="module")
def summary(table: pd.DataFrame) -> pd.DataFrame:
    return summarised(table)


@pytest.fixture(scope="module")
def best(table: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    return chosen(table, summary)


def one_setting(table: pd.DataFrame, split: str, vector: str = "steering") -> pd.DataFrame:
    rows = table[(table["model"] == "two") & (table["split"] == split) & (table["blocks"] == "early")]
    return rows[(rows["vector"] == vector) & (rows["strength"] == (0.0 if vector == "none" else 8.0))]


def test_both_intervals_are_what_statistics_and_scipy_give(table: pd.DataFrame, summary: pd.DataFrame) -> None:
    own = one_setting(table, "test")
    (row,) = one_setting(summary, "test").to_dict("records")
    by_seed = own.groupby("seed")["overlap"].mean().to_numpy()
    low, high = stats.ttest_1samp(by_seed, 0.0).confidence_interval(0.95)
    assert [row["overlap"], row["seed_low"], row["seed_high"]] == pytest.approx([by_seed.mean(), low, high])
    scenes = 100 * own["seed"].to_numpy() + own["scene"].to_numpy()
    over_scenes = cluster_mean(own["overlap"].to_numpy(), scenes)
    assert [row["low"], row["high"]] == pytest.approx([over_scenes.low, over_scenes.high])
    assert (row["seeds"], row["n"], row["scenes"], row["chance"]) == (3, 36, 12, 0.25)
    assert row["iou"] == pytest.approx(row["overlap"] / 2)


def test_each_model_split_and_setting_has_one_row_in_the_order_of_the_grid(summary: pd.DataFrame) -> None:
    assert len(summary) == 2 * 2 * 2 * 5
    own = summary[(summary["model"] == "two") & (summary["split"] == "test")]
    assert list(zip(own["blocks"], own["strength"], own["vector"], strict=True))[:4] == [
        ("early", 0.0, "none"),
        ("early", 2.0, "steering"),
        ("early", 2.0, "random"),
        ("early", 8.0, "steering"),
    ]


def test_the_interval_over_seeds_stays_a_share() -> None:
    low, high = t_interval(np.array([[0.1, 0.5, 1.0], [0.9, 0.5, 1.0]]))
    assert low.tolist() == [0.0, 0.5, 1.0] and high.tolist() == [1.0, 0.5, 1.0]
    assert np.isnan(t_interval(np.ones((1, 2)))).all()


def test_the_choice_is_made_on_the_development_scenes(best: pd.DataFrame) -> None:
    """There early at 8 is best; on the test scenes late is, and must not be taken."""
    assert best["model"].tolist() == ["a/one", "two"]
    assert best["blocks"].tolist() == ["early"] * 2 and best["strength"].tolist() == [8.0] * 2
    assert best["candidates"].tolist() == [4, 4]
    assert (best["development"] > best["overlap"] + 0.15).all()


def test_better_test_scenes_do_not_change_the_choice(table: pd.DataFrame, best: pd.DataFrame) -> None:
    other = table.copy()
    other.attrs = table.attrs
    late = (other["split"] == "test") & (other["blocks"] == "late") & (other["vector"] == "steering")
    other.loc[late, "overlap"] = 1.0
    again = chosen(other, summarised(other))
    pd.testing.assert_frame_equal(
        again[["blocks", "strength", "development", "overlap"]], best[["blocks", "strength", "development", "overlap"]]
    )


def test_of_equal_settings_the_first_is_taken(table: pd.DataFrame) -> None:
    even = table.assign(overlap=0.5)
    even.attrs = table.attrs
    assert chosen(even, summarised(even))[["blocks", "strength"]].to_numpy().tolist() == [["early", 2.0]] * 2


def test_controls_stand_beside_it_paired(table: pd.DataFrame, best: pd.DataFrame) -> None:
    (row,) = best[best["model"] == "two"].to_dict("records")
    steered = one_setting(table, "test")
    scenes = 100 * steered["seed"].to_numpy() + steered["scene"].to_numpy()
    for vector in ("random", "none"):
        control = one_setting(table, "test", vector)["overlap"].to_numpy()
        difference = paired_difference(steered["overlap"].to_numpy(), control, scenes)
        assert row[vector] == pytest.approx(control.mean())
        assert row[f"minus_{vector}"] == pytest.approx(difference.mean)
        found = [row[f"minus_{vector}_low"], row[f"minus_{vector}_high"], row[f"minus_{vector}_p"]]
        p = sign_flip(steered["overlap"].to_numpy(), control, scenes)
        assert found == pytest.approx([difference.low, difference.high, p])


def test_one_seed_has_no_interval_over_seeds() -> None:
    table = made_table(seeds=1)
    summary = summarised(table)
    assert summary["seed_low"].isna().all() and summary["low"].notna().all()
    assert "1 seed" in results_text(table) and json.loads(results_json(table))["best"][0]["seed_low"] is None


def test_one_scene_has_no_interval_at_all() -> None:
    table = made_table(models=("one",), seeds=1, scenes=1)
    assert summarised(table)[["low", "high"]].isna().all(axis=None)
    assert " -  " in results_text(table)


def test_words_and_json_hold_the_figures(table: pd.DataFrame, best: pd.DataFrame) -> None:
    table.attrs["failures"] = {"two-7-abc": "OSError: disk full"}
    text = results_text(table)
    assert "6 of 6 units are finished, 1 failed\nfailed: two-7-abc: OSError: disk full" in text
    row = best.iloc[1]
    (line,) = (line for line in text.splitlines() if line.startswith("two  "))
    for value in (row["development"], row["overlap"], row["random"], row["none"], row["low"], row["seed_high"]):
        assert f"{100 * value:.1f}" in line
    assert "two: chosen out of 4; 36 test queries in 12 scenes of 3 seeds" in text
    told = json.loads(results_json(table))
    assert told["best"][1]["overlap"] == pytest.approx(row["overlap"]) and len(told["rows"]) == 40
    table.attrs["failures"] = {}


def test_units_of_different_versions_are_told(table: pd.DataFrame) -> None:
    mixed = table.copy()
    mixed.attrs = {**table.attrs, "versions": [{"torch": "2.1"}, {"torch": "2.2"}]}
    assert "different versions" in results_text(mixed) and "different versions" not in results_text(table)


def test_files_hold_every_row(table: pd.DataFrame, tmp_path: Path) -> None:
    written = write_results(table, tmp_path)
    assert [path.name for path in written] == ["results.parquet", "results.csv", "summary.csv", "best.csv"]
    back = pd.read_parquet(tmp_path / "results.parquet")
    assert back.attrs["grid"] == table.attrs["grid"]
    back.attrs, plain = {}, table.copy()
    plain.attrs = {}
    pd.testing.assert_frame_equal(back, plain)
    assert len(pd.read_csv(tmp_path / "results.csv")) == len(table)
    assert pd.read_csv(tmp_path / "best.csv")["blocks"].tolist() == ["early"] * 2


def test_a_sweep_without_a_finished_unit_has_no_results(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no unit of .* is finished, 0 failed; run the sweep first"):
        tidy(short_sweep(tmp_path / "out", 2))
