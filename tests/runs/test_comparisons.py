"""Comparisons: paired where the scenes are the same, two samples where not, a refusal where nothing is comparable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sweep_work import SIX, made_table, short_sweep

from steer_utils.runs.comparisons import compared, comparison_json, comparison_text, read_results
from steer_utils.study.report import write_table
from steer_utils.study.statistics import holm, paired_difference, sign_flip


def benchmark(
    overlap: float = 0.0, *, seed: int = 0, scenes: int = 12, methods: tuple[str, ...] = ("steering",)
) -> pd.DataFrame:
    """A benchmark's table with made overlaps, which are `overlap` more than by default."""
    rng = np.random.default_rng(7)
    rows = []
    for scene in range(scenes):
        for place, event in enumerate(SIX[:3]):
            ease = 0.2 + 0.5 * rng.random()
            for method in methods:
                rows.append(
                    {
                        "scene": scene,
                        "event": event,
                        "slot": "first",
                        "method": method,
                        "source": "procedural",
                        "truth_start": 1.0 + place,
                        "truth_end": 2.0 + place,
                        "chance": 0.25,
                        "overlap": ease + overlap,
                    }
                )
    table = pd.DataFrame(rows)
    table.attrs = {
        "model": "one",
        "revision": "r",
        "methods": list(methods),
        "settings": {"strength": 2.0 + overlap},
        "scenes": {
            "scenes": scenes,
            "seed": seed,
            "classes": list(SIX[:3]),
            "sounds": "procedural",
            "seconds": [4.0, 4.0],
            "event_seconds": [1.2, 2.4],
            "left_out": 0,
        },
    }
    return table


# -- benchmarks ------------------------------------------------------------------------------------------------------
def test_the_same_scenes_are_paired() -> None:
    first, second = benchmark(0.1), benchmark()
    first.loc[::2, "overlap"] -= 0.05  # so that not all differences are one number
    (row,) = compared(first, second).to_dict("records")
    one, other = first["overlap"].to_numpy(), second["overlap"].to_numpy()
    oracle = paired_difference(one, other, first["scene"].to_numpy())
    assert row["paired"] and row["apart"] is None
    assert [row["difference"], row["low"], row["high"]] == pytest.approx([oracle.mean, oracle.low, oracle.high])
    assert row["p"] == pytest.approx(sign_flip(one, other, first["scene"].to_numpy()))
    assert (row["n_first"], row["n_second"], row["scenes_first"]) == (36, 36, 12)


def test_a_run_compared_with_itself_has_no_difference() -> None:
    found = compared(benchmark(methods=("steering", "random")), benchmark(methods=("steering", "random")))
    assert found["what"].tolist() == ["steering (ours)", "random window"]
    assert (found[["difference", "low", "high"]] == 0).all(axis=None) and (found["p"] == 1).all()
    assert not any("differ" in note for note in found.attrs["notes"])


def test_another_number_type_is_said() -> None:
    tables = [benchmark(), benchmark()]
    for table, numbers in zip(tables, ("float32", "float32, nf4 by bitsandbytes"), strict=True):
        table.attrs["numbers"] = numbers
    assert "they differ in number type" in compared(*tables).attrs["notes"]


def test_only_scenes_that_both_have_are_paired() -> None:
    """Scenes follow from seed and number alone: a longer run begins with those of the shorter one."""
    (row,) = compared(benchmark(0.1, scenes=12), benchmark(scenes=5)).to_dict("records")
    assert row["paired"] and row["n_first"] == row["n_second"] == 15
    assert row["difference"] == pytest.approx(0.1)


def test_other_scenes_are_two_samples() -> None:
    first, second = benchmark(0.1, scenes=12), benchmark(seed=1, scenes=9)
    found = compared(first, second)
    (row,) = found.to_dict("records")
    means = [table.groupby("scene")["overlap"].mean() for table in (first, second)]
    assert not row["paired"] and row["apart"] == "no query is in both"
    assert (row["n_first"], row["n_second"]) == (36, 27)
    assert row["difference"] == pytest.approx(first["overlap"].mean() - second["overlap"].mean())
    welch = stats.ttest_ind(*means, equal_var=False)  # of about the same size, by other means
    assert row["p"] == pytest.approx(welch.pvalue, abs=0.03)
    interval = welch.confidence_interval()
    assert [row["low"], row["high"]] == pytest.approx([interval.low, interval.high], abs=0.02)
    assert "not paired, two samples: no query is in both" in found.attrs["notes"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("classes", ["bell"], "classes"), ("sounds", "3 clips", "sounds"), ("event_seconds", [5, 5], "event seconds")],
)
def test_scenes_made_otherwise_are_never_paired(name: str, value: object, why: str) -> None:
    other = benchmark()
    other.attrs["scenes"] = {**other.attrs["scenes"], name: value}
    (row,) = compared(benchmark(), other).to_dict("records")
    assert not row["paired"] and row["apart"] == f"their scenes have other {why}"


