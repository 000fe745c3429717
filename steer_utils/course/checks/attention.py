"""Checks on temporal attention: from a curve to seconds, to a share, and to how many tokens it is spread over."""

from __future__ import annotations

from typing import Any

import numpy as np

from steer_utils.course.checks.answers import Wrong, called, correct, judge, number
from steer_utils.sound.spans import AudioSpan, Interval

SPAN = AudioSpan(15, 200)  # of the curves that the functions are tried on
TRIED = (Interval(2.5, 4.42), Interval(0.0, 1.01), Interval(6.41, 8.0))


def peak_second(answer: Any, curve: np.ndarray, span: AudioSpan) -> None:
    """A function (curve, span) -> the second at which the curve is highest: the middle of its highest token.

    It is tried on `curve` and on its mirror image, first where the peak is later: at token 0 mistakes look alike.
    """
    for tried in sorted((curve, curve[::-1].copy()), key=lambda values: -int(np.argmax(values))):
        _judge_peak(number(called(answer, tried, span)), tried, span)
    time, half = span.centers()[np.argmax(curve)], 500 * span.seconds_per_token
    correct(f"The peak is at {time:.2f} s. Starts of tokens would make every time {half:.0f} ms early.")


def _judge_peak(value: float, curve: np.ndarray, span: AudioSpan) -> None:
    token, step = int(np.argmax(curve)), span.seconds_per_token
    slots = "the slots before the audio are no time: count from the first audio token"
    about = "half a token {}; it stands for the time about its middle"
    mistakes = (
        (token, "that is the number of the token; it stands for `span.seconds_per_token` seconds"),
        (span.first + token, f"that is a slot of the prompt, not a time; {slots}"),
        ((span.first + token + 0.5) * step, slots),
        ((span.first + token) * step, slots),
        (token * step, f"that is where the token begins, {about.format('early')}"),
        ((token + 1) * step, f"that is where the token ends, {about.format('late')}"),
        (np.max(curve), "that is how high the curve is; the question is when: np.argmax, not np.max"),
    )
    otherwise = f"{value:.3f} is not it; np.argmax gives the token, (token + 0.5) · seconds_per_token its middle"
    judge(value, span.centers()[token], mistakes, otherwise, 1e-4)


def share_inside(answer: Any) -> None:
    """A function (curve, span, interval) -> the share of the tokens whose middle lies in the interval.

    It is tried on random curves and intervals.
    """
    rng = np.random.default_rng(5)
    for interval in TRIED:
        curve = rng.dirichlet(np.full(SPAN.count, 0.3))
        _judge_share(number(called(answer, curve, SPAN, interval)), curve, interval)
    correct("Put the event's part of the time beside it: that is what even attention gives.")


def _judge_share(value: float, curve: np.ndarray, interval: Interval) -> None:
    inside, step = SPAN.tokens(interval), SPAN.seconds_per_token
    starts = np.arange(SPAN.count) * step
    shifted = curve[max(0, inside.start - SPAN.first) : max(0, inside.stop - SPAN.first)]  # slots taken as tokens
    slots = "the curve begins at the first audio token: span.first is not needed"
    nearly = "nearly: a token counts if its middle is inside, span.centers(); not its start, its end or any part of it"
    mistakes = (
        (curve[inside].mean(), "that is the mean share of a token inside; the share of the event is their sum"),
        (curve[inside].sum() * SPAN.count, "that is in multiples of the even share; leave out the factor"),
        (
            curve[int(interval.start) : int(interval.end)].sum(),
            "the interval is in seconds, the curve has a value a token: compare the interval with the times of the "
            "tokens",
        ),
        (shifted.sum(), slots),
        (curve[inside.start + SPAN.first : inside.stop + SPAN.first].sum(), slots),
        (_between(curve, starts, interval), nearly),
        (_between(curve, starts + step, interval), nearly),
        (curve[int(interval.start / step) : int(np.ceil(interval.end / step))].sum(), nearly),
    )
    otherwise = "sum the curve over the tokens with interval.start <= middle < interval.end, span.centers()"
    judge(value, curve[inside].sum(), mistakes, otherwise, 1e-5)


def _between(curve: np.ndarray, times: np.ndarray, interval: Interval) -> float:
    return float(curve[(times >= interval.start) & (times < interval.end)].sum())


def effective_tokens(answer: Any) -> None:
    """A function (curve) -> exp(entropy): how many tokens a curve that sums to 1 is spread over.

    It is tried on curves whose answer is known.
    """
    even = np.full(200, 1 / 200)
    few = np.repeat([0.25, 0.0], [4, 196])
    skewed = np.repeat([0.7, 0.1, 0.0], [1, 3, 196])
    for curve, expected in ((skewed, 2.5604), (few, 4.0), (even, 200.0)):
        with np.errstate(divide="ignore", invalid="ignore"):
            value = called(answer, curve.copy())
        try:
            finite = bool(np.isfinite(float(value)))
        except (TypeError, ValueError):
            finite = True  # not a number at all: `number` says so
        if not finite:
            raise Wrong("0 · log 0 counts as 0, but numpy makes it NaN: leave the tokens without share out of the sum")
        _judge_spread(number(value), expected, curve)
    correct("Four quarters count 4, an even curve all 200; 0.7, 0.1, 0.1, 0.1 count 2.6.")


def _judge_spread(value: float, expected: float, curve: np.ndarray) -> None:
    some = curve[curve > 0]
    nats = float(-(some * np.log(some)).sum())
    bits = nats / np.log(2)
    mistakes = (
        (nats, "that is the entropy itself, in nats; its exponential is a number of tokens"),
        (bits, "that is the entropy in bits; use the natural logarithm, then np.exp"),
        (np.exp(bits), "the entropy is in bits (log2), but the exponential is to base e: use np.log"),
        (np.exp(-nats), "the sign of the entropy is missing: it is minus the sum of p · log p"),
        (1 / (some**2).sum(), "1 / sum of squares is another such measure; here it is the exponential of the entropy"),
        (len(some), "that counts the tokens with any share; one with little share must count for less"),
    )
    largest = f"with {len(some)} shares, {some.max():g} the largest, it gives {value:.3g}"
    judge(value, expected, mistakes, f"{largest}, not exp(-sum of p · log p)", 1e-3)
