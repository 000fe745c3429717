"""From grid to units: everything that can be refused is, before any weights are read; names hold what counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from sweep_work import SIX, small_grid

from steer_utils.lm import models
from steer_utils.pocket.recipe import DEVELOPMENT_EVENTS
from steer_utils.runs.grids import as_grid
from steer_utils.runs.planning import plan_sweep

POCKET = {"models": "pocket-qwen2-audio", "seeds": [0], "scenes": 2, "blocks": "all", "strengths": 4}


@pytest.fixture(scope="module")
def folder(six_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model without its weights: to read them would fail."""
    folder = shutil.copytree(six_classes, tmp_path_factory.mktemp("planned") / "six")
    (folder / "model.safetensors").unlink()
    return folder


def test_units_are_models_times_seeds(folder: Path) -> None:
    made = plan_sweep(small_grid(folder, seeds=[5, 2]))
    assert [unit["seed"] for unit in made.units] == [5, 2]
    assert all(json.loads(json.dumps(unit)) == unit for unit in made.units)
    assert made.units[0]["blocks"] == [["early", [0, 1]], ["1", [1]]]
    assert made.units[0]["source"] == str(folder.resolve()) and made.units[0]["model"] == str(folder)
    assert made.units[0]["name"].startswith(f"{folder.name}-5-")
    assert made.notes == (f"{folder}: 10 settings a query, controls among them",)


def test_a_pocket_model_brings_its_settings_and_classes() -> None:
    (unit,) = plan_sweep(as_grid(POCKET)).units
    assert unit["development"] == list(DEVELOPMENT_EVENTS) and unit["num_blocks"] == 6
    assert unit["questions"] == [unit["settings"]["question"]]
    assert unit["read_blocks"] is None and unit["choosing"] == 2
    (own,) = plan_sweep(as_grid({**POCKET, "read_blocks": "own", "blocks": ["each", "late"]})).units
    written = json.loads((models.WEIGHTS / "pocket-qwen2-audio" / "settings.json").read_text())
    assert own["read_blocks"] == written["read_blocks"]


def test_names_of_blocks_are_resolved_for_each_model() -> None:
    made = plan_sweep(
        as_grid(
            {
                **POCKET,
                "models": ["pocket-qwen2-audio", "pocket-audio-flamingo-3"],
                "blocks": ["each", "early", "late", "all", [-2], 1],
            }
        )
    )
    first, second = (dict(unit["blocks"]) for unit in made.units)
    assert first["late"] == [3, 4, 5] and second["late"] == [4, 5, 6, 7]
    assert first["-2"] == [4] and second["-2"] == [6]
    assert list(first) == ["0", "1", "2", "3", "4", "early", "late", "all", "-2"]


def test_blocks_that_leave_nothing_to_read_are_left_out_and_told() -> None:
    both = ["pocket-qwen2-audio", "pocket-audio-flamingo-3"]
    made = plan_sweep(as_grid({**POCKET, "models": both, "blocks": [0, 5]}))
    assert [list(dict(unit["blocks"])) for unit in made.units] == [["0"], ["0", "5"]]
    assert "pocket-qwen2-audio: 5 left out, since no block that is read comes after" in made.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["pocket-qwen3"]}, "there is no pocket model 'pocket-qwen3'"),
        ({"models": ["no/such-model-here"]}, "cannot read a model configuration from 'no/such-model-here'"),
        ({"blocks": [4]}, "blocks has 4, but "),
        ({"blocks": [[0, -5]]}, "blocks has -5, but "),
        ({"blocks": [3]}, "no block that is read comes after 3; steer earlier blocks"),
        ({"read_blocks": [9]}, "read_blocks has 9, but "),
        ({"read_blocks": [0], "blocks": ["early"]}, "no block that is read comes after early"),
        ({"split": {}}, "were chosen on no classes; name those to choose on"),
        ({"split": {"development": ["siren"]}}, "three"),
        ({"split": {"development": [*SIX[:3], "piano"]}}, "split: development has piano"),
        ({"questions": ["Describe <|im_end|> it."]}, "holds '<|im_end|>', a special token of the model"),
        ({"settings": "nowhere.json"}, "cannot read settings from 'nowhere.json'"),
        ({"clips": "nowhere"}, "nowhere"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_its_weights_are_read(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as raised:
        plan_sweep(small_grid(change.pop("models", [str(folder)])[0], **change))
    assert message in str(raised.value)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="bert"):
        plan_sweep(small_grid(tmp_path))


def test_the_hash_holds_what_counts_and_nothing_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hashed(where: Path = folder, **changes: Any) -> str:
        return plan_sweep(small_grid(where, seeds=[0], **changes)).units[0]["name"].rsplit("-", 1)[1]

    own = hashed()
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert hashed() == own == hashed(moved)
    changes: list[dict[str, Any]] = [
        {"scenes": 3},
        {"strengths": [2]},
        {"strengths": [8, 2]},
        {"blocks": ["early"]},
        {"questions": ["How many?"]},
        {"split": {"development": list(SIX[3:])}},
        {"split": {"development": list(SIX[:3]), "scenes": 1}},
        {"read_blocks": [3]},
        {"dtype": "bfloat16"},
        {"quantise": "nf4"},
    ]
    monkeypatch.setattr("steer_utils.lm.loading.find_spec", lambda name: True)  # whether bitsandbytes is here or not
    others = [hashed(**change) for change in changes]
    (moved / "model.safetensors").write_bytes(b"other weights")
    others.append(hashed(moved))
    assert len({own, *others}) == 1 + len(others)


@pytest.mark.parametrize(
    ("given", "match"),
    [({"dtype": "float33"}, "dtype is 'float33'"), ({"quantise": "int4"}, "quantise is 'int4'; pass one of int8, nf4")],
)
def test_number_types_that_there_are_not_are_refused(folder: Path, given: dict[str, str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        plan_sweep(small_grid(folder, **given))


# -- notebooks -------------------------------------------------------------------------------------------------------
@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cell = nbformat.v4.new_code_cell("model = ''\nseed = 0\npreset = 'smoke'\nwidths = [1.0]\n")
    cell.metadata["tags"] = ["parameters"]
    made = nbformat.v4.new_notebook(cells=[cell])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(made, tmp_path / "lesson.ipynb")
    return tmp_path / "lesson.ipynb"


def test_lists_among_the_parameters_are_swept(notebook: Path) -> None:
    swept = {"preset": ["smoke", "course"], "widths": [[0.5]]}
    units = plan_sweep(as_grid({"notebook": str(notebook), "seeds": [1, 2], "parameters": swept})).units
    assert [(unit["seed"], unit["parameters"]["preset"]) for unit in units] == [
        (1, "smoke"),
        (2, "smoke"),
        (1, "course"),
        (2, "course"),
    ]
    assert all(unit["parameters"]["widths"] == [0.5] for unit in units)
    assert units[0]["swept"] == {"preset": "smoke", "widths": [0.5]} and units[0]["model"] is None
    assert len({unit["name"] for unit in units}) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"parameters": {"strength": 2}}, "has no parameter strength"),
        ({"parameters": {"preset": [1, 2]}}, "preset"),
        ({"parameters": {"preset": ["smoke", "smoke"]}}, "a value twice"),
        ({"notebook": "nowhere.ipynb"}, "there is no notebook 'nowhere.ipynb'"),
        ({"notebook": "99"}, "there is no lesson 99 in notebooks"),
    ],
)
def test_a_notebook_is_asked_only_what_it_takes(notebook: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        plan_sweep(as_grid({"notebook": str(notebook), **given}))
    assert message in str(raised.value)