@pytest.mark.parametrize(("name", "value"), [("truth_start", 0.5), ("source", "bark.wav")])
def test_a_scene_in_which_the_event_lies_elsewhere_is_another_scene(name: str, value: object) -> None:
    other = benchmark()
    other.loc[other["scene"] == 0, name] = value
    (row,) = compared(benchmark(), other).to_dict("records")
    assert row["paired"] and row["scenes_first"] == 11


def test_one_scene_gives_no_interval() -> None:
    (row,) = compared(benchmark(0.1, scenes=1), benchmark(seed=1, scenes=1)).to_dict("records")
    assert np.isnan(row["low"]) and row["p"] == 1.0
    assert json.loads(comparison_json(compared(benchmark(scenes=1), benchmark(scenes=1))))["rows"][0]["low"] is None


# -- sweeps ----------------------------------------------------------------------------------------------------------
def test_sweeps_are_compared_by_their_choice_and_point_by_point() -> None:
    first, second = made_table(shift=0.1), made_table()
    found = compared(first, second)
    assert found["paired"].all() and len(found) == 2 * (1 + 10)
    assert found["what"].tolist()[:3] == [
        "chosen setting (blocks early, strength 8)",
        "strength 0, blocks early",
        "blocks early, strength 2",
    ]
    assert found["difference"].to_numpy() == pytest.approx(0.1) and found["model"].unique().tolist() == ["a/one", "two"]
    assert (found[["n_first", "scenes_first"]] == [36, 12]).all(axis=None)  # the test scenes alone
    adjusted = holm({str(index): p for index, p in found["p"].items()})
    assert found["p_holm"].tolist() == list(adjusted.values())


def test_each_sweep_has_its_own_choice() -> None:
    first, second = made_table(("two",)), made_table(("two",))
    late = (second["split"] == "development") & (second["blocks"] == "late") & (second["strength"] == 2)
    second.loc[late & (second["vector"] == "steering"), "overlap"] = 0.99
    row = compared(first, second).iloc[0]
    assert row["what"] == "chosen setting (blocks early, strength 8 - blocks late, strength 2)"
    assert row["first"] - row["second"] == pytest.approx(row["difference"]) and row["difference"] < 0


def test_other_seeds_are_other_scenes() -> None:
    found = compared(made_table(seeds=2), made_table(seeds=2, start=2))
    assert not found["paired"].any()
    some = compared(made_table(seeds=2), made_table(seeds=2, start=1))
    assert some["paired"].all() and (some["n_first"] == 12).all()  # of the one seed that both have


def test_one_model_may_be_compared_with_another() -> None:
    found = compared(made_table(("one",)), made_table(("two",)))
    assert found["model"].unique().tolist() == ["one - two"] and found["paired"].all()


# -- refusals and words ----------------------------------------------------------------------------------------------
def test_what_cannot_be_compared_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="a sweep and a benchmark have no row in common"):
        compared(made_table(), benchmark())
    with pytest.raises(ValueError, match=r"no method in common: A has steering; B has random"):
        compared(benchmark(), benchmark(methods=("random",)))
    with pytest.raises(ValueError, match=r"no model in common: A has one, two; B has three"):
        compared(made_table(("one", "two")), made_table(("three",)))


def test_files_and_folders_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no sweep that can be read"):
        read_results(tmp_path)
    with pytest.raises(ValueError, match=r"there is no file"):
        read_results(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"no unit of .* is finished"):
        read_results(short_sweep(tmp_path / "out", 1).folder)
    analysis = benchmark()
    analysis.attrs["analysis"] = "sensitivity"
    write_table(analysis, tmp_path / "grid.parquet")
    with pytest.raises(ValueError, match=r"grid.parquet holds a sensitivity; compare two sweeps of scenes, or two"):
        read_results(tmp_path / "grid.parquet")


def test_a_benchmark_is_read_from_its_file(tmp_path: Path) -> None:
    write_table(benchmark(), tmp_path / "a.parquet")
    found = compared(read_results(tmp_path / "a.parquet"), benchmark(0.1))
    assert found.attrs["notes"][:2] == [
        f"A is {tmp_path / 'a.parquet'}, B is the second",
        "they differ in strength",
    ]


def test_words_and_json_hold_the_figures() -> None:
    found = compared(made_table(shift=0.1), made_table())
    text = comparison_text(found, most=3)
    assert "paired by query" in text and "and 19 more rows (--json has all)" in text
    first = found.iloc[0]
    (line,) = (line for line in text.splitlines() if "chosen setting" in line)
    assert f"{100 * first['first']:.1f}" in line and "+10.0  +10.0 to +10.0" in line and line.endswith(" 36")
    told = json.loads(comparison_json(found))
    assert len(told["rows"]) == len(found) and told["notes"] == found.attrs["notes"]
