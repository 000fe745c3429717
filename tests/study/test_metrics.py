"""How good one answer is: windows and curves against the true event, in known cases, and the row of a query."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.methods.base import Localisation
from steer_utils.sound.spans import AudioSpan, Interval, best_window
from steer_utils.study.metrics import center_error, frame_auroc, pointing, rotated_overlaps, score_row, slot_of

SPAN = AudioSpan(5, 50)  # 2 s
EVENT = Interval(0.4, 0.8)  # tokens 10 to 19

# Few values, so that ties are common.
curves = st.lists(st.integers(-3, 3), min_size=1, max_size=40).map(lambda values: np.array(values, float))


@st.composite
def curves_and_events(draw: st.DrawFn) -> tuple[np.ndarray, AudioSpan, Interval]:
    curve = draw(curves)
    span = AudioSpan(0, len(curve), 0.04)
    start = draw(st.floats(0, 0.99 * span.duration))
    return curve, span, Interval(start, start + draw(st.floats(0.01, 1.0)))


# Windows ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)  # the machine may be busy
@given(st.floats(0, 20), st.floats(0, 20), st.floats(0.1, 5))
def test_iou_says_the_same_as_overlap_for_equal_widths(first: float, second: float, width: float) -> None:
    window, event = Interval(first, first + width), Interval(second, second + width)
    overlap = window.covers(event)
    assert window.iou(event) == pytest.approx(overlap / (2 - overlap), abs=1e-9)


def test_center_error() -> None:
    assert center_error(Interval(1.0, 2.0), Interval(2.0, 5.0)) == 2.0
    assert center_error(Interval(2.0, 5.0), Interval(1.0, 2.0)) == 2.0
    assert center_error(Interval(0.0, 4.0), Interval(1.0, 3.0)) == 0.0


def test_slot_of() -> None:
    truths = [Interval(0.0, 5.0), Interval(6.0, 11.0), Interval(12.0, 17.0)]
    assert [slot_of(truth, truths) for truth in truths] == [0, 1, 2]
    assert slot_of(Interval(3.0, 8.0), truths) == 0  # 2 s each, and 1.5 s each: the first of equals
    assert slot_of(Interval(3.1, 8.1), truths) == 1
    assert slot_of(Interval(5.1, 5.3), truths) == 0  # overlaps none, the nearest middle
    assert slot_of(Interval(5.7, 5.9), truths) == 1
    assert slot_of(Interval(30.0, 31.0), truths) == 2
    # The most seconds decide, not the nearest middle: the window's middle lies beyond the short event.
    assert slot_of(Interval(3.0, 8.0), [Interval(0.0, 5.0), Interval(6.0, 6.5)]) == 0
    assert slot_of(Interval(0.0, 9.0), [Interval(0.0, 2.0), Interval(4.0, 6.0)]) == 1  # equal seconds, nearer middle
    with pytest.raises(ValueError, match="no events"):
        slot_of(EVENT, [])


@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_the_chance_of_slot_accuracy_is_a_third(gap: float) -> None:
    truths = [Interval(start, start + 5.0) for start in (0.0, 5.0 + gap, 10.0 + 2 * gap)]
    span = AudioSpan(0, round((15.0 + 2 * gap) / 0.04))
    windows = [span.interval(first, first + 125) for first in range(span.count - 125 + 1)]
    pointed = np.array([slot_of(window, truths) for window in windows])
    by_slot = np.array([np.mean(pointed == slot) for slot in range(3)])
    assert by_slot.mean() == pytest.approx(1 / 3)
    assert by_slot[1] == pytest.approx(0.5, abs=0.01)  # half the windows point at the middle event


# Curves ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)  # the machine may be busy
@given(curves_and_events())
def test_auroc_is_the_share_of_pairs_won(case: tuple[np.ndarray, AudioSpan, Interval]) -> None:
    curve, span, event = case
    inside = np.array([event.start <= center < event.end for center in span.centers()])
    if inside.all() or not inside.any():
        assert math.isnan(frame_auroc(curve, span, event))
        return
    won = [(a > b) + 0.5 * (a == b) for a in curve[inside] for b in curve[~inside]]
    assert frame_auroc(curve, span, event) == pytest.approx(np.mean(won))


def test_auroc_of_known_curves() -> None:
    centers = SPAN.centers()
    inside = ((centers > EVENT.start) & (centers < EVENT.end)).astype(float)
    assert frame_auroc(inside, SPAN, EVENT) == 1.0
    assert frame_auroc(-inside, SPAN, EVENT) == 0.0
    assert frame_auroc(np.full(50, 0.1), SPAN, EVENT) == 0.5
    noise = np.random.default_rng(0).random((300, 50))
    assert np.mean([frame_auroc(curve, SPAN, EVENT) for curve in noise]) == pytest.approx(0.5, abs=0.025)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 29))
def test_curve_measures_move_with_the_audio_and_do_not_see_scale_or_level(shift: int) -> None:
    curve = np.random.default_rng(1).random(50)
    curve[13] += 0.5
    later = EVENT.shifted(shift * 0.04)
    assert frame_auroc(np.roll(curve, shift), SPAN, later) == frame_auroc(curve, SPAN, EVENT)
    assert pointing(np.roll(curve, shift), SPAN, later) is pointing(curve, SPAN, EVENT) is True
    for changed in (8 * curve, curve + 3, np.exp(curve)):
        assert frame_auroc(changed, SPAN, EVENT) == frame_auroc(curve, SPAN, EVENT)
        assert pointing(changed, SPAN, EVENT)
    assert frame_auroc(-curve, SPAN, EVENT) == pytest.approx(1 - frame_auroc(curve, SPAN, EVENT))


def test_the_pointing_game() -> None:
    hits = [pointing(np.eye(50)[token], SPAN, EVENT) for token in range(50)]
    assert [token for token, hit in enumerate(hits) if hit] == list(range(10, 20))
    assert not pointing(np.zeros(50), SPAN, EVENT)  # the first token wins a tie
    assert pointing(np.zeros(50), SPAN, Interval(0.0, 0.1))
    assert not pointing(np.eye(50)[10], SPAN, Interval(0.43, 0.44))  # holds the middle of no token


@settings(deadline=None)  # the machine may be busy
@given(curves_and_events())
def test_rotated_overlaps_are_those_of_the_best_windows(case: tuple[np.ndarray, AudioSpan, Interval]) -> None:
    curve, span, event = case
    overlaps = rotated_overlaps(curve, span, event)
    expected = [best_window(np.roll(curve, s), span, event.duration)[0].covers(event) for s in range(span.count)]
    assert overlaps == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 49), st.floats(-2, 2))
def test_rotated_overlaps_turn_with_the_curve(shift: int, level: float) -> None:
    curve = np.random.default_rng(2).random(50)
    overlaps = rotated_overlaps(curve, SPAN, EVENT)
    assert rotated_overlaps(np.roll(curve, shift), SPAN, EVENT) == pytest.approx(np.roll(overlaps, -shift))
    assert rotated_overlaps(0.5 * curve + level, SPAN, EVENT) == pytest.approx(overlaps)


def test_a_window_as_long_as_the_audio_is_right_however_it_is_rotated() -> None:
    assert rotated_overlaps(np.arange(50.0), SPAN, Interval(0.0, 2.0)) == pytest.approx(np.ones(50))


@pytest.mark.parametrize("measure", [frame_auroc, pointing, rotated_overlaps])
@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (np.zeros(49), r"shape \(49,\), but there are 50 tokens"),
        (np.zeros((50, 1)), r"shape \(50, 1\)"),
        (np.array([]), r"shape \(0,\)"),
        (np.r_[np.zeros(48), math.nan, math.inf], "50 values, 2 of them NaN or infinite"),
    ],
)
def test_curves_that_are_none_are_refused(measure: Callable[..., object], curve: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(curve, SPAN, EVENT)


# -- the row of a query ----------------------------------------------------------------------------------------------
ASKED = {
    "scene": 3,
    "slot": "first",
    "event": "bell",
    "truth_start": 1.0,
    "truth_end": 2.0,
    "others": [[3.0, 4.0]],
    "token_seconds": 0.1,
}


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
    row = score_row(ASKED, "asking", Localisation(None, 0.0, answer="a dog", unread="no time"))
    assert row["unread"] == "no time"
    assert (row["overlap"], row["iou"], row["own"], row["failed"], row["answer"]) == (0.0, 0.0, False, True, "a dog")
    assert {row[name] for name in ("start", "end", "center_error", "auroc", "pointing", "curve")} == {None}


def test_an_event_that_fills_the_audio_has_no_auroc() -> None:
    asked = {**ASKED, "truth_start": 0.0, "truth_end": 5.0}
    assert score_row(asked, "steering", Localisation(Interval(0.0, 5.0), 0.0, np.ones(50)))["auroc"] is None
