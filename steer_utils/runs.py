"""Notebooks as parameterised runs: checked first, executed by papermill in this Python, kept also when they fail.

    run_notebook(Path("notebooks/00_start_here.ipynb"), preset="smoke")       # -> runs/00_start_here.ipynb

A notebook runs in its own folder, as JupyterLab and nbval run it.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

PRESETS = ("smoke", "course", "paper")
RUNS = Path("runs")  # where executed copies go, from the current folder
REMEDY = "notebooks need papermill and ipykernel: pip install 'steer-utils[course]'"


class NotebookError(RuntimeError):
    """A cell failed; the message names the cell, the error and the executed copy, which is kept."""


def run_notebook(
    path: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    preset: str | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> Path:
    """Execute a notebook with these parameters; returns the path of the executed copy (default runs/<name>.ipynb).

    `preset` is the notebook's parameter of that name. Paths among the parameters are passed as they are given, and
    the notebook reads them from its own folder. `progress`: a bar over its cells on stderr. Raises, before anything
    starts, ValueError for a missing notebook, an unknown parameter (naming the known ones), a value of another type
    or an unknown preset; afterwards NotebookError if a cell fails.
    """
    source = Path(path).resolve()
    target = (RUNS / source.name if out is None else Path(out)).resolve()
    if target == source:
        raise ValueError(f"{str(path)!r} would be overwritten by its own run; pass another out=")
    values = checked_parameters(source, {**({"preset": preset} if preset is not None else {}), **(parameters or {})})
    try:
        import papermill
        from papermill.exceptions import PapermillExecutionError
    except ImportError as error:
        raise ValueError(REMEDY) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    bar = {"desc": source.stem, "unit": "cell", "leave": True} if progress else False
    try:
        papermill.execute_notebook(
            str(source), str(target), parameters=values, kernel_name="python3", language="python", progress_bar=bar,
            cwd=str(source.parent), kernel_manager_class=_own_python(),
        )  # fmt: skip
    except PapermillExecutionError as error:
        raise NotebookError(
            f"cell {error.exec_count} of {source.name} failed: {error.ename}: {error.evalue}; "
            f"see it in {os.path.relpath(target)}"
        ) from error
    return target


def known_parameters(path: Path) -> dict[str, Any]:
    """Name -> default of each parameter of a notebook, from its cell tagged `parameters`.

    Raises ValueError for a file that is no notebook. A default that is no literal is given as None.
    """
    try:
        from papermill import inspect_notebook
    except ImportError as error:
        raise ValueError(REMEDY) from error
    if not Path(path).is_file():
        raise ValueError(f"there is no notebook {_short(path)!r}")
    try:
        found = inspect_notebook(str(path))
    except Exception as error:  # json, nbformat and papermill each have their own
        raise ValueError(f"{_short(path)!r} is not a notebook that can be run: {error}") from error
    return {name: _literal(entry["default"]) for name, entry in found.items()}


def checked_parameters(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` as papermill can write it, after checking every name and type. Raises as `run_notebook` does.

    papermill itself only warns of an unknown name and runs the defaults; a tuple it writes as a string.
    """
    known = known_parameters(path)
    if unknown := sorted(set(given) - set(known)):
        there = ", ".join(f"{name}={default!r}" for name, default in known.items()) or "none"
        raise ValueError(f"{_short(path)} has no parameter {', '.join(unknown)}; it has: {there}")
    values = {name: _plain(name, value) for name, value in given.items()}
    for name, value in values.items():
        default = known[name]
        if default is not None and value is not None and not _same_kind(value, default):
            raise ValueError(
                f"{name} of {_short(path)} is {type(default).__name__} (default {default!r}), got {value!r}"
            )
    if "preset" in values and values["preset"] not in PRESETS:
        raise ValueError(f"preset is {values['preset']!r}; pass one of {', '.join(PRESETS)}")
    return values


def parsed_parameters(path: Path, given: Mapping[str, str]) -> dict[str, Any]:
    """Values typed on a command line: text where the parameter's default is text, else numbers, lists, true, none.

    Nothing is refused here; `checked_parameters` does that.
    """
    known = known_parameters(path)
    return {name: text if isinstance(known.get(name), str) else _read(text) for name, text in given.items()}


def _read(text: str) -> Any:
    spelled = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in spelled:
        return spelled[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # the check of types then says what was expected


def _literal(source: Any) -> Any:
    try:
        return ast.literal_eval(str(source))
    except (ValueError, SyntaxError):
        return None


def _plain(name: str, value: Any) -> Any:
    """Only what json holds: papermill would write anything else as text, or not at all."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [_plain(name, each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(name, each) for key, each in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{name} is a {type(value).__name__}; a notebook takes numbers, text, lists and dicts")


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (list, tuple)):
        return isinstance(value, list)
    return isinstance(value, type(default))


def _short(path: Path) -> str:
    shorter = os.path.relpath(path)
    return str(path) if shorter.startswith("..") else shorter


def _own_python() -> type[AsyncKernelManager]:
    """A kernel manager that starts this very Python, whatever kernels a user has registered under "python3"."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    try:
        from ipykernel.kernelspec import get_kernel_dict
    except ImportError as error:
        raise ValueError(REMEDY) from error

    class OwnSpecs(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    class OwnPython(AsyncKernelManager):
        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return OwnSpecs(parent=self)

    return OwnPython
