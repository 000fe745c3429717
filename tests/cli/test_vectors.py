"""The commands `export`, `contrast` and `convert`, and what `locate --labels` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import typer
from tinies import EVENTS, tiny
from typer.testing import CliRunner

import steer_utils.lm.gguf_vectors
import steer_utils.lm.models
from steer_utils.cli.console import Commands
from steer_utils.cli.main import app
from steer_utils.cli.vectors import export_app
from steer_utils.lm.gguf_vectors import from_gguf
from steer_utils.lm.vectors import SteeringVector
from steer_utils.pocket.architecture import save
from steer_utils.sound.labels import read_intervals

RATE = 16_000
exports = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
exports.add_typer(export_app)
FOCUS, WHOLE = "Focus on the bell.", "Listen to the whole audio."


def invoke(*arguments: object, application: typer.Typer = exports) -> Any:
    return CliRunner().invoke(application, [str(argument) for argument in arguments])


def done(result: Any) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Any, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("steer-utils: ") and message in result.stderr, result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model of 4 blocks of width 48."""
    lm = tiny("qwen2_audio")
    made = tmp_path_factory.mktemp("tiny")
    save(lm.model, lm.processor, made, {"events": list(EVENTS)})
    return made


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "street.wav"
    soundfile.write(path, (0.1 * np.random.default_rng(0).normal(size=3 * RATE)).astype(np.float32), RATE)
    return path


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved benchmark: 2 scenes of 3 events, two methods without a model's say."""
    out = tmp_path_factory.mktemp("run") / "run.parquet"
    done(invoke("benchmark", "--model", folder, "--scenes", 2, "--methods", "random,loudest", "--out", out,
                application=app))  # fmt: skip
    return out


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: pytest.fail("the model was loaded"))


