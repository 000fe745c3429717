"""Boxes measured: known answers for known curves, settings, the card, and the figures that ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click import unstyle
from click.testing import Result
from pictures_shown import SHORT, shown, tiny_llava
from typer.testing import CliRunner

from steer_utils.cli.pocket import evaluate, pocket_app, train
from steer_utils.lm.loading import fingerprint
from steer_utils.lm.models import PICTURE_MODELS, WEIGHTS
from steer_utils.methods.base import Query, contrast_of, steered_curve
from steer_utils.methods.settings import Settings
from steer_utils.pocket import training, where_to_look
from steer_utils.pocket.architecture import save
from steer_utils.pocket.shapes import DEVELOPMENT, GRID, NEVER_TRAINED, TESTED
from steer_utils.pocket.where_to_look import (
    CEILING,
    COMPARED,
    PICTURE_SETTINGS,
    box_overlaps,
    box_summary,
    measure_pictures,
    method_curves,
    overlap_table,
    picture_rows,
    unseen_pictures,
    write_picture_card,
)

ROOT = Path(__file__).resolve().parents[2]


def test_a_curve_on_the_thing_finds_it_and_one_beside_it_does_not() -> None:
    truth = GRID.box(2, 3, 3, 2)
    curves = np.stack([GRID.inside(truth), ~GRID.inside(truth)]).astype(float)
    assert box_overlaps(curves, GRID, truth).tolist() == [1.0, 0.0]


def test_curves_are_those_of_the_audio_models_methods() -> None:
    lm = tiny_llava()
    seeing, names = lm.see(shown().pixels), [thing.name for thing in shown().things]
    curves = method_curves(seeing, names, PICTURE_SETTINGS, seed=5)
    assert len(curves) == 3 and all(set(by_method) == set(COMPARED) for by_method in curves)
    vector = contrast_of(seeing, Query(names[1], 1.0), PICTURE_SETTINGS)
    np.testing.assert_allclose(curves[1]["steering"], steered_curve(seeing, vector, PICTURE_SETTINGS), atol=1e-6)
    np.testing.assert_array_equal(curves[0]["unsteered"], curves[2]["unsteered"])  # whatever is asked for
    rows = pd.DataFrame(picture_rows(lm, shown(), 0, PICTURE_SETTINGS))
    assert len(rows) == 3 * (len(COMPARED) + 1) and rows["overlap"].between(0, 1).all()
    best = rows[rows["method"] == CEILING].set_index("thing")
    assert all(row.overlap <= best.loc[row.thing, "overlap"] + 1e-9 for row in rows.itertuples())
    summary = box_summary(rows.to_dict("records")).set_index("method")
    assert summary.loc["steering", "minus"] == 0 and summary["chance"].nunique() == 1


def test_the_command_goes_on_after_a_kill_and_its_model_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where_to_look, "PICTURE_RECIPES", {"pocket-llava": SHORT})
    monkeypatch.setattr(where_to_look, "Progress", partial(training.Progress, quiet=True))
    monkeypatch.setattr("steer_utils.methods.tuning.block_sets", lambda blocks: [(0,)])

    def run(work: str) -> Result:
        options = ["train", "--model", "pocket-llava", "--work", str(tmp_path / work)]
        return CliRunner().invoke(pocket_app, options)

    whole = run("whole")
    assert whole.exit_code == 0 and "measure it with: steer-utils pocket evaluate" in whole.output
    step, taken = training.take_step, []

    def killed(*values: object) -> None:
        taken.append(1)
        if len(taken) == 4 + 2:  # in the middle of stage 2
            raise RuntimeError("killed")
        step(*values)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(training, "take_step", killed)
        assert str(run("cut").exception) == "killed" and not (tmp_path / "cut" / "pocket-llava").exists()
    assert run("cut").exit_code == 0
    folders = [tmp_path / work / "pocket-llava" for work in ("whole", "cut")]
    assert fingerprint(folders[0]) == fingerprint(folders[1])
    options = ["evaluate", "--model", str(folders[1]), "--scenes", "2", "--tuning-scenes", "1", "--work", str(tmp_path)]
    monkeypatch.setattr(where_to_look, "NEVER_TRAINED", TESTED)
    measured = CliRunner().invoke(pocket_app, options)
    assert measured.exit_code == 0, measured.output
    assert "# pocket-llava" in (folders[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "used"), [(train, {"model", "work", "out", "shorten"}), (evaluate, {"model", "work", "scenes"})]
)
def test_no_option_goes_unheard(
    command: Callable[..., None], used: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a command takes is of use to a model that sees, or refused before any work."""

    def no_work(*_: object, **__: object) -> None:
        raise AssertionError("refused before any work")

    for function in ("train_picture_model", "measure_pictures"):
        monkeypatch.setattr(where_to_look, function, no_work)
    for name in set(signature(command).parameters) - used - {"tuning_scenes", "only"}:
        value = str(tmp_path) if name == "clips" else "2"
        options = [command.__name__, "--model", "pocket-llava", f"--{name.replace('_', '-')}", value]
        refused = CliRunner().invoke(pocket_app, options)
        assert refused.exit_code == 2 and f"--{name.replace('_', '-')}" in unstyle(refused.output), name


