"""Long work in units whose rows are kept as lines of json: a killed run goes on where it stopped.

The file has a line of identity (what was run), then a line `[unit, rows]` for each finished unit.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.environment import library_versions
from steer_utils.methods.settings import Settings
from steer_utils.sound.files import whole_file

T = TypeVar("T")
Record = dict[str, Any]  # a row of a table
Progress = Callable[[Iterable[int]], Iterable[int]]


def resumable_rows(
    count: int,
    rows_of: Callable[[T], list[Record]],
    identity: Mapping[str, object],
    *,
    inputs: Callable[[Sequence[int]], Iterable[T]] | None = None,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> list[Record]:
    """The rows of units 0 ... count - 1 in order; `rows_of(unit)` is called for those not yet in `resume_file`.

    `inputs` is given the numbers of all those, and yields for each, in order, what `rows_of` gets in place of the
    number: so that several can be made at once.

    Each finished unit is appended to that file. A run of the same `identity` goes on from there, one of another starts
    anew, and says so. Rows and identity must be what json holds (no numpy numbers); rows come back as json reads them,
    resumed or not, so that a resumed run gives the identical table.
    """
    finished = _resumed(resume_file, through_json(identity), count)
    pending: Any = [unit for unit in range(count) if unit not in finished]
    made = iter(pending if inputs is None else inputs(pending))
    for unit in progress(range(count)):
        if unit in finished:
            continue
        finished[unit] = through_json(rows_of(next(made)))
        if resume_file is not None:
            with resume_file.open("a", encoding="utf-8") as file:
                file.write(_line([unit, finished[unit]]))
    return [row for unit in range(count) for row in finished[unit]]


def resumable_table(
    count: int,
    rows_of: Callable[[T], list[Record]],
    identity: Mapping[str, object],
    *,
    inputs: Callable[[Sequence[int]], Iterable[T]] | None = None,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """The rows of `resumable_rows` as a table; its attrs hold the identity and the versions of the libraries."""
    table = pd.DataFrame(
        resumable_rows(count, rows_of, identity, inputs=inputs, resume_file=resume_file, progress=progress)
    )
    table.attrs = {**through_json(identity), "versions": library_versions()}
    return table


def analysis_identity(analysis: str, checkpoint: Checkpoint, settings: Settings) -> dict[str, object]:
    """What every run is told by: which analysis, on which model, in which number type, with which settings."""
    return {"analysis": analysis, **checkpoint.identity, "settings": asdict(settings)}


def through_json(value: Any) -> Any:
    """`value` as it will be read back from json: tuples and mappings become lists and dicts."""
    return json.loads(json.dumps(value))


def _resumed(resume_file: Path | None, identity: object, count: int) -> dict[int, list[Record]]:
    """Rows of the finished units of an interrupted run with the same identity, by unit; (re)starts its file.

    A line that a kill cut short does not parse, and is dropped.
    """
    if resume_file is None:
        return {}
    finished: dict[int, list[Record]] = {}
    if resume_file.exists():
        first, *lines = (_parsed(line) for line in resume_file.read_bytes().split(b"\n"))
        if first == identity:
            finished = {line[0]: line[1] for line in lines if _is_unit(line, count)}
        elif isinstance(first, dict) and isinstance(identity, dict) and lines:
            other = [name for name in {**first, **identity} if first.get(name) != identity.get(name)]
            warnings.warn(
                f"{resume_file} was begun with another {' and '.join(other)}: this run starts anew", stacklevel=5
            )
    resume_file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(resume_file) as part:
        part.write_text(_line(identity) + "".join(_line([*item]) for item in finished.items()), encoding="utf-8")
    return finished


def _is_unit(line: Any, count: int) -> bool:
    return isinstance(line, list) and len(line) == 2 and line[0] in range(count) and isinstance(line[1], list)


def _line(value: object) -> str:
    return json.dumps(value) + "\n"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
