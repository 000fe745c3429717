"""What a benchmark run needs: memory, arithmetic, reads of the weights; from a model's configuration alone.

Nothing is downloaded and nothing is run: the model is built on the `meta` device, where tensors have shapes and no
numbers. With T tokens in the prefix (chat head and audio), S in the suffix (the rest of the prompt), A answered:

    tower     2 N_tower frames + 4 blocks width frames²               a window of the audio, always whole
    decoder   (2 N_blocks + 4 blocks heads head_width context) tokens
    head      2 vocabulary hidden                                     a row that is read, a token that is answered
    a scene   tower, T tokens, and for each query  passes · S tokens  and, where it answers,  S + A - 1 tokens

in FLOPs: two a weight and token, and four a head width, key and query (q kᵀ and the sum of values). Attention is
counted over all keys; kernels that skip the causal half do less.

    print(cost_table(passes_per_query=standard_passes()))
    estimate(full_size_config("qwen2_audio"), dtype=torch.bfloat16, scenes=300, queries=3, seconds=17.0,
             passes_per_query=standard_passes(), answer_tokens=32).hours_at(tflops=40)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn

from steer_utils.lm.families import FAMILIES, PAPER_FAMILIES, family_of
from steer_utils.lm.family import Family
from steer_utils.lm.plan import MAX_BATCH, rows_at_once
from steer_utils.sound.tables import markdown_table

HEAD_TOKENS = 20  # of the chat before the audio: system turn, "user", the marker of the audio
SUFFIX_TOKENS = 32  # after the audio: an instruction, a question, the turn of the assistant
BYTES = {torch.float32: 4, torch.float16: 2, torch.bfloat16: 2}
# Not measured: 10¹² FLOPs and 10⁹ bytes a second that a large GPU keeps up on small batches.
ASSUMED = {torch.bfloat16: (40.0, 500.0), torch.float32: (10.0, 500.0)}


@dataclass(frozen=True)
class Cost:
    """What a run takes. All but `parameters` and `weight_bytes`, which are exact, are estimates from shapes.

    parameters     of the whole model
    weight_bytes   all of them in the run's number type
    cache_bytes    keys and values of one row, prompt and answer
    peak_bytes     weights, the shared prefix, a cache for each row of the largest call, and that call's activations;
                   without what the GPU's libraries keep for themselves (about 1 GB), gradients, or steered audio
    forward_flops  of all scenes
    read_bytes     weights read from memory, once for each forward
    passes         forwards of the decoder: a prefix a scene, then the suffixes and the tokens of answers
    """

    parameters: int
    weight_bytes: int
    cache_bytes: int
    peak_bytes: int
    forward_flops: int
    read_bytes: int
    passes: int

    def hours_at(self, tflops: float, gigabytes_per_second: float | None = None) -> float:
        """Hours at an effective throughput in 10¹² FLOPs a second and, if it is given, in 10⁹ bytes a second.

        Arithmetic and reading are added, as if they never overlapped. Short suffixes and answers are bound by
        reading: without `gigabytes_per_second` the time is too short. Raises ValueError unless both are positive.
        """
        for name, rate in (("tflops", tflops), ("gigabytes_per_second", gigabytes_per_second)):
            if rate is not None and not (math.isfinite(rate) and rate > 0):
                raise ValueError(f"{name} is {rate}; pass a positive number")
        reading = 0.0 if gigabytes_per_second is None else self.read_bytes / (1e9 * gigabytes_per_second)
        return (self.forward_flops / (1e12 * tflops) + reading) / 3600


def estimate(
    config: Any,
    *,
    dtype: torch.dtype,
    scenes: int,
    queries: int,
    seconds: float,
    passes_per_query: int,
    answer_tokens: int,
    rows: int = MAX_BATCH,
    head_tokens: int = HEAD_TOKENS,
    suffix_tokens: int = SUFFIX_TOKENS,
) -> Cost:
    """The cost of `scenes` audios of `seconds`, each with `queries` queries, by the formulas above.

    `passes_per_query`: suffixes that are read a query (`suffixes` of a method's entry).
    `answer_tokens`: tokens of the one answer a query, 0 for none. `rows`: rows of the largest call, for the peak;
    the library itself takes fewer where their caches are large (`plan.rows_at_once`). Both are upper bounds: rows
    are counted as if they shared nothing (see `plan`), and the peak is that of answers, each of which copies the
    prefix's cache; readings copy nothing.
    Raises UnsupportedModelError for another kind of model, ValueError for numbers that count nothing, audio that the
    model does not take in one go, or a number type other than float32, float16 and bfloat16.
    """
    _check_counts({"scenes": scenes, "queries": queries, "rows": rows, "suffix_tokens": suffix_tokens}, least=1)
    may_be_none = {"passes_per_query": passes_per_query, "answer_tokens": answer_tokens, "head_tokens": head_tokens}
    _check_counts(may_be_none, least=0)
    if dtype not in BYTES:
        raise ValueError(f"dtype is {dtype!r}; pass one of {', '.join(map(str, BYTES))}")
    shape, number_bytes = _Shape.of(config), BYTES[dtype]
    windows, audio_tokens = shape.windows_and_tokens(seconds)
    prefix = head_tokens + audio_tokens
    context = prefix + suffix_tokens + answer_tokens
    scene_flops = windows * shape.tower_flops() + shape.decoder_flops(prefix, prefix)
    suffix_flops = shape.decoder_flops(suffix_tokens, prefix + suffix_tokens) + shape.head_flops()
    step_flops = shape.decoder_flops(1, context) + shape.head_flops()
    answer_flops = suffix_flops + (answer_tokens - 1) * step_flops if answer_tokens else 0
    passes = 1 + queries * (passes_per_query + answer_tokens)

    weight_bytes = number_bytes * shape.parameters
    prefix_bytes = number_bytes * shape.cache_numbers(prefix)
    cache_bytes = number_bytes * shape.cache_numbers(context)
    rows = min(rows, rows_at_once(prefix_bytes))
    hearing_bytes = max(
        number_bytes * shape.tower_activations(windows),
        prefix_bytes + number_bytes * shape.decoder_activations(prefix, 1),
    )
    # Of one block: keys in float32, from which attention rows are computed, then keys and values of grouped queries.
    key_bytes = rows * context * max(4 * shape.key_width, 2 * number_bytes * shape.text.hidden_size)
    reading_bytes = (
        prefix_bytes + rows * cache_bytes + number_bytes * shape.decoder_activations(rows * suffix_tokens, rows)
    )
    return Cost(
        parameters=shape.parameters,
        weight_bytes=weight_bytes,
        cache_bytes=cache_bytes,
        peak_bytes=weight_bytes + max(hearing_bytes, reading_bytes + key_bytes),
        forward_flops=scenes * (scene_flops + queries * (passes_per_query * suffix_flops + answer_flops)),
        read_bytes=scenes * number_bytes * (shape.tower + shape.projector + passes * (shape.blocks + shape.head)),
        passes=scenes * passes,
    )


def cost_table(
    *,
    passes_per_query: int,
    scenes: int = 300,
    queries: int = 3,
    seconds: float = 17.0,
    answer_tokens: int = 32,
    families: Iterable[str] = PAPER_FAMILIES,
) -> str:
    """Published checkpoints in bfloat16 and float32, as a Markdown table that says what it assumes.

    `families`: keys of FAMILIES. The defaults are the paper's two and its form of scene;
    `methods.table.standard_passes` counts those of the standard methods.
    """
    run = {"scenes": scenes, "queries": queries, "passes_per_query": passes_per_query, "answer_tokens": answer_tokens}
    heads = "checkpoint; numbers; weights; memory, 2 rows; memory, full batch; passes a scene; PFLOP; hours".split("; ")
    lines: list[Sequence[object]] = []
    for family in map(FAMILIES.__getitem__, families):
        config = family.full_size_config()
        for dtype, rates in ASSUMED.items():
            few, full = (estimate(config, dtype=dtype, seconds=seconds, rows=rows, **run) for rows in (2, MAX_BATCH))
            memory = [f"{size / 1e9:.1f} GB" for size in (few.weight_bytes, few.peak_bytes, full.peak_bytes)]
            work = [few.passes // scenes, f"{few.forward_flops / 1e15:.1f}", f"{few.hours_at(*rates):.1f}"]
            lines.append([family.checkpoint, _name(dtype), *memory, *work])
    assumed = "; ".join(f"{_name(dtype)} {rate:g} TFLOPS, {read:g} GB/s" for dtype, (rate, read) in ASSUMED.items())
    note = (
        f"Estimated from shapes, not run here: {scenes} scenes of {seconds:g} s, {queries} queries each, "
        f"{passes_per_query} suffixes and one answer of {answer_tokens} tokens a query, at an assumed effective "
        f"throughput ({assumed}). Memory is without what the GPU's libraries keep (about 1 GB)."
    )
    return "\n".join([*markdown_table(heads, lines, numbers=range(2, len(heads))), "", note])


@dataclass(frozen=True)
class _Shape:
    """What the cost depends on: the configuration, and how many parameters the whole and each part have."""

    family: Family
    text: Any
    audio: Any
    parameters: int
    tower: int
    tower_blocks: int
    convolutions: tuple[int, int]
    projector: int
    blocks: int
    head: int

    @classmethod
    def of(cls, config: Any) -> _Shape:
        family = family_of(config)
        with torch.device("meta"):
            model = getattr(transformers, family.model_class)(copy.deepcopy(config))
        tower: Any = family.audio_tower(model)
        projector = family.projector(model)
        inside = any(part is projector for part in tower.modules())
        return cls(
            family=family,
            text=config.text_config,
            audio=config.audio_config,
            parameters=_count(model),
            tower=_count(tower) - inside * _count(projector),
            tower_blocks=_count(tower.layers),
            convolutions=(_count(tower.conv1), _count(tower.conv2)),
            projector=_count(projector),
            blocks=_count(family.blocks(model)),
            head=_count(family.head(model)),
        )

    @property
    def key_width(self) -> int:
        return self.text.num_key_value_heads * self.head_width

    @property
    def head_width(self) -> int:
        own = getattr(self.text, "head_dim", None)  # Voxtral's heads together are wider than its residual stream
        return int(own or self.text.hidden_size // self.text.num_attention_heads)

    @property
    def window_frames(self) -> int:
        """Frames of one window, as the blocks of the tower see them."""
        return self.family.window_frames(self.audio)

    def windows_and_tokens(self, seconds: float) -> tuple[int, int]:
        """Windows of the tower and audio tokens of an audio. Raises ValueError if it is too long, or no length."""
        family, window_mel = self.family, self.family.tower_stride * self.window_frames
        longest = family.max_windows * window_mel / family.mel_rate
        if not (math.isfinite(seconds) and 0.1 <= seconds <= longest):
            raise ValueError(f"seconds is {seconds}; {family.name} of this size takes 0.1 to {longest:g} s")
        mel = math.ceil(round(seconds * family.mel_rate, 6))
        return math.ceil(mel / window_mel), family.token_counts(mel, window_mel)[0]

    def tower_flops(self) -> int:
        """Of one window. The first convolution sees mel frames, the projector what is left after pooling."""
        first, second = self.convolutions
        stride, pooling = self.family.tower_stride, self.family.pooling
        weights = stride * first + second + self.tower_blocks + self.projector // pooling
        attention = 4 * self.audio.num_hidden_layers * self.audio.hidden_size * self.window_frames
        return self.window_frames * (2 * weights + attention)

    def decoder_flops(self, tokens: int, context: int) -> int:
        attention = 4 * self.text.num_hidden_layers * self.text.num_attention_heads * self.head_width * context
        return tokens * (2 * self.blocks + attention)

    def head_flops(self) -> int:
        return 2 * self.head

    def cache_numbers(self, tokens: int) -> int:
        """Numbers in the keys and values of one row."""
        return 2 * self.text.num_hidden_layers * self.key_width * tokens

    def tower_activations(self, windows: int) -> int:
        """Numbers that live at once in a block of the tower: its stream four times, the widest layer in and out."""
        return windows * self.window_frames * (4 * self.audio.hidden_size + 2 * self.audio.intermediate_size)

    def decoder_activations(self, tokens: int, rows: int) -> int:
        """The same in a block of the decoder, whose feed-forward has two inner sides; and the logits of each row."""
        return tokens * (4 * self.text.hidden_size + 3 * self.text.intermediate_size) + 2 * rows * self.text.vocab_size


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _check_counts(counts: Mapping[str, int], *, least: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ValueError(f"{name} is {count!r}; pass a whole number from {least}")
