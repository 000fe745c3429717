"""Attention rows over ten minutes of audio: 15 000 audio tokens, and memory over their number T.

Audio Flamingo 3's decoder at its true width (it joins windows of 30 s to 600 s). Measured is the public way: hear the
audio, read one instruction. Eager attention is measured where it fits and computed where it does not. Draws
memory_over_t.png.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.axes import plain_ticks
from benchmarks.common import Options, Result, main, rounded, say, seconds_of, verdict
from benchmarks.memory import available_bytes, peak_bytes
from benchmarks.peers import eager
from benchmarks.shapes import QUESTION, TINY, Shape, audio_of, random_model, shape_of
from steer_utils.lm.families import full_size_config
from steer_utils.lm.models import AudioLM
from steer_utils.show.plots.figures import house_style, new_figure, write_figure

CLAIM = "attention rows at 10 minutes of audio (15 000 audio tokens)"
TARGET = "runs where eager cannot; memory linear in T, shown by a plot over T"
TOKENS = (1000, 2000, 4000, 8000, 15_000)
SMOKE_TOKENS = (100, 200, 400)
LINEAR = 1.1  # the slope of log memory over log T in its last step: 1 is linear, 2 would be square
PLOT = Path(__file__).parent / "memory_over_t.png"


def model(options: Options) -> AudioLM:
    """AF3's width, two blocks (all with --full-depth), windows joined to as much as is heard."""
    if options.smoke:
        return random_model(Shape("audioflamingo3", 2, 1, 4, longest=16, narrow=TINY), options)
    config = full_size_config("audioflamingo3")
    blocks = config.text_config.num_hidden_layers if options.full_depth else 2
    tower = config.audio_config.num_hidden_layers if options.full_depth else 1
    return random_model(Shape("audioflamingo3", blocks, tower, 30, longest=600), options)


def eager_bytes(config: Any, tokens: int, size: int) -> int:
    """What the attention weights of all blocks take: blocks x heads x T x T numbers of `size` bytes."""
    return config.num_hidden_layers * config.num_attention_heads * tokens * tokens * size


def case(lm: AudioLM, tokens: int, options: Options) -> dict[str, Any]:
    """Rows over so many audio tokens: seconds and peak memory of hearing and reading; eager's beside it if it fits."""
    samples = audio_of(lm, tokens * lm.seconds_per_token)
    rows: list[torch.Tensor] = []

    def ours() -> None:
        attention = lm.hear(samples, sampling_rate=lm.sampling_rate).read(QUESTION).attention
        rows.append((attention.share * attention.mass[..., None])[:, :, 0])

    peaks: list[int] = []
    seconds = seconds_of(lambda: peaks.append(peak_bytes(ours, options.device)), options.device)  # of few, long calls
    made: dict[str, Any] = {
        "audio_tokens": rows[0].shape[-1],
        "seconds": rounded(seconds),
        "peak_mb": rounded(peaks[0] / 1e6),
    }
    weights = eager_bytes(lm.model.config.text_config, made["audio_tokens"], lm.dtype.itemsize)
    made["eager_weights_mb"] = rounded(weights / 1e6)
    # While one block's scores become weights, several of its T x T matrices live beside those that are kept.
    if weights * (1 + 3 / lm.num_blocks) < 0.5 * available_bytes(options.device):
        seen: list[torch.Tensor] = []
        made["eager_peak_mb"] = rounded(peak_bytes(lambda: seen.append(_eager_rows(lm, samples)), options.device) / 1e6)
        made["agree"] = rounded(float((seen[0] - rows[0]).abs().max()))
    return made


@torch.inference_mode()
def _eager_rows(lm: AudioLM, samples: np.ndarray) -> torch.Tensor:
    """The same rows out of whole attention matrices, (blocks, heads, tokens)."""
    inputs = lm.family.inputs(lm.processor, lm.prompt(QUESTION), samples, lm.sampling_rate)
    slots = (inputs["input_ids"][0] == lm.audio_token_id).nonzero()[:, 0]
    moved = {
        name: value.to(lm.device, lm.dtype if value.is_floating_point() else value.dtype)
        for name, value in inputs.items()
    }
    with eager(lm.model):
        weights = lm.model(**moved, output_attentions=True).attentions
    return torch.stack([each[0, :, -1][:, slots[0] : slots[-1] + 1].float().cpu() for each in weights])


def last_slope(tokens: Sequence[int], peaks: Sequence[float]) -> float:
    """d log memory / d log T between the last two sizes."""
    return float(np.log(peaks[-1] / peaks[-2]) / np.log(tokens[-1] / tokens[-2]))


def draw(cases: Sequence[dict[str, Any]], path: Path) -> None:
    """Peak memory over T: ours as measured, eager measured and computed."""
    tokens = [each["audio_tokens"] for each in cases]
    with house_style():
        figure = new_figure(6.0, 3.8)
        axes = figure.subplots()
        axes.loglog(tokens, [each["peak_mb"] / 1e3 for each in cases], "o-", label="rows beside SDPA (measured)")
        axes.loglog(
            tokens,
            [each["eager_weights_mb"] / 1e3 for each in cases],
            "--",
            color="tab:red",
            label="eager: the weights alone (computed)",
        )
        fits = [each for each in cases if "eager_peak_mb" in each]
        axes.loglog(
            [each["audio_tokens"] for each in fits],
            [each["eager_peak_mb"] / 1e3 for each in fits],
            "s",
            color="tab:red",
            label="eager (measured)",
        )
        axes.set(xlabel="audio tokens T", ylabel="peak memory above the weights, GB")
        plain_ticks(axes, tokens)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        alt = (
            f"Peak memory in gigabytes over the number of audio tokens, {tokens[0]} to {tokens[-1]}, both axes "
            f"logarithmic. Attention rows beside SDPA rise in proportion to T, to {cases[-1]['peak_mb'] / 1e3:.2g} GB; "
            f"eager attention rises with its square, to {cases[-1]['eager_weights_mb'] / 1e3:.3g} GB."
        )
        write_figure(figure, path, alt)


def measure(options: Options) -> Result:
    lm = model(options)
    cases = []
    for tokens in SMOKE_TOKENS if options.smoke else TOKENS:
        say(f"long_audio: T = {tokens}")
        cases.append(case(lm, tokens, options))
    if not options.smoke:
        draw(cases, PLOT)
    slope = last_slope([each["audio_tokens"] for each in cases], [each["peak_mb"] for each in cases])
    last = cases[-1]
    whole = full_size_config("audioflamingo3").text_config
    full = eager_bytes(whole, last["audio_tokens"], 2) / 1e9
    agree = max(each["agree"] for each in cases if "agree" in each)
    return Result(
        script="long_audio",
        claim=CLAIM,
        target=TARGET,
        measured=f"{last['audio_tokens']} tokens in {last['peak_mb'] / 1e3:.1f} GB above the weights, memory ~ "
        f"T^{slope:.2f}; eager's weights alone {last['eager_weights_mb'] / 1e3:.0f} GB here, {full:.0f} GB at all "
        f"{whole.num_hidden_layers} blocks in bfloat16",
        met=verdict(options, slope <= LINEAR and "eager_peak_mb" not in last),
        cases=[{**shape_of(lm), **each} for each in cases],
        notes=[f"equal to eager's rows to {agree:.0e} where eager fits", "plot: memory_over_t.png"],
    )


if __name__ == "__main__":
    main(measure)
