"""The tower of a mini model: Whisper's encoder where it fits, and one line where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import invoke, refused
from minis import tiny_whisper
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.pocket import mini_commands
from steer_utils.pocket.towers import read_tower


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"encoder_ffn_dim": 48}, "feed-forward of 48, not four times its width 16"),
        ({"max_source_positions": 100}, "hears 100 positions"),
        ({"max_source_positions": 1510}, "hears 1510 positions"),
        ({"activation_function": "relu"}, "activation 'relu'"),
        ({"scale_embedding": True}, "scales its embeddings"),
    ],
)
def test_a_whisper_that_does_not_fit_is_refused(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=says):
        read_tower(str(tiny_whisper(tmp_path, **changed)))


def test_a_tower_that_is_none_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whisper, work = tiny_whisper(tmp_path / "whisper"), tmp_path / "work"
    weights = whisper / "model.safetensors"
    whole = load_file(weights)
    save_file({name: value for name, value in whole.items() if "layers.1.fc1.weight" not in name}, weights)
    with pytest.raises(CheckpointError, match=r"has no encoder\.layers\.1\.fc1\.weight"):
        read_tower(str(whisper))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot read the tower"):
        read_tower(str(whisper))
    Qwen2Config().save_pretrained(whisper)
    with pytest.raises(CheckpointError, match="is a qwen2 model"):
        read_tower(str(whisper))
    monkeypatch.setattr(mini_commands, "read_language_model", lambda name: pytest.fail("work began"))
    asked = ("pocket", "train", "--work", work, "--model")
    refused(invoke(*asked, "mini-smollm2-audio", "--tower", "nobody/nothing"), "cannot read the tower 'nobody/nothing'")
    assert not work.exists()
    of_a_pocket_model = invoke(*asked, "pocket-qwen2-audio", "--tower", "openai/whisper-tiny")
    assert of_a_pocket_model.exit_code == 2 and "trains a tower of its own" in of_a_pocket_model.stderr
