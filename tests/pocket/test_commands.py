"""`steer-utils pocket`: from nothing to a folder that anybody's transformers opens, and to a card with its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

from steer_utils.cli.pocket import pocket_app
from steer_utils.lm.families import FAMILIES
from steer_utils.lm.loading import fingerprint
from steer_utils.lm.models import POCKET_MODELS, load
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import METHODS, RIVALS, STANDARD
from steer_utils.pocket import commands, training
from steer_utils.pocket.architecture import build, save
from steer_utils.pocket.card import write_card
from steer_utils.pocket.commands import POCKET_SETTINGS, measure, recipe_key, tower_key, train
from steer_utils.pocket.recipe import DEVELOPMENT_EVENTS, RECIPES, Recipe
from steer_utils.sound.sounds import SOUNDS


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def small(recipes: dict[str, Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipes that the command finds are those of the tests, by family."""
    monkeypatch.setattr(commands, "RECIPES", recipes)


@pytest.fixture
def trained(small: None, recipe: Recipe, work: Path) -> Path:
    """Each family's model from `train`; made once, then resumed from its last step."""
    return train(recipe.family, clips=None, work=work, workers=0, quiet=True)


@pytest.fixture(scope="module")
def measured(recipes: dict[str, Recipe], work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained model, measured on two scenes. Three blocks: the later half is not the last alone."""
    recipe = replace(recipes["audioflamingo3"], size=replace(recipes["audioflamingo3"].size, blocks=3))
    folder = tmp_path_factory.mktemp("measured")
    model, processor = build(recipe.family, recipe.events, size=recipe.size)
    facts = {
        "name": "a model",
        "events": list(recipe.events),
        "trained_recordings": [],
        "training_folds": [],
        "recipe": recipe.as_dict(),
        "versions": {"torch": "1.2.3"},
    }
    save(model, processor, folder, facts)
    measure(str(folder), clips=None, work=work, scenes=2, tuning_scenes=1, quiet=True)
    return folder


# Training ----------------------------------------------------------------------------------------------------------


def test_the_folder_opens_with_plain_transformers_and_with_load(trained: Path, recipe: Recipe) -> None:
    assert trained.name == recipe.family
    processor = transformers.AutoProcessor.from_pretrained(trained)
    model = getattr(transformers, FAMILIES[recipe.family].model_class).from_pretrained(trained)
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    lm = load(trained)
    made = processor(text=[lm.prompt("What do you hear?")], audio=[samples], sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        plain = model(**{name: value for name, value in made.items() if isinstance(value, torch.Tensor)}).logits[0, -1]
    assert torch.allclose(plain, lm.hear(samples, sampling_rate=16_000).read("What do you hear?").logits, atol=1e-4)
    assert lm.events == tuple(sorted(SOUNDS))
    assert lm.dtype == torch.float32
    assert not list(trained.glob("*.bin")) and list(trained.glob("*.safetensors"))


def test_the_folder_says_how_it_was_made(trained: Path, recipe: Recipe) -> None:
    facts = json.loads((trained / "pocket.json").read_text())
    assert facts["name"] == recipe.family
    assert facts["recipe"] == json.loads(json.dumps(recipe.as_dict()))
    assert (facts["trained_recordings"], facts["training_folds"]) == ([], [])
    assert Settings.load(trained / "settings.json") == POCKET_SETTINGS


def test_the_same_command_again_goes_on_from_the_end(
    trained: Path, recipe: Recipe, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(trained)

    def no_step(*_: object) -> None:
        raise AssertionError("a finished training must not take another step")

    monkeypatch.setattr(training, "take_step", no_step)
    assert train(recipe.family, clips=None, work=work, workers=0, quiet=True) == trained
    assert fingerprint(trained) == before


def test_both_families_share_one_tower(small: None, work: Path, recipes: dict[str, Recipe]) -> None:
    folders = [train(family, clips=None, work=work, workers=0, quiet=True) for family in recipes]
    assert len(list(work.glob("tower-*"))) == 1
    first, second = (load(folder).model.model.audio_tower.state_dict() for folder in folders)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_out_is_where_the_model_goes(small: None, work: Path, tmp_path: Path) -> None:
    folder = train("qwen2_audio", clips=None, work=work, out=tmp_path / "mine", workers=0, quiet=True)
    assert folder == tmp_path / "mine"
    assert (folder / "model.safetensors").is_file()


def test_another_seed_keeps_the_tower_and_trains_the_rest_anew(trained: Path, recipe: Recipe, work: Path) -> None:
    again = train(recipe.family, clips=None, work=work, seed=5, workers=0, quiet=True)
    assert again == work / f"{recipe.family}-seed5"
    assert json.loads((again / "pocket.json").read_text())["recipe"]["seed"] == 5
    assert len(list(work.glob("tower-*"))) == 1
    first, second = (load(folder).model.state_dict() for folder in (trained, again))
    alike = {name for name, value in first.items() if torch.equal(value, second[name])}
    assert {name for name in first if "audio_tower" in name} <= alike
    assert not {name for name in first if "language_model" in name and "weight" in name and "norm" not in name} & alike
    before = fingerprint(again)
    assert fingerprint(train(recipe.family, clips=None, work=work, seed=5, workers=0, quiet=True)) == before


def test_an_unknown_name_or_seed_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no recipe for 'whisper'; pass one of pocket-qwen2-audio, "):
        train("whisper", clips=None, work=tmp_path / "work")
    with pytest.raises(ValueError, match=r"seed is -1; pass 0 or more"):
        train("pocket-qwen2-audio", clips=None, work=tmp_path / "work", seed=-1)
    assert not (tmp_path / "work").exists()


def test_another_recipe_has_another_place() -> None:
    qwen2, flamingo = RECIPES["pocket-qwen2-audio"], RECIPES["pocket-audio-flamingo-3"]
    assert len({tower_key(recipe) for recipe in RECIPES.values()}) == 1  # one tower serves all
    assert recipe_key(qwen2) != recipe_key(flamingo)
    for other in (
        replace(qwen2, seed=2),
        replace(qwen2, recordings=0.5),
        replace(qwen2, events=("bell",)),
        replace(qwen2, encoder=replace(qwen2.encoder, steps=3)),
    ):
        assert tower_key(other) != tower_key(qwen2)
    for key in (tower_key, recipe_key):  # other recordings
        assert len({key(qwen2), key(qwen2, ["a.wav"]), key(qwen2, ["a.wav", "b.wav"])}) == 3
    answers_only = replace(qwen2, language=replace(qwen2.language, steps=3))
    assert tower_key(answers_only) == tower_key(qwen2) and recipe_key(answers_only) != recipe_key(qwen2)


def test_shortened_recipes_keep_their_shape() -> None:
    short = RECIPES["pocket-qwen2-audio"].shortened(0.01)
    assert (short.encoder.steps, short.language.steps, short.language.scenes) == (42, 13, 120)
    assert short.shortened(1e-9).encoder.steps == 1
    assert short.size == RECIPES["pocket-qwen2-audio"].size


# Measuring ---------------------------------------------------------------------------------------------------------


def test_three_files_are_left_and_say_which_weights_they_are_about(measured: Path) -> None:
    found = json.loads((measured / "evaluation.json").read_text())
    assert found["revision"] == fingerprint(measured)
    assert found["procedural"]["where"]["revision"] == found["revision"]
    assert "recordings" not in found
    settings = Settings.load(measured / "settings.json")
    assert settings.development_events == DEVELOPMENT_EVENTS
    scenes = found["procedural"]["where"]["settings"]["scenes"]
    assert not set(scenes["classes"]) & set(DEVELOPMENT_EVENTS)
    assert scenes["scenes"] == 2
    assert {row["method"] for row in found["procedural"]["where"]["rows"]} == {*STANDARD, *RIVALS}
    assert len(found["norm_ratio"]) == 3


def test_the_card_holds_the_figures_of_the_evaluation(measured: Path) -> None:
    card = (measured / "README.md").read_text()
    found = json.loads((measured / "evaluation.json").read_text())
    assert card.startswith("# a model\n")
    assert f"`{found['revision']}`" in card
    for row in found["procedural"]["answers"]:
        assert f"| {row['question']} | {row['right']:.1%} | {row['low']:.1%} - {row['high']:.1%} | {row['n']} |" in card
    for row in found["procedural"]["where"]["rows"]:
        (line,) = [line for line in card.splitlines() if line.startswith(f"| {METHODS[row['method']].label} |")]
        assert f"{row['overlap']:.1%}" in line
    assert "no recordings" in card and "torch 1.2.3" in card
    for name in SOUNDS:
        assert name in card


def test_the_card_is_written_from_the_files_alone(measured: Path, tmp_path: Path) -> None:
    for name in ("pocket.json", "settings.json", "evaluation.json"):
        (tmp_path / name).write_bytes((measured / name).read_bytes())
    assert write_card(tmp_path).read_bytes() == (measured / "README.md").read_bytes()
    found = json.loads((tmp_path / "evaluation.json").read_text())
    found["procedural"]["answers"][0]["right"] = 0.12345
    (tmp_path / "evaluation.json").write_text(json.dumps(found))
    assert "| 12.3% |" in write_card(tmp_path).read_text()


def test_what_is_finished_is_not_measured_again(measured: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_work(*_: Any, **__: Any) -> None:
        raise AssertionError("this was finished before")

    before = {name: (measured / name).read_bytes() for name in ("settings.json", "evaluation.json", "README.md")}
    monkeypatch.setattr(commands, "tune", no_work)
    monkeypatch.setattr("steer_utils.pocket.evaluation.Hearing", no_work)
    monkeypatch.setattr("steer_utils.study.benchmark.hear_each", no_work)
    measure(str(measured), clips=None, work=work, scenes=2, tuning_scenes=1, quiet=True)
    assert {name: (measured / name).read_bytes() for name in before} == before


def test_what_cannot_be_measured_is_refused_first(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*_: Any, **__: Any) -> None:
        raise AssertionError("refused before any work")

    monkeypatch.setattr(commands, "tune", no_work)
    with pytest.raises(ValueError, match="scenes is 0"):
        measure(str(measured), clips=None, work=tmp_path / "work", scenes=0)
    for path in measured.iterdir():
        if path.name not in ("pocket.json", "settings.json", "evaluation.json", "README.md"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="is not a pocket model"):
        measure(str(tmp_path), clips=None, work=tmp_path / "work")


def test_the_command_line_passes_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def note(*arguments: Any, **options: Any) -> Path:
        calls.append({"arguments": arguments, **options})
        return tmp_path / "made"

    monkeypatch.setattr(commands, "train", note)
    monkeypatch.setattr(commands, "measure", note)
    runner = CliRunner()
    made = runner.invoke(pocket_app, ["train", "--model", "qwen2_audio", "--work", str(tmp_path), "--shorten", "0.5"])
    assert made.exit_code == 0 and "steer-utils pocket evaluate" in made.output
    assert calls.pop() == {
        "arguments": ("qwen2_audio",),
        "clips": None,
        "work": tmp_path,
        "out": None,
        "shorten": 0.5,
        "seed": None,
        "device": "cpu",
        "workers": None,
    }
    assert runner.invoke(pocket_app, ["evaluate", "--scenes", "9"]).exit_code == 0
    assert [call["arguments"] for call in calls] == [(name,) for name in POCKET_MODELS]
    assert all((call["scenes"], call["work"]) == (9, Path("runs/pocket")) for call in calls)
