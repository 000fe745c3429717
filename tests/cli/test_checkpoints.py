"""`verify`: the report as text and json, and an exit code that says whether all is OK. `tune`: settings, which a
benchmark then uses. `contribute`: what is wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from command_line import done, invoke, refused
from watched_work import stopped

import steer_utils.methods.tuning
from steer_utils.lm.hearing import Hearing
from steer_utils.methods.settings import Settings
from steer_utils.methods.tuning import QUESTIONS


def test_verify_says_ok_and_writes_its_report(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "verify.json"
    result = invoke("verify", folder, "--out", out)
    assert done(result).splitlines()[-1] == "OK" and str(out) in result.stderr
    kept = json.loads(out.read_text())
    assert kept["ok"] and kept["model"] == folder.name and str(folder) not in out.read_text()


def test_verify_says_what_is_off_by_its_exit_code_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hearing, "answer", lambda self, instruction, max_new_tokens: "another")
    result = invoke("verify", folder, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["checks"]["answer"] != "OK"


def test_verify_refuses_before_it_loads(no_model: None, tmp_path: Path) -> None:
    refused(invoke("verify", "any", "--out", tmp_path / "a.txt"), "must end in .json")
    refused(invoke("verify", "any", "--seconds", 0), "pass at least 1")


def test_contribute_refuses_what_is_no_run_of_a_published_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "verify.json").write_text("{}")
    arguments = ["contribute", tmp_path / "run.parquet", tmp_path / "verify.json", "--name"]
    refused(invoke(*arguments, "a run"), "pass lower-case words")
    refused(invoke(*arguments, "run", "--into", tmp_path / "nowhere"), "there is no folder")
    refused(invoke(*arguments, "run", "--into", tmp_path), "there is no file")


def test_tuned_settings_stand_beside_the_run_and_are_used(
    six_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("tune", six_classes, "--scenes", 1, "--strengths", 2)
    path = tmp_path / f"{six_classes.name}.settings.json"
    assert done(result).startswith(f"{path.name}: strength 2 at block")
    assert " hours on cpu: " in result.stderr and "development classes: siren, dog bark, knock" in result.stderr
    assert list(tmp_path.iterdir()) == [path]
    chosen = Settings.load(path)
    assert chosen.development_events == ("siren", "dog bark", "knock") and chosen.read_heads
    assert {"overlap", "heads", "revision", "seconds"} <= set(chosen.chosen_on)

    run = tmp_path / "run.csv"
    told = invoke("benchmark", "--model", six_classes, "--methods", "steering", "--scenes", 1, "--out", run, "--json")
    report = json.loads(done(told))
    assert report["settings"]["chosen_on"]["events"] == list(chosen.development_events)
    assert not set(report["settings"]["scenes"]["classes"]) & set(chosen.development_events)
    assert f"settings of {tmp_path / path.name}" in told.stderr.replace("\n", "")

    kept = json.loads(path.read_text())
    kept["chosen_on"]["revision"] = "another"
    path.write_text(json.dumps(kept))
    refused(invoke("benchmark", "--model", six_classes, "--scenes", 1), "was chosen for revision another")


def test_a_cut_off_tuning_says_how_to_go_on(six_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.methods.tuning, "tune", stopped)
    result = invoke("tune", six_classes, "--out", tmp_path / "a.json")
    assert result.exit_code == 130 and "the same command goes on from here" in result.stderr
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--strengths", "1,x"), "pass numbers separated by commas"),
        (("--scenes", 0), "at least 1 scene"),
        (("--out", "a.txt"), "must end in .json"),
    ],
)
def test_tune_refuses_before_it_loads(no_model: None, options: tuple[object, ...], message: str) -> None:
    refused(invoke("tune", "any", *options), message)


def test_the_question_of_the_vector_is_chosen_where_a_model_takes_any_text(six_classes: Path, tmp_path: Path) -> None:
    """As of a published checkpoint; a pocket model, which knows few words, keeps its own."""
    folder, target = tmp_path / "any-text", tmp_path / "chosen.json"
    shutil.copytree(six_classes, folder)
    (folder / "pocket.json").write_text('{"any_text": true, "events": []}')
    result = invoke("tune", folder, "--scenes", 1, "--strengths", "2,4", "--out", target, "--events", "siren,bell,rain")
    done(result)
    chosen = Settings.load(target)
    assert set(chosen.chosen_on["vector_questions"]) >= set(QUESTIONS)
    best = max(chosen.chosen_on["vector_questions"], key=chosen.chosen_on["vector_questions"].__getitem__)
    assert chosen.vector_question == best
    assert sorted(path.name for path in tmp_path.iterdir()) == ["any-text", "chosen.json"], "no partial file is left"
    told = int(re.findall(r"(\d+) rows", result.stderr)[0])
    fewer = invoke("tune", six_classes, "--scenes", 1, "--strengths", "2,4", "--out", tmp_path / "own.json")
    assert told > int(re.findall(r"(\d+) rows", fewer.stderr)[0])
    assert Settings.load(tmp_path / "own.json").vector_question is None


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ("siren,bell", "2 of 6 classes to choose on"),
        ("siren,bell,dog bark,bird", "leave three to test on"),
        ("siren,bell,cow", "events has cow; there are: siren"),
    ],
)
def test_classes_to_choose_on_leave_three_to_test_on(six_classes: Path, events: str, message: str) -> None:
    refused(invoke("tune", six_classes, "--events", events), message)
