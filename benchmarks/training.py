"""Training a pocket model: samples a second in both stages, and the share of the time spent in matrix products.

Both stages, and the hearing of the corpus between them, run as `steer-utils pocket train` runs them, on procedural
scenes: once for their time, once under torch's profiler for the part of it that is products. (The profiler takes time
of its own, which is not the training's.) A sample is a scene in the first stage and a question with its answer in the
second. Products are what the profiler says the calling thread spent in matrix products, convolutions and fused
attention, forward and back. The whole is the sum over the steps of the model's recipe.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Options, Result, main, rounded, say, seconds_of, verdict
from steer_utils.pocket.architecture import Size, build
from steer_utils.pocket.corpus import HeardScenes, SceneSource, spare_workers
from steer_utils.pocket.recipe import RECIPES, Recipe
from steer_utils.pocket.training import Progress, hear_corpus, train_encoder, train_language
from steer_utils.sound.sounds import SOUNDS

CLAIM = "pocket training"
TARGET = "a pocket model from nothing in under an hour on two cores"
MINUTES = 60
SHORT, LONG = 5, 45  # steps of two runs: their difference is free of what a run sets up once
FILLED = 600  # scenes made beforehand: the bank of sounds, filled as they are asked for, is then full as in a long run
HEARD = 256  # scenes of the corpus that is heard between the stages
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "conv", "attention", "mkldnn")
SMALL = Size(
    seconds=8,
    mel_bins=40,
    encoder_width=32,
    encoder_blocks=1,
    encoder_heads=2,
    width=48,
    blocks=2,
    heads=2,
    key_value_heads=2,
    feed_forward=64,
)
Clock = Callable[[Callable[[], object], Options], float]


def recipe_of(name: str, steps: int, smoke: bool) -> Recipe:
    """The model's own recipe on procedural sounds, cut to so many steps."""
    recipe = replace(RECIPES[name], events=tuple(sorted(SOUNDS)), recordings=0.0)
    if smoke:
        recipe = replace(
            recipe,
            size=SMALL,
            encoder=replace(recipe.encoder, batch=4),
            language=replace(recipe.language, batch=4, turns=2),
        )
    language = replace(recipe.language, steps=steps, scenes=8 if smoke else HEARD, cycles=1)
    return replace(recipe, encoder=replace(recipe.encoder, steps=steps), language=language)


def seconds(run: Callable[[], object], options: Options) -> float:
    """How long one call takes."""
    return seconds_of(run, options.device)


def products(run: Callable[[], object], options: Options) -> float:
    """Seconds of one call that go into products: on a GPU those of its kernels."""
    cuda = options.device != "cpu"
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=kinds) as profile:
        run()
    spent = 0.0
    for event in profile.key_averages():
        if event.key.startswith("aten::") and any(name in event.key for name in PRODUCTS):
            spent += event.self_device_time_total if cuda else event.self_cpu_time_total
    return spent / 1e6


def stages(name: str, steps: int, options: Options, clock: Clock) -> dict[str, float]:
    """A new model through so many steps of each stage, and a corpus of `HEARD` scenes: what `clock` says of each."""
    recipe = recipe_of(name, steps, options.smoke)
    model, processor = build(recipe.family, recipe.events, size=recipe.size, seed=recipe.seed)
    model.to(options.device)
    source = SceneSource(recipe, None)
    for number in range(0 if options.smoke else FILLED):
        source.scene(number)
    with tempfile.TemporaryDirectory() as folder:
        progress = Progress(Path(folder), every=10**9, workers=0 if options.smoke else spare_workers(), quiet=True)
        heard: list[HeardScenes] = []
        corpus = clock(lambda: heard.append(hear_corpus(model, processor, source, progress)), options)
        encoder = clock(lambda: train_encoder(model, processor, source, progress), options)
        language = clock(lambda: train_language(model, processor, recipe, lambda: heard[0], progress), options)
    return {"encoder": encoder, "corpus": corpus / recipe.language.scenes, "language": language}


def each_step(name: str, options: Options, clock: Clock) -> dict[str, float]:
    """What `clock` says of a step of both stages, and of a scene of the corpus."""
    if options.smoke:
        return stages(name, 1, options, clock)
    first, last = (stages(name, steps, options, clock) for steps in (SHORT, LONG))
    return {"corpus": last["corpus"]} | {
        stage: (last[stage] - first[stage]) / (LONG - SHORT) for stage in ("encoder", "language")
    }


def case(name: str, options: Options) -> dict[str, Any]:
    """Both stages of one model and the whole of its training."""
    whole_recipe, recipe = RECIPES[name], recipe_of(name, 1, options.smoke)
    counts = {
        "encoder": whole_recipe.encoder.steps,
        "corpus": whole_recipe.language.scenes,
        "language": whole_recipe.language.steps,
    }
    samples = {"encoder": recipe.encoder.batch, "corpus": 1, "language": recipe.language.batch * recipe.language.turns}
    spent, of_it = each_step(name, options, seconds), each_step(name, options, products)
    made: dict[str, Any] = {
        stage: {
            "count": count,
            "seconds_each": rounded(spent[stage]),
            "samples_a_second": rounded(samples[stage] / spent[stage]),
            "share_in_products": rounded(of_it[stage] / spent[stage]),
        }
        for stage, count in counts.items()
    }
    whole = sum(counts[stage] * spent[stage] for stage in counts)
    share = sum(counts[stage] * of_it[stage] for stage in counts) / whole
    return {"model": name, **made, "whole": {"minutes": rounded(whole / 60), "share_in_products": rounded(share)}}


def measure(options: Options) -> Result:
    say("training: pocket-qwen2-audio, both stages")
    made = case("pocket-qwen2-audio", options)
    written = [
        f"{stage}: {made[stage]['samples_a_second']:.0f} samples a second, "
        f"{100 * made[stage]['share_in_products']:.0f} % in products"
        for stage in ("encoder", "language")
    ]
    whole = made["whole"]
    written.append(f"whole: {whole['minutes']:.0f} minutes, {100 * whole['share_in_products']:.0f} % in products")
    return Result(
        script="training",
        claim=CLAIM,
        target=TARGET,
        measured="; ".join(written),
        met=verdict(options, whole["minutes"] < MINUTES),
        cases=[made],
        notes=["a sample: a scene (encoder), a question with its answer (language); whole: every step of the recipe"],
    )


if __name__ == "__main__":
    main(measure)
