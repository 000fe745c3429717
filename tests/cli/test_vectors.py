"""`contrast` and `convert`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import done, invoke, refused

import steer_utils.lm.gguf_vectors
import steer_utils.lm.models
from steer_utils.lm.gguf_vectors import from_gguf
from steer_utils.lm.vectors import SteeringVector

FOCUS, WHOLE = "Focus on the bell.", "Listen to the whole audio."


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


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "v.safetensors"
    SteeringVector(torch.arange(12.0).reshape(3, 4) + 1, (0, 1, 2), torch.full((3,), 2.0)).save(path)
    return path


def test_unknown_words_are_a_note_and_a_contrast_of_nothing_is_refused(
    street: Path, folder: Path, tmp_path: Path
) -> None:
    def contrast(positive: str, negative: str) -> Any:
        return invoke("contrast", street, positive, negative, "--out", tmp_path / "v.safetensors", "--model", folder)

    result = contrast("Focus on the dgo bark.", WHOLE)
    assert "block" in done(result)
    assert result.stderr.startswith(f"note: {folder} does not know 'dgo': ") and result.stderr.count("\n") == 1
    (tmp_path / "v.safetensors").unlink()
    refused(contrast("Hör auf den Hund.", "Lausche nur dem Auto."), "are the same tokens to")
    refused(contrast("Focus on the bell.<|im_end|>", WHOLE), "the instruction holds '<|im_end|>', a special token")
    assert not list(tmp_path.iterdir())


def test_what_was_found_is_printed_though_the_disk_is_full(
    street: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    commands = (
        ("contrast", street, FOCUS, WHOLE, "--out", tmp_path / "v.safetensors"),
        ("locate", street, "bell", "--labels", tmp_path / "v.txt"),
        ("locate", street, "bell", "--figure", tmp_path / "v.png"),
    )
    for command in commands:
        result = invoke(*command, "--model", folder)
        assert result.exit_code == 2 and ("block " in result.stdout or "presence " in result.stdout), result.output
        assert result.stderr.splitlines()[-1] == f"steer-utils: {command[-1]}: No space left on device"
        assert not list(tmp_path.iterdir())


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
