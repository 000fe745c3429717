"""What every script shares: its options, interleaved timing, facts about the machine, and the line it prints.

def measure(options: Options) -> Result: ...

if __name__ == "__main__":
    main(measure)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch

Setting = TypeVar("Setting")
PACKAGES = ("torch", "transformers", "numpy", "nnsight", "transformer-lens", "steering-vectors")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Options:
    """How a script is run. `repeats`: rounds of timing, 0 for the script's own number.

    `full_depth`: all decoder and encoder blocks of the published checkpoints in place of a few (for a large GPU, or 24
    GB of memory and bfloat16).
    """

    smoke: bool = False
    device: str = "cpu"
    dtype: str = "float32"
    full_depth: bool = False
    repeats: int = 0

    def rounds(self, usual: int) -> int:
        """How often to time: once on tiny shapes, whose times mean nothing."""
        return 1 if self.smoke else self.repeats or usual

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]


@dataclass(frozen=True)
class Times:
    """Seconds of each repeat. `scale`: by how much they are multiplied, where only a part of the work was timed."""

    seconds: tuple[float, ...]
    scale: float = 1.0

    @property
    def median(self) -> float:
        return self.scale * statistics.median(self.seconds)

    @property
    def iqr(self) -> float:
        """Between the quartiles; 0 for a single repeat."""
        if len(self.seconds) < 2:
            return 0.0
        lower, _, upper = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return self.scale * (upper - lower)

    def as_dict(self) -> dict[str, float]:
        return {"median_s": rounded(self.median), "iqr_s": rounded(self.iqr), "repeats": len(self.seconds)}


@dataclass(frozen=True)
class Result:
    """The line of one script. `met`: None where nothing was decided (a smoke run, a claim without a threshold).

    `measured`: what the table shows. `cases`: one a model or size, with every number. `missing`: peers that did not
    run, with what to do about it or why.
    """

    script: str
    claim: str
    target: str
    measured: str
    met: bool | None
    cases: list[dict[str, Any]]
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    *,
    warm_up: bool = True,
    clock: Callable[[Callable[[], object]], float] | None = None,
) -> dict[str, Times]:
    """Time each contestant once a round, in turn, so that a slow minute of the machine hits all of them alike.

    Every other round goes through them backwards. A first call of each is not counted. `clock`: seconds of a call,
    by default those of all of it.
    """
    if warm_up:
        for run in contestants.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            run = contestants[name]
            seconds[name].append(clock(run) if clock else seconds_of(run, device))
    return {name: Times(tuple(taken)) for name, taken in seconds.items()}


def seconds_of(run: Callable[[], object], device: str = "cpu") -> float:
    """Wall-clock seconds of one call; on a GPU until it has finished."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def threads(count: int) -> AbstractContextManager[None]:
    """So many threads in torch for a while."""
    return _for_a_while(torch.get_num_threads, torch.set_num_threads, count)


def default_dtype(dtype: torch.dtype) -> AbstractContextManager[None]:
    """New parameters are of this type for a while."""
    return _for_a_while(torch.get_default_dtype, torch.set_default_dtype, dtype)


@contextmanager
def _for_a_while(get: Callable[[], Setting], put: Callable[[Setting], object], value: Setting) -> Iterator[None]:
    """A setting of torch has this value; afterwards, also by an exception, the one before."""
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


def synchronise(device: str) -> None:
    """Wait for a GPU; nothing on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def rounded(number: float, digits: int = 4) -> float:
    """To so many significant digits, for json."""
    return float(f"{number:.{digits}g}")


def verdict(options: Options, passed: bool) -> bool | None:
    """Whether a target was met; tiny shapes decide nothing."""
    return None if options.smoke else passed


def environment(options: Options, load: Sequence[float]) -> dict[str, Any]:
    """Where and with what it was measured. `load`: the machine's load average before the script began."""
    cuda = torch.device(options.device).type == "cuda"
    return {
        "machine": machine(options.device),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": rounded(total_memory() / 1e9, 3),
        "load_before": [round(each, 2) for each in load],
        "dtype": options.dtype,
        "python": platform.python_version(),
        "versions": versions(),
        "options": asdict(options),
    }


def machine(device: str) -> str:
    """One short name of what was measured on."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of {cpu_model()}, {os.cpu_count()} cores"


def cpu_model() -> str:
    """The processor's name, as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def total_memory() -> int:
    """Bytes of main memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def versions() -> dict[str, str]:
    """Of the packages that matter here; those that are not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def parsed(arguments: Sequence[str] | None = None, description: str | None = None) -> Options:
    """The options of a command line. A device that is not there is refused here, before any work."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    return checked(Options(**vars(parser.parse_args(arguments))), parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every script takes."""
    parser.add_argument("--smoke", action="store_true", help="tiny shapes: compares the answers, times mean nothing")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES))
    parser.add_argument(
        "--full-depth", action="store_true", help="all blocks of the 7B checkpoints (a large GPU, or 24 GB in bfloat16)"
    )
    parser.add_argument("--repeats", type=int, default=0, help="rounds of timing; 0: the script's own number")


def checked(options: Options, parser: argparse.ArgumentParser) -> Options:
    """Exits, saying why, for a device that is not there or a number of rounds that is none."""
    if options.device.split(":")[0] not in ("cpu", "cuda"):
        parser.error(f"--device is {options.device!r}; pass cpu or cuda")
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("--device cuda, but torch sees no GPU here")
    if options.repeats < 0:
        parser.error(f"--repeats is {options.repeats}; pass a number from 0")
    return options


def main(measure: Callable[[Options], Result], prepare: Callable[[Options], Options] | None = None) -> None:
    """Run one script from the command line: progress and notes on stderr, one line of json on stdout.

    `prepare`: what a script makes of its options; a ValueError that it raises is said, and exits with code 2.
    """
    options = parsed(description=sys.modules["__main__"].__doc__)
    try:
        options = options if prepare is None else prepare(options)
    except ValueError as error:
        say(str(error))
        sys.exit(2)
    print(json.dumps(line(measure, options)), flush=True)


def line(measure: Callable[[Options], Result], options: Options) -> dict[str, Any]:
    """What `measure` found, with the environment, as it goes into results.jsonl."""
    from benchmarks.memory import resident_peak

    load, start = _load(), time.perf_counter()
    result = measure(options)
    seconds = rounded(time.perf_counter() - start)
    made = asdict(result)
    if options.smoke:
        made["measured"] = f"a smoke run, whose times mean nothing: {result.measured}"
    facts = {"seconds": seconds, "resident_peak_mb": rounded(resident_peak() / 1e6)}
    return {**made, **facts, "environment": environment(options, load)}


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _load() -> tuple[float, ...]:
    try:
        return os.getloadavg()
    except (OSError, AttributeError):
        return ()
