"""Scores: each column against its definition, and what is missing stays missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from steer_utils.methods.base import Localisation
from steer_utils.sound.spans import AudioSpan, Interval
from steer_utils.study.metrics import frame_auroc, score_row

ASKED = {"scene": 3, "slot": "first", "event": "bell", "truth_start": 1.0, "truth_end": 2.0,
         "others": [[3.0, 4.0]], "token_seconds": 0.1}  # fmt: skip


def test_a_window_and_its_curve() -> None:
    curve = np.random.default_rng(0).random(50)
    row = score_row(ASKED, "steering", Localisation(Interval(1.5, 2.5), 0.0, curve))
    assert {name: row[name] for name in ASKED} == ASKED
    assert (row["method"], row["start"], row["end"], row["failed"]) == ("steering", 1.5, 2.5, False)
    assert (row["overlap"], row["iou"], row["center_error"]) == pytest.approx((0.5, 1 / 3, 0.5))
    assert row["own"] is True
    assert row["auroc"] == frame_auroc(curve, AudioSpan(0, 50, 0.1), Interval(1.0, 2.0))
    assert row["pointing"] is bool(1.0 <= 0.1 * (curve.argmax() + 0.5) < 2.0)
    assert np.allclose(row["curve"], curve, rtol=1e-4) and row["curve"] != list(curve)
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_a_window_on_another_event_is_not_its_own() -> None:
    assert score_row(ASKED, "random", Localisation(Interval(2.9, 3.9), 0.0))["own"] is False


def test_no_window_and_no_curve() -> None:
    row = score_row(ASKED, "asking", Localisation(None, 0.0, answer="a dog"))
    assert (row["overlap"], row["iou"], row["own"], row["failed"], row["answer"]) == (0.0, 0.0, False, True, "a dog")
    assert {row[name] for name in ("start", "end", "center_error", "auroc", "pointing", "curve")} == {None}


def test_an_event_that_fills_the_audio_has_no_auroc() -> None:
    asked = {**ASKED, "truth_start": 0.0, "truth_end": 5.0}
    assert score_row(asked, "steering", Localisation(Interval(0.0, 5.0), 0.0, np.ones(50)))["auroc"] is None
