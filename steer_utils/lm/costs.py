"""What a benchmark run needs: memory, arithmetic, reads of the weights; from a model's configuration alone.

Nothing is downloaded and nothing is run: the model is built on the `meta` device, where tensors have shapes and no
numbers. With T tokens in the prefix (chat head and audio), S in the suffix (the rest of the prompt), A answered:

    tower     2 N_tower frames + 4 blocks width frames²               a window of the audio, always whole
    decoder   (2 N_blocks + 4 blocks heads head_width context) tokens
    head      2 vocabulary hidden                                     a row that is read, a token that is answered
    a scene   tower, T tokens, and for each query  passes · S tokens  and, where it answers,  S + A - 1 tokens

in FLOPs: two a weight and token, and four a head width, key and query (q kᵀ and the sum of values). Attention is
counted over all keys; kernels that skip the causal half do less.

    print(cost_table())
    estimate(full_size_config("qwen2_audio"), dtype=torch.bfloat16, scenes=300, queries=3, seconds=17.0,
             passes_per_query=STANDARD_PASSES, answer_tokens=32).hours_at(tflops=40)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn

from steer_utils.lm.families import FAMILIES, Family, family_of, full_size_config
from steer_utils.lm.plan import MAX_BATCH, rows_at_once
from steer_utils.sound.tables import markdown_table

MEL_FRAMES = 100  # a second: the hop of Whisper's feature extractor is 160 samples at 16 kHz
HEAD_TOKENS = 20  # of the chat before the audio: system turn, "user", the marker of the audio
SUFFIX_TOKENS = 32  # after the audio: an instruction, a question, the turn of the assistant
#: Suffix passes a query of the standard methods with the paper's settings: 4 for each of steering, steering-paper,
#: random-vector, negative and swapped, 3 for each of the audio-based ones (to hear the silence, once a scene, is not
#: counted), 2 for contrast-prompting, 1 for each of prompting, prompting-best and unsteered. Asking is apart.
STANDARD_PASSES = 34
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

    `passes_per_query`: suffixes that are read a query (`methods.METHODS` says how many each method takes).
    `answer_tokens`: tokens of the one answer a query, 0 for none. `rows`: rows of the largest call, for the peak;
    the library itself takes fewer where their caches are large (`plan.rows_at_once`). Both are upper bounds: rows
    are counted as if they shared nothing (see `branching`), and the peak is that of answers, each of which copies the
    prefix's cache; readings copy nothing.
    Raises UnsupportedModelError for another kind of model, ValueError for counts that are no counts, audio that the
    model does not take in one go, or a number type other than float32, float16 and bfloat16.
    """
    _check_counts({"scenes": scenes, "queries": queries, "rows": rows, "suffix_tokens": suffix_tokens}, least=1)
    may_be_none = {"passes_per_query": passes_per_query, "answer_tokens": answer_tokens, "head_tokens": head_tokens}
    _check_counts(may_be_none, least=0)
    if dtype not in BYTES:
        raise ValueError(f"dtype is {dtype!r}; pass one of {', '.join(map(str, BYTES))}")
    shape, size = _Shape.of(config), BYTES[dtype]
    windows, audio = shape.heard(seconds)
    prefix = head_tokens + audio
    context = prefix + suffix_tokens + answer_tokens
    scene = windows * shape.tower_flops() + shape.decoder_flops(prefix, prefix)
    suffix = shape.decoder_flops(suffix_tokens, prefix + suffix_tokens) + shape.head_flops()
    step = shape.decoder_flops(1, context) + shape.head_flops()
    answer = suffix + (answer_tokens - 1) * step if answer_tokens else 0
    passes = 1 + queries * (passes_per_query + answer_tokens)

    weights, prefix_cache, cache = (size * n for n in (shape.whole, shape.cached(prefix), shape.cached(context)))
    rows = min(rows, rows_at_once(prefix_cache))
    hearing = max(size * shape.tower_work(windows), prefix_cache + size * shape.decoder_work(prefix, 1))
    reading = prefix_cache + rows * cache + size * shape.decoder_work(rows * suffix_tokens, rows)
    # Of one block: keys in float32, from which attention rows are computed, then keys and values of grouped queries.
    keys = rows * context * max(4 * shape.key_width, 2 * size * shape.text.hidden_size)
    return Cost(
        parameters=shape.whole,
        weight_bytes=weights,
        cache_bytes=cache,
        peak_bytes=weights + max(hearing, reading + keys),
        forward_flops=scenes * (scene + queries * (passes_per_query * suffix + answer)),
        read_bytes=scenes * size * (shape.tower + shape.projector + passes * (shape.blocks + shape.head)),
        passes=scenes * passes,
    )