def test_a_model_is_measured_and_its_card_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_llava()
    save(lm.model, lm.processor, tmp_path / "model", {"name": "tiny", "events": [], "recipe": _recipe()})
    monkeypatch.setattr("steer_utils.methods.tuning.block_sets", lambda blocks: [(0,), (1,)])
    options = {"work": tmp_path / "work", "scenes": 2, "tuning_scenes": 1, "quiet": True}
    monkeypatch.setattr(where_to_look, "NEVER_TRAINED", TESTED)  # two pictures may hold none of them
    card = measure_pictures(str(tmp_path / "model"), **options).read_text(encoding="utf-8")
    measured = json.loads((tmp_path / "model" / "evaluation.json").read_text(encoding="utf-8"))
    settings = Settings.load(tmp_path / "model" / "settings.json")
    assert settings.development_events == DEVELOPMENT and settings.chosen_on["scenes"] == 1
    assert [row["method"] for row in measured["tested"]] == [*COMPARED, CEILING]
    assert all(line in card for line in overlap_table(measured["tested"]))
    before = (tmp_path / "model" / "evaluation.json").read_bytes()
    measure_pictures(str(tmp_path / "model"), **options)
    assert (tmp_path / "model" / "evaluation.json").read_bytes() == before
    with pytest.raises(ValueError, match="pass at least 1 of each"):
        measure_pictures(str(tmp_path / "model"), work=tmp_path, scenes=0)


def _recipe() -> dict[str, object]:
    language = {"steps": 0, "batch": 0, "turns": 0, "mix": {"focus": 0.05}, "local_audio": 0.0}
    return {"encoder": {"steps": 0, "batch": 0}, "language": language}


def test_pictures_of_a_measurement_are_the_same_again() -> None:
    one, same = unseen_pictures(TESTED, 2, 7), unseen_pictures(TESTED, 2, 7)
    assert all(np.array_equal(first.pixels, second.pixels) for first, second in zip(one, same, strict=True))
    assert {thing.name for picture in one for thing in picture.things} <= set(TESTED)


@pytest.mark.parametrize("name", PICTURE_MODELS)
def test_page_and_card_tell_the_figures_that_ship(name: str, tmp_path: Path) -> None:
    measured = json.loads((WEIGHTS / name / "evaluation.json").read_text(encoding="utf-8"))
    page, card = (
        path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "where_to_look.md", WEIGHTS / name / "README.md")
    )
    for kind in ("tested", "never trained"):
        for line in overlap_table(measured[kind]):
            assert line in page and line in card
    assert "None" not in card and '"read_heads"' not in (WEIGHTS / name / "settings.json").read_text(encoding="utf-8")
    for file in ("pocket.json", "settings.json", "evaluation.json"):
        (tmp_path / file).write_bytes((WEIGHTS / name / file).read_bytes())
    write_picture_card(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == card
    assert measured["scenes"] == 300 and set(NEVER_TRAINED).isdisjoint(TESTED)
    assert (WEIGHTS / name / "model.safetensors").stat().st_size < 6_000_000
