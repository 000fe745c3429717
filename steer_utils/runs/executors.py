"""Ways to run many units of work: in this process, in processes of this machine (and on Dask: `clusters`).

    for outcome in LocalExecutor(workers=2).run(units, function): ...

A unit is a small dict that json can hold, with a "name"; `function(unit)` does the work, returns something as small,
and leaves its results in files. All executors give each unit exactly one outcome, in the order in which units end. A
unit that raises is a failure and is not tried again; a unit whose worker dies is, at most RETRIES times.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Protocol

from steer_utils.lm.environment import usable_cores

Unit = dict[str, Any]
Function = Callable[[Unit], Any]
Outcomes = Generator["Outcome", None, None]

RETRIES = 2  # of a unit whose worker died: a unit that kills its worker each time must not do so for ever
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PATIENCE = 5.0  # seconds that a worker has to end before it is killed

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
    tries: int = 1
    lost: bool = False

    @property
    def done(self) -> bool:
        """Whether the unit ended well."""
        return not self.error and not self.lost


class Executor(Protocol):
    """What `sweeps.run` needs: how many units run at once, and the outcomes of units as they end."""

    @property
    def workers(self) -> int: ...

    def run(self, units: Sequence[Unit], function: Function) -> Outcomes: ...


def attempt(function: Function, unit: Unit, threads: int | None = None) -> dict[str, Any]:
    """One try, in the worker: the fields of an Outcome but for `unit` and `tries`, as json can hold them.

    One at a time in a process: units share its model, whose hooks are no matter for two threads.
    """
    with _one_at_a_time:
        if threads is not None:
            pin_threads(threads)
        start = time.perf_counter()
        found: dict[str, Any] = {"value": None, "error": "", "trace": ""}
        try:
            found["value"] = function(unit)
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            found["trace"] = traceback.format_exc()
        return {**found, "seconds": round(time.perf_counter() - start, 3)}


def pin_threads(threads: int) -> None:
    """Let this process compute with so many threads: libraries read the environment when they are first imported, torch
    can also be told later."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class SerialExecutor:
    """One unit after the other in this process; its threads stay as they are."""

    workers: int = 1

    def run(self, units: Sequence[Unit], function: Function) -> Outcomes:
        """The outcome of each unit, in order."""
        for unit in units:
            yield Outcome(unit, **attempt(function, unit))


@dataclass(frozen=True)
class LocalExecutor:
    """Processes of this machine, each with `threads` threads (default: the cores shared out evenly).

    A process is started anew, not forked, and lives until the end: what it loaded it keeps. It ends itself when this
    process is gone. `devices`: values of CUDA_VISIBLE_DEVICES, given out in turn. Raises ValueError for fewer than one
    worker or thread.
    """

    workers: int
    threads: int | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers < 1 or (self.threads is not None and self.threads < 1):
            raise ValueError(f"workers is {self.workers}, threads {self.threads}; pass at least 1 of each")

    def run(self, units: Sequence[Unit], function: Function) -> Outcomes:
        """The outcome of each unit as it ends. Closing the iterator stops the workers."""
        waiting = deque((unit, 1) for unit in units)
        idle = deque(range(min(self.workers, len(waiting))))
        busy: dict[Any, tuple[int, Unit, int]] = {}  # by the pipe that the answer comes through
        workers: dict[int, _Worker] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    place = idle.popleft()
                    worker = workers.get(place) or workers.setdefault(place, self._started(place))
                    busy[worker.pipe] = place, *waiting.popleft()
                    worker.give(function, busy[worker.pipe][1])
                for pipe in connection.wait(list(busy)):
                    place, unit, tries = busy.pop(pipe)
                    found = workers[place].reply()
                    idle.append(place)
                    if found is not None:
                        yield Outcome(unit, **found, tries=tries)
                        continue
                    died = workers.pop(place).ended()
                    if tries <= RETRIES:
                        waiting.appendleft((unit, tries + 1))
                    else:
                        yield Outcome(unit, error=f"its worker died {tries} times, at last {_cause(died)}", tries=tries)
        finally:
            for worker in workers.values():
                worker.stop()

    def _started(self, place: int) -> _Worker:
        threads = self.threads or max(1, usable_cores() // self.workers)
        device = {"CUDA_VISIBLE_DEVICES": self.devices[place % len(self.devices)]} if self.devices else {}
        return _Worker(threads, device)


class _Worker:
    """A process that does one unit after another, and the end of the pipe that leads to it."""

    def __init__(self, threads: int, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of this process
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, threads, dict(environment)), daemon=True)
        self.process.start()
        other.close()  # else its end would stay open when the worker dies

    def give(self, function: Function, unit: Unit) -> None:
        with suppress(OSError):  # it has died: the pipe says so when it is read
            self.pipe.send((function, unit))

    def reply(self) -> dict[str, Any] | None:
        """What `attempt` found; None if the worker has died."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            return None

    def ended(self) -> int | None:
        """The exit code of a worker that is about to be gone."""
        self.process.join(PATIENCE)
        self.stop()
        return self.process.exitcode

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join(PATIENCE)
        self.pipe.close()


def _serve(pipe: connection.Connection, threads: int, environment: Mapping[str, str]) -> None:
    """What a worker does: read a unit, answer, until the pipe ends."""
    os.environ.update(environment)
    pin_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked; it stops the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, unit = pipe.recv()
            pipe.send(attempt(function, unit, threads))
        except (EOFError, OSError):
            return


def _end_with_parent() -> None:
    """A parent that was killed says nothing: without this its worker would go on beside those of the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _cause(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name
    return f"by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
