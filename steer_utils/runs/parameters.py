"""The parameters of a notebook: what it has, with which defaults; what is given, checked against them.

    checked_parameters(path, parsed_parameters(path, {"seed": "3"}))      # -> {"seed": 3}

Parameters stand in the cell tagged `parameters`, as papermill has it.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steer_utils.sound.config_files import read_config_file

PRESETS = ("smoke", "course", "paper")
_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)  # the last two for deep brackets
REMEDY = "notebooks need papermill and ipykernel: pip install 'steer-utils[course]'"


def known_parameters(path: Path) -> dict[str, Any]:
    """Name -> default of each parameter of a notebook, from its cell tagged `parameters`.

    Raises ValueError for a file that is no notebook. A default that is no literal is given as None.
    """
    return {name: _literal(source) for name, source in _written_defaults(path).items()}


def full_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of a notebook with the value that a run gets: from `given` (checked), else its default.

    A default that is more than json holds stands as its source, such as "os.cpu_count()". A whole number given for a
    float is a float, so that 1 and 1.0 are one run.
    """
    full = {}
    for name, source in _written_defaults(path).items():
        default = _literal(source)
        if name in given:
            value = given[name]
            full[name] = float(value) if isinstance(default, float) and isinstance(value, int) else value
        else:
            full[name] = source if default is None and source != "None" else _plain_or_source(default, source)
    return full


def checked_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` as papermill can write it, after checking every name and type.

    Raises ValueError for a missing notebook, an unknown name (naming the known ones), a value of another type, or an
    unknown preset.

    papermill itself only warns of an unknown name and runs the defaults; a tuple it writes as a string.
    """
    known = known_parameters(path)
    if unknown := sorted(set(given) - set(known)):
        there = ", ".join(f"{name}={default!r}" for name, default in known.items()) or "none"
        raise ValueError(f"{short_path(path)} has no parameter {', '.join(unknown)}; it has: {there}")
    values = {name: as_plain(name, value) for name, value in given.items()}
    for name, value in values.items():
        default = known[name]
        if default is not None and value is not None and not _same_kind(value, default):
            raise ValueError(
                f"{name} of {short_path(path)} is {type(default).__name__} (default {default!r}), "
                f"got {repr(value)[:200]}"
            )
    if "preset" in values and values["preset"] not in PRESETS:
        raise ValueError(f"preset is {values['preset']!r}; pass one of {', '.join(PRESETS)}")
    return values


def parsed_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values typed on a command line or in a file: text stays text where the parameter's default is text, and is
    else read as a number, list, true or none. Other values stay as they are.

    Nothing is refused here; `checked_parameters` does that.
    """
    known = known_parameters(path)
    typed = {name for name, value in given.items() if isinstance(value, str) and not isinstance(known.get(name), str)}
    return {name: _read(value) if name in typed else value for name, value in given.items()}


def read_parameters(path: Path) -> dict[str, Any]:
    """The parameters in a file: one mapping of names to values, as yaml or (named .json) json.

    Raises ValueError for a file that cannot be read, that holds something else, a list of mappings (a sweep), or a name
    twice.
    """
    values = read_config_file(path, "parameters")
    if isinstance(values, list) and values and all(isinstance(value, dict) for value in values):
        raise ValueError(f"{str(path)!r} holds {len(values)} sets of parameters; for many runs use `steer-utils sweep`")
    if not isinstance(values, dict):
        there = "nothing" if values is None else f"a {type(values).__name__}"
        raise ValueError(f"{str(path)!r} holds {there}; parameters are one mapping, such as seed: 3")
    if strange := [name for name in values if not isinstance(name, str)]:
        raise ValueError(f"{str(path)!r} has the name {strange[0]!r}, which is no text; write names in quotes")
    return values


def short_path(path: Path) -> str:
    """`path` from the current folder, or as it is if it lies elsewhere."""
    try:
        shorter = os.path.relpath(path)
    except ValueError:  # on another drive of Windows
        return str(path)
    return str(path) if shorter.startswith("..") else shorter


def papermill_path(path: Path) -> str:
    """`path` for papermill, which formats paths by the parameters: braces in it are its own."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _written_defaults(path: Path) -> dict[str, str]:
    """Name -> source text of the default. Raises as `known_parameters` does."""
    try:
        from papermill import inspect_notebook
    except ImportError as error:
        raise ValueError(REMEDY) from error
    if not Path(path).is_file():
        raise ValueError(f"there is no notebook {short_path(path)!r}")
    try:
        parameters = inspect_notebook(papermill_path(path))
    except Exception as error:  # json, nbformat and papermill each have their own
        raise ValueError(f"{short_path(path)!r} is not a notebook that can be run: {error}") from error
    return {name: str(entry["default"]) for name, entry in parameters.items()}


def _read(text: str) -> Any:
    if re.search(r"\d_|\b0[xob]", re.sub(r"'[^']*'|\"[^\"]*\"", "", text), re.IGNORECASE):
        return text  # 1_0 and 0x10 mean 10 and 16 to Python, which hardly anybody means
    spelled = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in spelled:
        return spelled[text.lower()]
    try:
        return ast.literal_eval(text)
    except _NO_LITERAL:
        return text  # the check of types then says what was expected


def _plain_or_source(default: Any, source: str) -> Any:
    try:
        return as_plain("a default", default)
    except ValueError:  # a set or bytes: a literal, but nothing that json holds
        return source


def _literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except _NO_LITERAL:
        return None


def as_plain(name: str, value: Any) -> Any:
    """`value` as json holds it: papermill would write anything else as text, or not at all.

    Numbers and arrays of numpy and torch, paths and tuples become what they stand for. Raises ValueError, in which
    `name` stands for the value, for anything else.
    """
    if hasattr(value, "tolist") and not isinstance(value, type):
        value = value.tolist()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [as_plain(name, item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): as_plain(name, item) for key, item in value.items()}
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):  # a name in Latin-1, too
        raise ValueError(f"{name} is {value!r}; pass letters that UTF-8 has")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{name} is a {type(value).__name__}; pass numbers, text, lists or dicts")


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (list, tuple)):
        return isinstance(value, list)
    return isinstance(value, type(default))
