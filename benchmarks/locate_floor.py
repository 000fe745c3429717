"""The locate sweep against its own floor: the matrix products that it cannot do without, at this machine's own rate.

Each distinct product is timed alone at its very shape; attention's products are taken at the best rate met. Two floors:

    as stated    the audio encoded once; every token of every suffix through every block
    least        the audio encoded once; every instruction's suffix once; then, of each point, only what its vector can
                 change: the last token (vectors act there), in the blocks after the steered one

The verdict is on the second, harder one. Reading the samples, mel features, norms and softmaxes are in neither.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.common import Options, Result, interleaved, main, rounded, say, verdict
from benchmarks.matmuls import LEAST_SECONDS, Product, Rates, counted_products, products_of
from benchmarks.shapes import QUESTION, SAMPLING_RATE, audio_of, shape_of, true_width
from benchmarks.sweep import Sweep, contrast_prompt, ours

CLAIM = "the locate sweep against its own floor (encode once + suffix FLOPs at the machine's measured matmul rate)"
TARGET = "within 2x"
WITHIN = 2.0


def encoding_seconds(sweep: Sweep, rates: Rates) -> float:
    """Tower, projector and decoder over the prefix, once."""
    lm, prefix = sweep.lm, sweep.audio_columns.stop
    inputs = sweep.inputs(QUESTION)
    cut = {name: inputs.pop(name)[:, :prefix] for name in ("input_ids", "attention_mask")}
    with counted_products(lm.model) as products, torch.inference_mode():
        lm.family.backbone(lm.model)(**cut, **inputs)
    linear = sum(rates.seconds(product) for product in products)
    text, audio = lm.model.config.text_config, lm.model.config.audio_config
    windows = -(-len(sweep.samples) // (lm.processor.feature_extractor.chunk_length * SAMPLING_RATE))
    frames = audio.max_source_positions
    tower = windows * 4 * frames**2 * audio.hidden_size * audio.num_hidden_layers
    decoder = 2 * prefix**2 * text.hidden_size * text.num_hidden_layers  # the causal half
    return linear + (tower + decoder) / rates.best


def suffix_seconds(sweep: Sweep, rates: Rates, tokens_in_block: Callable[[int], list[int]]) -> float:
    """Decoder blocks over suffixes: `tokens_in_block(block)` are the tokens of each call that this block must see."""
    text = sweep.lm.model.config.text_config
    keys = sweep.audio_columns.stop + len(sweep.lm.tokens(QUESTION).tail)
    seconds = 0.0
    for number, block in enumerate(sweep.lm.blocks):
        for tokens in tokens_in_block(number):
            seconds += sum(rates.seconds(Product(tokens, inner, outer)) for inner, outer in products_of(block))
            seconds += 4 * tokens * keys * text.hidden_size / rates.best
    return seconds


def floors(sweep: Sweep, rates: Rates) -> dict[str, float]:
    """Seconds of both floors (see above)."""
    lm, points = sweep.lm, sweep.points
    question = len(lm.tokens(QUESTION).tail)
    named = [len(lm.tokens(contrast_prompt(event)).tail) for event in sweep.events]
    neutral = len(lm.tokens(contrast_prompt(None)).tail)
    encoding = encoding_seconds(sweep, rates)
    pairs = [each + neutral for each in named]  # as asked for: a contrast an event, each with the neutral instruction

    def every(block: int) -> list[int]:
        return [*pairs, question * len(points)]

    def least(block: int) -> list[int]:
        return [neutral + sum(named) + question, sum(point.block < block for point in points)]

    return {
        "encoding": encoding,
        "as stated": encoding + suffix_seconds(sweep, rates, every),
        "least": encoding + suffix_seconds(sweep, rates, least),
    }


def case(sweep: Sweep, options: Options) -> dict[str, Any]:
    """One model: the sweep and the floors, the products timed before and after the sweep (the lower time counts)."""
    least = 0.0 if options.smoke else LEAST_SECONDS
    rates = Rates(options.device, options.torch_dtype, least)
    first = floors(sweep, rates)
    taken = interleaved({"sweep": partial(ours, sweep)}, options.rounds(3), options.device)["sweep"]
    again = Rates(options.device, options.torch_dtype, least)
    second = floors(sweep, again)
    floor = {name: min(first[name], second[name]) for name in first}
    return {
        **shape_of(sweep.lm),
        "points": len(sweep.points),
        "sweep": taken.as_dict(),
        "floor_s": {name: rounded(seconds) for name, seconds in floor.items()},
        "best_gflops": rounded(max(rates.best, again.best) / 1e9),
        "ratio": {name: rounded(taken.median / floor[name]) for name in ("as stated", "least")},
    }


def measure(options: Options) -> Result:
    cases = []
    for family in ("qwen2_audio", "audioflamingo3"):
        say(f"locate_floor: true width of {family}")
        lm = true_width(family, options)
        cases.append(case(Sweep(lm, audio_of(lm, 4 if options.smoke else 30)), options))
        del lm
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    worst = {name: max(each["ratio"][name] for each in cases) for name in ("as stated", "least")}
    return Result(
        script="locate_floor",
        claim=CLAIM,
        target=TARGET,
        measured=f"{worst['least']:.2f}x the least work; {worst['as stated']:.2f}x every suffix through every block",
        met=verdict(options, worst["least"] <= WITHIN),
        cases=cases,
        notes=["the verdict is on the least work: what no reordering could leave out"],
    )


if __name__ == "__main__":
    main(measure)
