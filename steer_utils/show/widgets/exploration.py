"""Steering explored by hand: one sound, heard once; any number of choices, each a short batch behind the cached prefix.

    exploring = ExplorerSession(lm.hear("street.wav"))
    seen      = exploring.explore(Choice.of(model_settings(lm), "dog bark"))
    seen.interval, seen.answer_plain, seen.answer_steered
    exploring.explore(replace(choice, strength=4.0))           # the vector is there already: one read, one answer

Cost of a choice: two suffix passes for a new pair of instructions (kept for the next time), two for the reading (plain
and steered, one batch), and the tokens of the answer. Measured with both pocket models on two cores and 8 s of sound: a
median of 0.06 s, and of 0.2 s while the cores did other work too. Steering the audio itself runs the audio again.

A `Choice` says what is explored: a query, a pair of instructions, where and how strongly their difference is added, and
what is read. It is `Settings` without its rules for benchmarks: any two instructions may be contrasted, anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator
from pydantic.dataclasses import dataclass as checked_dataclass

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.blocks import block_numbers, late, within
from steer_utils.lm.checkpoints import Checkpoint, alone
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import check_positions
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.base import read_out, steered_row
from steer_utils.methods.locate import known_event
from steer_utils.methods.settings import (
    PAPER,
    STRICT,
    Sentence,
    Settings,
    SomeBlocks,
    SomeHeads,
    one_line_mistakes,
)
from steer_utils.show.widgets.listening import PLAIN, STEERED, Listening, listening_of
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval, best_segment, best_window
from steer_utils.study.statistics import random_overlap

NAME = "{event}"  # stands for the query in both instructions


def _sound_name(query: str) -> str:
    if not query.strip():
        raise ValueError("the query is empty; name a sound, such as 'dog bark'")
    return query


def _sentence_or_none(text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise ValueError("contrast_question is empty; pass a sentence, or None for the question that is asked")
    return text


def _width(seconds: float | None) -> float | None:
    if seconds is not None and seconds <= 0:
        raise ValueError(f"seconds is {seconds!r}; pass a positive width, or None to follow the curve")
    return seconds


@one_line_mistakes
@checked_dataclass(frozen=True, config=STRICT)
class Choice:
    """One point to explore.

    query               the sound that is sought, in words
    positive, negative  the two instructions; {event} stands for the query, and need not occur
    question            what is asked, steered, and read
    contrast_question   follows both instructions when the vector is made; None: `question`
    strength            lambda in h' = h + lambda v; 0 is the plain model
    blocks              blocks whose output is steered; None: the later half, floor(L/2) ... L-1
    positions           tokens that are steered (see `positions`)
    keep_norm           h' is scaled back to the norm of h
    read                "share": where the steered model looks; "difference": minus where it looked before
    read_blocks         blocks whose attention is averaged; None: those after the first steered one
    read_heads          (block, head) pairs that are averaged in their place
    seconds             width of the window that is located; None: the width follows the curve

    Raises ValueError for an empty text, braces other than {event}, two instructions that say the same, a strength or
    width that is no number, and positions, blocks, heads or a read-out that do not exist.
    """

    query: Annotated[str, AfterValidator(_sound_name)]
    positive: str = PAPER.positive
    negative: str = PAPER.negative
    question: Sentence = PAPER.question
    contrast_question: Annotated[str | None, AfterValidator(_sentence_or_none)] = None
    strength: float = 1.0
    blocks: SomeBlocks = None
    positions: Any = "last"  # Positions, with a check of its own
    keep_norm: bool = True
    read: Literal["share", "difference"] = "difference"
    read_blocks: SomeBlocks = None
    read_heads: SomeHeads = None
    seconds: Annotated[float | None, AfterValidator(_width)] = None

    def __post_init__(self) -> None:
        if self.instructions[0] == self.instructions[1]:
            raise ValueError(
                f"both instructions are {self.instructions[0]!r}, and their difference is nothing; change one of them"
            )
        check_positions(self.positions)
        if not isinstance(self.positions, str):
            object.__setattr__(self, "positions", tuple(self.positions))

    @classmethod
    def of(cls, settings: Settings, query: str, *, seconds: float | None = None, per_head: bool = False) -> Choice:
        """What METHODS["steering"] does with these settings; `per_head`: what METHODS["steering-heads"] does.

        Raises ValueError for per-head selection where the settings name no heads.
        """
        if per_head and settings.read_heads is None:
            raise ValueError("the settings name no heads to read; choose them with tuning.select_heads")
        return cls(
            query,
            settings.positive,
            settings.negative,
            settings.question,
            settings.vector_question,
            strength=settings.strength,
            blocks=settings.blocks,
            keep_norm=settings.keep_norm,
            read=settings.read,
            read_blocks=settings.read_blocks,
            read_heads=settings.read_heads if per_head else None,
            seconds=seconds,
        )

    @property
    def instructions(self) -> tuple[str, str]:
        """Both instructions, with the query in the place of {event}."""
        return worded("positive", self.positive, self.query), worded("negative", self.negative, self.query)

    @property
    def asked_of_contrast(self) -> str:
        """What follows both instructions when the vector is made."""
        return self.question if self.contrast_question is None else self.contrast_question

    def fitted(self, checkpoint: Checkpoint) -> Choice:
        """The same for one model: the query as it knows it, the blocks by number.

        Raises UnknownEventError for a sound that a pocket model does not know, and ValueError for blocks or heads that
        the model does not have, or where the steering reaches no block that could be read. Nothing is computed.
        """
        count = checkpoint.num_blocks
        heads = int(checkpoint.model.config.text_config.num_attention_heads)
        blocks = block_numbers(late(count) if self.blocks is None else self.blocks, count)
        if self.read_heads is not None:
            within([block for block, _ in self.read_heads], count, "read_heads")
            within([head for _, head in self.read_heads], heads, "read_heads", "head")
        elif self.read_blocks is not None:
            within(self.read_blocks, count, "read_blocks")
        elif blocks[0] == count - 1:
            raise ValueError(
                f"steering block {count - 1}, the last, changes no attention: steer an earlier block, or name the "
                "blocks to read"
            )
        for text in (*self.instructions, self.question, self.asked_of_contrast):
            checkpoint.prompt(text)  # refuses what no prompt can hold
        return replace(self, query=known_event(checkpoint, self.query), blocks=blocks)


def code_of(choice: Choice, model: str, hearing: str) -> str:
    """The lines of steer_utils that give the same `interval`. `hearing`: those that make `hearing`, given `lm`."""
    positive, negative = choice.instructions
    options = ["steer=focus"]
    options += [f"strength={choice.strength!r}"] if choice.strength != 1.0 else []
    options += [f"positions={choice.positions!r}"] if choice.positions != "last" else []
    options += [f"event={choice.query!r}"] if choice.positions == "event" else []
    options += ["keep_norm=False"] if not choice.keep_norm else []
    asked = f"{choice.question!r}, {', '.join(options)}"
    chosen = ".late()" if choice.blocks is None else f".select({list(choice.blocks)})"
    source = "steered.attention"
    lines = [
        "import steer_utils as su",
        "",
        f"lm = su.load({model!r})",
        *hearing.splitlines(),
        f"focus = hearing.contrast({positive!r}, {negative!r}, prompt={choice.asked_of_contrast!r}){chosen}",
        f"steered = hearing.read({asked})",
    ]
    if choice.read == "difference":
        lines += [f"plain = hearing.read({choice.question!r})", "shift = steered.attention - plain.attention"]
        source = "shift"
    if choice.read_heads is not None:
        lines.append(f"curve = {source}.curve_of_heads({[list(pair) for pair in choice.read_heads]})")
    else:
        lines.append(f"curve = {source}.curve({'' if choice.read_blocks is None else list(choice.read_blocks)})")
    if choice.seconds is None:
        lines.append("interval, level = best_segment(curve, hearing.span)")
        lines.insert(1, "from steer_utils.sound.spans import best_segment")
    else:
        lines.append(f"interval, level = su.best_window(curve, hearing.span, seconds={choice.seconds!r})")
    lines += [f"answer = hearing.answer({asked})", "print(interval, answer)"]
    return "\n".join(lines) + "\n"


def worded(name: str, template: str, query: str) -> str:
    """An instruction with the query in the place of {event}. Raises ValueError for no text, or other braces."""
    if not isinstance(template, str) or not template.strip():
        raise ValueError(f"{name} is {template!r}; pass an instruction such as {PAPER.positive!r}")
    try:
        return template.format(event=query).strip()
    except (LookupError, ValueError, AttributeError) as error:
        raise ValueError(f"{name} may hold {NAME} and no other braces, got {template!r}") from error


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
        curve = read_out(steered.attention, base.attention, choice.read, choice.read_blocks, choice.read_heads)
        if choice.seconds is None:
            interval, score = best_segment(curve, hearing.span)
        else:
            interval, score = best_window(curve, hearing.span, choice.seconds)
        truth = self.truth(choice.query)
        return Exploration(
            choice,
            says_plain,
            says_steered,
            base.attention,
            steered.attention,
            curve,
            interval,
            score,
            truth,
            overlap=None if truth is None else interval.covers(truth),
            chance=None if truth is None else random_overlap(truth, hearing.span, interval.duration),
            took=time.perf_counter() - begin,
        )

    def _row(self, choice: Choice) -> Row:
        positive, negative = choice.instructions
        key = positive, negative, choice.asked_of_contrast
        if key not in self._vectors:
            self._vectors[key] = self.hearing.contrast(positive, negative, prompt=choice.asked_of_contrast)
        vector = self._vectors[key].select(choice.blocks or ())
        settings = Settings(question=choice.question, strength=choice.strength, keep_norm=choice.keep_norm)
        return steered_row(settings, vector, positions=choice.positions, event=choice.query)

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
