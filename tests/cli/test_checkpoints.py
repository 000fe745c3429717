"""`verify`: the report as text and json, and an exit code that says whether all is OK. `contribute`: what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import done, invoke, refused

from steer_utils.lm.hearing import Hearing


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
