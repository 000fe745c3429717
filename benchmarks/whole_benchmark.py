"""A whole benchmark on a pocket model: 300 scenes, three queries each, the standard methods; and fewer scenes.

The time must grow with the number of scenes and not faster: a run of each size is timed, and a line through them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.common import Options, Result, main, rounded, say, seconds_of, verdict
from benchmarks.shapes import pocket, shape_of
from steer_utils.methods.settings import model_settings
from steer_utils.methods.table import standard_methods
from steer_utils.study.benchmark import run_benchmark, scene_set

CLAIM = "benchmark of 300 scenes x 3 queries on a pocket model, must-have methods, two cores"
TARGET = "<= 10 minutes, and linear in scenes"
MOST_SECONDS = 600.0
OFF_THE_LINE = 0.10  # no size may lie further from the line through all of them
COUNTS, SMOKE_COUNTS = (50, 100, 200, 300), (2, 4)
METHODS_OF_A_SMOKE_RUN = ("steering", "unsteered", "loudest", "position", "random")


def case(name: str, options: Options) -> dict[str, Any]:
    """Seconds of each number of scenes, and the line through them."""
    lm = pocket(name, options)
    settings = model_settings(lm)
    counts = SMOKE_COUNTS if options.smoke else COUNTS
    most = scene_set(lm, settings, count=counts[-1], seed=7)
    methods = METHODS_OF_A_SMOKE_RUN if options.smoke else standard_methods(settings, counts[-1])
    run_benchmark(lm, replace(most, count=2), settings, methods=methods)  # whatever the first call sets up
    taken, rows = {}, {}
    for count in counts:

        def once(count: int = count) -> None:
            rows[count] = len(run_benchmark(lm, replace(most, count=count), settings, methods=methods))

        taken[count] = seconds_of(once, options.device)
        say(f"  {count} scenes: {taken[count]:.1f} s")
    slope, start = np.polyfit(list(taken), list(taken.values()), 1)
    off = max(abs(seconds / (start + slope * count) - 1) for count, seconds in taken.items())
    return {
        **shape_of(lm),
        "methods": list(methods),
        "rows": rows,
        "seconds": {count: rounded(seconds) for count, seconds in taken.items()},
        "seconds_a_scene": rounded(float(slope)),
        "off_the_line": rounded(float(off)),
    }


def measure(options: Options) -> Result:
    cases = []
    for name in ("pocket-qwen2-audio", "pocket-audio-flamingo-3")[: 1 if options.smoke else 2]:
        say(f"whole_benchmark: {name}")
        cases.append(case(name, options))
    slowest = max(cases, key=lambda each: max(each["seconds"].values()))
    count = max(slowest["seconds"])
    total, off = slowest["seconds"][count], max(each["off_the_line"] for each in cases)
    return Result(
        script="whole_benchmark",
        claim=CLAIM,
        target=TARGET,
        measured=f"{total / 60:.1f} minutes ({slowest['model']}, {len(slowest['methods'])} methods), "
        f"{slowest['seconds_a_scene']:.2f} s a scene, every size within {100 * off:.0f} % of a line",
        met=verdict(options, total <= MOST_SECONDS and off <= OFF_THE_LINE),
        cases=cases,
    )


if __name__ == "__main__":
    main(measure)
