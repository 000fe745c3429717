"""`benchmark`, `analyse`, `questions`, and what `draw` and `export` make of saved runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from command_line import done, invoke, refused

import steer_utils.cli.analyses
import steer_utils.lm.models
import steer_utils.study.benchmark
import steer_utils.study.causality
from steer_utils.methods.calibration import Calibration
from steer_utils.methods.table import METHODS
from steer_utils.sound.labels import read_intervals
from steer_utils.study.report import write_table

# -- benchmark ------------------------------------------------------------------------------------------------------
RATE = 16_000


def bench(folder: Path, *more: object, scenes: int = 2) -> Any:
    return invoke("benchmark", "--model", folder, "--scenes", scenes, "--seed", 3, *more)


def test_benchmark_prints_and_writes_the_table(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    result = bench(folder, "--methods", "random,loudest,unsteered", "--out", out)
    assert result.exit_code == 0, result.output
    assert "2 scenes, 6 queries, seed 3, procedural sounds" in result.stdout
    assert all(each in result.stdout for each in ("loudest window", "chance of that slot", "first", "middle", "last"))
    assert "2/2" in result.stderr  # the progress bar
    table = pd.read_parquet(out)
    assert len(table) == 18 and table.attrs["scenes"]["seed"] == 3 and table.attrs["model"] == str(folder)
    assert os.listdir(tmp_path) == ["t.parquet"]


def test_a_saved_benchmark_is_drawn_and_reported_again(folder: Path, tmp_path: Path) -> None:
    table, figure = tmp_path / "t.parquet", tmp_path / "t.png"
    run = bench(folder, "--methods", "random,unsteered", "--out", table)
    again = invoke("draw", table, figure)
    assert again.exit_code == 0 and again.stdout == run.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert invoke("draw", table, tmp_path / "t.pdf").exit_code == 2
    assert invoke("draw", figure, tmp_path / "u.png").exit_code == 2


def test_all_methods_are_those_that_can_run(folder: Path) -> None:
    found = json.loads(bench(folder, "--methods", "all", "--json", scenes=1).stdout)
    alike = {"steering-paper", "prompting-best"}  # nothing was chosen: as steering and prompting, which run once
    assert {row["method"] for row in found["rows"]} == {*METHODS} - {"steering-heads", "position"} - alike


def test_scenes_that_are_less_kind(folder: Path) -> None:
    result = bench(folder, "--methods", "random", "--scenes-of", "overlapping", scenes=1)
    assert "scenes: overlapping, three events, each beginning before" in result.stdout
    refused(bench(folder, "--scenes-of", "20 s"), "steer-utils analyse conditions")


def test_unknown_scenes_are_refused_before_the_model_is_loaded(no_model: None) -> None:
    refused(invoke("benchmark", "--scenes-of", "loud"), "no scenes called 'loud'")


def test_a_preset_is_a_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(steer_utils.cli.analyses.PRESETS, "smoke", 1)
    result = invoke("benchmark", "--model", folder, "--preset", "smoke", "--methods", "random", "--json")
    assert json.loads(result.stdout)["settings"]["scenes"]["scenes"] == 1
    wrong = invoke("benchmark", "--model", folder, "--preset", "huge")
    assert wrong.exit_code == 2 and "pass one of smoke, course, paper" in wrong.stderr


def test_benchmark_json_is_one_object(folder: Path) -> None:
    result = bench(folder, "--methods", "steering, random", "--json", scenes=1)
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not json"))
    assert found["model"] == str(folder) and found["settings"]["scenes"]["scenes"] == 1
    assert {(row["method"], row["slot"]) for row in found["rows"]} == {
        (method, slot) for method in ("steering", "random") for slot in ("all", "first", "middle", "last")
    }
    assert all(0 <= row["overlap"] <= 1 and row["low"] is None and 0 < row["chance"] < 1 for row in found["rows"])


@pytest.mark.parametrize("command", [("benchmark", "--methods", "random,unsteered"), ("analyse", "swap")])
def test_the_same_command_goes_on_after_a_kill(
    command: tuple[str, ...], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(items: object, unit: str, quiet: bool | None = False) -> object:
        yield from list(items)[:2]  # type: ignore[call-overload]
        raise KeyboardInterrupt

    command = (*command, "--model", str(folder), "--scenes", "3", "--out")
    out, partial = tmp_path / "cut.parquet", tmp_path / ".cut.parquet.partial"
    done(invoke(*command, tmp_path / "whole.parquet"))
    with monkeypatch.context() as patch:
        patch.setattr(steer_utils.cli.analyses, "progress", killed)
        cut = invoke(*command, out)
    assert cut.exit_code == 130 and "the same command goes on from here" in cut.stderr and not out.exists()
    partial.write_text(partial.read_text().replace('"slot": "first"', '"slot": "kept"'))
    done(invoke(*command, out))
    first, second = (pd.read_parquet(tmp_path / name) for name in ("whole.parquet", "cut.parquet"))
    assert set(second.loc[second["slot"] == "kept", "scene"]) == {0, 1}
    pd.testing.assert_frame_equal(first, second.replace({"slot": {"kept": "first"}}))
    assert first.attrs == second.attrs and not partial.exists()


def test_benchmark_on_recordings_leaves_out_what_was_trained_on(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["filename,category"]
    for name, category in (("a", "bell"), ("b", "siren"), ("c", "dog_bark"), ("used", "bell")):
        soundfile.write(tmp_path / f"{name}.wav", 0.3 * rng.normal(size=2 * RATE), RATE)
        lines.append(f"{name}.wav,{category}")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    result = bench(folder, "--clips", tmp_path, "--methods", "random", "--out", tmp_path / "t.csv")
    assert "3 recordings" in result.stdout and "classes queried: bell, dog bark, siren" in result.stdout
    assert "recordings left out because the model was trained on them: 1" in result.stdout
    assert set(pd.read_csv(tmp_path / "t.csv")["source"]) == {"a.wav", "b.wav", "c.wav"}


def test_benchmark_takes_settings(folder: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "settings.json"
    chosen.write_text(json.dumps({"strength": 0.125}))
    result = bench(folder, "--settings", chosen, "--methods", "random", "--json", scenes=1)
    assert json.loads(result.stdout)["settings"]["strength"] == 0.125


def test_benchmark_refuses_bad_choices_before_loading(tmp_path: Path, no_model: None) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"strenght": 1}')
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    refused(invoke("benchmark", "--scenes", 0), "at least 1 scene")
    refused(invoke("benchmark", "--methods", "steering,magic"), "unknown method 'magic'")
    refused(invoke("benchmark", "--out", tmp_path / "t.xlsx"), "must end in .parquet or .csv")
    refused(invoke("benchmark", "--out", tmp_path / "no" / "t.csv"), "there is no folder")
    refused(invoke("benchmark", "--clips", tmp_path), "exactly one csv")
    refused(invoke("benchmark", "--clips", tmp_path / "no"), "is not a folder")
    refused(invoke("benchmark", "--settings", wrong), "strenght")
    refused(invoke("benchmark", "--settings", broken), "broken.json")
    refused(invoke("benchmark", "--settings", tmp_path / "none.json"), "none.json")


# -- analyse --------------------------------------------------------------------------------------------------------


def test_analyse_prints_writes_and_draws(folder: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / "shift.parquet", tmp_path / "figures"
    result = invoke("analyse", "shift", "--model", folder, "--scenes", 2, "--out", out, "--figures", figures)
    assert result.exit_code == 0, result.output
    assert "How do steering and prompting change attention" in result.stdout and "2 scenes" in result.stdout
    assert out.is_file() and not list(tmp_path.glob(".*partial"))
    assert sorted(path.suffix for path in figures.iterdir()) == [".png", ".svg"]
    again = invoke("draw", out, tmp_path / "again.png")
    assert again.exit_code == 0 and again.stdout == result.stdout and (tmp_path / "again.png").is_file()


def test_analyse_as_json_is_one_object(folder: Path) -> None:
    result = invoke("analyse", "swap", "--model", folder, "--scenes", 1, "--seed", 3, "--json")
    report = json.loads(result.stdout)
    assert report["analysis"] == "swap" and report["scenes"]["seed"] == 3 and report["rows"]


@pytest.mark.parametrize(("own", "points"), [({"strength": 2.0}, ["own", "paper"]), ({}, ["paper"])])
def test_a_figure_each_where_there_are_several(folder: Path, tmp_path: Path, own: dict, points: list[str]) -> None:
    """A model without settings of its own (as the 7B checkpoints) has one point, the paper's."""
    out = tmp_path / "grid.parquet"
    (tmp_path / "own.json").write_text(json.dumps(own))
    made = invoke(
        "analyse", "sensitivity", "--model", folder, "--scenes", 1, "--settings", tmp_path / "own.json", "--out", out
    )
    assert made.exit_code == 0, made.output
    assert invoke("draw", out, tmp_path / "grid.svg").exit_code == 0
    names = {f"grid_{kind}_{point}.svg" for kind in ("plane", "star") for point in points}
    assert {path.name for path in tmp_path.glob("*.svg")} == names


