"""A sweep: many runs of a grid, kept in one folder, so that the same command finishes what was cut off.

    grid = read_grid(Path("grid.yaml"))
    sweep = Sweep.started(plan_sweep(grid).units, grid, Path("sweeps/pocket"))
    for outcome in run_sweep(sweep, SerialExecutor()): ...

The folder:

    sweep.json        the grid and its units
    units/NAME.parquet    the rows of a finished unit, written whole
    partial/NAME.jsonl    the finished scenes of one that was cut off
    failed/NAME.json      what kept one from being done; the next run tries it again
    runs/                 the folders of notebooks
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from steer_utils.runs.executors import Executor, Function, Outcome, Outcomes, Unit
from steer_utils.runs.grids import Grid
from steer_utils.runs.worker import FAILED, PARTIAL, PLAN, UNITS, run_unit
from steer_utils.sound.files import write_json

FORMAT = 1
GROWS = ("models", "seeds")  # keys of a grid that may change in a folder: the units they name stay what they are


@dataclass(frozen=True)
class Sweep:
    """The folder of a sweep, its grid as json holds it, and all its units."""

    folder: Path
    grid: dict[str, Any]
    units: tuple[Unit, ...]

    @classmethod
    def started(cls, units: Sequence[Unit], grid: Grid, folder: Path) -> Sweep:
        """The sweep of these units in `folder`, new or as it was left. Models and seeds may have been added to the grid
        since. Raises ValueError for a folder that holds another sweep, or something else."""
        folder, written = Path(folder), json.loads(json.dumps(grid.model_dump()))
        if (folder / PLAN).exists():
            before = cls.opened(folder)
            keys = [key for key in {**written, **before.grid} if written.get(key) != before.grid.get(key)]
            if differing := [key for key in keys if key not in GROWS]:
                raise ValueError(
                    f"{folder} holds a sweep with other {', '.join(differing)}; pass another --out "
                    f"(only {' and '.join(GROWS)} may change in a folder)"
                )
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{folder} is not empty and holds no sweep; pass another --out")
        for name in (UNITS, PARTIAL, FAILED):
            (folder / name).mkdir(parents=True, exist_ok=True)
        write_json(folder / PLAN, {"format": FORMAT, "grid": written, "units": list(units)}, indent=1)
        return cls(folder.resolve(), written, tuple(units))

    @classmethod
    def opened(cls, folder: Path) -> Sweep:
        """The sweep in `folder`. Raises ValueError for a folder that holds none, or one of another version."""
        path = Path(folder) / PLAN
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{str(folder)!r} holds no sweep that can be read: {error}") from error
        if not isinstance(written, dict) or written.get("format") != FORMAT:
            raise ValueError(f"{path} was written by another version of this library; run the sweep again elsewhere")
        return cls(Path(folder).resolve(), written["grid"], tuple(written["units"]))

    def path_of(self, unit: Unit) -> Path:
        """Where the rows of a unit are, or will be."""
        return self.folder / UNITS / f"{unit['name']}.parquet"

    def finished(self) -> list[Unit]:
        """The units whose rows are there."""
        return [unit for unit in self.units if self.path_of(unit).is_file()]

    def unfinished(self) -> list[Unit]:
        """The others, in the order of the grid."""
        return [unit for unit in self.units if not self.path_of(unit).is_file()]

    def failures(self) -> dict[str, str]:
        """The error of each unit that failed when it was last tried, by its name."""
        errors = {}
        for unit in self.unfinished():
            path = self.folder / FAILED / f"{unit['name']}.json"
            if path.is_file():
                errors[unit["name"]] = str(json.loads(path.read_text(encoding="utf-8"))["error"])
        return errors


def run_sweep(sweep: Sweep, executor: Executor, function: Function | None = None) -> Outcomes:
    """Do what is not finished, also what failed before; the outcome of each unit as it ends.

    A failure is written into the folder with its traceback, and the others go on. `function`: what does a unit, by
    default `worker.run_unit` in this folder.
    """
    work = function or partial(run_unit, str(sweep.folder))
    with closing(executor.run(sweep.unfinished(), work)) as outcomes:
        for outcome in outcomes:
            unit, failed = outcome.unit, sweep.folder / FAILED / f"{outcome.unit['name']}.json"
            if outcome.lost and sweep.path_of(unit).is_file():  # it ended, but who should have said so was gone
                outcome = Outcome(unit)
            if outcome.error:
                what = {"unit": unit, "error": outcome.error, "traceback": outcome.trace.splitlines()}
                write_json(failed, what, indent=1)
            elif outcome.done:
                failed.unlink(missing_ok=True)
            yield outcome
