"""Rows of further methods beside those of an evaluation: the rest stays, steering must come out as before."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steer_utils.cli.pocket import pocket_app
from steer_utils.lm.models import load
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import METHODS, RIVALS
from steer_utils.pocket import more_methods as module
from steer_utils.pocket.architecture import build, save
from steer_utils.pocket.commands import POCKET_SETTINGS
from steer_utils.pocket.more_methods import measure_more, merged
from steer_utils.pocket.recipe import Recipe
from steer_utils.sound.files import json_safe
from steer_utils.study.benchmark import run_benchmark, scene_set
from steer_utils.study.report import report_dict

METHODS_BEFORE = ("steering", "prompting", "unsteered")


@pytest.fixture(scope="module")
def measured(recipes: dict[str, Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained model of three blocks, and an evaluation of three methods on three scenes."""
    recipe = replace(recipes["audioflamingo3"], size=replace(recipes["audioflamingo3"].size, blocks=3))
    folder = tmp_path_factory.mktemp("measured")
    model, processor = build(recipe.family, recipe.events, size=recipe.size)
    facts = {
        "name": "a model",
        "events": list(recipe.events),
        "trained_recordings": [],
        "training_folds": [],
        "recipe": recipe.as_dict(),
        "versions": {},
    }
    save(model, processor, folder, facts)
    chosen_on = {"events": ["siren"], "scenes": 1, "candidates": 1, "overlap": 0.5}
    settings = replace(POCKET_SETTINGS, blocks=(0,), read_blocks=(2,), chosen_on=chosen_on)
    settings.save(folder / "settings.json")
    lm = load(folder)
    table = run_benchmark(lm, scene_set(lm, settings, count=3, seed=7), settings, methods=METHODS_BEFORE)
    found = {"procedural": {"answers": [], "where": report_dict(table)}, "revision": lm.revision}
    found |= {"norm_ratio": [0.1], "tuning": []}
    (folder / "evaluation.json").write_text(json.dumps(json_safe(found)))
    return folder


@pytest.fixture
def folder(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "model"))


def evaluation(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "evaluation.json").read_text())["procedural"]["where"])


def test_rows_are_added_and_the_rest_stays(folder: Path, tmp_path: Path) -> None:
    before = evaluation(folder)
    card = measure_more(str(folder), ["negative", "unsteered"], clips=None, work=tmp_path / "work", quiet=True)
    after = evaluation(folder)
    assert list(dict.fromkeys(row["method"] for row in after["rows"])) == [
        "steering",
        "prompting",
        "negative",
        "unsteered",
    ]
    kept = [row for row in after["rows"] if row["method"] in METHODS_BEFORE]
    for row, same in zip(kept, before["rows"], strict=True):  # unsteered was measured again, and is the same
        assert row == same or (row["method"] == "unsteered" and row == {**same, "auroc": row["auroc"]})
    assert list(after["steering_minus"]) == ["prompting", "negative", "unsteered"]
    assert after["steering_minus"]["prompting"] == before["steering_minus"]["prompting"]
    assert after["settings"]["scenes"] == before["settings"]["scenes"]
    # p after Holm is what one run of all of them gives.
    lm, settings = load(folder), Settings.load(folder / "settings.json")
    scenes = scene_set(lm, settings, count=3, seed=7)
    whole = run_benchmark(lm, scenes, settings, methods=["steering", "prompting", "negative", "unsteered"])
    expected = json_safe(report_dict(whole))["tests"]
    assert [(row["method"], row["p_flip"], row["p_holm"]) for row in after["tests"]] == [
        (row["method"], row["p_flip"], row["p_holm"]) for row in expected
    ]
    assert METHODS["negative"].label in card.read_text()
    assert "rivals" not in settings.chosen_on  # none was asked for


def test_rivals_are_tuned_first_and_only_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def chosen(*_: object, start: Settings, scenes: int, resume_file: Path, progress: object) -> Settings:
        calls.append(resume_file)
        return replace(start, chosen_on={**start.chosen_on, "rivals": {"scenes": scenes}})

    monkeypatch.setattr(module, "tune_rivals", chosen)
    for scenes in (None, 2):
        measure_more(
            str(folder), ["specialist-heads"], clips=None, work=tmp_path, scenes=scenes, tuning_scenes=5, quiet=True
        )
    assert calls == [tmp_path / "model-rivals.safetensors"]
    assert Settings.load(folder / "settings.json").chosen_on["rivals"] == {"scenes": 5}
    rows = {row["method"]: row["n"] for row in evaluation(folder)["rows"] if row["slot"] == "all"}
    assert rows == {"steering": 9, "prompting": 9, "unsteered": 9, "specialist-heads": 6}
    assert "(n = 6)" in (folder / "README.md").read_text()


def test_what_cannot_be_added_is_refused_and_nothing_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads((folder / "evaluation.json").read_text())
    monkeypatch.setattr(module, "run_benchmark", None)

    def refused(message: str, methods: list[str]) -> None:
        with pytest.raises(ValueError, match=message):
            measure_more(str(folder), methods, clips=None, work=tmp_path / "work", quiet=True)

    refused("unknown method 'stearing'", ["stearing"])
    (folder / "evaluation.json").write_text(json.dumps({**found, "revision": "sha256:other"}))
    refused("is of the weights sha256:other", ["negative"])
    (folder / "evaluation.json").unlink()
    refused("has no evaluation.json", ["negative"])
    assert not (folder / "evaluation.json").exists() and not (folder / "README.md").exists()


def test_steering_that_comes_out_otherwise_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "evaluation.json"
    found = json.loads(path.read_text())
    found["procedural"]["where"]["rows"][0]["overlap"] += 1e-9
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="steering comes out otherwise than it did on the same scenes"):
        measure_more(str(folder), ["negative"], clips=None, work=tmp_path / "work", quiet=True)
    assert json.loads(path.read_text()) == found


def test_reports_of_other_scenes_do_not_mix(folder: Path) -> None:
    before = evaluation(folder)
    for change in ({"seed": 8}, {"scenes": 4}, {"classes": ["bell"]}):
        other = copy.deepcopy(before)
        other["settings"]["scenes"] |= change
        with pytest.raises(ValueError, match="other weights or scenes"):
            merged(before, other, ["prompting"])


def test_the_command_adds_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(module, "measure_more", lambda *given, **options: calls.append((given, options)) or tmp_path)
    options = ["evaluate", "--model", "one", "--only", RIVALS[0], "--only", "mavs", "--scenes", "9", "--work", "w"]
    assert CliRunner().invoke(pocket_app, options).exit_code == 0
    expected = {"clips": None, "work": Path("w"), "scenes": 9, "tuning_scenes": 60}
    assert calls == [(("one", [RIVALS[0], "mavs"]), expected)]
