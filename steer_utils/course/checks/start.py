"""Checks of lesson 00: steering backwards, and the overlap of two intervals."""

from __future__ import annotations

from collections.abc import Callable

from steer_utils.course.checks.answers import Wrong, correct, judge, near, number
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import Interval


def share_backwards(
    answer: float, hearing: Hearing, vector: SteeringVector, settings: Settings, event: Interval
) -> None:
    """Is `answer` the share of attention in `event` when the question is steered with minus `vector`?"""
    given = number(answer)
    inside = hearing.span.tokens(event)

    def share(steer: SteeringVector | None) -> float:
        attention = hearing.read(settings.question, steer=steer, keep_norm=settings.keep_norm).attention
        return float(attention.curve(blocks=settings.read_blocks)[inside].sum())

    expected, forwards, plain = share(-vector), share(vector), share(None)
    mistakes = (
        (forwards, "that is the share when steering forwards: change the sign of the vector"),
        (plain, "that is the share without steering: pass steer=... to hearing.read"),
        (100 * expected, "give the share as a part of 1, not in per cent"),
        (
            expected / max(1, inside.stop - inside.start),
            "that is the mean over the event's tokens: a share is their sum",
        ),
    )
    otherwise = "read the same question and the same blocks as above, and sum the curve over the event's tokens"
    judge(given, expected, mistakes, otherwise, 1e-3)
    correct(f"Backwards {expected:.0%}, plain {plain:.0%}, forwards {forwards:.0%}: the sign says where to.")


def overlap(answer: Callable[[Interval, Interval], float]) -> None:
    """Is `answer(found, truth)` the paper's overlap |W ∩ E| / |E| for windows that hit, touch and miss?"""
    truth = Interval(3.0, 5.0)
    cases = {
        "shifted": Interval(3.5, 5.5),
        "wider": Interval(2.0, 7.0),
        "inside": Interval(3.5, 4.0),
        "apart": Interval(6.0, 7.5),
        "the same": truth,
    }
    given = {name: number(answer(window, truth)) for name, window in cases.items()}
    expected = {name: window.covers(truth) for name, window in cases.items()}
    if all(near(given[name], expected[name]) for name in cases):
        return correct(f"A window wider than the event can cover {given['wider']:.0%} of it: so the width is fixed.")
    if given["apart"] < 0:
        raise Wrong("two intervals that do not meet share nothing: a negative number of seconds must become 0")
    if near(given["inside"], 1.0):
        raise Wrong("divide by the length of the true event, not by that of the window found")
    if near(given["wider"], truth.iou(cases["wider"])):
        raise Wrong("that is intersection over union; here the shared seconds are divided by the event's length alone")
    wrong = next(name for name in cases if not near(given[name], expected[name]))
    raise Wrong(
        f"for found {cases[wrong]} and true {truth} this gives {given[wrong]:.3g}; count the seconds they share, as a "
        "part of the event's length"
    )
