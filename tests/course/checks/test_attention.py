"""The checks in `attention`: the right answer passes, and each likely mistake has its own hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hints import hint_test

from steer_utils.course.checks import Wrong
from steer_utils.course.checks.attention import effective_tokens, peak_second, share_inside
from steer_utils.sound.spans import AudioSpan, Interval

SPAN = AudioSpan(15, 200)
CURVE = np.random.default_rng(1).dirichlet(np.full(200, 0.3))
Curve = np.ndarray


def middles(span: AudioSpan) -> np.ndarray:
    return (np.arange(span.count) + 0.5) * span.seconds_per_token


def peak(curve: Curve, span: AudioSpan) -> float:
    return float((np.argmax(curve) + 0.5) * span.seconds_per_token)


def share(curve: Curve, span: AudioSpan, interval: Interval) -> float:
    times = middles(span)
    return float(curve[(times >= interval.start) & (times < interval.end)].sum())


def effective(curve: Curve) -> float:
    some = curve[curve > 0]
    return float(np.exp(-(some * np.log(some)).sum()))


def test_right_answers_pass_and_say_something(capsys: pytest.CaptureFixture[str]) -> None:
    peak_second(peak, CURVE, SPAN)
    share_inside(share)
    effective_tokens(effective)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and all(line.startswith("Correct. ") for line in printed)
    assert f"{peak(CURVE, SPAN):.2f} s" in printed[0] and "20 ms early" in printed[0]


def test_a_peak_at_the_first_token_still_tells_mistakes_apart() -> None:
    first = np.linspace(0.01, 0.0, 200)
    peak_second(peak, first, SPAN)
    with pytest.raises(Wrong, match="that is where the token begins"):
        peak_second(lambda curve, span: np.argmax(curve) * span.seconds_per_token, first, SPAN)


@pytest.mark.parametrize("blank", [None, ..., lambda *_: None, lambda *_: ...])
def test_blanks_are_not_answers(blank: Any) -> None:
    for check in (lambda answer: peak_second(answer, CURVE, SPAN), share_inside, effective_tokens):
        with pytest.raises(Wrong, match="nothing is here yet"):
            check(blank)


@pytest.mark.parametrize("check", [lambda answer: peak_second(answer, CURVE, SPAN), share_inside, effective_tokens])
def test_what_is_no_function_or_stops_is_said(check: Callable[[Any], None]) -> None:
    with pytest.raises(Wrong, match="must be a function, not float"):
        check(5.1)
    with pytest.raises(Wrong, match="stopped with ZeroDivisionError"):
        check(lambda *_: 1 / 0)
    with pytest.raises(Wrong, match="must be a number, not str"):
        check(lambda *_: "much")


test_peaks = hint_test(
    lambda wrong: peak_second(wrong, CURVE, SPAN),
    (lambda curve, span: np.argmax(curve), "number of the token"),
    (lambda curve, span: span.first + np.argmax(curve), "slot of the prompt"),
    (lambda curve, span: (span.first + np.argmax(curve)) * span.seconds_per_token, "^the slots before"),
    (lambda curve, span: peak(curve, span) + span.first * span.seconds_per_token, "^the slots before"),
    (lambda curve, span: np.argmax(curve) * span.seconds_per_token, "half a token early"),
    (lambda curve, span: (np.argmax(curve) + 1) * span.seconds_per_token, "half a token late"),
    (lambda curve, span: np.max(curve), "how high"),
    (lambda curve, span: peak(CURVE, SPAN), "is not it"),  # of another curve
)


test_shares = hint_test(
    share_inside,
    (lambda curve, span, at: curve[span.tokens(at)].mean(), "mean share of a token"),
    (lambda curve, span, at: curve[span.tokens(at)].sum() * span.count, "leave out the factor"),
    (lambda curve, span, at: curve[int(at.start) : int(at.end)].sum(), "in seconds, the curve has"),
    (lambda curve, span, at: curve[int(at.start / 0.04) : int(np.ceil(at.end / 0.04))].sum(), "middle is inside"),
    (lambda curve, span, at: share(curve, span, at.shifted(span.first * 0.04)), "span.first is not needed"),
    (
        lambda curve, span, at: curve[(middles(span) - 0.02 >= at.start) & (middles(span) - 0.02 < at.end)].sum(),
        "not its start, its end",
    ),
    (lambda curve, span, at: curve.sum(), "sum the curve over the tokens"),
)


test_effective_numbers = hint_test(
    effective_tokens,
    (lambda curve: np.log(effective(curve)), "itself, in nats"),
    (lambda curve: np.log2(effective(curve)), "entropy in bits"),
    (lambda curve: np.exp(np.log2(effective(curve))), "to base e"),
    (lambda curve: 1 / effective(curve), "sign of the entropy"),
    (lambda curve: np.exp(-(curve * np.log(curve)).sum()), "0 · log 0"),
    (lambda curve: 1 / (curve**2).sum(), "sum of squares"),
    (lambda curve: (curve > 0).sum(), "counts the tokens"),
    (lambda curve: 7.0, "0.7 the largest, it gives 7"),
)


def test_readers_arrays_are_left_alone() -> None:
    def spoils(curve: Curve) -> float:
        answer = effective(curve)
        curve[:] = 0
        return answer

    effective_tokens(spoils)
