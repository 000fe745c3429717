"""Checks of the playground: how little steering is enough, and which head looks most at the event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from steer_utils.course.checks.answers import Wrong, answered, correct, near, number
from steer_utils.lm.hearing import Hearing
from steer_utils.methods.base import Query
from steer_utils.methods.settings import Settings
from steer_utils.show.widgets.listening import PLAIN, SHIFT, STEERED, Listening, listening
from steer_utils.sound.spans import Interval

#: Parts of the chosen strength that the playground tries.
PARTS = (0.0, 0.01, 0.1, 0.5, 1.0)
CLOSE = 0.2  # seconds between the middles of two windows that count as one place
TIE = 0.005  # of the attention: heads closer than this are equally good


def least_part(answer: float, hearing: Hearing, query: Query, settings: Settings) -> None:
    """Is `answer` the smallest of PARTS at which the window lies within CLOSE of where it lies at full strength?"""
    given = number(answer)
    windows = {part: _window(part, hearing, query, settings) for part in PARTS}
    apart = {part: abs(window.center - windows[1.0].center) for part, window in windows.items()}
    least = next(part for part in PARTS if apart[part] <= CLOSE)
    if near(given, least):
        plain = hearing.answer(settings.question, max_new_tokens=4)
        pushed = replace(settings, strength=least * settings.strength)
        steered = listening(hearing, query, pushed, answer=True).answers[STEERED]
        same = "still" if " ".join(steered.split()[:4]) == plain else "already another:"
        return correct(f"At {least:g} of the strength it is at {windows[least]}, and the answer is {same} {steered!r}.")
    if not any(near(given, part) for part in PARTS):
        if near(given, least * settings.strength):
            raise Wrong("that is the strength λ itself: give it as a part of the chosen strength")
        raise Wrong(f"pass one of the parts tried: {', '.join(f'{part:g}' for part in PARTS)}")
    part = min(PARTS, key=lambda tried: abs(tried - given))
    if part > least:
        raise Wrong(f"at {part:g} it is there, but at a smaller part already: go up from the smallest")
    if part == 0:
        raise Wrong("at 0 nothing is added: the window of a flat curve is only the first of many equal ones")
    raise Wrong(
        f"at {part:g} the window is at {windows[part]}, at full strength at {windows[1.0]}: compare their middles"
    )


def _window(part: float, hearing: Hearing, query: Query, settings: Settings) -> Interval:
    """Where the event is located at `part` of the strength."""
    located = listening(hearing, query, replace(settings, strength=part * settings.strength)).located
    assert located is not None  # a query has a width
    return located


def best_head(answer: Sequence[int], heard: Listening) -> None:
    """Is `answer` the (block, head) with the largest steered share in the true interval, or as good as that one?"""
    if heard.truth is None:
        raise ValueError("the true interval is not known; pass a Listening with its truth")
    inside = heard.span.tokens(heard.truth)
    shares = {label: values[:, :, inside].sum(axis=-1) for label, values in heard.curves.items()}
    steered = shares[STEERED]
    given = answered(answer)
    if np.ndim(given) == 0:
        raise Wrong("one number is the place in the flattened table: np.unravel_index(number, table.shape) splits it")
    pair = tuple(int(number(place)) for place in given)
    if len(pair) != 2 or not all(0 <= place < size for place, size in zip(pair, steered.shape, strict=False)):
        blocks, heads = steered.shape
        raise Wrong(f"pass a block of 0 to {blocks - 1} and a head of 0 to {heads - 1}, got {pair}")
    if steered[pair] >= steered.max() - TIE:
        before, mean = shares[PLAIN][pair], steered.mean()
        return correct(
            f"{steered[pair]:.0%} of what it gives to the audio lies in the event, of all heads {mean:.0%}; "
            f"unsteered it was {before:.0%}."
        )
    if pair == _top(steered.T):
        raise Wrong("that is (head, block): the block comes first")
    if pair == _top(shares[PLAIN]):
        raise Wrong("that head looks at the event most *without* steering: take the steered curves")
    if SHIFT in shares and pair == _top(shares[SHIFT]):
        raise Wrong("that head *gained* most; asked is the one that looks there most when steered")
    raise Wrong(
        f"head {pair} has {steered[pair]:.0%} there, another has {steered.max():.0%}: sum the steered shares over the "
        "event's tokens"
    )


def _top(shares: np.ndarray) -> tuple[int, ...]:
    """Where the largest value is."""
    return tuple(int(place) for place in np.unravel_index(int(np.argmax(shares)), shares.shape))
