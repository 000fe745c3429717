"""What a unit measures, against the benchmark's own methods one query at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sweep_work import SIX, small_grid

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM, load
from steer_utils.methods.base import localise
from steer_utils.methods.controls import random_vector
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.steering import steering
from steer_utils.runs import measuring
from steer_utils.runs.executors import Unit
from steer_utils.runs.measuring import POINT, points_of, scenes_of, steering_table
from steer_utils.runs.planning import plan_sweep
from steer_utils.study.benchmark import query_in

QUESTIONS = ["Describe the sound.", "How many sounds are there?"]


@pytest.fixture(scope="module")
def lm(six_classes: Path) -> AudioLM:
    return load(six_classes)


def unit_of(model: Path, **changes: Any) -> Unit:
    return plan_sweep(small_grid(model, **changes)).units[0]


@pytest.fixture(scope="module")
def unit(six_classes: Path) -> Unit:
    return unit_of(six_classes, questions=QUESTIONS, blocks=["early", "late", [1]])


@pytest.fixture(scope="module")
def table(lm: AudioLM, unit: Unit) -> pd.DataFrame:
    return steering_table(lm, unit)


def test_every_point_of_every_query_is_there_once(table: pd.DataFrame, unit: Unit) -> None:
    points = points_of(unit)
    assert len(points) == 2 * 3 * (1 + 2 * 2)  # questions, blocks, strength 0 and each strength twice
    assert len(table) == 2 * 2 * 3 * len(points)  # splits, scenes, events
    assert not table.duplicated(["split", "scene", "event", *POINT]).any()
    assert table[["overlap", "iou", "chance"]].apply(lambda column: column.between(0, 1).all()).all()
    assert set(zip(table["vector"], table["strength"] == 0, strict=True)) == {
        ("none", True),
        ("steering", False),
        ("random", False),
    }
    assert dict(zip(table["blocks"], table["steered"], strict=True)) == {"early": "0-1", "late": "2-3", "1": "1"}


@pytest.mark.parametrize("read", ["share", "difference"])
def test_points_are_what_the_methods_find(lm: AudioLM, six_classes: Path, read: str) -> None:
    """The oracle: `methods.steering` and `controls.random_vector`, each query and setting alone."""
    unit = unit_of(six_classes, questions=QUESTIONS[:1], scenes=1)
    unit["settings"] = {**unit["settings"], "read": read}
    own = Settings(**unit["settings"])
    table = steering_table(lm, unit).set_index(["split", "event", "blocks", "strength", "vector"])["overlap"]
    checked = 0
    for split, scenes in scenes_of(lm, unit).items():
        scene = scenes.maker.scene(0, unit["seed"])
        hearing = Hearing(lm, scene.samples)
        for slot, event in enumerate(scene.events):
            query = query_in(scene, slot, unit["seed"])
            for label, blocks in unit["blocks"]:
                first = min(blocks) + 1
                base = hearing.read(own.question).attention.curve(range(first, 4))
                interval = localise(base, hearing, query).interval
                assert interval is not None
                unsteered = table[split, event.name, label, 0.0, "none"]
                assert unsteered == pytest.approx(interval.covers(event.span), abs=2e-6)
                for strength in unit["strengths"]:
                    setting = replace(own, strength=strength, blocks=tuple(blocks), read_blocks=tuple(range(first, 4)))
                    for vector, method in (("steering", steering), ("random", random_vector)):
                        found = method(hearing, query, setting).interval
                        assert found is not None
                        measured = table[split, event.name, label, strength, vector]
                        assert measured == pytest.approx(found.covers(event.span), abs=2e-6)
                        checked += 1
    assert checked == 2 * 3 * 2 * 2 * 2


def test_scenes_are_encoded_once(lm: AudioLM, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, made = [], Hearing.__init__

    def counted(self: Hearing, checkpoint: Any, samples: np.ndarray, **named: Any) -> None:
        heard.append(len(samples))
        made(self, checkpoint, samples, **named)

    monkeypatch.setattr(Hearing, "__init__", counted)
    steering_table(lm, unit)
    assert len(heard) == 2 * 2


def test_a_killed_unit_goes_on_where_it_was(
    lm: AudioLM, unit: Unit, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume_file, done = tmp_path / "unit.jsonl", []
    whole = measuring._scene_rows

    def stopping(*given: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(given[-1])
        return whole(*given)

    monkeypatch.setattr(measuring, "_scene_rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        steering_table(lm, unit, resume_file)
    assert len(resume_file.read_text().splitlines()) == 1 + 3
    done.clear()
    found = steering_table(lm, unit, resume_file)
    assert done == [1]  # of the four scenes only the last was left: the second one of the test
    pd.testing.assert_frame_equal(found, table)
    done.clear()
    monkeypatch.setattr(Checkpoint, "numbers", "bfloat16")  # another run, which starts anew
    with pytest.warns(UserWarning, match="begun with another numbers"), pytest.raises(KeyboardInterrupt):
        steering_table(lm, unit, resume_file)
    assert len(done) == 3


def test_choosing_and_reporting_share_no_class(lm: AudioLM, unit: Unit) -> None:
    made = scenes_of(lm, unit)
    names = {split: set(scenes.maker.names) for split, scenes in made.items()}
    assert names == {"development": set(SIX[:3]), "test": set(SIX[3:])}
    assert set(unit["settings"]["chosen_on"].get("events", ())) == set()  # the classes come from the grid


def test_classes_that_the_settings_were_chosen_on_are_never_reported_on(lm: AudioLM, unit: Unit) -> None:
    settings = {**unit["settings"], "chosen_on": {"events": [SIX[5]]}}
    with pytest.raises(ValueError, match="three-event scenes need three classes, 2 are left"):
        scenes_of(lm, {**unit, "settings": settings})


def test_unknown_development_classes_are_refused(lm: AudioLM, unit: Unit) -> None:
    with pytest.raises(ValueError, match=r"split: development has piano; .* can be asked for"):
        scenes_of(lm, {**unit, "development": [*SIX[:3], "piano"]})
    with pytest.raises(ValueError, match="three-event scenes need three classes"):
        scenes_of(lm, {**unit, "development": list(SIX[:2])})


def test_attention_that_is_no_number_is_not_taken_for_a_result(
    lm: AudioLM, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_curves", lambda *_: np.full((3, 100), np.nan))
    with pytest.raises(ValueError, match="holds NaN or infinite values; use a wider number type"):
        steering_table(lm, unit)


def test_facts_say_how_the_scenes_were_made(table: pd.DataFrame, unit: Unit) -> None:
    assert table.attrs["unit"]["name"] == unit["name"] and "torch" in table.attrs["versions"]
    assert table.attrs["scenes"]["test"]["classes"] == list(SIX[3:])
    assert PAPER.question == QUESTIONS[0]
