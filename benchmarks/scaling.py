"""How the cost grows: seconds of hearing and reading over audio tokens T, over rows, and over decoder blocks.

A middling random model (width 1024) of Audio Flamingo 3's kind. Every cost should grow in proportion, that over T a
little faster (each token attends to all before it). Draws scaling.png.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.axes import plain_ticks
from benchmarks.common import Options, Result, Times, interleaved, main, rounded, say, verdict
from benchmarks.shapes import MIDDLING, NEGATIVE, POSITIVE, QUESTION, TINY, Shape, audio_of, random_model, shape_of
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection
from steer_utils.show.plots.figures import house_style, new_figure, write_figure

CLAIM = "cost grows as it should: over T, rows and blocks"
TARGET = "in proportion: exponent at most 1.1 over rows and blocks, 1.3 over T"
MOST = {"audio tokens T": 1.3, "rows": 1.1, "blocks": 1.1}
PLOT = Path(__file__).parent / "scaling.png"
SECONDS, SMOKE_SECONDS = (8, 15, 30, 60, 120), (2, 4, 8)
ROWS, SMOKE_ROWS = (1, 4, 16, 64, 256), (1, 4)
BLOCKS, SMOKE_BLOCKS = (2, 4, 8, 16), (2, 4)


def model(options: Options, blocks: int) -> AudioLM:
    """The middling model with so many decoder blocks."""
    if options.smoke:
        return random_model(Shape("audioflamingo3", blocks, 1, 4, longest=8, narrow=TINY), options)
    return random_model(Shape("audioflamingo3", blocks, 2, 8, longest=120, narrow=MIDDLING), options)


def hear_and_read(lm: AudioLM, samples: np.ndarray) -> None:
    """The whole way once, for one unsteered row."""
    lm.hear(samples, sampling_rate=lm.sampling_rate).read(QUESTION)


def over_tokens(options: Options) -> tuple[dict[int, Callable[[], None]], AudioLM]:
    """Hearing and reading, by audio tokens."""
    lm = model(options, 4)
    runs: dict[int, Callable[[], None]] = {}
    for seconds in SMOKE_SECONDS if options.smoke else SECONDS:
        runs[round(seconds / lm.seconds_per_token)] = partial(hear_and_read, lm, audio_of(lm, seconds))
    return runs, lm


def over_rows(options: Options) -> tuple[dict[int, Callable[[], None]], AudioLM]:
    """Reading behind a prefix that is there, by steered rows: one block, as many strengths as rows."""
    lm = model(options, 4)
    samples = audio_of(lm, 4 if options.smoke else 30)
    hearing = lm.hear(samples, sampling_rate=lm.sampling_rate)
    vector = hearing.contrast(POSITIVE.format(event="bell"), NEGATIVE).select(1)

    def read(count: int) -> None:
        rows = [Row(QUESTION, (Injection(vector, float(strength)),)) for strength in np.linspace(0.1, 8, count)]
        hearing.read_rows(rows)

    return {count: partial(read, count) for count in (SMOKE_ROWS if options.smoke else ROWS)}, lm


def over_blocks(options: Options) -> tuple[dict[int, Callable[[], None]], AudioLM]:
    """Hearing and reading, by decoder blocks."""
    models = {blocks: model(options, blocks) for blocks in (SMOKE_BLOCKS if options.smoke else BLOCKS)}
    samples = audio_of(next(iter(models.values())), 4 if options.smoke else 30)
    return {blocks: partial(hear_and_read, lm, samples) for blocks, lm in models.items()}, models[max(models)]


def exponent(sizes: Iterable[int], seconds: Iterable[float]) -> float:
    """d log seconds / d log size between the last two sizes: at the first ones fixed costs show."""
    (before, last), (early, late) = list(sizes)[-2:], list(seconds)[-2:]
    return float(np.log(late / early) / np.log(last / before))


def draw(curves: dict[str, dict[int, Times]], exponents: dict[str, float], path: Path) -> None:
    """A panel each, with the line in proportion through the last point."""
    with house_style():
        figure = new_figure(9.0, 3.2)
        for axes, (name, times) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
            sizes, seconds = list(times), [each.median for each in times.values()]
            axes.loglog(sizes, seconds, "o-", label="measured")
            axes.loglog(
                sizes, [seconds[-1] * size / sizes[-1] for size in sizes], ":", color="grey", label="in proportion"
            )
            axes.set(xlabel=name, ylabel="seconds", title=f"last step: exponent {exponents[name]:.2f}")
            plain_ticks(axes, sizes)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
        said = "; ".join(f"over {name} with exponent {value:.2f}" for name, value in exponents.items())
        alt = f"Seconds over audio tokens, rows and blocks, three panels with logarithmic axes: they grow {said}."
        write_figure(figure, path, alt)


def measure(options: Options) -> Result:
    curves: dict[str, dict[int, Times]] = {}
    cases: list[dict[str, Any]] = []
    for name, make in (("audio tokens T", over_tokens), ("rows", over_rows), ("blocks", over_blocks)):
        say(f"scaling: over {name}")
        runs, lm = make(options)
        times = interleaved({str(size): run for size, run in runs.items()}, options.rounds(5), options.device)
        curves[name] = {int(size): each for size, each in times.items()}
        cases.append(
            {**shape_of(lm), "over": name, "contestants": {size: each.as_dict() for size, each in times.items()}}
        )
    exponents = {name: exponent(times, [each.median for each in times.values()]) for name, times in curves.items()}
    if not options.smoke:
        draw(curves, exponents, PLOT)
    return Result(
        script="scaling",
        claim=CLAIM,
        target=TARGET,
        measured=", ".join(f"{name}: {value:.2f}" for name, value in exponents.items()),
        met=verdict(options, all(value <= MOST[name] for name, value in exponents.items())),
        cases=[{**each, "exponent": rounded(exponents[each["over"]])} for each in cases],
        notes=["plot: scaling.png"],
    )


if __name__ == "__main__":
    main(measure)
