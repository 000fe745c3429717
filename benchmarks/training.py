"""Training a pocket model: samples a second in both stages, and the share of the time spent in matrix products.

Both stages run as `steer-utils pocket train` runs them, on procedural scenes, under torch's profiler. A sample is a
scene in the first stage and a question with its answer in the second. Products are what the profiler says the calling
thread spent in matrix products, convolutions and fused attention, forward and back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from steer_utils.pocket.architecture import Size, build
from steer_utils.pocket.corpus import SceneSource
from steer_utils.pocket.recipe import RECIPES, Recipe
from steer_utils.pocket.training import Progress, hear_corpus, train_encoder, train_language
from steer_utils.sounds import SOUNDS

from .common import Options, Result, main, rounded, say, seconds_of, verdict

CLAIM = "pocket training"
TARGET = "samples a second stated, at least 60 % of the time in matrix products"
SHARE = 0.60
SHORT, LONG = 5, 45  # steps of two runs: their difference is free of what a run sets up once
FILLED = 600  # scenes made beforehand: the bank of sounds, filled as they are asked for, is then full as in a long run
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "conv", "attention", "mkldnn")
SMALL = Size(seconds=8, mel_bins=40, encoder_width=32, encoder_blocks=1, encoder_heads=2, width=48, blocks=2, heads=2,
             key_value_heads=2, feed_forward=64)  # fmt: skip


def recipe_of(name: str, steps: int, smoke: bool) -> Recipe:
    """The model's own recipe on procedural sounds, cut to so many steps."""
    recipe = replace(RECIPES[name], events=tuple(sorted(SOUNDS)), recordings=0.0)
    if smoke:
        recipe = replace(recipe, size=SMALL, encoder=replace(recipe.encoder, batch=4),
                         language=replace(recipe.language, batch=4, turns=2))  # fmt: skip
    language = replace(recipe.language, steps=steps, scenes=max(64, 2 * recipe.language.batch), cycles=1)
    return replace(recipe, encoder=replace(recipe.encoder, steps=steps), language=language)


def profiled(run: Callable[[], object], options: Options) -> tuple[float, float]:
    """Seconds of one call, and how many of them went into products: on a GPU those of its kernels."""
    cuda = options.device != "cpu"
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=kinds) as profile:
        seconds = seconds_of(run, options.device)
    spent = 0.0
    for event in profile.key_averages():
        if event.key.startswith("aten::") and any(name in event.key for name in PRODUCTS):
            spent += event.self_device_time_total if cuda else event.self_cpu_time_total
    return seconds, spent / 1e6


@dataclass(frozen=True)
class Stage:
    """A run of one stage: seconds, those of them in products, and what a step learns from."""

    seconds: float
    products: float
    samples_a_step: int


def both_stages(name: str, steps: int, options: Options) -> dict[str, Stage]:
    """A new model through so many steps of each stage."""
    recipe = recipe_of(name, steps, options.smoke)
    model, processor = build(recipe.family, recipe.events, size=recipe.size, seed=recipe.seed)
    model.to(options.device)
    source = SceneSource(recipe, None)
    for number in range(0 if options.smoke else FILLED):
        source.scene(number)
    with tempfile.TemporaryDirectory() as folder:
        progress = Progress(Path(folder), every=10**9, workers=0 if options.smoke else 1, quiet=True)
        heard = hear_corpus(model, processor, source, progress)
        encoder = profiled(lambda: train_encoder(model, processor, source, progress), options)
        language = profiled(lambda: train_language(model, processor, recipe, lambda: heard, progress), options)
    return {
        "encoder": Stage(*encoder, recipe.encoder.batch),
        "language": Stage(*language, recipe.language.batch * recipe.language.turns),
    }


def case(name: str, options: Options) -> dict[str, Any]:
    """Both stages of one model, a short and a long run of each."""
    short, long = (0, 1) if options.smoke else (SHORT, LONG)
    runs = {count: both_stages(name, count, options) for count in ((short, long) if short else (long,))}
    nothing = dict.fromkeys(runs[long], Stage(0.0, 0.0, 0))
    first, last = runs.get(short, nothing), runs[long]
    made: dict[str, Any] = {"model": name, "steps": long - short}
    for stage, whole in last.items():
        seconds, products = whole.seconds - first[stage].seconds, whole.products - first[stage].products
        made[stage] = {
            "seconds_a_step": rounded(seconds / (long - short)),
            "samples_a_second": rounded((long - short) * whole.samples_a_step / seconds),
            "share_in_products": rounded(products / seconds),
        }
    return made


def measure(options: Options) -> Result:
    say("training: pocket-qwen2-audio, both stages")
    made = case("pocket-qwen2-audio", options)
    stages = {stage: made[stage] for stage in ("encoder", "language")}
    written = "; ".join(
        f"{stage}: {each['samples_a_second']:.0f} samples a second, {100 * each['share_in_products']:.0f} % in products"
        for stage, each in stages.items()
    )
    return Result(
        script="training",
        claim=CLAIM,
        target=TARGET,
        measured=written,
        met=verdict(options, all(each["share_in_products"] >= SHARE for each in stages.values())),
        cases=[made],
        notes=["a sample: a scene (encoder), a question with its answer (language); under the profiler"],
    )


if __name__ == "__main__":
    main(measure)
