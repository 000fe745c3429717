"""Locating: one audio, three queries x all blocks x six strengths, attention rows of the last prompt token.

Ours encodes the audio once and reads all points as a batch of short suffixes. The peers run the whole prompt a reading,
one by one or several strengths in one batch. Where that is long, some points are timed and scaled to the sweep's
number of forwards; both numbers are in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.common import Options, Result, Times, interleaved, main, rounded, say, verdict
from benchmarks.memory import peak_bytes
from benchmarks.peers import SWEEPERS, Reader, peers_of
from benchmarks.shapes import audio_of, pocket, shape_of, true_width
from benchmarks.sweep import Sweep, difference, ours

CLAIM = "locate sweep: one audio, 3 queries x all blocks x 6 strengths, attention rows read"
TARGET = ">= 15x faster than plain transformers and than nnsight at the true width, equal to 1e-3"
FASTER, EQUAL = 15.0, 1e-3
REQUIRED = ("transformers", "nnsight")  # TransformerLens runs too, but the target does not name it


def case(
    sweep: Sweep, options: Options, batch: int, rounds: int, every: bool, names: Sequence[str] = SWEEPERS
) -> dict[str, Any]:
    """Ours and each peer of `names` on one model. `batch`: strengths a peer's forward takes at most; `every`: it reads
    all points, else one forward of each size stands for all."""
    found, missing = peers_of(sweep, names)
    mine, peak = _kept(partial(ours, sweep), options)
    peaks = {"ours": peak}
    runs: dict[str, Any] = {"ours": partial(ours, sweep)}
    forwards: dict[str, int] = {}
    agree: dict[str, float] = {}
    for name, peer in found.items():
        reader = Reader(peer, sweep, sweep.points if every else _some(sweep, batch))
        for size in sorted({1, batch}):
            label, count = f"{name}, {size} a forward", len(reader.points) if every else size
            say(f"  {label}: {count} of {sweep.forwards} forwards")
            runs[label], forwards[label] = partial(reader.read, size, count), count
            theirs, peaks[label] = _kept(runs[label], options)
            agree[label] = difference(mine, sweep, reader.points[:count], theirs)
    times = interleaved(runs, rounds, options.device, warm_up=False)
    made: dict[str, Any] = {"ours": times["ours"].as_dict()}
    for label, count in forwards.items():
        scaled = Times(times[label].seconds, sweep.forwards / count)
        made[label] = {
            **scaled.as_dict(),
            "timed_s": rounded(times[label].median),
            "timed_forwards": count,
            "all_forwards": sweep.forwards,
            "agree": rounded(agree[label]),
            "ratio": rounded(scaled.median / times["ours"].median),
        }
    for label, peak in peaks.items():
        made[label]["peak_mb"] = rounded(peak / 1e6)
    best = {name: min(made[label]["ratio"] for label in forwards if label.startswith(name)) for name in found}
    return {
        **shape_of(sweep.lm),
        "audio_s": rounded(len(sweep.samples) / sweep.lm.sampling_rate),
        "audio_tokens": int(mine.shape[-1]),
        "prompt_tokens": int(sweep.inputs(sweep.instructions[0])["input_ids"].shape[1]),
        "points": len(sweep.points),
        "contestants": made,
        "ratio": best,
        "agree": rounded(max(agree.values())),
        "missing": missing,
    }


def _kept(run: Callable[[], torch.Tensor], options: Options) -> tuple[torch.Tensor, int]:
    """What a run returns, and its peak memory."""
    made: list[torch.Tensor] = []
    peak = peak_bytes(lambda: made.append(run()), options.device)
    return made[0], peak


def _some(sweep: Sweep, count: int) -> list[Any]:
    """So many strengths of the middle block."""
    middle = (sweep.lm.num_blocks - 1) // 2
    return [point for point in sweep.points if point.block == middle and point.event == sweep.events[0]][:count]


def measure(options: Options) -> Result:
    cases = []
    for name in ("pocket-qwen2-audio", "pocket-audio-flamingo-3")[: 1 if options.smoke else 2]:
        say(f"locate_sweep: {name}")
        lm = pocket(name, options)
        sweep = Sweep(lm, audio_of(lm), strengths=(1.0, 4.0)) if options.smoke else Sweep(lm, audio_of(lm))
        cases.append(case(sweep, options, len(sweep.strengths), options.rounds(5), every=not options.smoke))
    for family in ("qwen2_audio", "audioflamingo3"):
        say(f"locate_sweep: true width of {family}")
        lm = true_width(family, options)
        sweep = Sweep(lm, audio_of(lm, 4 if options.smoke else 30))
        batch = len(sweep.strengths) if options.device != "cpu" else 3  # memory: a batch holds as many T x T weights
        cases.append(case(sweep, options, batch, options.rounds(3), every=False))
        del lm, sweep
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    wide = cases[-2:]
    worst = {name: min(each["ratio"][name] for each in wide) for name in wide[0]["ratio"]}
    agree = max(each["agree"] for each in cases)
    passed = all(worst.get(name, 0.0) >= FASTER for name in REQUIRED) and agree <= EQUAL
    written = ", ".join(f"{ratio:.0f}x {name}" for name, ratio in worst.items())
    small = ", ".join(f"{ratio:.0f}x {name}" for name, ratio in cases[0]["ratio"].items())
    return Result(
        script="locate_sweep",
        claim=CLAIM,
        target=TARGET,
        measured=f"true width: {written}; pocket: {small}; equal to {agree:.0e}",
        met=verdict(options, passed),
        cases=cases,
        missing=cases[-1]["missing"],
        notes=[
            "each peer by the faster of one reading a forward and a batch of strengths; at the true width some points "
            "are timed and scaled linearly",
            "true width: few blocks, a short vocabulary, random weights; a deeper model has more points to one audio",
        ],
    )


if __name__ == "__main__":
    main(measure)
