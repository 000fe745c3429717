"""What a method is set to, as checked data and as a json file; and what else is kept beside a model's weights.

Two settings have names. `PAPER` is what we declare for the paper's method where its text leaves things open. A pocket
model brings settings.json with what was chosen on development classes; a test run only reads it.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass

from steer_utils.lm.blocks import Blocks, as_blocks, late
from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.models import pocket_folder
from steer_utils.sound.config_files import read_object, write_object
from steer_utils.sound.files import strict_json

Heads = tuple[tuple[int, int], ...]


def _sentence(text: str, info: ValidationInfo) -> str:
    if not text.strip():
        raise ValueError(f"{info.field_name} is {text!r}; pass a sentence")
    return text


def _instruction(text: str, info: ValidationInfo) -> str:
    _sentence(text, info)
    try:
        named = "\ue000" in text.format(event="\ue000")  # a character that no instruction holds
    except (LookupError, ValueError):
        named = False
    if not named:
        raise ValueError(f"{info.field_name} must hold {{event}}, and no other braces, got {text!r}")
    return text


def _blocks(numbers: object, info: ValidationInfo) -> Blocks | None:
    return None if numbers is None else as_blocks(numbers, info.field_name or "blocks")


def _heads(pairs: Any) -> Heads | None:
    if pairs is None:
        return None
    try:
        numbers = tuple((operator.index(block), operator.index(head)) for block, head in pairs)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers:
        raise ValueError(f"read_heads is {pairs!r}; pass (block, head) pairs such as [[3, 0], [4, 7]], or null")
    return numbers


def _chosen_on(facts: dict[str, Any]) -> dict[str, Any]:
    """A list of classes that cannot be read would let a test run on development classes."""
    events = facts.get("events", ())
    if not isinstance(events, (list, tuple)) or not all(isinstance(event, str) for event in events):
        raise ValueError(f'chosen_on must hold "events" as a list of names, got {facts!r}')
    return facts


def _part(kind: Any) -> BeforeValidator:
    """Settings of one method, which a file holds as an object of their own."""

    def read(values: object, info: ValidationInfo) -> object:
        if isinstance(values, dict):
            try:
                return kind(**values)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{info.field_name}: {error}") from None
        if values is not None and not isinstance(values, kind):
            named = ", ".join(part.name for part in fields(kind))
            raise ValueError(f"{info.field_name} is {values!r}; pass {kind.__name__}(...), which has {named}, or null")
        return values

    return BeforeValidator(read)


Sentence = Annotated[str, AfterValidator(_sentence)]
Instruction = Annotated[str, AfterValidator(_instruction)]
SomeHeads = Annotated[Heads | None, BeforeValidator(_heads)]
ChosenOn = Annotated[dict[str, Any], AfterValidator(_chosen_on)]
SomeBlocks = Annotated[Blocks | None, BeforeValidator(_blocks)]

#: What to pass in place of a value of another type, by pydantic's name for the mistake.
_EXPECTED = {
    "string_type": "a sentence",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "literal_error": '"share" or "difference"',
    "dict_type": 'a dictionary such as {"events": ["siren"]}',
}


T = TypeVar("T")


#: How classes of settings are checked: no other names, no True for 1, no "2" for 2.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def one_line_mistakes(checked: type[T]) -> type[T]:
    """Let a class say its first mistake in one line, as a plain ValueError: pydantic's own report takes many."""
    check = checked.__init__

    @functools.wraps(check)
    def __init__(self: T, *values: object, **named: object) -> None:
        try:
            check(self, *values, **named)
        except ValidationError as error:
            raise ValueError(_mistake(error, checked)) from None

    checked.__init__ = __init__  # type: ignore[assignment, method-assign]
    return checked