def test_analyse_refuses_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    (tmp_path / "file").touch()
    refused(invoke("analyse", "magic"), "there is no analysis 'magic'")
    refused(invoke("analyse", "shift", "--out", tmp_path / "t.xlsx"), "must end in .parquet or .csv")
    refused(invoke("analyse", "shift", "--figures", tmp_path / "file"), "is a file; pass a folder")
    refused(invoke("analyse", "shift", "--clips", tmp_path / "no"), "is not a folder")
    refused(invoke("analyse", "shift", "--settings", tmp_path / "none.json"), "none.json")
    refused(invoke("analyse", "shift", "--scenes", 0), "at least 1 scene")


def test_analyse_refuses_an_unknown_number_type() -> None:
    refused(invoke("analyse", "shift", "--dtype", "int3"), "dtype is 'int3'")


# -- questions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sakura(tmp_path: Path) -> Path:
    """SAKURA's layout with one track of two recordings, one longer than the model hears."""
    root = tmp_path / "SAKURA" / "data" / "Animal"
    (root / "audio").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["file,attribute_label,single_instruction,single_answer,multi_instruction,multi_answer"]
    for name, seconds in (("dog28", 2), ("cow1", 5)):
        soundfile.write(root / "audio" / f"{name}.wav", 0.1 * rng.normal(size=seconds * 16_000), 16_000)
        lines.append(f"{name}.wav,dog,Which? (a) dog (b) cow,(a) dog,Has it horns? (a) no (b) yes,(a) no")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "SAKURA"