def cost_table(
    *,
    scenes: int = 300,
    queries: int = 3,
    seconds: float = 17.0,
    passes_per_query: int = STANDARD_PASSES,
    answer_tokens: int = 32,
) -> str:
    """Both published checkpoints in bfloat16 and float32, as a Markdown table that says what it assumes.

    The defaults are the paper's form of scene and the standard methods.
    """
    run = {"scenes": scenes, "queries": queries, "passes_per_query": passes_per_query, "answer_tokens": answer_tokens}
    heads = (
        "checkpoint",
        "numbers",
        "weights",
        "memory, 2 rows",
        "memory, full batch",
        "passes a scene",
        "PFLOP",
        "hours",
    )
    rows: list[Sequence[object]] = []
    for family in FAMILIES.values():
        config = full_size_config(family.model_type)
        for dtype, rates in ASSUMED.items():
            few, full = (estimate(config, dtype=dtype, seconds=seconds, rows=rows, **run) for rows in (2, MAX_BATCH))
            memory = [f"{size / 1e9:.1f} GB" for size in (few.weight_bytes, few.peak_bytes, full.peak_bytes)]
            work = [few.passes // scenes, f"{few.forward_flops / 1e15:.1f}", f"{few.hours_at(*rates):.1f}"]
            rows.append([family.checkpoint, _name(dtype), *memory, *work])
    assumed = "; ".join(f"{_name(dtype)} {rate:g} TFLOPS, {read:g} GB/s" for dtype, (rate, read) in ASSUMED.items())
    note = (
        f"Estimated from shapes, not run here: {scenes} scenes of {seconds:g} s, {queries} queries each, "
        f"{passes_per_query} suffixes and one answer of {answer_tokens} tokens a query, at an assumed effective "
        f"throughput ({assumed}). Memory is without what the GPU's libraries keep (about 1 GB)."
    )
    return "\n".join([*markdown_table(heads, rows, numbers=range(2, len(heads))), "", note])


@dataclass(frozen=True)
class _Shape:
    """What the cost depends on: the configuration, and how many parameters each part has."""

    family: Family
    text: Any
    audio: Any
    whole: int
    tower: int
    layers: int  # the blocks of the tower
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
        return cls(
            family=family,
            text=config.text_config,
            audio=config.audio_config,
            whole=_count(model),
            tower=_count(tower),
            layers=_count(tower.layers),
            convolutions=(_count(tower.conv1), _count(tower.conv2)),
            projector=_count(family.projector(model)),
            blocks=_count(family.blocks(model)),
            head=_count(family.head(model)),
        )

    @property
    def key_width(self) -> int:
        return self.text.num_key_value_heads * (self.text.hidden_size // self.text.num_attention_heads)

    @property
    def frames(self) -> int:
        """Of a window, as the blocks of the tower see them: half the mel frames, twice the audio tokens."""
        return int(self.audio.max_source_positions)

    def heard(self, seconds: float) -> tuple[int, int]:
        """Windows of the tower and audio tokens of an audio. Raises ValueError if it is too long, or no length."""
        longest = self.family.max_windows * 2 * self.frames / MEL_FRAMES
        if not (math.isfinite(seconds) and 0.1 <= seconds <= longest):
            raise ValueError(f"seconds is {seconds}; {self.family.name} of this size takes 0.1 to {longest:g} s")
        mel = math.ceil(round(seconds * MEL_FRAMES, 6))
        # As both processors count: a convolution of stride two, then pooling by two.
        return math.ceil(mel / (2 * self.frames)), ((mel - 1) // 2 + 1 - 2) // 2 + 1

    def tower_flops(self) -> int:
        first, second = self.convolutions
        weights = 2 * first + second + self.layers + self.projector // 2  # by how many frames each of them sees
        attention = 4 * self.audio.num_hidden_layers * self.audio.hidden_size * self.frames
        return self.frames * (2 * weights + attention)

    def decoder_flops(self, tokens: int, context: int) -> int:
        attention = 4 * self.text.num_hidden_layers * self.text.hidden_size * context
        return tokens * (2 * self.blocks + attention)

    def head_flops(self) -> int:
        return 2 * self.head

    def cached(self, tokens: int) -> int:
        """Numbers in the keys and values of one row."""
        return 2 * self.text.num_hidden_layers * self.key_width * tokens

    def tower_work(self, windows: int) -> int:
        """Numbers that live at once in a block of the tower: its stream four times, the widest layer in and out."""
        return windows * self.frames * (4 * self.audio.hidden_size + 2 * self.audio.intermediate_size)

    def decoder_work(self, tokens: int, rows: int) -> int:
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
