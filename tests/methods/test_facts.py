"""What is kept beside a model's weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from steer_utils.lm import models
from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER, Settings, folder_of, model_settings, trained_recordings


def named(lm: AudioLM, name: object) -> Checkpoint:
    return Checkpoint(lm.model, lm.processor, lm.family, str(name))


@pytest.fixture
def one(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return tiny_models["qwen2_audio"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    (root / "config.json").write_text("{}")
    return root


def test_a_hub_id_or_a_model_in_memory_has_no_folder(
    one: AudioLM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Qwen/Qwen2-Audio-7B-Instruct", "tiny", "", "pocket-in-memory"):
        assert folder_of(named(one, name)) is None
        assert model_settings(named(one, name)) == PAPER
        assert trained_recordings(named(one, name)) == frozenset()


def test_facts_of_a_folder(one: AudioLM, folder: Path) -> None:
    checkpoint = named(one, folder)
    assert folder_of(checkpoint) == folder
    assert model_settings(checkpoint) == PAPER  # nothing chosen yet
    assert trained_recordings(checkpoint) == frozenset()
    own = replace(PAPER, strength=3.0)
    own.save(folder / "settings.json")
    (folder / "pocket.json").write_text(json.dumps({"events": [], "trained_recordings": ["a.ogg", "b.ogg"]}))
    assert model_settings(checkpoint) == own
    assert trained_recordings(checkpoint) == {"a.ogg", "b.ogg"}


def test_a_home_folder_and_a_relative_one_are_found(
    one: AudioLM, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Settings(strength=3.0).save(folder / "settings.json")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert model_settings(named(one, "~/model")).strength == 3.0
    monkeypatch.chdir(folder.parent)
    assert model_settings(named(one, "model")).strength == 3.0


def test_a_pocket_name_means_the_shipped_folder(one: AudioLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    checkpoint = named(one, "pocket-qwen2-audio")
    assert folder_of(checkpoint) is None  # not installed
    shipped = tmp_path / "pocket-qwen2-audio"
    shipped.mkdir()
    (shipped / "config.json").write_text("{}")
    Settings(strength=5.0).save(shipped / "settings.json")
    assert folder_of(checkpoint) == shipped
    assert model_settings(checkpoint).strength == 5.0


@pytest.mark.parametrize("text", ['{"trained_recordings": "a.ogg"}', '{"trained_recordings": [1]}', "[]", "{"])
def test_a_damaged_list_of_recordings_is_not_an_empty_one(one: AudioLM, folder: Path, text: str) -> None:
    (folder / "pocket.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"pocket\.json is damaged"):
        trained_recordings(named(one, folder))


def test_damaged_settings_are_not_the_papers(one: AudioLM, folder: Path) -> None:
    (folder / "settings.json").write_text('{"strenght": 2}')
    with pytest.raises(ValueError, match="strenght"):
        model_settings(named(one, folder))