def _mistake(error: ValidationError, checked: Any) -> str:
    """Which setting, what was found, what to pass."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if not first["loc"]:  # half a character in a name
        return f"a setting's name cannot be read: {first['msg']}"
    name = first["loc"][0]
    if first["type"] == "unexpected_keyword_argument":
        return f"{name} is no setting; settings are {', '.join(sorted(entry.name for entry in fields(checked)))}"
    return f"{name} is {first['input']!r}; pass {_EXPECTED.get(first['type'], first['msg'])}"


@one_line_mistakes
@dataclass(frozen=True, config=STRICT)
class VectorUse:
    """How a vector of another make is added and read, where it has settings of its own. Fields as in `Settings`."""

    strength: float = 1.0
    blocks: SomeBlocks = None
    keep_norm: bool = True
    read: Literal["share", "difference"] = "difference"
    read_blocks: SomeBlocks = None


@one_line_mistakes
@dataclass(frozen=True, config=STRICT)
class Scaling:
    """How attention scores of the audio are scaled under the focus prompt (`methods.attention_scaling`).

    factor       what they are multiplied by
    blocks       where; None: what the method declares
    question     follows the focus instruction; None: the question of the settings
    read         "share": the scaled attention share itself; "difference": scaled minus unscaled share
    read_blocks  blocks whose attention is averaged; None: from the first scaled one on
    """

    factor: float = 2.0
    blocks: SomeBlocks = None
    question: Sentence | None = None
    read: Literal["share", "difference"] = "difference"
    read_blocks: SomeBlocks = None


@one_line_mistakes
@dataclass(frozen=True, config=STRICT)
class Specialists:
    """How heads are weighted (`methods.specialist_heads`): by their attention to the audio, to this `power`."""

    power: float = 1.0
    read: Literal["share", "difference"] = "difference"


@one_line_mistakes
@dataclass(frozen=True, config=STRICT)
class StateSwap:
    """Which state is swapped (`methods.activation_swap`).

    block        whose output is swapped; None: the middle one
    question     follows the focus instruction; None: the question of the settings
    read_blocks  blocks whose attention is averaged; None: all that can have changed, from the second after `block` on
    """

    block: int | None = None
    question: Sentence | None = None
    read_blocks: SomeBlocks = None


@one_line_mistakes
@dataclass(frozen=True, config=STRICT)
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
    prompt_difference_question  the question before which the attention of both prompts is compared; None: `question`
    prompt_difference_blocks    the blocks read for that; None: `prompt_blocks`
    peak_blocks         the same for the unsteered attention peak; None: all
    ask                 the question of direct prompting
    presence            the yes-or-no question that decides which window of a long audio to look in
    text_vector         how a vector made from text alone is used; None: as `steering` uses its own
    event_vector        the same for one read at the event's name
    scaling, scaling_all  how attention to the audio is scaled in one block, and in all; None: as declared
    specialists         how heads are weighted; None: as declared
    state_swap          which state is swapped; None: as declared
    chosen_on           how the settings were chosen; its "events" are the classes they were chosen on

    Checked by pydantic, strictly: True is no number and "2" is none. Raises ValueError, one line that says which
    setting, what was found and what to pass: for a name that is no setting, an instruction without {event} (or with
    other braces), an empty text, a strength that is not finite, blocks or heads that are no such numbers.
    """

    positive: Instruction = "Focus on the {event}."
    negative: Sentence = "Listen to the whole audio."
    question: Sentence = "Describe the sound."
    vector_question: Sentence | None = None
    strength: float = 1.0
    blocks: SomeBlocks = None
    keep_norm: bool = True
    read: Literal["share", "difference"] = "difference"
    read_blocks: SomeBlocks = None
    read_heads: SomeHeads = None
    prompt_blocks: SomeBlocks = None
    prompt_question: Sentence = "Describe the sound."
    prompt_best_blocks: SomeBlocks = None
    prompt_difference_question: Sentence | None = None
    prompt_difference_blocks: SomeBlocks = None
    peak_blocks: SomeBlocks = None
    ask: Instruction = "When does the {event} happen? Answer with its start and its end in seconds."
    presence: Instruction = "Does the audio contain this sound: {event}? Answer yes or no."
    text_vector: Annotated[VectorUse | None, _part(VectorUse)] = None
    event_vector: Annotated[VectorUse | None, _part(VectorUse)] = None
    scaling: Annotated[Scaling | None, _part(Scaling)] = None
    scaling_all: Annotated[Scaling | None, _part(Scaling)] = None
    specialists: Annotated[Specialists | None, _part(Specialists)] = None
    state_swap: Annotated[StateSwap | None, _part(StateSwap)] = None
    chosen_on: ChosenOn = field(default_factory=dict, hash=False)

    @property
    def development_events(self) -> tuple[str, ...]:
        """The classes that the settings were chosen on: a test must leave them out."""
        return tuple(self.chosen_on.get("events", ()))

    @property
    def contrast_question(self) -> str:
        """What follows both instructions when the vector is made."""
        return self.question if self.vector_question is None else self.vector_question

    def focus(self, event: str, question: str | None = None) -> str:
        """The prompt with the instruction to attend to `event` before `question` (default: the settings' own)."""
        return f"{self.positive.format(event=event)} {self.question if question is None else question}"

    def used_as(self, use: VectorUse | None) -> Settings:
        """The settings with which a vector of another make is added and read; these themselves for None."""
        return self if use is None else replace(self, **{part.name: getattr(use, part.name) for part in fields(use)})

    def steered_blocks(self, num_blocks: int) -> Blocks:
        """The blocks that are steered in a model of `num_blocks` blocks."""
        return self.blocks if self.blocks is not None else tuple(late(num_blocks))

    def save(self, path: Path) -> None:
        """Write as json, atomically."""
        write_object(self, path)

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read a settings file. Raises ValueError, with its path, for one that is missing or holds no such settings."""
        return read_object(cls, path, "settings")


PAPER = Settings()


def paper_settings(settings: Settings) -> Settings:
    """The paper's setting as declared, asking direct questions in the words of `settings`, which the model knows."""
    return replace(PAPER, ask=settings.ask, presence=settings.presence)


