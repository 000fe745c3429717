"""Boxes measured: known answers for known curves, settings, the card, and the figures that ship."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pictures_shown import shown, tiny_llava

from steer_utils.lm.models import PICTURE_MODELS, WEIGHTS
from steer_utils.methods.base import Query, contrast_of, steered_curve
from steer_utils.methods.settings import Settings
from steer_utils.pocket import where_to_look
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
def test_the_page_tells_the_figures_that_ship(name: str) -> None:
    measured = json.loads((WEIGHTS / name / "evaluation.json").read_text(encoding="utf-8"))
    page, card = (
        path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "where_to_look.md", WEIGHTS / name / "README.md")
    )
    for kind in ("tested", "never trained"):
        for line in overlap_table(measured[kind]):
            assert line in page and line in card
    assert measured["scenes"] == 300 and set(NEVER_TRAINED).isdisjoint(TESTED)
    assert (WEIGHTS / name / "model.safetensors").stat().st_size < 6_000_000
