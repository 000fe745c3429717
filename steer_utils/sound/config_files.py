"""Files of keys and values that users write (grids, SLURM profiles, parameters, settings), read so that no key is lost.

    class Split(Config): ...
    config(Split, read_mapping(Path("split.yaml"), "a split"))

A `Config` is a strict pydantic model: no unknown keys, no "2" for 2, no true for 1. What is wrong is told in one line
that names the key, what it holds, and what to pass, which is the `description` of the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from steer_utils.sound.files import RepeatedKeyError, check_once, read_text, strict_json, write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Config(BaseModel):
    """The base of all that is read from such a file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _as_tuple(value: Any) -> Any:
    """A single value is a list of one."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if twice := sorted({str(value) for value in values if values.count(value) > 1}):
        raise ValueError(f"has {', '.join(twice)} twice; give each once")
    return values


#: A list of different values, or one value.
Several = Annotated[tuple[T, ...], BeforeValidator(_as_tuple), AfterValidator(_distinct)]
Text = Annotated[str, Field(pattern=r"\S", description="text")]
OptionalText = Annotated[str | None, Field(pattern=r"\S", description="text")]
Count = Annotated[int, Field(ge=1, description="a whole number from 1")]


def config(kind: type[M], values: Mapping[str, Any], what: str) -> M:
    """`values` as a `kind`, which messages call `what` ("a grid"). Raises ValueError, in one line, for the first fault:
    an unknown key (with the nearest known one), missing ones, or a value that cannot be used."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ValueError(_fault(kind, error.errors(), what)) from None


def _fault(kind: type[BaseModel], errors: Sequence[ErrorDetails], what: str) -> str:
    by_type = {error["type"]: error for error in reversed(errors)}
    if unknown := by_type.get("extra_forbidden"):
        *above, key = unknown["loc"]
        known = sorted(_kind_at(kind, above).model_fields)
        near = get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        where = ": ".join(map(str, above)) or what
        return f"unknown key {key!r}{f' in {where}' if above else ''}; {hint}{where} takes {', '.join(known)}"
    if "missing" in by_type:
        missing = sorted(str(error["loc"][-1]) for error in errors if error["type"] == "missing")
        needed = sorted(name for name, field in kind.model_fields.items() if field.is_required())
        return f"{', '.join(missing)} is missing; {what} needs {', '.join(needed)}"
    if strange := by_type.get("invalid_key"):
        return f"the key {strange['loc'][-1]} is not text; write names in quotes"
    error, names = errors[0], [str(part) for part in errors[0]["loc"] if isinstance(part, str)]
    key = ": ".join(names)
    if error["type"] == "value_error":  # raised by a check of our own, which says the rest
        return f"{key} {error['ctx']['error']}" if key else str(error["ctx"]["error"])
    if error["type"] == "too_short":
        return f"{key} is empty; give at least one"
    of_a_list = any(isinstance(part, int) for part in error["loc"])
    wanted = _kind_at(kind, names[:-1]).model_fields[names[-1]].description
    if error["type"] == "finite_number":
        wanted = "finite numbers"
    return f"{key} {'has' if of_a_list else 'is'} {error['input']!r}; pass {wanted}"


def _kind_at(kind: type[BaseModel], names: Sequence[int | str]) -> type[BaseModel]:
    """The model of a field of a field."""
    for name in names:
        kind = kind.model_fields[str(name)].annotation  # type: ignore[assignment]
    return kind


# -- reading ---------------------------------------------------------------------------------------------------------
#: How numbers and truth values are written whose meaning everybody knows. yaml 1.1 knows more forms: 010 is 8 to it,
#: 1:30 is 90, 1_0 is 10, no is false, 2026-11-26 a date.
_PLAIN = {
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.IGNORECASE),
    "bool": re.compile(r"true|false", re.IGNORECASE),
    "timestamp": re.compile(r"(?!)"),  # none
}


LARGEST = 100_000  # values in a file


class _UnclearError(ValueError):
    """A value that yaml takes for something else than is written there."""


class _Loader(yaml.SafeLoader):
    """yaml itself lets the last of two equal keys win, takes some text for numbers, and lets a value hold itself."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[int, int] = {}  # of nodes, with all that aliases in them stand for

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        node = super().compose_node(parent, index)
        if node is None or id(node) in self._sizes:  # an alias
            return node
        where = f"line {node.start_mark.line + 1}"
        if node.end_mark is None:
            raise _UnclearError(f"{where}: a value holds itself")
        parts = [node for pair in node.value for node in pair] if isinstance(node, yaml.MappingNode) else node.value
        parts = [] if isinstance(node, yaml.ScalarNode) else parts
        self._sizes[id(node)] = size = 1 + sum(self._sizes[id(part)] for part in parts)
        if size > LARGEST:
            raise _UnclearError(f"{where}: aliases stand for more than {LARGEST} values")
        if isinstance(node, yaml.MappingNode):  # before what `<<` merges is put in
            keys = [
                key.value if key.tag.endswith(":merge") else self.construct_object(key, deep=True) for key in parts[::2]
            ]
            check_once(keys, f" ({where})")
        return node


def _plainly(kind: str) -> Callable[[_Loader, yaml.ScalarNode], Any]:
    """What constructs scalars of this kind. Raises _UnclearError for a form that only yaml reads so."""
    construct = yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]

    def constructed(loader: _Loader, node: yaml.ScalarNode) -> Any:
        value = construct(loader, node)
        endless = kind == "float" and math.isinf(value) and "inf" not in node.value.lower()
        if endless or not _PLAIN[kind].fullmatch(node.value):
            meaning = {"timestamp": "a date", "bool": str(value).lower()}.get(kind, str(value))
            raise _UnclearError(
                f"line {node.start_mark.line + 1}: yaml takes {node.value} for {meaning}; write "
                f'"{node.value}" in quotes, or what is meant in plain digits or as true or false'
            )
        return value

    return constructed


for _kind in _PLAIN:
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _plainly(_kind))


def read_config_file(path: Path, what: str) -> Any:
    """What a yaml file holds, or, named .json, a json file; messages call it `what` ("a grid").

    Raises ValueError for a file that cannot be read, a key that stands twice in a mapping at any level, and values in
    yaml that it takes for something else than they look like.
    """
    path = Path(path)
    try:
        text = read_text(path)
        return strict_json(text) if path.suffix.lower() == ".json" else yaml.load(text, Loader=_Loader)
    except (RepeatedKeyError, _UnclearError) as error:
        raise ValueError(f"{path} {error}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read {what} from {str(path)!r}: {' '.join(str(error).split())}") from error


# -- a checked dataclass as one json object ----------------------------------------------------------------------------
def write_object(value: DataclassInstance, path: Path) -> None:
    """Write the fields of a dataclass as json, atomically. What is None, as it is by default, is left out."""
    write_json(path, told_fields(value))


def told_fields(value: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass by name, without those that are None by default and were left so."""
    silent = {part.name for part in fields(value) if part.default is None and getattr(value, part.name) is None}
    return {name: told for name, told in asdict(value).items() if name not in silent}


def read_object(kind: Callable[..., T], path: Path, what: str) -> T:
    """The `kind` that such a file holds; messages call it `what` ("settings").

    Raises ValueError, with the path, for a file that cannot be read or holds no object, and for fields that `kind`
    refuses with a ValueError or TypeError.
    """
    values = read_config_file(path, what)
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} holds a {type(values).__name__}; pass {what} as one json object")
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
