"""Calibration: monotone whatever the data, better than what it is fitted on, kept in a file, and used where it fits."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steer_utils
from steer_utils.lm.models import MINI_MODELS, POCKET_MODELS, WEIGHTS, AudioLM
from steer_utils.methods.calibration import (
    FILE,
    Calibration,
    brier_score,
    calibration_error,
    fit_calibration,
    model_calibration,
    reliability,
)
from steer_utils.methods.locate import locate
from steer_utils.methods.settings import PAPER, Settings

QUESTION = PAPER.presence
SCORES = st.lists(st.floats(-50, 50), min_size=4, max_size=30)


@settings(max_examples=60, deadline=None)
@given(SCORES, st.integers(0, 2**30 - 1))
def test_a_calibration_never_turns_surer_into_less_likely(scores: list[float], bits: int) -> None:
    there = np.array([bool(bits >> place & 1) for place in range(len(scores))])
    there[:2] = True, False
    fitted = fit_calibration(np.array(scores), there, question=QUESTION)
    values = [fitted.probability(score) for score in sorted(scores)]
    assert fitted.slope > 0 and all(0 <= value <= 1 for value in values)
    assert all(first <= second for first, second in pairwise(values))


def test_it_finds_what_the_data_were_drawn_with() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 6, 8000)
    truth = Calibration(0.4, 0.0, QUESTION)
    there = rng.random(8000) < [truth.probability(score) for score in scores]
    fitted = fit_calibration(scores, there, question=QUESTION)
    assert (fitted.slope, fitted.intercept) == (pytest.approx(0.4, abs=0.03), pytest.approx(0.0, abs=0.1))
    raw, calibrated = (
        np.array([used.probability(score) for score in scores]) for used in (Calibration(1.0, 0.0, QUESTION), fitted)
    )
    assert brier_score(calibrated, there) < brier_score(raw, there)
    assert calibration_error(calibrated, there) < 0.03 < calibration_error(raw, there)


def test_figures_of_a_small_case_by_hand() -> None:
    values, there = np.array([0.05, 0.95, 0.95, 1.0]), np.array([False, True, False, True])
    assert brier_score(values, there) == pytest.approx((0.0025 + 0.0025 + 0.9025 + 0) / 4)
    assert reliability(values, there) == [(0.05, 0.0, 1), (pytest.approx(2.9 / 3), pytest.approx(2 / 3), 3)]
    assert calibration_error(values, there) == pytest.approx((0.05 + 3 * 0.3) / 4)


def test_a_perfect_split_stays_finite() -> None:
    fitted = fit_calibration(np.array([-3.0, -2.0, 2.0, 3.0]), np.array([False, False, True, True]), question=QUESTION)
    assert 0.5 < fitted.probability(2.0) < 1 and 0 < fitted.probability(-2.0) < 0.5


@pytest.mark.parametrize(
    ("scores", "there", "message"),
    [([1.0, 2.0], [True, True], "2 sounds are there and 0 are not"), ([1.0, np.nan], [True, False], "finite")],
)
def test_what_cannot_be_fitted_is_refused(scores: list[float], there: list[bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_calibration(np.array(scores), np.array(there), question=QUESTION)


def test_a_file_comes_back_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    one = Calibration(0.5, -1.0, QUESTION, 0.4, {"files": 3})
    one.save(path)
    assert Calibration.load(path) == one
    for change, message in (({"slope": -1.0}, "pass a positive number"), ({"other": 1}, "is no setting|other")):
        path.write_text(json.dumps({"slope": 0.5, "intercept": 0.0, "question": QUESTION, **change}))
        with pytest.raises(ValueError, match=message):
            Calibration.load(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="holds a list"):
        Calibration.load(path)


def test_it_is_used_beside_the_model_and_for_its_question_alone(model_folder: Path, samples: np.ndarray) -> None:
    lm: AudioLM = steer_utils.load(model_folder)
    plain = locate(lm, samples, "bell", sampling_rate=16_000, settings=PAPER)
    assert plain.probability is None and plain.chance_that_it_is_there == plain.presence
    path = model_folder / FILE
    try:
        Calibration(0.01, 1.0, QUESTION).save(path)
        located = locate(lm, samples, "bell", sampling_rate=16_000, settings=PAPER)
        assert located.presence == plain.presence and located.as_dict()["probability"] is not None
        assert located.chance_that_it_is_there == located.probability == pytest.approx(0.73, abs=0.03)
        Calibration(0.01, 1.0, QUESTION, fitted_on={"revision": "of other weights"}).save(path)
        assert model_calibration(lm, PAPER) is None
        Calibration(0.01, 1.0, QUESTION, fitted_on={"revision": lm.revision}).save(path)
        assert model_calibration(lm, PAPER) is not None
        other = replace(PAPER, presence="Is there a {event}?")
        assert model_calibration(lm, other) is None
        assert locate(lm, samples, "bell", sampling_rate=16_000, settings=other).probability is None
    finally:
        path.unlink()


@pytest.mark.parametrize("name", [*POCKET_MODELS, *MINI_MODELS])
def test_what_ships_fits_its_models_question(name: str) -> None:
    path = WEIGHTS / name / FILE
    if not path.is_file():
        pytest.skip(f"{name} has no calibration")
    assert Calibration.load(path).question == Settings.load(path.with_name("settings.json")).presence
