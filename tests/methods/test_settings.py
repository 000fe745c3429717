"""Settings: what is refused, what is saved, what the paper's setting keeps of a model's own; files beside weights."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steer_utils.lm import models
from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER, Settings, folder_of, model_settings, paper_settings, trained_recordings

OWN = Settings(
    positive="Listen for the {event}.",
    strength=4,
    blocks=(0, 2),
    keep_norm=False,
    read="share",
    read_blocks=(1, 2),
    read_heads=((1, 0), (2, 3)),
    prompt_blocks=(0,),
    peak_blocks=(-1,),
    ask="When is the {event}?",
    presence="Do you hear the {event}?",
    chosen_on={"events": ["siren", "knock"], "scenes": 60},
)


def test_the_papers_setting_is_the_declared_one() -> None:
    assert (PAPER.positive, PAPER.negative) == ("Focus on the {event}.", "Listen to the whole audio.")
    assert (PAPER.strength, PAPER.keep_norm, PAPER.read) == (1.0, True, "difference")
    assert PAPER.steered_blocks(32) == tuple(range(16, 32))
    assert PAPER.steered_blocks(7) == (3, 4, 5, 6)  # floor(L/2) .. L-1
    assert OWN.steered_blocks(32) == (0, 2)


def test_the_papers_setting_keeps_only_a_models_questions() -> None:
    assert paper_settings(OWN) == replace(PAPER, ask=OWN.ask, presence=OWN.presence)
    assert paper_settings(PAPER) == PAPER


def test_settings_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    for settings in (OWN, PAPER):
        settings.save(path)
        assert Settings.load(path) == settings
    assert Settings.load(str(path)) == PAPER  # type: ignore[arg-type]
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.json"]
    assert len({OWN, PAPER, replace(PAPER)}) == 2  # can be keys


def test_a_file_may_leave_settings_out(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"strength": 2, "blocks": [1, 3]}', encoding="utf-8")
    assert Settings.load(path) == Settings(strength=2, blocks=(1, 3))
    assert Settings.load(path).read_heads is None  # files written before there were heads


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"strenght": 2}', "settings.json: strenght is no setting; settings are .*strength"),
        ('{"strength": 2', "cannot read settings from .*settings.json"),
        ("[1, 2]", "holds a list; pass settings as one json object"),
        ('{"strength": "2"}', r"settings.json: strength is '2'; pass a number"),
        ('{"strength": NaN}', "finite"),
        ('{"strength": 1, "strength": 2}', "settings.json has strength twice"),
        ('{"chosen_on": {"events": [], "events": ["siren"]}}', "settings.json has events twice"),
        ("\x00\xff", "cannot read settings"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        Settings.load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read settings from .*nothing\.json"):
        Settings.load(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positive": "Focus on the dog."}, "positive must hold {event}"),
        ({"positive": "Focus on the {event} {x}."}, "no other braces"),
        ({"positive": "Focus on the {{event}}."}, "positive must hold {event}"),
        ({"ask": "When?"}, "ask must hold {event}"),
        ({"presence": "Is there a {} {event}?"}, "presence must hold {event}"),
        ({"negative": " "}, "negative is ' '"),
        ({"question": None}, "question is None; pass a sentence"),
        ({"strength": float("inf")}, "finite"),
        ({"strength": True}, "strength is True; pass a number"),
        ({"strength": "2"}, "strength is '2'; pass a number"),
        ({"strenght": 2}, "strenght is no setting; settings are ask, blocks, "),
        ({"blocks": [True]}, "blocks is [True]"),
        ({"positive": ""}, "positive is ''; pass a sentence"),
        ({"keep_norm": 1}, "keep_norm is 1; pass true or false"),
        ({"read": "shares"}, 'read is \'shares\'; pass "share" or "difference"'),
        ({"blocks": ()}, "blocks is ()"),
        ({"blocks": "34"}, "blocks is '34'"),
        ({"read_blocks": 3}, "read_blocks is 3"),
        ({"peak_blocks": [1.5]}, "peak_blocks is"),
        ({"read_heads": ()}, "read_heads is ()"),
        ({"read_heads": [3, 4]}, "read_heads is [3, 4]"),
        ({"read_heads": [(3, 4, 5)]}, "read_heads is"),
        ({"read_heads": [(3, 0.5)]}, "read_heads is"),
        ({"read_heads": "34"}, "read_heads is '34'"),
        ({"chosen_on": {"events": "siren"}}, "events"),
        ({"chosen_on": {"events": [3]}}, "events"),
        ({"chosen_on": ["siren"]}, "events"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Settings(**options)
    assert "\n" not in str(caught.value)


def test_development_events() -> None:
    assert PAPER.development_events == ()
    assert OWN.development_events == ("siren", "knock")


def test_the_vector_may_be_made_before_another_question() -> None:
    assert Settings().contrast_question == Settings().question
    assert Settings(vector_question="Is it high or low?").contrast_question == "Is it high or low?"
    with pytest.raises(ValueError, match="vector_question is '  '; pass a sentence"):
        Settings(vector_question="  ")


def test_a_focus_prompt_is_the_instruction_and_a_question() -> None:
    settings = Settings(positive="Focus on the {event}.", question="Describe the sound.")
    assert settings.focus("dog bark") == "Focus on the dog bark. Describe the sound."
    assert settings.focus("dog bark", "Is it high?") == "Focus on the dog bark. Is it high?"


# Beside a model's weights --------------------------------------------------------------------------------------------


def named(lm: AudioLM, name: object) -> Checkpoint:
    return Checkpoint(lm.model, lm.processor, lm.family, str(name))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    (root / "config.json").write_text("{}")
    return root


def test_a_hub_id_or_a_model_in_memory_has_no_folder(
    one_model: AudioLM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("Qwen/Qwen2-Audio-7B-Instruct", "tiny", "", "pocket-in-memory"):
        assert folder_of(named(one_model, name)) is None
        assert model_settings(named(one_model, name)) == PAPER
        assert trained_recordings(named(one_model, name)) == frozenset()


def test_what_a_folder_holds(one_model: AudioLM, folder: Path) -> None:
    checkpoint = named(one_model, folder)
    assert folder_of(checkpoint) == folder
    assert model_settings(checkpoint) == PAPER  # nothing chosen yet
    assert trained_recordings(checkpoint) == frozenset()
    own = replace(PAPER, strength=3.0)
    own.save(folder / "settings.json")
    (folder / "pocket.json").write_text(json.dumps({"events": [], "trained_recordings": ["a.ogg", "b.ogg"]}))
    assert model_settings(checkpoint) == own
    assert trained_recordings(checkpoint) == {"a.ogg", "b.ogg"}


def test_a_home_folder_and_a_relative_one_are_found(
    one_model: AudioLM, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Settings(strength=3.0).save(folder / "settings.json")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert model_settings(named(one_model, "~/model")).strength == 3.0
    monkeypatch.chdir(folder.parent)
    assert model_settings(named(one_model, "model")).strength == 3.0


def test_a_pocket_name_means_the_shipped_folder(
    one_model: AudioLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    checkpoint = named(one_model, "pocket-qwen2-audio")
    assert folder_of(checkpoint) is None  # not installed
    shipped = tmp_path / "pocket-qwen2-audio"
    shipped.mkdir()
    (shipped / "config.json").write_text("{}")
    Settings(strength=5.0).save(shipped / "settings.json")
    assert folder_of(checkpoint) == shipped
    assert model_settings(checkpoint).strength == 5.0


@pytest.mark.parametrize("text", ['{"trained_recordings": "a.ogg"}', '{"trained_recordings": [1]}', "[]", "{"])
def test_a_damaged_list_of_recordings_is_not_an_empty_one(one_model: AudioLM, folder: Path, text: str) -> None:
    (folder / "pocket.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"pocket\.json is damaged"):
        trained_recordings(named(one_model, folder))


def test_damaged_settings_are_not_the_papers(one_model: AudioLM, folder: Path) -> None:
    (folder / "settings.json").write_text('{"strenght": 2}')
    with pytest.raises(ValueError, match="strenght"):
        model_settings(named(one_model, folder))
