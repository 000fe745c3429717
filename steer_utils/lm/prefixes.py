"""The shared prefix: everything up to the last audio token, computed once, as a key/value cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from steer_utils.lm.caches import CACHE
from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.patch_grid import MediaSpan

ANY_INSTRUCTION = "Describe the sound."


@dataclass(frozen=True)
class PrefixShape:
    """What a plan needs to know of a prefix and its model: numbers, no tensors.

    `head`: token ids before the audio, and one audio token: how every prompt must begin.
    `length`: slots of the prefix. Where audio tokens cover padding too, it is longer than `span`, which is the audio.
    `cache_bytes`: what one row's copy of the keys and values takes. `map_bytes`: what the attention of one token over
    the audio takes, float32, of each head of each block.
    """

    head: tuple[int, ...]
    span: MediaSpan
    length: int
    num_blocks: int
    cache_bytes: int
    map_bytes: int


@dataclass(frozen=True, eq=False)
class Prefix:
    """The state of a model after one audio; the same under every instruction, which comes later.

    `ids`: (1, slots). `span`: the audio tokens that stand for the audio, not for padding behind it. `embeddings`:
    (1, slots, hidden), what enters the decoder, audio encoded. `layers`: keys and values of each block, (1, kv heads,
    slots, head width). `scaled`: whether they are other ones than the model computed (`with_scaled_audio`).
    """

    checkpoint: Checkpoint
    ids: torch.Tensor
    span: MediaSpan
    embeddings: torch.Tensor
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    scaled: bool = False

    @property
    def length(self) -> int:
        """Slots of the prefix."""
        return self.ids.shape[1]

    @cached_property
    def shape(self) -> PrefixShape:
        """What a plan needs to know of it."""
        heads = self.checkpoint.model.config.text_config.num_attention_heads
        return PrefixShape(
            head=tuple(self.ids[0, : self.span.first + 1].tolist()),
            span=self.span,
            length=self.length,
            num_blocks=self.checkpoint.num_blocks,
            cache_bytes=sum(keys.nbytes + values.nbytes for keys, values in self.layers),
            map_bytes=4 * self.checkpoint.num_blocks * heads * self.span.count,
        )

    def cache(self, rows: int) -> DynamicCache:
        """A cache for `rows` rows that all continue this prefix: views, copied only where a call adds tokens."""
        cache = DynamicCache()
        for keys, values in self.layers:
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            layer.keys = keys.expand(rows, -1, -1, -1)
            layer.values = values.expand(rows, -1, -1, -1)
            cache.layers.append(layer)
        return cache

    def with_scaled_audio(self, factors: Mapping[int, float]) -> Prefix:
        """The same prefix, whose audio keys are `factors[block]` times as long in each of these blocks.

        A score is a product with the key, so whatever comes behind the audio sees its tokens with that many times the
        score before the softmax; the audio's own states stay as they are. Other blocks share this prefix's memory.
        """
        audio = slice(self.span.first, self.span.stop)
        layers = list(self.layers)
        for block, factor in factors.items():
            keys, values = layers[block]
            keys = keys.clone()
            keys[:, :, audio] *= factor
            layers[block] = (keys, values)
        return replace(self, layers=tuple(layers), scaled=True)

    def recomputed(self, rows: int) -> DynamicCache:
        """The prefix run again for `rows` rows, under whatever steering and recording is active.

        The audio encoder comes before any steering, so its output is used again.
        """
        model = self.checkpoint.family.backbone(self.checkpoint.model)
        output = model(
            inputs_embeds=self.embeddings.expand(rows, -1, -1),
            attention_mask=torch.ones(rows, self.length, dtype=torch.long, device=self.embeddings.device),
            position_ids=torch.arange(self.length, device=self.embeddings.device)[None],
            use_cache=True,
        )
        return output[CACHE]


@dataclass(frozen=True, eq=False)
class _LaidOut:
    """One audio as the model takes it: `ids` (1, slots) up to its last token, and what its tower is given."""

    ids: torch.Tensor
    span: MediaSpan
    features: dict[str, torch.Tensor]

    @property
    def form(self) -> tuple[tuple[str, torch.Size], ...]:
        """Audios of one form run as one batch: their features differ in the first axis alone."""
        return tuple((name, value.shape[1:]) for name, value in self.features.items())


def encode(checkpoint: Checkpoint, samples: np.ndarray) -> Prefix:
    """Run the unmodified model on the chat up to the end of the audio `samples` (n,), mono; or of a picture.

    Raises CheckpointError if the processor does not lay the prompt out as one run of audio tokens and then the text, or
    makes another number of them than the family says: their seconds would then be wrong.
    """
    return encode_many(checkpoint, [samples])[0]


@torch.inference_mode()
def encode_many(checkpoint: Checkpoint, audios: Sequence[np.ndarray]) -> list[Prefix]:
    """The prefix of each audio, as `encode` gives it, from one run of tower and decoder over all of them.

    The prompts of shorter ones are padded at their end, where no token before it looks. Audios whose features have
    other shapes run apart. Raises as `encode` does.
    """
    laid_out = [_laid_out(checkpoint, samples) for samples in audios]
    prefixes: dict[int, Prefix] = {}
    for form in dict.fromkeys(audio.form for audio in laid_out):
        numbers = [number for number, audio in enumerate(laid_out) if audio.form == form]
        prefixes.update(zip(numbers, _encoded(checkpoint, [laid_out[number] for number in numbers]), strict=True))
    return [prefixes[number] for number in range(len(laid_out))]


def _laid_out(checkpoint: Checkpoint, samples: np.ndarray) -> _LaidOut:
    text = checkpoint.prompt(ANY_INSTRUCTION)
    inputs = checkpoint.family.media_inputs(checkpoint.processor, text, samples)
    ids = inputs.pop("input_ids")
    inputs.pop("attention_mask", None)
    prompt, count = checkpoint.tokens(ANY_INSTRUCTION), int((ids == checkpoint.audio_token_id).sum())
    if ids.tolist() != [[*prompt.head, *[checkpoint.audio_token_id] * (count - 1), *prompt.tail]]:
        raise CheckpointError(f"the processor of {checkpoint.name} does not lay out the prompt as expected: {text!r}")
    try:
        span = checkpoint.family.span(checkpoint.processor, samples, len(prompt.head) - 1, count)
    except ValueError as error:
        raise CheckpointError(f"the processor of {checkpoint.name} {error}") from error
    return _LaidOut(ids[:, : span.first + count], span, inputs)


def _encoded(checkpoint: Checkpoint, batch: Sequence[_LaidOut]) -> list[Prefix]:
    ids = pad_sequence(
        [audio.ids[0] for audio in batch],
        batch_first=True,
        padding_value=checkpoint.processor.tokenizer.pad_token_id or 0,
    )
    features = {name: torch.cat([audio.features[name] for audio in batch]) for name in batch[0].features}
    embeddings, cache = _run(checkpoint, ids, features)

    def own(states: torch.Tensor, number: int) -> torch.Tensor:
        """The states of one audio (rows, ..., slots, width): a copy, or one prefix that is kept would keep them all."""
        part = states[number : number + 1, ..., : batch[number].ids.shape[1], :]
        return part if len(batch) == 1 else part.clone()

    layers: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in batch]
    while cache.layers:  # block by block, so that the batch and the copies never stand beside each other whole
        layer: Any = cache.layers.pop(0)
        for number, kept in enumerate(layers):
            kept.append((own(layer.keys, number), own(layer.values, number)))
    return [
        Prefix(checkpoint, audio.ids, audio.span, own(embeddings, number), tuple(layers[number]))
        for number, audio in enumerate(batch)
    ]


def _run(
    checkpoint: Checkpoint, ids: torch.Tensor, features: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, DynamicCache]:
    """What enters the decoder, and the cache afterwards. The output head is left out: it is not needed here."""
    entered: list[torch.Tensor] = []
    handle = checkpoint.decoder.register_forward_pre_hook(
        lambda module, args, kwargs: entered.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    try:
        output = checkpoint.family.backbone(checkpoint.model)(
            input_ids=ids.to(checkpoint.device),
            attention_mask=torch.ones_like(ids, device=checkpoint.device),
            use_cache=True,
            **{name: moved(value, checkpoint) for name, value in features.items()},
        )
    finally:
        handle.remove()
    return entered[0], output[CACHE]


def moved(value: torch.Tensor, checkpoint: Checkpoint) -> torch.Tensor:
    """On the model's device; features in its number type, masks in their own."""
    return value.to(checkpoint.device, checkpoint.dtype if value.is_floating_point() else value.dtype)