def test_questions_of_a_set_are_measured(folder: Path, sakura: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.parquet"
    result = invoke("questions", "--sakura", sakura, "--model", folder, "--out", out, "--batch", 2)
    assert result.exit_code == 0, result.output
    assert "4 questions on 2 audio files" in result.stdout and "1 files are longer" in result.stdout
    assert {"mass", "js"} <= {line.split()[0] for line in result.stdout.splitlines() if line.strip()}
    assert len(pd.read_parquet(out)["item"].unique()) == 4
    few = json.loads(invoke("questions", "--sakura", sakura, "--model", folder, "--limit", 1, "--json").stdout)
    assert few["items"]["questions"] == 1 and few["rows"]


def test_questions_refuses_before_loading(sakura: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    refused(invoke("questions"), "pass either --mmau")
    refused(invoke("questions", "--mmau", tmp_path / "m.json"), "pass either --mmau")
    refused(invoke("questions", "--sakura", sakura, "--track", "Plants"), "no track 'Plants'")
    refused(invoke("questions", "--sakura", sakura, "--limit", -1), "limit is -1")
    refused(invoke("questions", "--sakura", sakura, "--out", tmp_path / "t.xlsx"), "must end in")


# -- export ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved benchmark: 2 scenes of 3 events, two methods without a model's say."""
    out = tmp_path_factory.mktemp("run") / "run.parquet"
    done(invoke("benchmark", "--model", folder, "--scenes", 2, "--methods", "random,loudest", "--out", out))
    return out


def test_export_writes_what_a_method_found(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.tsv"
    assert done(invoke("export", run, out, "--method", "loudest")) == f"6 intervals in {out}\n"
    table = pd.read_parquet(run)
    rows = table[table["method"] == "loudest"]
    found = read_intervals(out)
    assert {(each.file, each.event) for each in found} == {
        (f"scene_{scene:04d}.wav", event) for scene, event in zip(rows["scene"], rows["event"], strict=True)
    }
    assert sorted(each.interval.start for each in found) == pytest.approx(sorted(rows["start"]), abs=1e-6)


def test_export_writes_the_truth(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "truth.json"
    assert done(invoke("export", run, out, "--truth")) == f"6 intervals in {out}\n"
    table = pd.read_parquet(run).drop_duplicates(["scene", "slot"])
    assert sorted(each.interval.end for each in read_intervals(out)) == sorted(table["truth_end"])


def test_export_of_one_scene(run: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "a.jams"):
        done(invoke("export", run, tmp_path / name, "--truth", "--scene", 1))
        assert len(read_intervals(tmp_path / name)) == 3
    assert json.loads((tmp_path / "a.jams").read_text())["file_metadata"]["duration"] == 4.0
    refused(invoke("export", run, tmp_path / "b.txt", "--truth"), "these labels are about 2; use .tsv or .json")
    refused(invoke("export", run, tmp_path / "b.txt", "--truth", "--scene", 2), "the run has no scene 2; it has 0 to 1")


def test_export_says_what_it_left_out(run: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(run)
    table.loc[table.index[table["method"] == "random"][:2], ["start", "end"]] = float("nan")
    table.to_parquet(tmp_path / "some.parquet")
    result = invoke("export", tmp_path / "some.parquet", tmp_path / "a.tsv", "--method", "random")
    assert done(result).startswith("4 intervals") and "2 of 6 answers named no time" in result.stderr


def test_export_refuses(run: Path, tmp_path: Path) -> None:
    refused(invoke("export", run, tmp_path / "a.tsv"), "no method 'steering'; it has: loudest, random")
    refused(invoke("export", run, tmp_path / "a.csv"), "must end in .txt or .tsv or .json or .jams")
    refused(invoke("export", run.with_suffix(".csv"), tmp_path / "a.tsv"), "is no .parquet")
    refused(invoke("export", tmp_path / "no.parquet", tmp_path / "a.tsv"), "there is no file")
    analysis = pd.DataFrame({"scene": [0], "overlap": [0.5]})
    analysis.attrs = {"analysis": "shift", "model": "m", "settings": {}, "scenes": {}}
    analysis.to_parquet(tmp_path / "shift.parquet")
    refused(invoke("export", tmp_path / "shift.parquet", tmp_path / "a.tsv"), "no table of `steer-utils benchmark`")


# -- presence -------------------------------------------------------------------------------------------------------
def test_a_calibration_is_made_of_a_field_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    there = np.tile([True, False], 40)
    rows = pd.DataFrame({"there": there, "score": rng.normal(np.where(there, 4.0, -2.0), 4.0), "method": "steering"})
    rows = rows.assign(split=np.repeat(["development", "test"], 40), scene=np.arange(80) // 4, event="bell")
    rows.attrs = {
        "analysis": "field",
        "model": "tiny",
        "revision": "r",
        "settings": {"presence": "Is there a {event}?"},
        "scenes": {"sounds": "procedural", "seed": 0},
    }
    write_table(rows, tmp_path / "field.parquet")
    said = done(invoke("calibrate", tmp_path / "field.parquet", tmp_path / "calibration.json"))
    assert said.startswith("tiny: fitted on 40 questions about 10 development files (procedural)")
    assert "as the model says it" in said and "calibrated" in said
    made = Calibration.load(tmp_path / "calibration.json")
    assert made.question == "Is there a {event}?" and 0 < made.slope < 1
    rows.attrs["analysis"] = "words"
    write_table(rows, tmp_path / "words.parquet")
    refused(invoke("calibrate", tmp_path / "words.parquet", tmp_path / "c.json"), "is no table of `steer-utils analyse")
    refused(invoke("calibrate", tmp_path / "field.parquet", tmp_path / "c.txt"), "must end in .json")
    assert not list(tmp_path.glob("c.*"))


def test_clap_is_a_row_of_field_alone(no_model: None) -> None:
    refused(invoke("analyse", "shift", "--clap", "folder"), "CLAP is a row of `analyse field`, not of shift")
