"""What all methods share: the query, the answer, a method's entry in the table, and how steered attention is read.

Steering and its controls differ in the vector only. All of them read through `steered_row`, `steered_attention` and
`steered_curve`, so that nothing else can differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.hearing import Shown, contrast_rows, contrast_vector
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import Positions
from steer_utils.lm.steering import Injection, Rule
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.rounds import InRounds, Read, Steps, in_rounds, together
from steer_utils.methods.settings import Heads, Settings
from steer_utils.sound.spans import AudioSpan, Interval, best_window


@dataclass(frozen=True)
class Query:
    """A sound by name, and the width of the window in seconds.

    `seed`: for methods that draw. `others`: the other sounds of the scene, for methods that swap.
    """

    event: str
    seconds: float
    seed: int = 0
    others: tuple[str, ...] = ()

    def for_another_event(self) -> Query:
        """The query for another event of the scene, picked from `others` by the seed. Raises ValueError for none."""
        if not self.others:
            raise ValueError(f"the query for {self.event!r} names no other event; pass Query(..., others=...)")
        return replace(self, event=self.others[self.seed % len(self.others)])


@dataclass(frozen=True)
class Localisation:
    """Where a method puts the sound.

    interval  None where the model's answer could not be read as a time
    score     mean of the curve in the interval
    curve     one value an audio token, (tokens,); None for methods without one
    answer    what the model said, for methods that ask it
    unread    why no time was read in it: "no time", "ambiguous" or "outside" (see `answers`); "" if one was
    """

    interval: Interval | None
    score: float
    curve: np.ndarray | None = None
    answer: str = ""
    unread: str = ""


Finder = Callable[[Any, Query, Settings], Localisation]  # a Hearing; those that read rows alone take a Seeing too


@dataclass(frozen=True)
class Need:
    """What a method must have beside an audio and the name of a sound.

    `words` follow "needs" in messages. `met` says whether it is there: given the settings, whether the query names the
    other events of the scene, and how many scenes the run has.
    """

    words: str
    met: Callable[[Settings, bool, int], bool]


@dataclass(frozen=True)
class Method:
    """All that tables, widgets and the command line know of a method.

    name      as users ask for it
    label     what tables and figures call it
    find      (hearing, query, settings) -> Localisation; None for one that is made from the rows of a finished run
    passes    cost in words: forward passes of a short suffix behind the shared prefix, which is computed once
    source    where it comes from
    labels    whether it is set with labels, true intervals of development scenes; without them it runs as declared
    extra     "2nd pass": the model runs behind the audio more than once, or back; "2nd audio": it hears another one too
    suffixes  how many such passes with the paper's settings, without answers; what `lm.costs` counts
    needs     what it must have beside an audio and the name of a sound
    standard  whether a benchmark runs it unless told which; the others are slower
    equals    the name of the method that finds the same under the given settings, "" for none: one row is enough then
    """

    name: str
    label: str
    find: Finder | None
    passes: str
    source: str
    labels: bool = False
    extra: Literal["", "2nd pass", "2nd audio"] = ""
    suffixes: int = 0
    needs: Need | None = None
    standard: bool = True
    equals: Callable[[Settings], str] = lambda settings: ""

    @property
    def demands(self) -> str:
        """What a user of it must have or pay beside one pass, in words: "labels, 2nd pass"; "–": nothing."""
        return ", ".join(filter(None, ["labels" if self.labels else "", self.extra])) or "–"

    def lacks(self, settings: Settings, *, others: bool = False, scenes: int = 1) -> str:
        """In words what it needs and does not have; "" if it can run. The arguments are those of `Need.met`."""
        return "" if self.needs is None or self.needs.met(settings, others, scenes) else self.needs.words


def find_together(
    hearing: Shown, finders: Sequence[Finder], queries: Sequence[Query], settings: Settings
) -> list[list[Localisation]]:
    """What each of the finders finds for each query about one audio: a list a query, in the order of `finders`.

    Those in rounds share their model calls, as many queries at a time as leave a gibibyte of attention.
    """
    return find_in_each([(hearing, queries)], finders, settings)[0]


def find_in_each(
    asked: Sequence[tuple[Shown, Sequence[Query]]], finders: Sequence[Finder], settings: Settings
) -> list[list[list[Localisation]]]:
    """What `find_together` gives for each audio and its queries. The finders share their model calls across audios
    too, so that the rounding of a curve hangs on what was asked beside it."""
    shared = [finder for finder in finders if isinstance(finder, InRounds)]
    pairs = [(hearing, query) for hearing, queries in asked for query in queries]
    most = min((hearing.maps_at_once() for hearing, _ in asked), default=1)
    at_once = max(1, most // max(1, len(shared)))
    results = []
    with ExitStack() as stack:
        for hearing, _ in asked:  # many methods ask for the same contrast and the same plain question
            stack.enter_context(hearing.remembering())
        for first in range(0, len(pairs), at_once):
            part = pairs[first : first + at_once]
            steps = (finder.steps(hearing, query, settings) for hearing, query in part for finder in shared)
            found = iter(together(steps, joined=len(asked) > 1))
            for hearing, query in part:
                results.append(
                    [
                        next(found) if isinstance(finder, InRounds) else finder(hearing, query, settings)
                        for finder in finders
                    ]
                )
    in_order = iter(results)
    return [[next(in_order) for _ in queries] for _, queries in asked]


def localise(curve: np.ndarray, hearing: Shown, query: Query) -> Localisation:
    """The window of the known width with the largest sum of `curve` (tokens,): how every method with a curve ends.

    In a picture there is none: the curve alone is given back, over its patches.
    """
    if not isinstance(hearing.span, AudioSpan):
        return Localisation(None, float("nan"), curve)
    interval, score = best_window(curve, hearing.span, query.seconds)
    return Localisation(interval, score, curve)


@in_rounds
def contrast_of(hearing: Shown, query: Query, settings: Settings) -> Steps[SteeringVector]:
    """The vector of a query: focus on the event minus the neutral instruction, acting on the steered blocks.

    v_l = h_l(audio, p+) - h_l(audio, p-) at the last prompt token (arXiv 2606.11400). Cost: two suffix passes.
    """
    positive = settings.positive.format(event=query.event)
    rows = contrast_rows(hearing.checkpoint, positive, settings.negative, settings.contrast_question)
    plus, minus = yield [Read(hearing, row) for row in rows]
    vector = contrast_vector(hearing.checkpoint, plus, minus)
    return vector.select(settings.steered_blocks(hearing.checkpoint.num_blocks))


def steered_row(
    settings: Settings,
    vector: SteeringVector,
    *,
    positions: Positions = "last",
    rule: Rule = "add",
    event: str | None = None,
) -> Row:
    """The row of a steered read-out: the question of `settings`, with λ `vector` added where `positions` says.

    λ and whether the norm is kept are those of `settings`. `event`: the words that positions "event" means.
    """
    injection = Injection(vector, settings.strength, positions, rule)
    return Row(settings.question, (injection,), settings.keep_norm, event if positions == "event" else None)


@in_rounds
def steered_attention(hearing: Shown, vector: SteeringVector, settings: Settings) -> Steps[AttentionMap]:
    """The attention under the neutral question with `vector` added: itself ("share"), or minus the unsteered one.

    Cost: one suffix pass, two for the difference.
    """
    steered = steered_row(settings, vector)
    if settings.read == "share":
        (reading,) = yield [Read(hearing, steered)]
        return reading.attention
    reading, base = yield [Read(hearing, steered), Read(hearing, Row(settings.question))]
    return reading.attention - base.attention


@in_rounds
def steered_curve(
    hearing: Shown, vector: SteeringVector, settings: Settings, heads: Heads | None = None
) -> Steps[np.ndarray]:
    """The curve over audio tokens, (tokens,): mean over all heads of `settings.read_blocks`, or over `heads` alone."""
    attention = yield from steered_attention.steps(hearing, vector, settings)
    return averaged(attention, settings.read_blocks, heads)


def read_out(
    steered: AttentionMap,
    base: AttentionMap,
    read: Literal["share", "difference"],
    blocks: Sequence[int] | None = None,
    heads: Heads | None = None,
) -> np.ndarray:
    """The curve (tokens,) out of the maps with and without the vector, where a caller has read both already."""
    return averaged(steered if read == "share" else steered - base, blocks, heads)


def averaged(attention: AttentionMap, blocks: Sequence[int] | None, heads: Heads | None) -> np.ndarray:
    """The mean over all heads of `blocks` (None: from the first that can have changed on), or over `heads` alone."""
    return attention.curve(blocks) if heads is None else attention.curve_of_heads(heads)
