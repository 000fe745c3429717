"""Steering explored by hand: one sound, heard once; any number of choices, each a short batch behind the cached prefix.

    exploring = ExplorerSession(lm.hear("street.wav"))
    seen      = exploring.explore(Choice.of(model_settings(lm), "dog bark"))
    seen.interval, seen.answer_plain, seen.answer_steered
    exploring.explore(replace(choice, strength=4.0))           # the vector is there already: one read, one answer

Cost of a choice: two suffix passes for a new pair of instructions (kept for the next time), two for the reading (plain
and steered, one batch), and the tokens of the answer. Measured with both pocket models on two cores and 8 s of sound: a
median of 0.06 s, and of 0.2 s while the cores did other work too. Steering the audio itself runs the audio again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.checkpoints import alone
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection
from steer_utils.lm.vectors import SteeringVector
from steer_utils.show.widgets.choices import Choice
from steer_utils.show.widgets.listening import PLAIN, STEERED, Listening, listening_of
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval, best_segment, best_window
from steer_utils.study.statistics import random_overlap

ANSWER_TOKENS = 32
ROUNDING = 1e-5  # even shares



@dataclass(frozen=True, eq=False)
class Exploration:
    """What one choice gives.

    answer_plain, answer_steered  what the model says to the question, without and with the vector
    base, steered                 attention of the last prompt token, (blocks, heads, 1, tokens), without and with it
    curve                         (tokens,), what the interval was read from
    interval, score               where the sound is put, and the mean of the curve there
    truth, overlap, chance        where it is, |W ∩ E| / |E|, and that of a random window as wide; None if not known
    took                          seconds
    """

    choice: Choice
    answer_plain: str
    answer_steered: str
    base: AttentionMap
    steered: AttentionMap
    curve: np.ndarray
    interval: Interval
    score: float
    truth: Interval | None
    overlap: float | None
    chance: float | None
    took: float

    @property
    def flat(self) -> bool:
        """Whether the curve is the same everywhere but for rounding: nothing moved, and the interval means nothing."""
        return bool(np.ptp(self.curve) * len(self.curve) < ROUNDING)

    def described(self) -> str:
        """The interval in words, beside the truth where it is known."""
        if self.flat:
            return f"the curve is flat, so there is no interval: {self._stillness()}"
        height = self.score * len(self.curve)
        unit = "times even share gained" if self.choice.read == "difference" else "times even share"
        said = f"located {self.interval} ({height:.1f} {unit})"
        if self.truth is None or self.overlap is None or self.chance is None:
            return said
        return f"{said}; true {self.truth}; overlap {100 * self.overlap:.0f} %, by chance {100 * self.chance:.0f} %"


    def _stillness(self) -> str:
        """Why nothing moved."""
        first, read = min(self.choice.blocks or (0,)), self.choice.read_blocks
        if self.choice.strength and read is not None and max(read) <= first:
            return f"what is steered from block {first} on is seen by later blocks only, and block {max(read)} is read"
        if self.choice.strength and self.choice.positions == "event":
            return "the last token looks where it did, because its own state was not steered before it looked"
        return "nothing moved"


class ExplorerSession:
    """One hearing, explored: what choices share is computed once and kept.

    `events`: what sounds in it, where that is known; a query that is among them gets its truth.
    """

    def __init__(self, hearing: Hearing, events: Iterable[Event] = ()) -> None:
        self.hearing = hearing
        self.events = tuple(events)
        self._vectors: dict[tuple[str, str, str], SteeringVector] = {}
        self._answers: dict[str, str] = {}

    def truth(self, query: str) -> Interval | None:
        """Where the event of that name is; None where that is not known."""
        return next((event.span for event in self.events if event.name == query), None)

    def explore(self, choice: Choice, *, answer: bool = True) -> Exploration:
        """Steer and read as chosen. `answer`: also what the model says (else both answers are "").

        Raises, before the model runs, what `Choice.fitted` raises.
        """
        begin = time.perf_counter()
        hearing = self.hearing
        choice = choice.fitted(hearing.checkpoint)
        with alone(hearing.checkpoint):
            rows = [self._row(choice), Row(choice.question)]
            steered, base = hearing.read_rows(rows)
            says_plain, says_steered = self._said(rows) if answer else ("", "")
        curve = read_curve(base.attention, steered.attention, choice)
        if choice.seconds is None:
            interval, score = best_segment(curve, hearing.span)
        else:
            interval, score = best_window(curve, hearing.span, choice.seconds)
        truth = self.truth(choice.query)
        return Exploration(
            choice, says_plain, says_steered, base.attention, steered.attention, curve, interval, score, truth,
            overlap=None if truth is None else interval.covers(truth),
            chance=None if truth is None else random_overlap(truth, hearing.span, interval.duration),
            took=time.perf_counter() - begin,
        )  # fmt: skip

    def _row(self, choice: Choice) -> Row:
        positive, negative = choice.instructions
        key = positive, negative, choice.asked_of_contrast
        if key not in self._vectors:
            self._vectors[key] = self.hearing.contrast(positive, negative, prompt=choice.asked_of_contrast)
        vector = self._vectors[key].select(choice.blocks or ())
        injection = Injection(vector, choice.strength, choice.positions)
        event = choice.query if choice.positions == "event" else None
        return Row(choice.question, (injection,), choice.keep_norm, event)

    def _said(self, rows: list[Row]) -> tuple[str, str]:
        """The plain and the steered answer; the plain one of each question is kept."""
        steered, plain = rows
        missing = [plain] if plain.instruction not in self._answers else []
        made = self.hearing.answers([steered, *missing], max_new_tokens=ANSWER_TOKENS)
        if missing:
            self._answers[plain.instruction] = made[1]
        return self._answers[plain.instruction], made[0]

    def listening(self, seen: Exploration) -> Listening:
        """What the player shows of an exploration of this hearing."""
        choice = seen.choice
        return listening_of(
            self.hearing.samples,
            self.hearing.checkpoint.sampling_rate,
            seen.base,
            seen.steered,
            title=choice.query,
            located=None if seen.flat else seen.interval,
            truth=seen.truth,
            events=[(event.name, event.span) for event in self.events],
            read=choice.read,
            read_blocks=choice.read_blocks,
            read_heads=choice.read_heads,
            answers={PLAIN: seen.answer_plain, STEERED: seen.answer_steered},
        )


def explore(hearing: Hearing, choice: Choice, *, events: Iterable[Event] = ()) -> Exploration:
    """One choice on one hearing; for several, keep an `ExplorerSession`."""
    return ExplorerSession(hearing, events).explore(choice)


def read_curve(base: AttentionMap, steered: AttentionMap, choice: Choice) -> np.ndarray:
    """The curve (tokens,) that a choice reads out of both maps."""
    attention = steered if choice.read == "share" else steered - base
    if choice.read_heads is not None:
        return attention.curve_of_heads(choice.read_heads)
    return attention.curve(choice.read_blocks)
