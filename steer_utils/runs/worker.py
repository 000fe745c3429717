"""One unit of a sweep, done where a worker is, its rows written into the sweep's folder.

run_unit("sweeps/pocket", unit)        # -> {"overlap": 0.81}; the rows are in sweeps/pocket/units/<name>.parquet
"""

from __future__ import annotations

import gc
import json
import socket
from pathlib import Path
from typing import Any

import pandas as pd

from steer_utils.lm.loading import Quantisation
from steer_utils.lm.models import AudioLM, load, pocket_folder
from steer_utils.runs.executors import Unit
from steer_utils.runs.measuring import POINT, steering_table
from steer_utils.study.benchmark import DEVELOPMENT
from steer_utils.study.report import write_table

PLAN, UNITS, PARTIAL, FAILED, RUNS = "sweep.json", "units", "partial", "failed", "runs"

_kept: dict[tuple[object, ...], AudioLM] = {}  # at most one


def run_unit(folder: str, unit: Unit) -> dict[str, Any]:
    """Do a unit of the sweep in `folder`, or nothing if its rows are there. Returns the best point's mean `overlap` on
    its development scenes (None for a notebook).

    A killed unit of scenes goes on where it was, a killed notebook in its folder. Raises whatever keeps the unit from
    being done, ValueError for a folder that this machine does not see or weights other than the sweep was planned with.
    """
    root, host = Path(folder), socket.gethostname()
    if not (root / PLAN).is_file():
        raise ValueError(f"{host} sees no {root / PLAN}; pass --out with a folder that all machines share")
    target, partial = root / UNITS / f"{unit['name']}.parquet", root / PARTIAL / f"{unit['name']}.jsonl"
    if not target.is_file():
        if unit["kind"] == "notebook":
            table = notebook_table(unit, root / RUNS)
        else:
            lm = kept_model(unit["source"], unit["revision"], unit["dtype"], unit["device"], unit["quantise"])
            table = steering_table(lm, unit, partial)
        write_table(table, target)
    partial.unlink(missing_ok=True)
    return {"overlap": _best_so_far(target)}


def kept_model(
    source: str, revision: str | None, dtype: str | None, device: str | None, quantise: Quantisation | None = None
) -> AudioLM:
    """The model, loaded at its first use in this process and kept until another one is asked for.

    Raises ValueError where the weights are others than those of `revision`.
    """
    key = source, revision, dtype, device, quantise
    if key not in _kept:
        _kept.clear()  # first: two of 7B need not fit
        gc.collect()
        local = pocket_folder(source) is not None or Path(source).is_dir()
        lm = load(source, dtype=dtype, device=device, revision=None if local else revision, quantise=quantise)
        if revision is not None and lm.revision != revision:
            raise ValueError(
                f"the sweep was planned with {source} of {revision}, on {socket.gethostname()} it is {lm.revision}; "
                "give all machines the same weights, or start the sweep anew"
            )
        _kept[key] = lm
    return _kept[key]


def notebook_table(unit: Unit, out: Path) -> pd.DataFrame:
    """One row: the parameters of the run, what the notebook recorded, its seconds and its folder in `out`.

    Raises RuntimeError for a notebook that failed; its folder is kept, and taken up at the next try.
    """
    from steer_utils.runs.folder import run_in_folder  # needs the extra `course`

    out.mkdir(exist_ok=True)
    run = run_in_folder(Path(unit["notebook"]), unit["parameters"], out, progress=False)
    if run.status != "complete":
        raise RuntimeError(f"{run.error or run.status} (in {run.path})")
    result = run.result()
    row = {"model": unit["model"], "seed": unit["seed"]}
    row |= {f"parameter {name}": _cell(value) for name, value in unit["swept"].items()}
    row |= {name: _cell(value) for name, value in (result.get("recorded") or {}).items()}
    table = pd.DataFrame([{**row, "seconds": result.get("seconds"), "run": run.path.name}])
    table.attrs = {"unit": unit, "versions": result.get("versions", {})}
    return table


def _cell(value: Any) -> Any:
    """What a column can hold: numbers and text as they are, anything else as json."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)


def _best_so_far(path: Path) -> float | None:
    """The best point's mean overlap on the development scenes of a unit's file."""
    table = pd.read_parquet(path, engine="pyarrow")
    if "split" not in table:
        return None
    chosen = table[(table["split"] == DEVELOPMENT) & (table["vector"] == "steering")]
    return float(chosen.groupby(list(POINT))["overlap"].mean().max())
