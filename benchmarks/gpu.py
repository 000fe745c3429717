"""One prepared run on one GPU, in under eight minutes: random weights at full size, in bfloat16 and in nf4.

Of each: hearing 30 s, the sweep of locate_sweep beside plain transformers with eager attention and nnsight, a generated
token steered and not, audios an hour at batches of 1, 4 and 16, and memory. Whoever has a card runs it and publishes
the line with the card's name:

    python -m benchmarks gpu --python .venv-peers/bin/python

The nf4 model is written to disk once (17 GB) and loaded as a user loads it. A part that would begin after `LATEST`
seconds is left out, and the result says so. `--smoke` goes the same way with tiny models on a CPU.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import locate_sweep, steering_overhead
from benchmarks.common import Options, Result, interleaved, main, rounded, say
from benchmarks.memory import available_bytes, peak_bytes
from benchmarks.shapes import TINY, Shape, audio_of, random_model, shape_of
from benchmarks.sweep import Sweep
from benchmarks.table import GPU
from steer_utils.lm.families import full_size_config
from steer_utils.lm.models import AudioLM, load
from steer_utils.methods.locate import locate_many

CLAIM, TARGET = GPU
FAMILY = "qwen2_audio"
PEERS = ("transformers", "nnsight")
BATCHES = (1, 4, 16)
LATEST = 400.0  # seconds after which no further part begins
EAGER_BYTES = 25e9  # six strengths a forward, with all T x T weights kept


@dataclass
class Clock:
    """Since when it runs, and what was left out because of that."""

    began: float = field(default_factory=time.perf_counter)
    left_out: list[str] = field(default_factory=list)

    def part(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `run` gives; {} if it is too late, or if it fails: the others go on."""
        if time.perf_counter() - self.began > LATEST:
            self.left_out.append(f"{name}: it was too late to begin")
            return {}
        say(f"gpu: {name}")
        try:
            return {name.split(", ")[-1]: run()}
        except Exception as error:  # out of memory, say: on a small card that is a result too
            self.left_out.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            return {}


def full_size(options: Options) -> AudioLM:
    """Every block and the whole vocabulary of the published checkpoint, made on the device; tiny in a smoke run."""
    if options.smoke:
        return random_model(Shape(FAMILY, 3, 1, 4, narrow=TINY), options)
    config = full_size_config(FAMILY)
    blocks, tower_blocks = config.text_config.num_hidden_layers, config.audio_config.num_hidden_layers
    return random_model(Shape(FAMILY, blocks, tower_blocks, vocabulary=config.text_config.vocab_size), options)


def hearing(lm: AudioLM, options: Options) -> dict[str, Any]:
    """Seconds of hearing the longest audio, and memory above the weights."""
    samples = audio_of(lm)
    rate = lm.sampling_rate
    times = interleaved({"hear": lambda: lm.hear(samples, sampling_rate=rate)}, options.rounds(10), options.device)
    peak = peak_bytes(lambda: lm.hear(samples, sampling_rate=rate), options.device)
    return {"audio_s": lm.window_seconds, **times["hear"].as_dict(), "peak_mb": rounded(peak / 1e6)}


def sweep(lm: AudioLM, options: Options) -> dict[str, Any]:
    """The sweep, ours and the peers'."""
    task = Sweep(lm, audio_of(lm))
    batch = len(task.strengths) if available_bytes(options.device) > EAGER_BYTES else 1
    return locate_sweep.case(task, options, batch, options.rounds(3), every=False, names=PEERS)


def token(lm: AudioLM, options: Options) -> dict[str, Any]:
    """A generated token, steered and not."""
    return steering_overhead.case(lm, 2, 6 if options.smoke else 16, options.rounds(5), options, PEERS)


def audios_an_hour(lm: AudioLM, options: Options) -> dict[str, Any]:
    """Ten seconds each: heard alone, and located in (heard, asked whether the sound is there, steered, read)."""
    count = 4 if options.smoke else max(BATCHES)
    audios = [audio_of(lm, min(10.0, lm.window_seconds) * (1 - 0.02 * number)) for number in range(count)]
    rate = lm.sampling_rate

    def heard(batch: int) -> None:
        for _ in lm.hear_many(audios, sampling_rate=rate, batch=batch):
            pass

    def located(batch: int) -> None:
        for _ in locate_many(lm, audios, "dog bark", sampling_rate=rate, batch=batch):
            pass

    works = {"heard": heard, "located": located}
    runs = {f"{name}, batch {batch}": partial(do, batch) for name, do in works.items() for batch in BATCHES}
    times = interleaved(runs, options.rounds(3), options.device)
    return {
        name: {
            "an_hour": rounded(3600 * count / times[name].median),
            "iqr": rounded(times[name].iqr / times[name].median),
            "peak_mb": rounded(peak_bytes(run, options.device) / 1e6),
        }
        for name, run in runs.items()
    }


