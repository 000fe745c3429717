"""How many threads torch computes with, and how they wait for each other.

A small model gains next to nothing from a second thread, and on a busy machine loses much: torch's threads spin while
they wait for one another, and keep the cores from the very thread that they wait for. So

- a model below `ONE_THREAD` parameters computes with one thread: `fitting_threads`, around each use of the model
  (`checkpoints.alone`). Afterwards torch has as many as before: nothing that a user computes beside it changes.
- the threads of large models, and of training, sleep while they wait (`polite`) in every process that is ours to set
  up, which is to be done before torch is loaded: the command line, the kernels of runs, the workers of sweeps. In a
  user's own process the library changes neither environment nor settings; start it with OMP_WAIT_POLICY=PASSIVE.

What a user says wins: OMP_NUM_THREADS and its like, OMP_WAIT_POLICY and its like, `torch.set_num_threads`. torch does
not tell a number that was set from its own, so setting it to the number that torch takes by itself changes nothing.

This module is imported before torch is, and must not load it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

from steer_utils.lm.environment import usable_cores

ONE_THREAD = 20_000_000  # parameters; pocket models have at most 3.7 million, mini models 164 million
#: Where libraries read how many threads to take; torch reads the first two.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_SHARED = "STEER_UTILS_THREADS_SHARED"  # set where THREADS are a worker's share of the cores, which nobody asked for
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def polite(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process needs in its environment beside this one, for torch's threads to sleep while they wait.

    Nothing where the environment says itself how they wait.
    """
    return {} if any(environment.get(name) for name in _WAITING) else {_WAITING[0]: "PASSIVE"}


def share_of_cores(threads: int) -> dict[str, str]:
    """The environment of a worker that gets so many threads because they are there: for large models."""
    return {**dict.fromkeys(THREADS, str(threads)), _SHARED: "1"}


def pin_threads(threads: int, *, shared: bool = False) -> None:
    """Let this process, a worker, compute with so many threads: libraries read the environment when they are first
    imported, torch can also be told later. `shared`: as in `share_of_cores`."""
    os.environ.pop(_SHARED, None)
    os.environ.update(share_of_cores(threads) if shared else dict.fromkeys(THREADS, str(threads)))
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def asked_for(environment: Mapping[str, str]) -> int | None:
    """How many threads the environment asks for; None if it does not, or not in a number."""
    text = next((environment[name] for name in THREADS[:2] if environment.get(name)), "")
    return int(text) if text.isdecimal() and int(text) and not environment.get(_SHARED) else None


def chosen() -> bool:
    """Whether somebody has said how many threads torch takes in this process."""
    import torch

    if os.environ.get(_SHARED):
        return False
    return any(os.environ.get(name) for name in THREADS[:2]) or torch.get_num_threads() not in _torchs_own()


@contextmanager
def fitting_threads(parameters: int) -> Iterator[None]:
    """One thread for a small model as long as this lasts, unless `chosen`; afterwards as many as before.

    A setting of the calling thread: other threads that compute meanwhile keep theirs.
    """
    import torch

    before = torch.get_num_threads()
    if parameters >= ONE_THREAD or before == 1 or chosen():
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache  # asking the system takes a millisecond
def _torchs_own() -> set[int]:
    """How many threads torch may take by itself: one a core, the second threads of cores counted or not."""
    cores = usable_cores()
    if find_spec("psutil") is None:
        return {cores, max(1, cores // 2)}
    import psutil  # in every kernel

    return {cores, psutil.cpu_count(logical=False) or cores}
