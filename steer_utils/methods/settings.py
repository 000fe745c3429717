"""What a method is set to: the instruction pair, strength, blocks, positions, and which blocks are read.

Two settings have names. `PAPER` is what we declare for the paper's method where its text leaves things open.
A pocket model brings settings.json with what was chosen on development classes; a test run only reads it.

What is kept beside a model's weights: the settings chosen for it, and what it was trained on.
"""

from __future__ import annotations

import json
import math
import operator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from steer_utils.lm.blocks import Blocks, as_blocks, late
from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.models import pocket_folder
from steer_utils.sound.files import whole_file

Heads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Settings:
    """How to contrast, where to add, what to read.

    positive, negative  the two instructions; {event} stands for the queried sound
    question            the prompt that is steered, and read
    vector_question     follows both instructions when the vector is made; None: `question`
    strength            lambda in h' = h + lambda v
    blocks              blocks whose output is steered; None: the later half, floor(L/2) ... L-1
    keep_norm           h' is scaled back to the norm of h
    read                "share": the steered attention share itself; "difference": steered minus unsteered share
    read_blocks         blocks whose attention is averaged; None: those after the first steered one
    read_heads          the (block, head) pairs that per-head selection averages in their place; None: none were chosen
    prompt_blocks       the same for prompting with the same question; None: all
    prompt_question     the question that prompting alone does best with
    prompt_best_blocks  the blocks read for it; None: all
    peak_blocks         the same for the unsteered attention peak; None: all
    ask                 the question of direct prompting
    presence            the yes-or-no question that decides which window of a long audio to look in
    chosen_on           how the settings were chosen; its "events" are the classes they were chosen on

    Raises ValueError for an instruction without {event} (or with other braces), an empty text, a strength that is not
    finite, blocks that are no block numbers, or heads that are no pairs of numbers.
    """

    positive: str = "Focus on the {event}."
    negative: str = "Listen to the whole audio."
    question: str = "Describe the sound."
    vector_question: str | None = None
    strength: float = 1.0
    blocks: Blocks | None = None
    keep_norm: bool = True
    read: Literal["share", "difference"] = "difference"
    read_blocks: Blocks | None = None
    read_heads: Heads | None = None
    prompt_blocks: Blocks | None = None
    prompt_question: str = "Describe the sound."
    prompt_best_blocks: Blocks | None = None
    peak_blocks: Blocks | None = None
    ask: str = "When does the {event} happen? Answer with its start and its end in seconds."
    presence: str = "Does the audio contain this sound: {event}? Answer yes or no."
    chosen_on: dict[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("blocks", "read_blocks", "prompt_blocks", "prompt_best_blocks", "peak_blocks"):
            object.__setattr__(self, name, _blocks_or_none(name, getattr(self, name)))
        object.__setattr__(self, "read_heads", _head_pairs(self.read_heads))
        for name in ("positive", "negative", "question", "ask", "presence"):
            _check_text(name, getattr(self, name), names_event=name in ("positive", "ask", "presence"))
        _check_text("vector_question", self.contrast_question, names_event=False)
        if self.read not in ("share", "difference"):
            raise ValueError(f'read is {self.read!r}; pass "share" or "difference"')
        if isinstance(self.strength, bool) or not isinstance(self.strength, (int, float)):
            raise ValueError(f"strength is {self.strength!r}; pass a number")
        if not math.isfinite(self.strength):
            raise ValueError(f"strength is {self.strength}; pass a finite number")
        if not isinstance(self.keep_norm, bool):
            raise ValueError(f"keep_norm is {self.keep_norm!r}; pass true or false")
        _ = self.development_events  # a list that cannot be read would let a test run on development classes

    @property
    def development_events(self) -> tuple[str, ...]:
        """The classes that the settings were chosen on: a test must leave them out."""
        events = self.chosen_on.get("events", ()) if isinstance(self.chosen_on, dict) else None
        if not isinstance(events, (list, tuple)) or not all(isinstance(event, str) for event in events):
            raise ValueError(f'chosen_on must hold "events" as a list of names, got {self.chosen_on!r}')
        return tuple(events)

    @property
    def contrast_question(self) -> str:
        """What follows both instructions when the vector is made."""
        return self.question if self.vector_question is None else self.vector_question

    def focus(self, event: str, question: str | None = None) -> str:
        """The prompt with the instruction to attend to `event` before `question` (default: the settings' own)."""
        return f"{self.positive.format(event=event)} {self.question if question is None else question}"

    def steered_blocks(self, num_blocks: int) -> Blocks:
        """The blocks that are steered in a model of `num_blocks` blocks."""
        return self.blocks if self.blocks is not None else tuple(late(num_blocks))

    def save(self, path: Path) -> None:
        """Write as json, atomically."""
        with whole_file(path) as part:
            part.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read a settings file. Raises ValueError for no such file, no json object, or keys that are not settings."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read settings from {str(path)!r}: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{str(path)!r} holds a {type(found).__name__}; settings are one json object")
        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(found) - known):
            raise ValueError(f"{path} holds {', '.join(unknown)}; settings are {', '.join(sorted(known))}")
        try:
            return cls(**found)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _blocks_or_none(name: str, blocks: object) -> Blocks | None:
    return None if blocks is None else as_blocks(blocks, name)


def _head_pairs(pairs: object) -> Heads | None:
    if pairs is None:
        return None
    try:
        numbers = tuple((operator.index(block), operator.index(head)) for block, head in pairs)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = ()
    if not numbers:
        raise ValueError(f"read_heads is {pairs!r}; pass (block, head) pairs such as [[3, 0], [4, 7]], or null")
    return numbers


def _check_text(name: str, text: object, *, names_event: bool) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} is {text!r}; pass a sentence")
    if not names_event:
        return
    try:
        named = "\ue000" in text.format(event="\ue000")  # a character that no instruction holds
    except (LookupError, ValueError):
        named = False
    if not named:
        raise ValueError(f"{name} must hold {{event}}, and no other braces, got {text!r}")


PAPER = Settings()


def paper_settings(own: Settings) -> Settings:
    """The paper's setting as declared, asking direct questions in the words that this model knows."""
    return replace(PAPER, ask=own.ask, presence=own.presence)


def folder_of(checkpoint: Checkpoint) -> Path | None:
    """The local folder a model was opened from; None for a hub id or a model made in memory."""
    try:
        folder = pocket_folder(checkpoint.name) or Path(checkpoint.name).expanduser()
    except CheckpointError:  # a pocket model that is not installed (yet)
        return None
    return folder if (folder / "config.json").is_file() else None


def model_settings(checkpoint: Checkpoint) -> Settings:
    """settings.json of the model's folder (chosen on development classes), or the paper's setting as declared.

    Raises ValueError for a settings file that cannot be read.
    """
    folder = folder_of(checkpoint)
    path = folder / "settings.json" if folder else None
    return Settings.load(path) if path is not None and path.is_file() else PAPER


def trained_recordings(checkpoint: Checkpoint) -> frozenset[str]:
    """File names of the recordings a pocket model was trained on: a test must leave them out.

    Raises CheckpointError for a damaged list: to take it for an empty one would test on training data.
    """
    folder = folder_of(checkpoint)
    path = folder / "pocket.json" if folder else None
    if path is None or not path.is_file():
        return frozenset()
    try:
        names = json.loads(path.read_text(encoding="utf-8")).get("trained_recordings", [])
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path} is damaged: trained_recordings must be a list of file names")
    return frozenset(names)