def case(lm: AudioLM, name: str, options: Options, clock: Clock) -> dict[str, Any]:
    """All of it on one model."""
    parts: tuple[Callable[[AudioLM, Options], dict[str, Any]], ...] = (hearing, sweep, token, audios_an_hour)
    made = {**shape_of(lm), "numbers": name, "weights_gb": rounded(lm.model.get_memory_footprint() / 1e9)}
    for part in parts:
        made |= clock.part(f"{name}, {part.__name__}", partial(part, lm, options))
    return made


def in_nf4(lm: AudioLM, folder: Path, options: Options) -> AudioLM:
    """The same weights as a user loads them in four bits, from a folder."""
    lm.model.save_pretrained(folder)
    lm.processor.save_pretrained(folder)
    return load(folder, quantise="nf4", device=options.device)


def measured(made: dict[str, Any]) -> str:
    """One model in words; what was left out is left out."""
    parts = [f"weights {made['weights_gb']:.3g} GB"]
    if heard := made.get("hearing"):
        parts.append(f"{heard['audio_s']:g} s heard in {heard['median_s']:.2g} s, {heard['peak_mb'] / 1e3:.2g} GB more")
    if swept := made.get("sweep"):
        faster = "".join(f", {ratio:.0f}x {name}" for name, ratio in swept["ratio"].items())
        parts.append(f"sweep {swept['contestants']['ours']['median_s']:.3g} s{faster}")
    if answered := made.get("token"):
        ways = answered["contestants"]
        over = {name: f"{100 * way['over']:+.1f}" for name, way in ways.items()}
        beside = ", ".join(f"{name} {over[name]}" for name in ("generate again", "empty hooks", *answered["agree"]))
        parts.append(f"a token {ways['answer']['ms']:.3g} ms, steered {over['answer, steered']} % ({beside})")
    if rates := made.get("audios_an_hour"):
        located = " / ".join(f"{rates[f'located, batch {batch}']['an_hour']:.0f}" for batch in BATCHES)
        parts.append(f"{located} audios located an hour at batches of {', '.join(map(str, BATCHES))}")
    return f"{made['numbers']}: {'; '.join(parts)}"


def measure(options: Options) -> Result:
    clock, missing = Clock(), dict[str, str]()
    lm = full_size(options)
    cases = [case(lm, options.dtype, options, clock)]
    if find_spec("bitsandbytes") is None:
        missing["nf4"] = "the package bitsandbytes is not installed: pip install bitsandbytes"
    else:
        with tempfile.TemporaryDirectory() as folder:
            quantised: list[AudioLM] = []
            clock.part("nf4, loading", lambda: quantised.append(in_nf4(lm, Path(folder), options)) or {})
            del lm  # the next one has the card to itself
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            cases += [case(each, "nf4", options, clock) for each in quantised]
    for made in cases:
        for part in ("sweep", "token"):
            missing |= made.get(part, {}).get("missing", {})
    return Result(
        script="gpu",
        claim=CLAIM,
        target=TARGET,
        measured=". ".join(measured(made) for made in cases),
        met=None,
        cases=cases,
        missing=missing,
        notes=[
            "random weights in all blocks of Qwen2-Audio, with its whole vocabulary; peers of the sweep are timed on "
            "some forwards and scaled",
            *(f"left out: {part}" for part in clock.left_out),
        ],
    )


def on_a_gpu(options: Options) -> Options:
    """The same on the GPU and in bfloat16; as they are for a smoke run. Raises ValueError where there is none."""
    if options.smoke:
        return options
    if not torch.cuda.is_available():
        raise ValueError("no GPU is at hand: torch sees none here; --smoke goes the same way with tiny models")
    return replace(options, device="cuda", dtype="bfloat16", full_depth=True)


if __name__ == "__main__":
    main(measure, on_a_gpu)
