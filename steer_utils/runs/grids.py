"""The grid of a sweep, read from a yaml file and checked as far as that needs no model.

    models: [pocket-qwen2-audio, pocket-audio-flamingo-3]
    seeds: [0, 1, 2]
    scenes: 40                              # to report on, and as many to choose on
    blocks: [early, late, all, 1, [0, 1]]   # "each": every block alone
    strengths: [2, 4, 8, 16]

Optional: questions (the neutral question that is steered; several are one more factor), settings (a settings file in
place of each model's own), clips (a folder of recordings), read_blocks (`after` the first steered one, `own` of the
settings, or numbers), dtype, device, and what is chosen on what:

    split: {development: [siren, knock, drum], scenes: 20}   # default: the classes the settings were chosen on

The other kind of grid runs a notebook; each list among its parameters is swept, one run a combination:

    models: [pocket-qwen2-audio]
    seeds: [0, 1]
    notebook: 07                            # a lesson's number, or a path
    parameters: {preset: smoke, strength: [4, 8]}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from steer_utils.lm.blocks import NAMED_BLOCKS, Blocks, as_blocks

BLOCK_NAMES = ("each", *NAMED_BLOCKS)
READS = ("after", "own")


@dataclass(frozen=True)
class Split:
    """What is chosen on: its classes (none: those the model's settings were chosen on), and how many scenes of them
    (None: as many as are reported on)."""

    development: tuple[str, ...] = ()
    scenes: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "development", _distinct("split: development", self.development, _text))
        if self.scenes is not None:
            _check_count("split: scenes", self.scenes)


@dataclass(frozen=True)
class SteeringGrid:
    """Models x seeds, each a unit that loops questions, blocks and strengths. Strength 0 and a random vector of equal
    norm are measured too, whatever is listed here. Raises ValueError naming the key, what it holds and what to pass.

    blocks     names of BLOCK_NAMES, block numbers, or lists of them; resolved for each model
    strengths  finite numbers; 0 is there anyway
    """

    models: tuple[str, ...]
    seeds: tuple[int, ...]
    scenes: int
    blocks: tuple[str | Blocks, ...]
    strengths: tuple[float, ...]
    questions: tuple[str, ...] = ()
    settings: str | None = None
    clips: str | None = None
    split: Split = field(default_factory=Split)
    read_blocks: str | Blocks = "after"
    dtype: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "models", _distinct("models", self.models, _text, least=1))
        put(self, "seeds", _distinct("seeds", self.seeds, _seed, least=1))
        _check_count("scenes", self.scenes)
        put(self, "blocks", _distinct("blocks", self.blocks, _blocks, least=1))
        strengths = _distinct("strengths", self.strengths, _number, least=1)
        put(self, "strengths", tuple(each for each in strengths if each != 0))
        if not self.strengths:
            raise ValueError("strengths holds 0 only, which is measured anyway; give one that steers")
        put(self, "questions", _distinct("questions", self.questions, _text))
        for name in ("settings", "clips", "dtype", "device"):
            if getattr(self, name) is not None:
                _text(name, getattr(self, name))
        put(self, "split", as_split(self.split))
        read = self.read_blocks
        put(self, "read_blocks", read if isinstance(read, str) and read in READS else _read_blocks(read))


@dataclass(frozen=True)
class NotebookGrid:
    """Models x seeds x combinations of parameters, each a unit that runs one notebook in a folder of its own.

    `models` and `seeds` are the notebook's parameters `model` and `seed`; leave them out where it has none. A list
    among `parameters` is a list of values to sweep; a parameter that is itself a list is given as a list of lists.
    Raises ValueError as `SteeringGrid` does. Whether the notebook knows the parameters is checked by `sweeps`.
    """

    notebook: str
    models: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        name = self.notebook
        put(self, "notebook", f"{name:02d}" if isinstance(name, int) and not isinstance(name, bool) else name)
        _text("notebook", self.notebook)
        put(self, "models", _distinct("models", self.models, _text))
        put(self, "seeds", _distinct("seeds", self.seeds, _seed))
        if not isinstance(self.parameters, Mapping) or not all(isinstance(key, str) for key in self.parameters):
            raise ValueError(f"parameters is {self.parameters!r}; pass a mapping such as {{preset: smoke}}")
        for name, given in (("model", self.models), ("seed", self.seeds)):
            if given and name in self.parameters:
                raise ValueError(f"{name} stands in {name}s and in parameters; give it once")
        if empty := [key for key, value in self.parameters.items() if value == []]:
            raise ValueError(f"parameters: {', '.join(empty)} is an empty list; give at least one value")


Grid = SteeringGrid | NotebookGrid


def read_grid(path: Path) -> Grid:
    """The grid in a yaml file. Raises ValueError, with the file's name, for a file that is none, an unknown key (with
    the nearest known one), a key given twice, a missing one, or a value that cannot be used."""
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        found = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read a grid from {str(path)!r}: {error}") from error
    if not isinstance(found, dict) or not found:
        what = "nothing" if not found else f"a {type(found).__name__}"
        raise ValueError(f"{path} holds {what}; a grid is a mapping with models, seeds, scenes, blocks and strengths")
    written = [node.value for node, _ in tree.value]  # yaml itself lets the last of two keys win
    if twice := sorted({key for key in written if written.count(key) > 1}):
        raise ValueError(f"{path} has {', '.join(twice)} twice; give each key once")
    try:
        return as_grid(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def as_grid(found: Mapping[str, Any]) -> Grid:
    """The grid of a mapping: of notebooks if it names one. Raises ValueError as `read_grid` does."""
    kind: type[Any] = NotebookGrid if "notebook" in found else SteeringGrid
    other: type[Any] = SteeringGrid if kind is NotebookGrid else NotebookGrid
    known = {each.name for each in fields(kind)}
    for key in found:
        if key in known:
            continue
        if key in {each.name for each in fields(other)}:
            with_or_without = "with" if kind is NotebookGrid else "without"
            raise ValueError(f"{key!r} has no place in a grid {with_or_without} a notebook; it takes {_listed(known)}")
        near = get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown key {key!r}; {hint}a grid takes {_listed(known)}")
    needed = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}
    if lacking := needed - set(found):
        raise ValueError(f"{_listed(lacking)} is missing; a grid needs {_listed(needed)}")
    return kind(**found)


def as_split(found: Any) -> Split:
    """A Split from what a grid file holds. Raises ValueError for anything but a mapping of its keys."""
    if isinstance(found, Split):
        return found
    known = {each.name for each in fields(Split)}
    if not isinstance(found, Mapping) or set(found) - known:
        raise ValueError(f"split is {found!r}; pass a mapping of development (classes) and scenes (a number)")
    return Split(**found)


# -- values ----------------------------------------------------------------------------------------------------------
def _distinct(name: str, values: Any, check: Any, *, least: int = 0) -> tuple[Any, ...]:
    """The values, each checked; a single one is a list of one. Raises ValueError for too few, or one given twice."""
    listed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    if len(listed) < least:
        raise ValueError(f"{name} is empty; give at least one")
    checked = tuple(check(name, each) for each in listed)
    if twice := sorted({str(each) for each in checked if checked.count(each) > 1}):
        raise ValueError(f"{name} has {', '.join(twice)} twice; give each once")
    return checked


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} has {value!r}; pass text")
    return value


def _seed(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} has {value!r}; pass whole numbers from 0")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} has {value!r}; pass numbers (yaml reads 1e1 as text: write 10)")
    if not math.isfinite(value):
        raise ValueError(f"{name} has {value}; pass finite numbers")
    return float(value)


def _blocks(name: str, value: Any) -> str | Blocks:
    if isinstance(value, str) and value in BLOCK_NAMES:
        return value
    try:
        numbers = as_blocks(value if isinstance(value, (str, Sequence)) else [value], name)
    except ValueError as error:
        near = get_close_matches(value, BLOCK_NAMES, n=1) if isinstance(value, str) else []
        hint = f"did you mean {near[0]!r}? " if near else ""
        message = f"{name} has {value!r}; {hint}pass {_listed(BLOCK_NAMES)}, or numbers such as [0, 1]"
        raise ValueError(message) from error
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{name} has {list(numbers)}, a block twice; give each once")
    return tuple(sorted(numbers))


def _read_blocks(value: Any) -> str | Blocks:
    if isinstance(value, str):
        raise ValueError(f"read_blocks is {value!r}; pass {_listed(READS)}, or numbers such as [3, 4]")
    return _blocks("read_blocks", value)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; pass a whole number from 1")


def _listed(names: Any) -> str:
    return ", ".join(names if isinstance(names, tuple) else sorted(names))
