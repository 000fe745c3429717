"""The shared prefix: everything up to the last audio token, computed once, as a key/value cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.sound.spans import AudioSpan

ANY_INSTRUCTION = "Describe the sound."


@dataclass(frozen=True)
class PrefixShape:
    """What a plan needs to know of a prefix and its model: numbers, no tensors.

    `head`: token ids before the audio, and one audio token: how every prompt must begin before it is expanded.
    `length`: slots of the prefix. Where audio tokens cover padding too, it is longer than `span`, which is the audio.
    `cache_bytes`: what one row's copy of the keys and values takes. `map_bytes`: what the attention of one token over
    the audio takes, float32, of each head of each block.
    """

    head: tuple[int, ...]
    span: AudioSpan
    length: int
    num_blocks: int
    cache_bytes: int
    map_bytes: int


@dataclass(frozen=True, eq=False)
class Prefix:
    """The state of a model after one audio; the same under every instruction, which comes later.

    `ids`: (1, slots). `span`: the audio tokens that stand for the audio, not for padding behind it. `embeddings`:
    (1, slots, hidden), what enters the decoder, audio encoded. `layers`: keys and values of each block, (1, kv heads,
    slots, head width).
    """

    checkpoint: Checkpoint
    ids: torch.Tensor
    span: AudioSpan
    embeddings: torch.Tensor
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

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

    def recomputed(self, rows: int) -> DynamicCache:
        """The prefix run again for `rows` rows, under whatever steering and recording is active.

        The audio encoder comes before any steering, so its output is used again.
        """
        model = self.checkpoint.family.backbone(self.checkpoint.model)
        output = model(
            inputs_embeds=self.embeddings.expand(rows, -1, -1),
            attention_mask=torch.ones(rows, self.length, dtype=torch.long, device=self.embeddings.device),
            use_cache=True,
        )
        return output.past_key_values


@torch.inference_mode()
def encode(checkpoint: Checkpoint, samples: np.ndarray) -> Prefix:
    """Run the unmodified model on the chat up to the end of the audio `samples` (n,), mono.

    Raises CheckpointError if the processor does not lay the prompt out as one run of audio tokens and then the text, or
    makes another number of them than the family says: their seconds would then be wrong.
    """
    text = checkpoint.prompt(ANY_INSTRUCTION)
    inputs = checkpoint.family.inputs(checkpoint.processor, text, samples, checkpoint.sampling_rate)
    ids = inputs.pop("input_ids")
    inputs.pop("attention_mask", None)
    slots = (ids[0] == checkpoint.audio_token_id).nonzero()[:, 0]
    tail = list(checkpoint.tokens(ANY_INSTRUCTION).tail)
    if not len(slots) or int(slots[-1] - slots[0]) + 1 != len(slots) or ids[0, int(slots[-1]) + 1 :].tolist() != tail:
        raise CheckpointError(f"the processor of {checkpoint.name} does not lay out the prompt as expected: {text!r}")
    extractor = checkpoint.processor.feature_extractor
    mel_frames = math.ceil(len(samples) / extractor.hop_length)
    expected, heard = checkpoint.family.token_counts(mel_frames, extractor.nb_max_frames)
    if len(slots) != expected:
        raise CheckpointError(
            f"the processor of {checkpoint.name} makes {len(slots)} audio tokens of "
            f"{len(samples) / checkpoint.sampling_rate:.2f} s, where {checkpoint.family.name} makes {expected} of "
            f"{1000 * checkpoint.seconds_per_token:g} ms: seconds would be wrong, so this checkpoint is not supported"
        )
    span = AudioSpan(int(slots[0]), heard, checkpoint.seconds_per_token)
    prefix_ids = ids[:, : int(slots[-1]) + 1]
    embeddings, cache = _run(checkpoint, prefix_ids, inputs)
    layers: list[Any] = list(cache.layers)
    return Prefix(checkpoint, prefix_ids, span, embeddings, tuple((layer.keys, layer.values) for layer in layers))


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
            **{name: _moved(value, checkpoint) for name, value in features.items()},
        )
    finally:
        handle.remove()
    return entered[0], output.past_key_values


def _moved(value: torch.Tensor, checkpoint: Checkpoint) -> torch.Tensor:
    """On the model's device; features in its number type, masks in their own."""
    return value.to(checkpoint.device, checkpoint.dtype if value.is_floating_point() else value.dtype)
