"""Work on a busy machine: a benchmark on a pocket and on a mini model, and a lesson; alone, and three at once.

As torch does by itself: a thread a core, which spin while they wait for each other. With one thread. As it is here:
one for a small model, else threads that sleep while they wait (`steer_utils.lm.threads`). All are the same program,
told by its environment. Needs a quiet machine, and on two cores a quarter of an hour. (Three courses at once take
torch's own threads hours, and say nothing that three times one lesson does not.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Options, Result, main, rounded, say, verdict

CLAIM = "three benchmarks of 24 scenes on a pocket model at once, on two cores"
TARGET = "<= a third of the time that torch's own threads take; alone <= 1.2 times their time"
AT_ONCE = (1, 3)
OWN, ONE, OURS = "torch's own", "one thread", "ours"
#: What libgomp does unless told otherwise, said aloud, so that the program takes it for the user's wish.
TOLD = {
    OWN: {"OMP_NUM_THREADS": str(torch.get_num_threads()), "GOMP_SPINCOUNT": "300000"},
    ONE: {"OMP_NUM_THREADS": "1"},
    OURS: {},
}
UNTOLD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
PROGRAM = (sys.executable, "-c", "from steer_utils.cli.main import main; main()")
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def environment_of(whose: str) -> dict[str, str]:
    """What the program is told."""
    return {**{name: value for name, value in os.environ.items() if name not in UNTOLD}, **TOLD[whose]}


def seconds_of(command: Sequence[str], environment: Mapping[str, str], folders: Sequence[Path]) -> float:
    """Wall-clock seconds until the command has ended in each of the folders, all started at once.

    Raises ValueError, with the end of what it said, for one that failed.
    """
    start = time.perf_counter()
    with ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in folders]
        running = [
            subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=log, stderr=subprocess.STDOUT)
            for folder, log in zip(folders, logs, strict=True)
        ]
        codes = [process.wait() for process in running]
        seconds = time.perf_counter() - start
        for code, log in zip(codes, logs, strict=True):
            if code:
                log.seek(0)
                raise ValueError(f"{' '.join(command[3:])} ended with exit code {code}: {log.read()[-300:]}")
    return seconds


def timed(
    work: str, arguments: Sequence[str], rounds: int, contestants: Sequence[str], lessons: Sequence[Path] = ()
) -> dict[str, Any]:
    """Seconds of a command under each contestant's environment in turn, each number at once.

    `lessons`: notebooks of which each process gets copies to work in.
    """
    seconds: dict[str, dict[int, list[float]]] = {whose: {count: [] for count in AT_ONCE} for whose in contestants}
    for number in range(rounds):
        for count in AT_ONCE:
            for whose in contestants[:: -1 if number % 2 else 1]:
                with tempfile.TemporaryDirectory() as place:
                    folders = [Path(place) / str(process) for process in range(count)]
                    for folder in folders:
                        (folder / NOTEBOOKS.name).mkdir(parents=True)
                        for lesson in lessons:
                            shutil.copy(lesson, folder / NOTEBOOKS.name)
                    took = seconds_of((*PROGRAM, *arguments), environment_of(whose), folders)
                seconds[whose][count].append(rounded(took))
                say(f"under_load, {work}: {whose}, {count} at once: {took:.1f} s")
    least = {whose: {count: min(took) for count, took in by_count.items()} for whose, by_count in seconds.items()}
    return {"work": work, "seconds": seconds, "least_s": least}


def told(case: Mapping[str, Any]) -> str:
    """One case in words: seconds alone / three at once, of each contestant."""
    times = (
        f"{whose} {' / '.join(f'{least[count]:.3g} s' for count in AT_ONCE)}"
        for whose, least in case["least_s"].items()
    )
    return f"{case['work']}, alone / {AT_ONCE[1]} at once: {', '.join(times)}"


def measure(options: Options) -> Result:
    """`options.repeats`: rounds of the benchmarks (2 unless said); the lesson runs once each way."""
    rounds, benchmark = options.rounds(2), ("benchmark", "--device", options.device)
    if options.smoke:
        cases = [timed("help", ["--help"], 1, (OWN, ONE, OURS))]
    else:
        lessons = sorted(NOTEBOOKS.glob("00_*.ipynb"))
        mini = (*benchmark, "--model", "mini-smollm2-audio", "--scenes", "4", "--methods", "steering,unsteered")
        cases = [
            timed("24 scenes, pocket", (*benchmark, "--scenes", "24"), rounds, (OWN, ONE, OURS)),
            timed("4 scenes, mini", mini, rounds, (OWN, ONE, OURS)),
            timed("lesson 00", ["course"], 1, (OWN, OURS), lessons),
        ]
    least = cases[0]["least_s"]
    alone, busy = (least[OURS][count] / least[OWN][count] for count in AT_ONCE)
    met = verdict(options, busy <= 1 / 3 and alone <= 1.2)
    notes = [*map(told, cases[1:]), f"torch's own: {TOLD[OWN]['OMP_NUM_THREADS']} threads that spin, as libgomp has it"]
    return Result("under_load", CLAIM, TARGET, told(cases[0]), met, cases, notes=notes)


if __name__ == "__main__":
    main(measure)
