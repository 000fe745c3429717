"""Units of next to no work, for workers to import: light, so that a worker is up at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from steer_utils.runs.executors import Unit
from steer_utils.sound.files import whole_file


def square(unit: Unit) -> dict[str, int]:
    """No work at all."""
    return {"square": unit["n"] ** 2, "pid": os.getpid()}


def write_square(folder: str, unit: Unit) -> dict[str, Any]:
    """A row in the sweep's folder, as a unit leaves it."""
    import pandas as pd

    with whole_file(Path(folder) / "units" / f"{unit['name']}.parquet") as part:
        pd.DataFrame([{"model": "none", "seed": unit["n"], "square": unit["n"] ** 2}]).to_parquet(part, index=False)
    return {"overlap": None}


def slow_square(folder: str, unit: Unit) -> dict[str, Any]:
    time.sleep(0.3)
    return write_square(folder, unit)


def three_fails(unit: Unit) -> dict[str, int]:
    if unit["n"] == 3:
        raise RuntimeError("three\n is bad")
    return square(unit)


def dies_at_three(folder: str, unit: Unit) -> dict[str, int]:
    """Kills its worker at unit 3, once for each file `die...` in the folder."""
    if unit["n"] == 3 and (left := sorted(Path(folder).glob("die*"))):
        left[0].unlink()
        time.sleep(0.3)  # no worker dies in the moment in which it starts
        os.kill(os.getpid(), signal.SIGKILL)
    return square(unit)


def environment(unit: Unit) -> dict[str, str | None]:
    names = (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "STEER_UTILS_THREADS_SHARED",
        "OMP_WAIT_POLICY",
        "CUDA_VISIBLE_DEVICES",
    )
    return {name: os.environ.get(name) for name in names}


def short_units(count: int) -> list[Unit]:
    return [{"name": f"u{n:03d}", "kind": "short", "n": n} for n in range(count)]
