"""The checks in `playground`: right answers pass, and each known mistake gets its own hint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hints import hint_test, right_test

from steer_utils.course.checks import Wrong
from steer_utils.course.checks import playground as checks
from steer_utils.lm.hearing import Hearing
from steer_utils.methods.base import Query
from steer_utils.methods.settings import Settings
from steer_utils.show.widgets.listening import PLAIN, SHIFT, STEERED, Listening, listening
from steer_utils.sound.spans import AudioSpan, Interval

SETTINGS = Settings(question="Describe the sound.", strength=3.0, blocks=(0,), read_blocks=(1,))
QUERY = Query("siren", 0.4)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> dict[float, Interval]:
    """The window comes to its place at a tenth of the strength."""
    places = {0.0: 0.0, 0.01: 0.6, 0.1: 1.1, 0.5: 1.2, 1.0: 1.2}
    by_part = {part: Interval(start, start + 0.4) for part, start in places.items()}
    monkeypatch.setattr(checks, "_window", lambda part, *_: by_part[part])
    return by_part


def test_the_least_part(hearing: Hearing, windows: dict[float, Interval], capsys: pytest.CaptureFixture[str]) -> None:
    checks.least_part(0.1, hearing, QUERY, SETTINGS)
    assert str(windows[0.1]) in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer, hint",
    [
        (..., "nothing is here yet"),
        (0.3, "part of the chosen strength"),
        (3, "pass one of the parts"),
        (0.5, "at a smaller part already"),
        (0, "nothing is added"),
        (0.01, "compare their middles"),
    ],
)
def test_mistakes_about_the_least_part(
    answer: float, hint: str, hearing: Hearing, windows: dict[float, Interval]
) -> None:
    with pytest.raises(Wrong, match=hint):
        checks.least_part(answer, hearing, QUERY, SETTINGS)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_window_is_that_of_the_steering_at_this_part(part: float, hearing: Hearing) -> None:
    settings = replace(SETTINGS, strength=3.0 * part)
    assert checks._window(part, hearing, QUERY, SETTINGS) == listening(hearing, QUERY, settings).located


def test_without_steering_a_difference_has_no_place(hearing: Hearing) -> None:
    assert checks._window(0.0, hearing, QUERY, SETTINGS).start == 0


# -- the head that looks most --------------------------------------------------------------------------------------
def three_blocks() -> Listening:
    """Three blocks of four heads over ten tokens of 0.1 s; the event is in tokens 4 to 6."""
    span = AudioSpan(0, 10, 0.1)

    def curves(inside: dict[tuple[int, int], float]) -> np.ndarray:
        shares = np.full((3, 4, 10), 0.1)
        for (block, head), share in inside.items():
            shares[block, head] = (1 - share) / 7
            shares[block, head, 4:7] = share / 3
        return shares

    plain = curves({(0, 3): 0.9, (2, 1): 0.85})
    steered = curves({(2, 1): 0.95, (1, 1): 0.8, (0, 3): 0.5})
    sound = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    by_label = {PLAIN: plain, STEERED: steered, SHIFT: steered - plain}
    return Listening(sound, 16_000, span, by_label, located=Interval(0.4, 0.7), truth=Interval(0.4, 0.7))


HEARD = three_blocks()

test_the_best_head = right_test(
    lambda answer: checks.best_head(answer, HEARD),
    (2, 1),
    [2, 1],
    np.array([2, 1]),
    (np.int64(2), np.int64(1)),
    says="95%",
)


def test_a_head_as_good_as_the_best_is_right() -> None:
    curves = {label: values.copy() for label, values in HEARD.curves.items()}
    curves[STEERED][0, 0] = curves[STEERED][2, 1]
    tied = replace(HEARD, curves=curves)
    checks.best_head((0, 0), tied)
    checks.best_head((2, 1), tied)


test_mistakes_about_the_best_head = hint_test(
    lambda answer: checks.best_head(answer, HEARD),
    (None, "nothing is here yet"),
    ((..., 1), "nothing is here yet"),
    (9, "unravel_index"),
    ((1, 2), "the block comes first"),
    ((0, 3), "without"),
    ((1, 1), "gained"),
    ((0, 0), "another has 95%"),
    ((3, 0), "a block of 0 to 2"),
    ((0, -1), "a block of 0 to 2"),
    ((0, 1, 2), "a block of 0 to 2"),
)


def test_without_the_truth_there_is_nothing_to_check() -> None:
    with pytest.raises(ValueError, match="truth"):
        checks.best_head((2, 1), replace(HEARD, truth=None))