# -- locate --labels ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".txt", ".tsv", ".json", ".jams"])
def test_locate_writes_labels_by_the_ending(folder: Path, street: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"found{suffix}"
    found = json.loads(done(
        invoke("locate", street, "bell", "--model", folder, "--json", "--method", "loudest", "--labels", path,
               application=app)
    ))  # fmt: skip
    (label,) = read_intervals(path)
    times = [round(label.interval.start, 3), round(label.interval.end, 3)]
    assert label.event == "bell" and times == [found["start"], found["end"]]
    assert label.file == (None if suffix == ".txt" else "street.wav")
    assert label.confidence == (found["presence"] if suffix in (".json", ".jams") else None)
    if suffix == ".jams":
        assert json.loads(path.read_text())["file_metadata"]["duration"] == 3.0


def test_locate_refuses_labels_before_loading(street: Path, tmp_path: Path, no_model: None) -> None:
    odd = tmp_path / "a\tb.wav"
    odd.write_bytes(street.read_bytes())
    for audio, labels, message in ((street, "a.doc", "must end in .txt or .tsv"), (odd, "a.tsv", "go into .json")):
        refused(invoke("locate", audio, "bell", "--labels", tmp_path / labels, application=app), message)
    assert [entry.name for entry in tmp_path.iterdir()] == [odd.name]


# -- export ------------------------------------------------------------------------------------------------------------
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


# -- contrast ----------------------------------------------------------------------------------------------------------
def test_contrast_makes_and_saves_a_vector(folder: Path, street: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.safetensors"
    said = done(invoke("contrast", street, FOCUS, WHOLE, "--prompt", "How many?", "--model", folder, "--out", out))
    hearing = steer_utils.lm.models.load(folder).hear(street)
    made = hearing.contrast(FOCUS, WHOLE, prompt="How many?")
    saved = SteeringVector.load(out)
    assert torch.equal(saved.directions, made.directions) and saved.provenance == made.provenance
    assert f"{out}: 4 blocks of width 48, acting on 4 of them" in said and made.provenance.recipe in said
    assert [line.split()[1] for line in said.splitlines()[3:]] == [f"{norm:.4g}" for norm in made.norms()]


def test_contrast_for_llama_cpp(folder: Path, street: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.gguf"
    said = done(invoke("contrast", street, FOCUS, WHOLE, "--model", folder, "--out", out, "--blocks", "1,3"))
    assert from_gguf(out).blocks == (1, 3) and said.splitlines()[3].split() == ["0", "-"]


def test_contrast_refuses_before_loading(street: Path, tmp_path: Path, no_model: None) -> None:
    out = tmp_path / "v.gguf"
    refused(invoke("contrast", street, FOCUS, WHOLE, "--out", tmp_path / "v.pt"), "must end in .safetensors or .gguf")
    refused(invoke("contrast", street, FOCUS, WHOLE, "--out", out), "no direction for block 0: pass --blocks")
    refused(invoke("contrast", street, FOCUS, WHOLE, "--out", out, "--blocks", "0-2"), "no direction for block 0")
    refused(invoke("contrast", street, FOCUS, " ", "--out", out, "--blocks", "1"), "one of them is empty")
    refused(invoke("contrast", tmp_path / "no.wav", FOCUS, WHOLE, "--out", out, "--blocks", "1"), "there is no file")
    for wrong in ("", "a", "1-", "-1", "3-1", "1,,2", "1;2", "99999"):
        refused(invoke("contrast", street, FOCUS, WHOLE, "--out", out, f"--blocks={wrong}"), f"blocks is {wrong!r}")
    assert list(tmp_path.iterdir()) == []


# -- convert -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "v.safetensors"
    SteeringVector(torch.arange(12.0).reshape(3, 4) + 1, (0, 1, 2), torch.full((3,), 2.0)).save(path)
    return path


def test_convert_there_and_back(saved: Path, tmp_path: Path) -> None:
    made = SteeringVector.load(saved)
    said = done(invoke("convert", saved, tmp_path / "v.gguf", "--blocks", "1-2"))
    assert "3 blocks of width 4, acting on 2 of them" in said
    assert said.splitlines()[-1].split() == ["2", "21.12", "10.56"]  # the norm of 9..12, and half of it
    done(invoke("convert", tmp_path / "v.gguf", tmp_path / "again.safetensors"))
    again = SteeringVector.load(tmp_path / "again.safetensors")
    kept = made.select([1, 2])
    assert torch.equal(again.directions, kept.directions) and torch.equal(again.hidden_norms, made.hidden_norms)
    assert (again.blocks, again.provenance) == (kept.blocks, kept.provenance)


def test_convert_takes_files_of_others(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "happy.gguf", "controlvector")
    writer.add_tensor("direction.1", np.ones(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    said = done(invoke("convert", tmp_path / "happy.gguf", tmp_path / "v.safetensors", "--num-blocks", 6))
    assert "6 blocks of width 4, acting on 1 of them" in said and "recipe: happy.gguf" in said
    assert said.splitlines()[2:5] == ["block       norm", "    0          -", "    1          2"]
    assert SteeringVector.load(tmp_path / "v.safetensors").num_blocks == 6


def test_convert_refuses(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(invoke("convert", saved, tmp_path / "v.gguf"), "acts on block 0")
    refused(invoke("convert", saved, tmp_path / "v.bin"), "must end in .safetensors or .gguf")
    refused(invoke("convert", tmp_path / "v.bin", tmp_path / "v.gguf"), "its name must end in .safetensors or .gguf")
    refused(invoke("convert", tmp_path / "no.gguf", tmp_path / "v.safetensors"), "there is no file")
    refused(invoke("convert", saved, tmp_path / "w.safetensors", "--num-blocks", 3), "--num-blocks is for a .gguf")
    refused(invoke("convert", saved, tmp_path / "w.safetensors", "--blocks", "7"), "blocks has 7, but the model has")
    (tmp_path / "text.gguf").write_text("not a vector\n")
    refused(invoke("convert", tmp_path / "text.gguf", tmp_path / "w.safetensors"), "no GGUF file")
    monkeypatch.setattr(steer_utils.lm.gguf_vectors, "find_spec", lambda name: None)
    refused(invoke("convert", saved, tmp_path / "v.gguf", "--blocks", "1"), "pip install 'steer-utils[gguf]'")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["text.gguf", "v.safetensors"]


@pytest.mark.parametrize("command", ["export", "contrast", "convert"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example: steer-utils {command}" in done(invoke(command, "--help"))
