"""Ways to run many units of work: in this process, or on the workers of Dask (`clusters` says where those are).

    for outcome in SerialExecutor().run(units, function): ...
    with local_workers(2) as client:
        for outcome in DaskExecutor(client).run(units, function): ...

A unit is a small dict that json can hold, with a "name"; `function(unit)` does the work, returns something as small,
and leaves its results in files, so that little travels. Both executors give each unit exactly one outcome, in the order
in which units end. A unit that raises has failed and is not tried again; a unit whose worker dies is.

Workers import this module first: it must not import torch or numpy before their threads are set.
"""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from steer_utils.lm.environment import installed_version, usable_cores
from steer_utils.lm.threads import pin_threads

if TYPE_CHECKING:
    from distributed import Client

Unit = dict[str, Any]
Function = Callable[[Unit], Any]
Outcomes = Generator["Outcome", None, None]

RESOURCE = "unit"  # what a worker has one of: dask worker ADDRESS --nthreads 1 --resources unit=1
RETRIES = 2  # of a unit that Dask could not run, such as one whose modules the worker did not find

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What became of a unit: `value` of its function, or `error` (a line) and `trace`. `lost`: it neither ended nor
    failed, since what should have run it is gone."""

    unit: Unit
    value: Any = None
    error: str = ""
    trace: str = ""
    seconds: float = 0.0
    lost: bool = False

    @property
    def done(self) -> bool:
        """Whether the unit ended well."""
        return not self.error and not self.lost


class Executor(Protocol):
    """What `sweep.run_sweep` needs: how many units run at once, and the outcomes of units as they end."""

    @property
    def workers(self) -> int: ...

    def run(self, units: Sequence[Unit], function: Function) -> Outcomes: ...


def attempt(function: Function, unit: Unit, threads: int | None = None, *, shared: bool = False) -> dict[str, Any]:
    """One try, in the worker: the fields of an Outcome but for `unit`, as json can hold them.

    `threads`: how many to compute with (None: as it is); `shared`: because they are there, not because somebody says.

    One at a time in a process: units share its model, whose hooks are not safe for two threads.
    """
    with _one_at_a_time:
        if threads is not None:
            pin_threads(threads, shared=shared)
        start = time.perf_counter()
        result: dict[str, Any] = {"value": None, "error": "", "trace": ""}
        try:
            result["value"] = function(unit)
        except Exception as error:
            result["error"] = _one_line(error)
            result["trace"] = traceback.format_exc()
        return {**result, "seconds": round(time.perf_counter() - start, 3)}


@dataclass(frozen=True)
class SerialExecutor:
    """One unit after the other in this process; its threads stay as they are."""

    workers: int = 1

    def run(self, units: Sequence[Unit], function: Function) -> Outcomes:
        """The outcome of each unit, in order."""
        for unit in units:
            yield Outcome(unit, **attempt(function, unit))


@dataclass(frozen=True)
class DaskExecutor:
    """The workers of a Dask client. `threads`: how many each computes with; default: the cores of a machine shared out
    evenly among its workers, of which a small model takes one (see `lm.threads`).

    Units go to workers that have the resource `unit` if any has it, and one at a time to each process whatever its
    threads. A unit whose worker dies is given to another one, as often as the scheduler's `allowed-failures` says. When
    the scheduler is gone, the units that did not end are `lost`.
    """

    client: Client
    threads: int | None = None

    @property
    def workers(self) -> int:
        """How many worker processes there are now."""
        return len(self.client.nthreads())

    def run(self, units: Sequence[Unit], function: Function) -> Outcomes:
        """The outcome of each unit as it ends. Closing the iterator takes back what has not started.

        Raises ValueError, before any work, for workers that lack this library or have another version of it.
        """
        from dask.base import tokenize
        from distributed import as_completed

        machines = seen_by_workers(self.client)
        threads = self.threads or min(_cores_of_each(machines), default=1)
        resources = {RESOURCE: 1} if any(RESOURCE in machine["resources"] for machine in machines) else None

        def submit(unit: Unit, priority: int, turn: str = "first") -> Any:
            # Two clients that ask for the same unit of the same folder wait for one run of it.
            key = f"unit-{tokenize(function, unit, turn)}-{unit['name']}"
            options = {"key": key, "priority": priority, "retries": RETRIES, "pure": False, "resources": resources}
            return self.client.submit(attempt, function, unit, threads, shared=self.threads is None, **options)

        futures = {submit(unit, -index): unit for index, unit in enumerate(units)}
        blamed = []
        try:
            for future in as_completed(list(futures), loop=self.client.loop):
                unit = futures.pop(future)
                outcome = _outcome(unit, future)
                future.release()  # else it would be computed again when the worker that holds it dies
                if outcome is None:
                    blamed.append(unit)
                else:
                    yield outcome
            for unit in blamed:  # alone: Dask also blames what waited beside the unit that killed its worker
                futures = {(future := submit(unit, 0, "alone")): unit}
                died = Outcome(unit, error="its worker died each time (out of memory?); a worker's log may say more")
                yield _outcome(unit, future) or died
        finally:
            if self.client.status == "running":
                self.client.cancel([future for future in futures if not future.done()])


def _outcome(unit: Unit, future: Any) -> Outcome | None:
    """What became of it, once known; None if its workers died, as often as the scheduler allows."""
    from distributed import KilledWorker

    try:
        return Outcome(unit, **future.result())
    except KilledWorker:
        return None
    except CancelledError:  # the scheduler is gone
        return Outcome(unit, lost=True)
    except Exception as error:  # Dask's own, such as a unit that could not be sent
        return Outcome(unit, error=_one_line(error))


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def seen_by_workers(client: Client, path: Path | None = None) -> list[dict[str, Any]]:
    """Of each worker: its host, cores, resources, and whether it `sees` the file `path`.

    Raises ValueError for workers that cannot import this library or have another version of it, or see no such file.
    """
    answers = client.run(_machine, None if path is None else str(path), on_error="return").values()
    # A worker that lacks a module answers with a plain Exception that holds the error as text.
    errors = [str(answer) for answer in answers if isinstance(answer, Exception)]
    if unable := [error for error in errors if "NotFoundError" in error]:  # the others are of workers that just ended
        raise ValueError(f"the workers cannot import steer_utils ({unable[0]}); install it on their machines")
    machines = [answer for answer in answers if not isinstance(answer, Exception)]
    version = installed_version("steer-utils")
    if other := sorted({machine["version"] for machine in machines} - {version}):
        raise ValueError(f"the workers have steer_utils {', '.join(other)}, this is {version}; install the same on all")
    if blind := sorted({machine["host"] for machine in machines if not machine["sees"]}):
        raise ValueError(f"the workers on {', '.join(blind)} see no {path}; pass --out with a folder that all share")
    return machines


def _machine(path: str | None, dask_worker: Any = None) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "cores": usable_cores(),
        "resources": list(dask_worker.state.total_resources),
        "version": installed_version("steer-utils"),
        "sees": path is None or Path(path).is_file(),
    }


def _cores_of_each(machines: Sequence[Mapping[str, Any]]) -> Iterable[int]:
    """For each worker its share of its machine's cores."""
    hosts = [machine["host"] for machine in machines]
    return (max(1, machine["cores"] // hosts.count(machine["host"])) for machine in machines)
