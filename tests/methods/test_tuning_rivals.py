"""Choosing the rivals' free numbers: all candidates on the same scenes, the best one kept, read as a test run reads."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods import tuning_rivals as module
from steer_utils.methods.base import Query
from steer_utils.methods.settings import Scaling, Settings, Specialists, StateSwap
from steer_utils.methods.table import METHODS
from steer_utils.methods.tuning import runs_of_blocks
from steer_utils.methods.tuning_rivals import POWERS, tune_rivals
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene

NAMES = ("dog bark", "bell", "siren")
START = Settings(
    question="What do you hear?",
    strength=3.0,
    blocks=(1,),
    read_blocks=(2, 3),
    prompt_question="How loud is it?",
    prompt_blocks=(1,),
    chosen_on={"events": ["rain"], "scenes": 7},
)
FIELDS = ("text_vector", "event_vector", "scaling", "scaling_all", "specialists", "state_swap")


def tuned_on(lm: AudioLM, **options: Any) -> Settings:
    return tune_rivals(lm, NAMES, start=START, scenes=1, strengths=(2.0, 9.0), factors=(4.0,), **options)


@pytest.fixture(scope="module")
def tuned(one_model: AudioLM) -> Settings:
    return tuned_on(one_model)


@pytest.fixture(scope="module")
def heard(one_model: AudioLM) -> tuple[Scene, Hearing]:
    scene = SceneMaker(NAMES, seconds=one_model.window_seconds).scene(0, 1000)
    return scene, Hearing(one_model, scene.samples)


def overlap(heard: tuple[Scene, Hearing], name: str, settings: Settings) -> float:
    """Mean overlap of a method on the development scene, as a benchmark measures it."""
    (scene, hearing), found = heard, []
    for event in scene.events:
        find = METHODS[name].find
        assert find is not None
        interval = find(hearing, Query(event.name, event.span.duration), settings).interval
        assert interval is not None
        found.append(interval.covers(event.span))
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("text-vector", "text_vector"),
        ("event-vector", "event_vector"),
        ("attention-scaling", "scaling"),
        ("attention-scaling-all", "scaling_all"),
        ("specialist-heads", "specialists"),
        ("swap-follows", "state_swap"),
    ],
)
def test_the_method_with_its_settings_gets_what_tuning_says(
    heard: tuple[Scene, Hearing], tuned: Settings, name: str, field: str
) -> None:
    assert overlap(heard, name, tuned) == pytest.approx(tuned.chosen_on["rivals"][field]["overlap"], abs=1e-4)


def test_no_other_candidate_gets_further(heard: tuple[Scene, Hearing], tuned: Settings) -> None:
    candidates: dict[tuple[str, str], list[Any]] = {
        ("attention-scaling", "scaling"): [
            Scaling(factor, (block,), "How loud is it?", read, run)
            for factor, block, read, run in product((4.0,), range(4), ("share", "difference"), runs_of_blocks(4))
            if run[0] >= block
        ],
        ("specialist-heads", "specialists"): [
            Specialists(power, read) for power, read in product(POWERS, ("share", "difference"))
        ],
        ("swap-follows", "state_swap"): [
            StateSwap(block, "How loud is it?", run)
            for block in range(2)
            for run in runs_of_blocks(4)
            if run[0] > block + 1
        ],
    }
    for (name, field), every in candidates.items():
        reached = [overlap(heard, name, replace(tuned, **{field: one})) for one in every]
        facts = tuned.chosen_on["rivals"][field]
        assert facts["candidates"] == len(every), field
        assert facts["overlap"] == pytest.approx(max(reached), abs=1e-4), field


def test_the_rest_stays_as_it_was_and_the_classes_are_named(tuned: Settings) -> None:
    before, after = asdict(START), asdict(tuned)
    assert {name for name in before if before[name] != after[name]} == {*FIELDS, "chosen_on"}
    assert tuned.development_events == ("rain", *NAMES)
    assert tuned.chosen_on["scenes"] == 7 and tuned.chosen_on["rivals"]["scenes"] == 1
    assert tuned.text_vector is not None and tuned.text_vector.read_blocks is not None
    assert min(tuned.text_vector.read_blocks) > min(tuned.text_vector.blocks or (9,))


def test_a_run_goes_on_from_its_file(
    one_model: AudioLM, tuned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "sums.safetensors"
    assert tuned_on(one_model, resume_file=kept) == tuned

    def no_work(*_: object) -> None:
        raise AssertionError("this was finished before")

    monkeypatch.setattr(module, "Hearing", no_work)
    assert tuned_on(one_model, resume_file=kept) == tuned
    monkeypatch.setattr(Checkpoint, "numbers", "bfloat16")
    with pytest.raises(AssertionError, match="finished before"):  # another number type is another run
        tuned_on(one_model, resume_file=kept)


@pytest.mark.parametrize("options", [{"scenes": 0}, {"strengths": ()}, {"factors": ()}])
def test_nothing_to_try_is_refused_first(
    one_model: AudioLM, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "three_event_maker", None)
    with pytest.raises(ValueError, match="pass at least one of each"):
        tune_rivals(one_model, NAMES, start=START, **options)
