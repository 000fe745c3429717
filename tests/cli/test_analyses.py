"""`analyse`, `datasets`, `fetch` and `cost` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from tinies import EVENTS, tiny
from typer.testing import CliRunner

import steer_utils.lm.models
import steer_utils.sound.downloads
import steer_utils.study.causality
from steer_utils.cli.main import app
from steer_utils.pocket.architecture import save
from steer_utils.sound.datasets import DATASETS

run_cli = CliRunner()


def invoke(*arguments: object) -> Any:
    return run_cli.invoke(app, [str(argument) for argument in arguments])


def refused(result: Any, said: str) -> None:
    assert result.exit_code == 2 and said in result.stderr and result.stdout == "", result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model, as a folder."""
    lm = tiny("qwen2_audio")
    made = tmp_path_factory.mktemp("tiny")
    save(lm.model, lm.processor, made, {"events": list(EVENTS)})
    return made


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


def test_a_run_that_was_cut_off_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = ("analyse", "swap", "--model", folder, "--scenes", 3, "--out")
    whole = invoke(*choice, tmp_path / "whole.parquet")
    answers = steer_utils.study.causality.Hearing.answers
    heard: list[int] = []

    def cut(*given: Any, **options: Any) -> Any:
        heard.append(1)
        if len(heard) == 3:
            raise KeyboardInterrupt
        return answers(*given, **options)

    monkeypatch.setattr(steer_utils.study.causality.Hearing, "answers", cut)
    stopped = invoke(*choice, tmp_path / "cut.parquet")
    assert stopped.exit_code == 130 and "goes on from here" in stopped.stderr
    heard[:] = [0] * 10  # past the interrupt: from here on scenes are only counted
    resumed = invoke(*choice, tmp_path / "cut.parquet")
    assert len(heard) == 11 and resumed.stdout == whole.stdout
    first, second = (pd.read_parquet(tmp_path / name) for name in ("whole.parquet", "cut.parquet"))
    pd.testing.assert_frame_equal(first, second)


def test_analyse_refuses_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    (tmp_path / "file").touch()
    refused(invoke("analyse", "magic"), "there is no analysis 'magic'")
    refused(invoke("analyse", "shift", "--out", tmp_path / "t.xlsx"), "must end in .parquet or .csv")
    refused(invoke("analyse", "shift", "--figures", tmp_path / "file"), "is a file; pass a folder")
    refused(invoke("analyse", "shift", "--clips", tmp_path / "no"), "is not a folder")
    refused(invoke("analyse", "shift", "--settings", tmp_path / "none.json"), "none.json")
    refused(invoke("analyse", "shift", "--dtype", "int3"), "dtype is 'int3'")
    refused(invoke("analyse", "shift", "--scenes", 0), "at least 1 scene")


# -- questions -------------------------------------------------------------------------------------------------------
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
    result = invoke("questions", "--sakura", sakura, "--model", folder, "--out", out)
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


# -- data and costs --------------------------------------------------------------------------------------------------
def test_datasets_tells_licences_and_ways() -> None:
    listing = invoke("datasets").stdout
    for name, dataset in DATASETS.items():
        assert f"{name}: {dataset.title}" in listing and dataset.licence in listing
        assert (f"steer-utils fetch {name}" in listing) == (dataset.remote is not None)


def test_fetch_prints_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def download(name: str, folder: Path, *, keep_archive: bool, quiet: bool | None) -> Path:
        asked.extend([name, folder, keep_archive])
        return folder / "ESC-50-master"

    monkeypatch.setattr(steer_utils.sound.downloads, "fetch", download)
    result = invoke("fetch", "esc50", "--folder", tmp_path, "--keep-archive")
    assert result.stdout == f"{tmp_path / 'ESC-50-master'}\n" and asked == ["esc50", tmp_path, True]


def test_fetch_refuses_what_it_does_not_download(tmp_path: Path) -> None:
    refused(invoke("fetch", "sakura", "--folder", tmp_path), "is not downloaded by this library")
    refused(invoke("fetch", "magic", "--folder", tmp_path), "no data set is called 'magic'")
    assert not list(tmp_path.iterdir())


def test_cost_says_what_was_assumed() -> None:
    few, many = (invoke("cost", "--scenes", scenes).stdout for scenes in (10, 300))
    assert "10 scenes" in few and "300 scenes" in many and "not run here" in few and few != many
    refused(invoke("cost", "--scenes", 0), "scenes is 0")