def folder_of(checkpoint: Checkpoint) -> Path | None:
    """The local folder a model was opened from; None for a hub id or a model made in memory."""
    try:
        folder = pocket_folder(checkpoint.name) or Path(checkpoint.name).expanduser()
    except CheckpointError:  # a pocket model that is not installed (yet)
        return None
    return folder if any((folder / name).is_file() for name in ("config.json", "parts.safetensors")) else None


def model_settings(checkpoint: Checkpoint) -> Settings:
    """settings.json of the model's folder (chosen on development classes), or the paper's setting as declared.

    Raises ValueError for a settings file that cannot be read.
    """
    folder = folder_of(checkpoint)
    path = folder / "settings.json" if folder else None
    return Settings.load(path) if path is not None and path.is_file() else PAPER


def _kept_facts(checkpoint: Checkpoint) -> tuple[Path | None, dict[str, Any]]:
    """pocket.json beside a model's weights, and what it holds; nothing for models that are not ours."""
    folder = folder_of(checkpoint)
    path = folder / "pocket.json" if folder else None
    if path is None or not path.is_file():
        return None, {}
    try:
        facts = strict_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path} is damaged: it holds a {type(facts).__name__}, not one json object")
    return path, facts


def taught_events(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The sounds that a model of ours was taught: all that a pocket model knows; a mini model takes other words too.

    Empty for other models. Raises CheckpointError for a damaged list.
    """
    if checkpoint.events is not None:
        return checkpoint.events
    path, facts = _kept_facts(checkpoint)
    names = facts.get("events", [] if path is None else None)  # ours name them
    if not isinstance(names, list):
        raise CheckpointError(f"{path} is damaged: events must be a list of names")
    return tuple(map(str, names))


def trained_recordings(checkpoint: Checkpoint) -> frozenset[str]:
    """File names of the recordings a pocket model was trained on: a test must leave them out.

    Raises CheckpointError for a damaged list: to take it for an empty one would test on training data.
    """
    path, facts = _kept_facts(checkpoint)
    names = facts.get("trained_recordings", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path} is damaged: trained_recordings must be a list of file names")
    return frozenset(names)
