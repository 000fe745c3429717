"""One entry a model family says all that the library must know of it: to add one, add an entry to FAMILIES.

The paths are explicit. All families hold two stacks of numbered layers (audio tower and decoder), so a search by name
or by depth may find the audio tower and steer the wrong network.

Each number of a published checkpoint comes from its config.json or from the script that made it; what is not named
here is the default of the transformers classes, as it is for `from_pretrained`. So a model can be laid out, and its
cost counted, before 16 GB are downloaded.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig

logger = logging.getLogger(__name__)


class UnsupportedModelError(ValueError):
    """The model is of a kind that this library has no entry for, or its parts are not where the entry says."""


@dataclass(frozen=True)
class Family:
    """What the library must know about one kind of audio-language model.

    name            for people
    model_type      of its transformers config; the key in FAMILIES
    model_class     in transformers
    checkpoint      the published weights, a hub id, with their `licence`
    parameters      how many there are in the published weights
    full_size       the published configuration, as arguments of its transformers class
    max_windows     how many windows of the audio tower the published checkpoint joins to one audio
    mel_rate        mel frames a second at full size: Whisper's hop is 160 samples at 16 kHz
    tower_stride    mel frames to a frame of the tower's blocks: a convolution of stride two
    pooling         frames of the tower to an audio token (the published Voxtral: four, so that one stands for 80 ms)
    covers_padding  whether audio tokens stand for whole windows, the silence behind a shorter clip with them (Voxtral)
    turn_end        the token that ends a turn of its chat
    attention_name  what the attention module of a decoder block is called
    ..._path        where the parts are, from the model that `from_pretrained` returns; `backbone` is that model without
                    its output head
    """

    name: str
    model_type: str
    model_class: str
    checkpoint: str
    licence: str
    non_commercial: bool
    parameters: int
    full_size: Mapping[str, Any] = field(repr=False, hash=False)
    max_windows: int = 1
    mel_rate: int = 100
    tower_stride: int = 2
    pooling: int = 2
    covers_padding: bool = False
    turn_end: str = "<|im_end|>"
    attention_name: str = "self_attn"
    backbone_path: str = "model"
    decoder_path: str = "model.language_model"
    blocks_path: str = "model.language_model.layers"
    norm_path: str = "model.language_model.norm"
    audio_tower_path: str = "model.audio_tower"
    projector_path: str = "model.multi_modal_projector"
    head_path: str = "lm_head"

    def decoder(self, model: nn.Module) -> nn.Module:
        """The language model inside `model`. Raises UnsupportedModelError if its width or depth is unexpected."""
        decoder = _resolve(model, self.decoder_path)
        blocks = _resolve(model, self.blocks_path)
        config: Any = model.config
        width, depth = config.text_config.hidden_size, config.text_config.num_hidden_layers
        embeddings: Any = decoder.get_input_embeddings()  # type: ignore[operator]
        if embeddings.embedding_dim != width or not isinstance(blocks, nn.ModuleList) or len(blocks) != depth:
            raise UnsupportedModelError(
                f"{self.decoder_path} has width {embeddings.embedding_dim} and {len(list(blocks.children()))} blocks, "
                f"but the text config says width {width} and {depth} blocks"
            )
        logger.info("%s: decoder at %s, %d blocks of width %d", self.name, self.decoder_path, depth, width)
        return decoder

    def blocks(self, model: nn.Module) -> nn.ModuleList:
        """The decoder blocks, in order."""
        blocks = _resolve(model, self.blocks_path)
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    def attention(self, block: nn.Module) -> nn.Module:
        """The attention module of a decoder block."""
        return _resolve(block, self.attention_name)

    def norm(self, model: nn.Module) -> nn.Module:
        """What normalises the last block's output before the head."""
        return _resolve(model, self.norm_path)

    def backbone(self, model: nn.Module) -> nn.Module:
        """The model without its output head: token ids and audio features in, last hidden states out."""
        return _resolve(model, self.backbone_path)

    def head(self, model: nn.Module) -> nn.Module:
        """The output head: hidden states in, logits out."""
        return _resolve(model, self.head_path)

    def audio_tower(self, model: nn.Module) -> nn.Module:
        """The audio encoder (never steered)."""
        return _resolve(model, self.audio_tower_path)

    def projector(self, model: nn.Module) -> nn.Module:
        """What turns the tower's output into audio tokens of the decoder's width."""
        return _resolve(model, self.projector_path)

    def prompt(self, processor: Any, instruction: str) -> str:
        """The chat text of one user turn, audio first and then `instruction`, up to where the answer begins."""
        content = [{"type": "audio", "audio": "audio.wav"}, {"type": "text", "text": instruction}]
        turns = [{"role": "user", "content": content}]
        return processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)

    def inputs(self, processor: Any, text: str, samples: np.ndarray, sampling_rate: int) -> dict[str, torch.Tensor]:
        """Everything the model's forward takes for one prompt and one mono audio (samples,): ids, masks, features."""
        values: Mapping[str, Any] = processor(
            text=[text], audio=[samples], sampling_rate=sampling_rate, return_tensors="pt"
        )
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    def window_seconds(self, processor: Any) -> float:
        """The longest audio in seconds that the processor takes without cutting it off."""
        chunk = processor.feature_extractor.chunk_length
        longest = getattr(processor, "max_audio_len", None)  # Audio Flamingo 3 joins several chunks
        return float(chunk if longest is None else max(1, longest // chunk) * chunk)

    def seconds_per_token(self, processor: Any) -> float:
        """Seconds one audio token stands for: the mel hop, made longer by the convolution and by pooling."""
        extractor = processor.feature_extractor
        return self.tower_stride * self.pooling * extractor.hop_length / extractor.sampling_rate

    def audio_tokens(self, mel_frames: int) -> int:
        """How many tokens `mel_frames` become: a convolution that pads, then pooling that drops an incomplete rest."""
        return ((mel_frames - 1) // self.tower_stride + 1) // self.pooling

    def token_counts(self, mel_frames: int, window_frames: int) -> tuple[int, int]:
        """How many tokens an audio of `mel_frames` becomes, in windows of `window_frames`; how many of them stand for
        the audio itself. The others, behind them, stand for the padding of its last window."""
        heard = max(1, self.audio_tokens(mel_frames))
        whole = math.ceil(mel_frames / window_frames) * self.audio_tokens(window_frames)
        return (whole if self.covers_padding else heard), heard

    def full_size_config(self) -> Any:
        """A new configuration of the published checkpoint."""
        return AutoConfig.for_model(self.model_type, **copy.deepcopy(dict(self.full_size)))


# Both towers have the shape of Whisper large-v3's encoder (arXiv 2407.10759; arXiv 2507.08128). It is named in
# Qwen2-Audio's config.json, and is the default of AudioFlamingo3EncoderConfig, which the script below takes.
# 1500 frames after the convolutions are 30 s.
_TOWER = {
    "num_mel_bins": 128,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "max_source_positions": 1500,
}

# Qwen/Qwen2-Audio-7B-Instruct, config.json: its text_config names the last eight, the rest are Qwen2Config's defaults.
_QWEN2_AUDIO_TEXT = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "intermediate_size": 11008,
    "max_position_embeddings": 8192,
    "rope_theta": 10_000,
    "rms_norm_eps": 1e-5,
    "sliding_window": 32768,  # named, but not in use: use_sliding_window is false
    "vocab_size": 156032,
}

# nvidia/audio-flamingo-3-hf: the Qwen2Config in transformers' convert_audioflamingo3_to_hf.py, into which the
# published weights are loaded strictly. Qwen2.5-7B's shape, with three tokens added to its vocabulary.
_AUDIO_FLAMINGO_3_TEXT = {
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "intermediate_size": 18944,
    "rope_theta": 1_000_000.0,
    "vocab_size": 151672,
}

FAMILIES: dict[str, Family] = {
    "qwen2_audio": Family(
        name="Qwen2-Audio",
        model_type="qwen2_audio",
        model_class="Qwen2AudioForConditionalGeneration",
        checkpoint="Qwen/Qwen2-Audio-7B-Instruct",
        licence="Qwen2-Audio weights: Apache-2.0",
        non_commercial=False,
        parameters=8_397_094_912,  # as the hub counts; its technical report, arXiv 2407.10759, says 8.2 B
        full_size={
            "audio_config": {"model_type": "qwen2_audio_encoder", **_TOWER},
            "text_config": {"model_type": "qwen2", **_QWEN2_AUDIO_TEXT},
            "audio_token_index": 151646,
        },
    ),
    "audioflamingo3": Family(
        name="Audio Flamingo 3",
        model_type="audioflamingo3",
        model_class="AudioFlamingo3ForConditionalGeneration",
        checkpoint="nvidia/audio-flamingo-3-hf",
        licence="Audio Flamingo 3 weights: NVIDIA OneWay Noncommercial License, research use only",
        non_commercial=True,
        parameters=8_267_215_360,  # Qwen2.5-7B with the vocabulary above (7.61 B), AF-Whisper (0.64 B), projector
        full_size={
            "audio_config": {"model_type": "audioflamingo3_encoder", **_TOWER},
            "text_config": {"model_type": "qwen2", **_AUDIO_FLAMINGO_3_TEXT},
            "audio_token_id": 151669,
        },
        max_windows=20,  # its processor's max_audio_len, 600 s, in windows of 30 s
    ),
}


def family_of(config: Any) -> Family:
    """The entry for a transformers config. Raises UnsupportedModelError that lists what is supported."""
    model_type = getattr(config, "model_type", None)
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    supported = "; ".join(f"{key} (for example {family.checkpoint})" for key, family in FAMILIES.items())
    raise UnsupportedModelError(f"model type {model_type!r} is not supported; supported are: {supported}")


def full_size_config(model_type: str) -> Any:
    """A new configuration of the published checkpoint of this family (a key of FAMILIES).

    Raises UnsupportedModelError for another model type.
    """
    if model_type not in FAMILIES:
        raise UnsupportedModelError(f"no full-size checkpoint of {model_type!r}; there are: {', '.join(FAMILIES)}")
    return FAMILIES[model_type].full_size_config()


def _resolve(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise UnsupportedModelError(f"{type(model).__name__} has no module at {path!r}") from error
