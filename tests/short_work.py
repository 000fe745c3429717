"""Units of next to no work, for workers to import: light, so that a worker is up at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
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


def meet(folder: str, workers: int, unit: Unit) -> dict[str, int]:
    """`square`, once so many workers are at work: a busy machine may leave all units to one of them."""
    (Path(folder) / str(os.getpid())).touch()
    wait_until(lambda: len(list(Path(folder).iterdir())) >= workers)
    return square(unit)


def dies_at_three(folder: str, unit: Unit) -> dict[str, int]:
    """Kills its worker at unit 3, once for each file `die...` in the folder."""
    if unit["n"] == 3 and (left := sorted(Path(folder).glob("die*"))):
        left[0].unlink()
        wait_until(_is_known_to_run)
        os.kill(os.getpid(), signal.SIGKILL)
    return square(unit)


def _is_known_to_run() -> bool:
    """Whether what started this worker has been told that it runs: a worker that dies before is not started anew."""
    from distributed import get_worker, worker_client

    address = get_worker().address
    with worker_client(separate_thread=False) as client:
        return client.run(lambda dask_worker: dask_worker.process.status.name, nanny=True, workers=[address]) == {
            address: "running"
        }


def wait_until(happened: Callable[[], bool], seconds: float = 120.0) -> None:
    """Raises TimeoutError if it does not happen."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain")
        time.sleep(0.02)


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
