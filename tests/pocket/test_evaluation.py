"""What a model gets right is counted right: exact answers, places in a listing, intervals over scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.pocket import evaluation
from steer_utils.pocket.architecture import build
from steer_utils.pocket.evaluation import LABELS, Answered, accuracies, evaluate
from steer_utils.pocket.recipe import Recipe
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.sounds import RATE


def shares(table: pd.DataFrame) -> dict[str, float]:
    return dict(zip(table["kind"], table["right"], strict=True))


@pytest.fixture
def pupil(recipes: dict[str, Recipe]) -> AudioLM:
    """An untrained model that hears eight seconds and knows every procedural sound."""
    recipe = recipes["qwen2_audio"]
    model, processor = build(recipe.family, recipe.events, size=recipe.size, seed=recipe.seed)
    model.requires_grad_(False)
    return AudioLM(model, processor, FAMILIES[recipe.family], "pupil", revision="test", events=recipe.events)


def oracle(monkeypatch: pytest.MonkeyPatch, wrong: str | None = None) -> list[list[str]]:
    """Hearing.answers gives the expected answers (but for one kind), found again from the seeds of the evaluation."""
    asked: list[list[str]] = []
    expected: dict[str, str] = {}
    made = evaluation.turn

    def remembered(kind: str, *arguments: Any) -> Any:
        found = made(kind, *arguments)
        expected[found.instruction] = "wrong" if kind == wrong else found.answer
        return found

    described = evaluation.focused

    def remembered_focus(*arguments: Any) -> Any:
        found = described(*arguments)
        expected[found.instruction] = found.answer
        return found

    def answers(self: Hearing, rows: list[Row]) -> list[str]:
        asked.append([row.instruction for row in rows])
        return [expected[row.instruction] for row in rows]

    monkeypatch.setattr(evaluation, "turn", remembered)
    monkeypatch.setattr(evaluation, "focused", remembered_focus)
    monkeypatch.setattr(Hearing, "answers", answers)
    return asked


def test_a_model_that_knows_everything_gets_everything(pupil: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = oracle(monkeypatch)
    table = evaluate(pupil, scenes=3)
    assert list(table["kind"]) == list(LABELS)
    assert list(table["question"]) == list(LABELS.values())
    assert (table[["right", "low", "high"]] == 1).all().all()
    assert dict(zip(table["kind"], table["n"], strict=True)) == {**dict.fromkeys(LABELS, 3), "events": 9}
    assert len(asked) == 3 and all(len(questions) == len(LABELS) - 1 for questions in asked)
    again = oracle(monkeypatch)
    evaluate(pupil, scenes=3)
    assert asked == again  # the same questions each time


def test_one_kind_wrong_is_that_row_alone(pupil: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle(monkeypatch, wrong="count")
    right = shares(evaluate(pupil, scenes=2))
    assert right.pop("count") == 0
    assert set(right.values()) == {1.0}


def test_an_untrained_model_gets_next_to_nothing(pupil: AudioLM) -> None:
    right = shares(evaluate(pupil, scenes=2))
    assert right["listing"] == right["focused"] == right["describe"] == 0
    assert set(right) == set(LABELS)


def test_recordings_have_no_pitch_to_ask_for(pupil: AudioLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for name in ("bell", "rain", "siren", "cow"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(3 * RATE), RATE)
    rows = "".join(f"{name}.wav,{name}\n" for name in ("bell", "rain", "siren", "cow"))
    (tmp_path / "t.csv").write_text("filename,category\n" + rows)
    asked = oracle(monkeypatch)
    right = shares(evaluate(pupil, clips=ClipBank.read(tmp_path), scenes=2))
    assert set(right) == set(LABELS) - {"pitch"}
    assert not any("cow" in question for questions in asked for question in questions)  # unknown to the model


def test_events_of_a_listing_are_scored_by_their_place() -> None:
    def events(answer: str, expected: str) -> float:
        return shares(accuracies([Answered(0, "listing", "?", expected, answer)]))["events"]

    assert events("bell, rain, siren", "bell, rain, siren") == 1
    assert events("bell, siren, rain", "bell, rain, siren") == pytest.approx(1 / 3)
    assert events("bell", "bell, rain, siren") == pytest.approx(1 / 3)
    assert events("", "bell, rain, siren") == 0
    assert events("rain, siren", "bell, rain, siren") == 0  # one left out moves the others
    assert events("bell, rain, siren, drum", "bell, rain, siren") == 1  # but the listing is wrong:
    assert not Answered(0, "listing", "?", "bell, rain, siren", "bell, rain, siren, drum").right


def test_intervals_are_over_scenes_and_in_the_order_of_the_labels() -> None:
    answered = [
        Answered(scene, kind, "?", "yes", "yes" if scene % 2 else "no")
        for scene in range(40)
        for kind in ("place", "presence")
    ]
    table = accuracies(answered)
    assert list(table["kind"]) == ["presence", "place"]
    assert table["right"].tolist() == [0.5, 0.5]
    assert ((table["low"] > 0.3) & (table["low"] < 0.4) & (table["high"] > 0.6) & (table["high"] < 0.7)).all()
    copies = accuracies([each for each in answered if each.kind == "place"] * 4)  # more answers, no more scenes
    assert copies["low"].item() == pytest.approx(table["low"][1], abs=0.02)


def test_evaluated_scenes_are_made_anew_and_fill_the_window(pupil: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    makers: list[SceneMaker] = []

    class Watched(SceneMaker):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            makers.append(self)

    monkeypatch.setattr(evaluation, "SceneMaker", Watched)
    oracle(monkeypatch)
    evaluate(pupil, scenes=1)
    (maker,) = makers
    assert maker.bank is None and maker.seconds == (8.0, 8.0) and maker.events == (3, 3) and not maker.augment
