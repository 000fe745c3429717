"""Peak memory of one call: what torch's allocator held at most, above what it held before.

On a GPU that is torch's own statistic. On a CPU there is none, so the profiler's record of every allocation is added
up. It is exact where the resident size of a process is blurred by the C library, and misses what libraries such as
oneDNN allocate for themselves; the resident peak of the whole script stands beside it in the results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def peak_bytes(run: Callable[[], object], device: str = "cpu") -> int:
    """The most that `run` held at one time, in bytes, above what was held when it began. Not for timing."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    recorder: Any = profiled.profiler
    changes = [event for event in recorder.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(changes, key=lambda change: change.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def resident_peak() -> int:
    """The most memory this process ever had, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def available_bytes(device: str = "cpu") -> int:
    """Memory that could still be taken without pushing anything out."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 0
