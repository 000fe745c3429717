"""Field recordings: how files are made, what counts as found, and that nothing is chosen on test files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from tinies import FIVE, knowing_five

from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.study.benchmark import SceneSet
from steer_utils.study.field import (
    ABSENT,
    BEDS,
    CRITERIA,
    LOUDNESS,
    METHODS,
    calibration_of,
    correct,
    field_groups,
    field_scene,
    field_summary,
    field_table,
    halves,
    presence_summary,
    thresholds,
)

NAMES = ("siren", "bell", "rain", "engine", "knock", "dog bark")
OWN = replace(PAPER, blocks=(0, 1), chosen_on={"events": list(FIVE)})


def test_a_file_follows_from_its_seed_and_asks_for_what_is_there_and_what_is_not() -> None:
    maker = SceneMaker(NAMES)
    for index in range(6):
        made, again = field_scene(maker, index, 3), field_scene(maker, index, 3)
        np.testing.assert_array_equal(made.scene.samples, again.scene.samples)
        assert 6.0 <= made.scene.duration <= 20.0 and np.abs(made.scene.samples).max() <= 1.0
        asked = [name for name, _ in made.queries()]
        there = [name for name, truth in made.queries() if truth is not None]
        assert there == list(made.scene.names) and len(asked) == len(set(asked)) == len(there) + ABSENT
        assert made.bed in BEDS and made.bed not in asked
    assert not np.array_equal(made.scene.samples[:1000], field_scene(maker, 0, 3).scene.samples[:1000])


def test_the_bed_is_as_far_below_as_it_says() -> None:
    maker = SceneMaker(NAMES)
    for index in range(8):
        made = field_scene(maker, index, 5)
        sounding = np.zeros(len(made.scene.samples), bool)
        for event in made.scene.events:
            sounding[round(event.span.start * 16_000) : round(event.span.end * 16_000)] = True
        power = [float(np.mean(made.scene.samples[part].astype(float) ** 2)) for part in (sounding, ~sounding)]
        with_bed = 10 * np.log10(power[0] / power[1])
        assert with_bed == pytest.approx(10 * np.log10(1 + 10 ** (made.below / 10)), abs=6.0)  # a bed swells


def clips(folder: Path, names: list[str]) -> ClipBank:
    rng = np.random.default_rng(0)
    lines = ["filename,category"]
    for number, name in enumerate(names):
        soundfile.write(folder / name, (0.3 * rng.normal(size=16_000)).astype(np.float32), 16_000)
        lines.append(f"{name},{('siren', 'bell')[number % 2]}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return ClipBank.read(folder)


def test_no_source_is_in_both_halves(tmp_path: Path) -> None:
    bank = clips(tmp_path, ["4-1-A.wav", "4-2-A.wav", "4-1-B.wav", "4-2-B.wav", "4-3-A.wav", "4-4-A.wav"])
    first, second = ({clip.path.name for clip in part.clips} for part in halves(bank))
    assert first == {"4-1-A.wav", "4-1-B.wav", "4-2-A.wav", "4-2-B.wav"} and second == {"4-3-A.wav", "4-4-A.wav"}


def test_a_class_of_one_source_cannot_be_halved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'bell' come from one source"):
        halves(clips(tmp_path, ["4-1-A.wav", "4-2-A.wav", "4-3-A.wav", "4-2-B.wav"]))


# -- what counts -----------------------------------------------------------------------------------------------------
def row(split: str, scene: int, there: bool, score: float, start: float, end: float, method: str = "steering") -> dict:
    truth = (2.0, 4.0) if there else (np.nan, np.nan)
    names = {"split": split, "scene": scene, "event": "bell", "there": there, "method": method, "score": score}
    times = {"start": start, "end": end, "truth_start": truth[0], "truth_end": truth[1]}
    return {**names, **times, "bed": "rain", "below": 12.0, "seconds": 9.0}


ROWS = pd.DataFrame(
    [
        row("development", 0, True, 1.0, 2.0, 4.0),
        row("development", 1, False, 0.0, 0.0, 1.0),
        row("test", 0, True, 2.0, 2.1, 4.1),  # found within 0.2 s
        row("test", 1, True, 1.5, 2.4, 4.4),  # within 0.5 s
        row("test", 2, True, 1.2, 2.9, 3.95),  # IoU 0.525, onset 0.9 s late
        row("test", 3, True, 0.4, 2.0, 4.0),  # not claimed
        row("test", 4, False, 3.0, 2.0, 4.0),  # claimed in vain
        row("test", 5, False, -1.0, 2.0, 4.0),
        row("test", 6, True, 1.1, np.nan, np.nan),  # there, and no time named
    ]
)


def test_precision_and_recall_by_hand() -> None:
    assert thresholds(ROWS) == {"steering": 1.0}
    summary = field_summary(ROWS).set_index("criterion")
    assert list(summary.index) == list(CRITERIA)
    expected = {"presence": 4, "IoU 0.5": 3, "within 0.5 s": 2, "within 0.2 s": 1}
    for criterion, right in expected.items():
        assert summary.loc[criterion, "precision"] == pytest.approx(right / 5)
        assert summary.loc[criterion, "recall"] == pytest.approx(right / 5)
        assert summary.loc[criterion, "f1"] == pytest.approx(2 * right / 10)
    assert summary.loc["presence", "auc"] == pytest.approx(5 / 10)
    assert not correct(ROWS, "IoU 0.5")[~ROWS["there"]].any()


def test_nothing_is_chosen_on_test_files() -> None:
    changed = ROWS.copy()
    test = changed["split"] == "test"
    changed.loc[test, "there"] = ~changed.loc[test, "there"].astype(bool)
    changed.loc[test, "score"] *= -3
    assert thresholds(changed) == thresholds(ROWS)


def test_a_method_that_claims_nothing_has_no_precision() -> None:
    quiet = ROWS.assign(score=np.where(ROWS["split"] == "test", -9.0, ROWS["score"]))
    summary = field_summary(quiet)
    assert summary["precision"].isna().all() and (summary["recall"] == 0).all()


# -- a run -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def table(tiny_models: dict[str, AudioLM]) -> pd.DataFrame:
    with pytest.warns(UserWarning, match="were chosen on"):
        return field_table(knowing_five(tiny_models["qwen2_audio"]), SceneSet(SceneMaker(FIVE), 2, 4), OWN)


def test_every_query_has_a_row_a_method(table: pd.DataFrame) -> None:
    assert set(table["method"]) == {*METHODS, LOUDNESS} and set(table["split"]) == {"development", "test"}
    of_query = table.groupby(["split", "scene", "event"])
    assert (of_query.size() == len(METHODS) + 1).all() and (of_query["there"].nunique() == 1).all()
    by_model = table[table["method"].isin(METHODS)].groupby(["split", "scene", "event"])["score"]
    assert (by_model.nunique() == 1).all()  # presence is the model's, whatever puts the interval
    assert (table["end"] > table["start"]).all() and (table["end"] <= table["seconds"] + 1e-6).all()
    assert table.loc[~table["there"], "truth_start"].isna().all()


def test_presence_is_calibrated_on_development_files_and_judged_on_test_files(table: pd.DataFrame) -> None:
    calibration = calibration_of(table)
    assert calibration.question == OWN.presence and calibration.slope > 0 and 0 <= calibration.threshold <= 1
    assert calibration.fitted_on["files"] == 2 and calibration.fitted_on["sounds"] == "procedural"
    summary = presence_summary(table, calibration).set_index("presence")
    assert list(summary.index) == ["as the model says it", "calibrated"]
    assert summary["auc"].nunique() == 1 and summary["brier"].between(0, 1).all()
    assert {"sound", "bed below events", "length", "bed"} == set(field_groups(table)["by"])


def test_too_few_development_classes_are_refused(tiny_models: dict[str, AudioLM]) -> None:
    settings = replace(OWN, chosen_on={"events": list(FIVE[:3])})
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="at least four development classes"):
        field_table(knowing_five(tiny_models["qwen2_audio"]), SceneSet(SceneMaker(FIVE), 2, 4), settings)
