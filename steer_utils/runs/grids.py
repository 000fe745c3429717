"""The grid of a sweep, read from a yaml file and checked as far as that needs no model.

    models: [pocket-qwen2-audio, pocket-audio-flamingo-3]
    seeds: [0, 1, 2]
    scenes: 40                              # to report on, and as many to choose on
    blocks: [early, late, all, 1, [0, 1]]   # "each": every block alone
    strengths: [2, 4, 8, 16]

Optional: questions (the neutral question that is steered; several are one more factor), settings (a settings file in
place of each model's own), clips (a folder of recordings), read_blocks (`after` the first steered one, `own` of the
settings, or numbers), dtype, device, quantise, and what is chosen on what:

    split: {development: [siren, knock, drum], scenes: 20}   # default: the classes the settings were chosen on

The other kind of grid runs a notebook; each list among its parameters is swept, one run a combination:

    models: [pocket-qwen2-audio]
    seeds: [0, 1]
    notebook: 07                            # a lesson's number, or a path
    parameters: {preset: smoke, strength: [4, 8]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PlainValidator, field_validator, model_validator

from steer_utils.lm.blocks import NAMED_BLOCKS, Blocks, as_blocks
from steer_utils.sound.config_files import Config, Count, OptionalText, Several, Text, config, read_config_file

BLOCK_NAMES = ("each", *NAMED_BLOCKS)
READS = ("after", "own")


def _blocks(value: Any, names: Sequence[str] = BLOCK_NAMES, verb: str = "has") -> str | Blocks:
    """One of the names, or block numbers in order."""
    if isinstance(value, str) and value in names:
        return value
    try:
        numbers = as_blocks(value if isinstance(value, (str, Sequence)) else [value])
    except ValueError:
        near = get_close_matches(value, names, n=1) if isinstance(value, str) else []
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{verb} {value!r}; {hint}pass {', '.join(names)}, or numbers such as [0, 1]") from None
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{verb} {list(numbers)}, a block twice; give each once")
    return tuple(sorted(numbers))


def _steering(strengths: tuple[float, ...]) -> tuple[float, ...]:
    """Without 0."""
    steering = tuple(strength for strength in strengths if strength != 0)
    if strengths and not steering:
        raise ValueError("holds 0 only, which is measured anyway; give one that steers")
    return steering


Seed = Annotated[int, Field(ge=0, lt=2**63)]
Strength = Annotated[float, Field(allow_inf_nan=False)]
Models = Annotated[Several[Text], Field(description="text")]
Seeds = Annotated[Several[Seed], Field(description="whole numbers from 0, below 2**63")]


class Split(Config):
    """What is chosen on: its classes (none: those the model's settings were chosen on), and how many scenes of them
    (None: as many as are reported on)."""

    development: Annotated[Several[Text], Field(description="text")] = ()
    scenes: Annotated[int | None, Field(ge=1, description="a whole number from 1")] = None


class SteeringGrid(Config):
    """Models x seeds, each a unit that loops questions, blocks and strengths. Strength 0 and a random vector of equal
    norm are measured too, whatever is listed here.

    blocks     names of BLOCK_NAMES, block numbers, or lists of them; resolved for each model
    strengths  finite numbers; 0 is there anyway
    """

    models: Annotated[Models, Field(min_length=1)]
    seeds: Annotated[Seeds, Field(min_length=1)]
    scenes: Count
    blocks: Annotated[Several[Annotated[str | Blocks, PlainValidator(_blocks)]], Field(min_length=1)]
    strengths: Annotated[
        Several[Strength],
        Field(min_length=1, description="numbers (yaml reads 1e1 as text: write 10)"),
        AfterValidator(_steering),
    ]
    questions: Annotated[Several[Text], Field(description="text")] = ()
    settings: OptionalText = None
    clips: OptionalText = None
    split: Split = Split()
    read_blocks: Annotated[str | Blocks, PlainValidator(lambda value: _blocks(value, READS, "is"))] = "after"
    dtype: OptionalText = None
    device: OptionalText = None
    quantise: OptionalText = None

    @field_validator("split", mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if not isinstance(value, (Mapping, Split)):
            raise ValueError(f"is {value!r}; pass a mapping of development (classes) and scenes (a number)")
        return value


class NotebookGrid(Config):
    """Models x seeds x combinations of parameters, each a unit that runs one notebook in a folder of its own.

    `models` and `seeds` are the notebook's parameters `model` and `seed`; leave them out where it has none. A list
    among `parameters` is a list of values to sweep; a parameter that is itself a list is given as a list of lists.
    Whether the notebook knows the parameters is checked by `planning`.
    """

    notebook: Text
    models: Models = ()
    seeds: Seeds = ()
    parameters: dict[str, Any] = Field(default={})

    @field_validator("notebook", mode="before")
    @classmethod
    def _number_of_a_lesson(cls, value: Any) -> Any:
        return f"{value:02d}" if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("parameters", mode="before")
    @classmethod
    def _named_values(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"is {value!r}; pass a mapping such as {{preset: smoke}}")
        return dict(value)

    @model_validator(mode="after")
    def _given_once(self) -> Self:
        for name, values in (("model", self.models), ("seed", self.seeds)):
            if values and name in self.parameters:
                raise ValueError(f"{name} stands in {name}s and in parameters; give it once")
        if empty := [key for key, value in self.parameters.items() if value == []]:
            raise ValueError(f"parameters: {', '.join(empty)} is an empty list; give at least one value")
        return self


Grid = SteeringGrid | NotebookGrid


def read_grid(path: Path) -> Grid:
    """The grid in a yaml file. Raises ValueError, with the file's name, for a file that is none, an unknown key (with
    the nearest known one), a key given twice, a missing one, or a value that cannot be used."""
    values = read_config_file(path, "a grid")
    if not isinstance(values, dict) or not values:
        what = "nothing" if not values else f"a {type(values).__name__}"
        raise ValueError(f"{path} holds {what}; a grid is a mapping with models, seeds, scenes, blocks and strengths")
    try:
        return as_grid(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def as_grid(values: Mapping[str, Any]) -> Grid:
    """The grid of a mapping: of notebooks if it names one. Raises ValueError as `read_grid` does."""
    notebook = "notebook" in values
    kind, other = (NotebookGrid, SteeringGrid) if notebook else (SteeringGrid, NotebookGrid)
    if misplaced := [key for key in values if key in other.model_fields and key not in kind.model_fields]:
        known = ", ".join(sorted(kind.model_fields))
        raise ValueError(
            f"{misplaced[0]!r} has no place in a grid {'with' if notebook else 'without'} a notebook; it takes {known}"
        )
    return config(NotebookGrid, values, "a grid") if notebook else config(SteeringGrid, values, "a grid")
