"""Attention rows, 800 audio tokens, all blocks: what recording them adds to a plain SDPA prefill, in time and memory.

A prefill is the decoder over the whole prompt (audio embeddings, then an instruction), without the audio tower, whose
time would hide the difference. Eager attention with `output_attentions` is how the same rows are had elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.common import Options, Result, interleaved, main, rounded, say, verdict
from benchmarks.memory import peak_bytes
from benchmarks.peers import eager
from benchmarks.shapes import MIDDLING, QUESTION, Shape, audio_of, random_model, shape_of, true_width
from steer_utils.lm.attention import attention_rows
from steer_utils.lm.models import AudioLM
from steer_utils.lm.positions import TokenMask
from steer_utils.sound.spans import AudioSpan

CLAIM = "attention rows, T = 800, all blocks"
TARGET = "<= 10 % over a plain SDPA prefill in time; <= 1/50 of eager's extra memory"
OVER, SHARE = 0.10, 1 / 50
SECONDS = 32  # 25 audio tokens a second


class Prefill:
    """One prompt as the decoder gets it, and three ways to run it. Each returns weights over the audio tokens of the
    wanted rows, (blocks, heads, rows, tokens), or None."""

    def __init__(self, lm: AudioLM, seconds: float, rows: int) -> None:
        self.lm = lm
        inputs = lm.family.inputs(lm.processor, lm.prompt(QUESTION), audio_of(lm, seconds), lm.sampling_rate)
        moved = {
            name: value.to(lm.device, lm.dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }
        entered: list[torch.Tensor] = []
        hook = lm.decoder.register_forward_pre_hook(
            lambda module, args, given: entered.append(given["inputs_embeds"]), with_kwargs=True
        )
        with torch.inference_mode():
            lm.family.backbone(lm.model)(**moved)
        hook.remove()
        self.embeddings = entered[0]
        slots = (moved["input_ids"][0] == lm.audio_token_id).nonzero()[:, 0]
        self.span = AudioSpan(int(slots[0]), len(slots), lm.seconds_per_token)
        mask = torch.zeros(1, self.embeddings.shape[1], dtype=torch.bool)
        mask[:, -rows:] = True
        self.wanted = TokenMask(mask, generated=False)

    @torch.inference_mode()
    def plain(self) -> None:
        self.lm.decoder(inputs_embeds=self.embeddings, use_cache=True)

    @torch.inference_mode()
    def with_rows(self) -> torch.Tensor:
        with attention_rows(self.lm, self.wanted, self.span) as seen:
            self.lm.decoder(inputs_embeds=self.embeddings, use_cache=True)
        return seen.weights()[0]

    @torch.inference_mode()
    def eager(self) -> torch.Tensor:
        with eager(self.lm.model):
            weights = self.lm.decoder(inputs_embeds=self.embeddings, use_cache=True, output_attentions=True).attentions
        columns = slice(self.span.first, self.span.first + self.span.count)
        rows = self.wanted.prompt[0].nonzero()[:, 0].to(weights[0].device)
        return torch.stack([each[0, :, rows][..., columns].float().cpu() for each in weights])

    def in_float32(self) -> torch.Tensor:
        """Eager's weights by the same parameters and embeddings in float32."""
        kind, embeddings = self.lm.dtype, self.embeddings
        try:
            self._turn(torch.float32)
            self.embeddings = embeddings.float()
            return self.eager()
        finally:
            self._turn(kind)  # what they were: each number came from this type
            self.embeddings = embeddings

    def _turn(self, kind: torch.dtype) -> None:
        """Parameters alone: rotary frequencies are in float32 whatever the model."""
        for parameter in self.lm.model.parameters():
            parameter.data = parameter.data.to(kind)


def case(lm: AudioLM, seconds: float, rows: int, options: Options) -> dict[str, Any]:
    """Time and memory of one model and so many rows."""
    prefill = Prefill(lm, seconds, rows)
    weights = {"with rows": prefill.with_rows(), "eager": prefill.eager()}
    agree = float((weights["with rows"] - weights["eager"]).abs().max())
    exact = None if lm.dtype == torch.float32 else prefill.in_float32()
    runs = {"plain": prefill.plain, "with rows": prefill.with_rows, "eager": prefill.eager}
    times = interleaved(runs, options.rounds(9), options.device)
    peaks = {name: peak_bytes(partial(run), options.device) for name, run in runs.items()}
    extra, eager_extra = peaks["with rows"] - peaks["plain"], peaks["eager"] - peaks["plain"]
    # A round's own ratio: what slows a whole round down drops out.
    paired = [
        rows_s / plain_s for rows_s, plain_s in zip(times["with rows"].seconds, times["plain"].seconds, strict=True)
    ]
    return {
        **shape_of(lm),
        "audio_tokens": prefill.span.count,
        "rows": rows,
        "contestants": {
            name: {**each.as_dict(), "peak_mb": rounded(peaks[name] / 1e6)} for name, each in times.items()
        },
        "over": rounded(sorted(paired)[len(paired) // 2] - 1),
        "extra_mb": rounded(extra / 1e6),
        "eager_extra_mb": rounded(eager_extra / 1e6),
        "extra_share": rounded(extra / eager_extra),
        "agree": rounded(agree),
        "from_float32": {}
        if exact is None
        else {name: rounded(float((each - exact).abs().max())) for name, each in weights.items()},
    }


def measure(options: Options) -> Result:
    seconds = 4 if options.smoke else SECONDS
    cases = []
    for family in ("qwen2_audio", "audioflamingo3"):
        say(f"attention_rows: true width of {family}")
        lm = true_width(family, options, tower_blocks=1, window=SECONDS)
        cases += [case(lm, seconds, rows, options) for rows in ((1,) if options.smoke else (1, 8))]
        del lm
    if not options.smoke:
        say("attention_rows: a model of 1024")
        middling = random_model(Shape("audioflamingo3", 12, 1, SECONDS, narrow=MIDDLING), options)
        cases.append(case(middling, seconds, 1, options))
    over, share = (max(each[name] for each in cases if each["rows"] == 1) for name in ("over", "extra_share"))
    agree = max(each["agree"] for each in cases)
    notes = ["the row of the last prompt token; eight rows are in results.jsonl", "memory: torch's allocator"]
    if options.torch_dtype != torch.float32:
        ours, theirs = (max(each["from_float32"][name] for each in cases) for name in ("with rows", "eager"))
        far = f"ours {ours:.0e}, eager {theirs:.0e}"
        notes.append(f"largest distance of a weight from the same model's in float32: {far}")
    return Result(
        script="attention_rows",
        claim=CLAIM,
        target=TARGET,
        measured=f"{100 * over:+.1f} % time, 1/{1 / share:.0f} of eager's extra memory, equal to {agree:.0e}"
        if share > 0
        else f"{100 * over:+.1f} % time, no extra memory at the peak, equal to {agree:.0e}",
        met=verdict(options, over <= OVER and share <= SHARE),
        cases=cases,
        notes=notes,
    )


if __name__ == "__main__":
    main(measure)
