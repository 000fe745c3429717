"""What is explored: a query, a pair of instructions, where and how strongly their difference is added, what is read.

    choice = Choice.of(model_settings(lm), "dog bark", seconds=2.0)     # what METHODS["steering"] does
    replace(choice, strength=0.0), replace(choice, blocks=(2, 3))       # and its neighbours

A `Choice` is `Settings` without its rules for benchmarks: any two instructions may be contrasted, at any positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from steer_utils.lm.blocks import Blocks, block_numbers, late, within
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.positions import Positions, check_positions
from steer_utils.methods.locate import known_event
from steer_utils.methods.settings import PAPER, Heads, Settings

NAME = "{event}"  # stands for the query in both instructions


@dataclass(frozen=True)
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

    query: str
    positive: str = PAPER.positive
    negative: str = PAPER.negative
    question: str = PAPER.question
    contrast_question: str | None = None
    strength: float = 1.0
    blocks: Blocks | None = None
    positions: Positions = "last"
    keep_norm: bool = True
    read: Literal["share", "difference"] = "difference"
    read_blocks: Blocks | None = None
    read_heads: Heads | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.query, str) or not self.query.strip():
            raise ValueError("the query is empty; name a sound, such as 'dog bark'")
        for name in ("positive", "negative"):
            worded(name, getattr(self, name), self.query)
        if self.instructions[0] == self.instructions[1]:
            raise ValueError(
                f"both instructions are {self.instructions[0]!r}, and their difference is nothing; change one of them"
            )
        if self.contrast_question is not None and not str(self.contrast_question).strip():
            raise ValueError("contrast_question is empty; pass a sentence, or None for the question that is asked")
        checked = Settings(
            negative="-", question=self.question, vector_question=self.contrast_question, strength=self.strength,
            blocks=self.blocks, keep_norm=self.keep_norm, read=self.read, read_blocks=self.read_blocks,
            read_heads=self.read_heads,
        )  # fmt: skip
        for name in ("blocks", "read_blocks", "read_heads"):
            object.__setattr__(self, name, getattr(checked, name))
        check_positions(self.positions)
        if not isinstance(self.positions, str):
            object.__setattr__(self, "positions", tuple(self.positions))
        if self.seconds is not None and not (_is_number(self.seconds) and self.seconds > 0):
            raise ValueError(f"seconds is {self.seconds!r}; pass a positive width, or None to follow the curve")

    @classmethod
    def of(cls, settings: Settings, query: str, *, seconds: float | None = None, per_head: bool = False) -> Choice:
        """What METHODS["steering"] does with these settings; `per_head`: what METHODS["steering-heads"] does.

        Raises ValueError for per-head selection where the settings name no heads.
        """
        if per_head and settings.read_heads is None:
            raise ValueError("the settings name no heads to read; choose them with tuning.select_heads")
        return cls(
            query, settings.positive, settings.negative, settings.question, settings.vector_question,
            strength=settings.strength, blocks=settings.blocks, keep_norm=settings.keep_norm, read=settings.read,
            read_blocks=settings.read_blocks, read_heads=settings.read_heads if per_head else None, seconds=seconds,
        )  # fmt: skip

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


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
