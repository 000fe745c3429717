"""What the library must know of a model family: where its parts are, how its prompt is made, what one token stands for.

The paths are explicit. All families hold two stacks of numbered layers (audio tower and decoder), so a search by name
or by depth may find the audio tower and steer the wrong network. The families themselves: `families` (they hear),
`picture_families` (they see).
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
from transformers import AutoConfig, AutoProcessor

from steer_utils.lm.patch_grid import MediaSpan
from steer_utils.sound.spans import AudioSpan

logger = logging.getLogger(__name__)


class UnsupportedModelError(ValueError):
    """The model is of a kind that this library has no entry for, or its parts are not where the entry says."""


@dataclass(frozen=True)
class Family:
    """What the library must know about one kind of audio-language model (or, `Llava`, of one that sees).

    name            for people
    model_type      of its transformers config; the key in FAMILIES
    model_class     in transformers
    checkpoint      the published weights, a hub id, with their `licence`
    parameters      how many there are in the published weights
    full_size       the published configuration, as arguments of its transformers class
    max_windows     how many windows of the audio tower the published checkpoint joins to one audio
    mel_rate        mel frames a second at full size: Whisper's hop is 160 samples at 16 kHz
    tower_stride    mel frames to a frame of the tower's blocks: a convolution of stride two
    pooling         frames of the tower to an audio token
    covers_padding  whether audio tokens stand for whole windows, the silence behind a shorter clip with them (Voxtral)
    turn_end        the token that ends a turn of its chat
    medium          "audio" or "image": what the prompt shows before the instruction
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
    medium: str = "audio"
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

    def processor(self, source: str, revision: str | None = None) -> Any:
        """The processor of a checkpoint, a folder or a hub id. Raises OSError where there is none."""
        return AutoProcessor.from_pretrained(source, revision=revision, trust_remote_code=False)

    def prompt(self, processor: Any, instruction: str) -> str:
        """The chat text of one user turn, audio first and then `instruction`, up to where the answer begins."""
        content = [{"type": self.medium, self.medium: "audio.wav"}, {"type": "text", "text": instruction}]
        turns = [{"role": "user", "content": content}]
        return processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)

    def text_prompt(self, processor: Any, instruction: str) -> str:
        """The same turn with the audio left out: the chat text of `instruction` alone."""
        turns = [{"role": "user", "content": [{"type": "text", "text": instruction}]}]
        return processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)

    def expanded(self, processor: Any, text: str, tokens: int) -> str:
        """`text` as the processor hands it to the tokenizer for an audio of so many tokens: some put marks around."""
        return text.replace(processor.audio_token, processor.replace_audio_token({"num_audio_tokens": [tokens]}, 0))

    def inputs(self, processor: Any, text: str, samples: np.ndarray, sampling_rate: int) -> dict[str, torch.Tensor]:
        """Everything the model's forward takes for one prompt and one mono audio (samples,): ids, masks, features."""
        values: Mapping[str, Any] = processor(
            text=[text], audio=[samples], sampling_rate=sampling_rate, return_tensors="pt"
        )
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    def media_inputs(self, processor: Any, text: str, media: np.ndarray) -> dict[str, torch.Tensor]:
        """`inputs` of what is heard, at the processor's rate; a picture has no rate."""
        return self.inputs(processor, text, media, self.sampling_rate(processor))

    def media_token(self, processor: Any) -> tuple[str, int]:
        """What stands for one token of the audio (or for one patch) in the chat text, and its id."""
        return str(getattr(processor, f"{self.medium}_token")), int(getattr(processor, f"{self.medium}_token_id"))

    def span(self, processor: Any, media: np.ndarray, first: int, count: int) -> MediaSpan:
        """Where in the prompt the audio is, if the processor made `count` tokens of it from slot `first` on.

        Raises ValueError, which goes on after "the processor ...", where the family makes another number of them.
        """
        extractor = processor.feature_extractor
        frames = math.ceil(len(media) / extractor.hop_length)
        expected, heard = self.token_counts(frames, extractor.nb_max_frames)
        seconds = self.seconds_per_token(processor)
        if count != expected:
            raise ValueError(
                f"makes {count} audio tokens of {len(media) / extractor.sampling_rate:.2f} s, where {self.name} makes "
                f"{expected} of {1000 * seconds:g} ms: seconds would be wrong, so this checkpoint is not supported"
            )
        return AudioSpan(first, heard, seconds)

    def extractor(self, processor: Any) -> Any:
        """What makes features of an audio. Raises UnsupportedModelError for a model that hears nothing."""
        return processor.feature_extractor

    def sampling_rate(self, processor: Any) -> int:
        """Samples a second that the processor expects."""
        return int(self.extractor(processor).sampling_rate)

    def window_seconds(self, processor: Any) -> float:
        """The longest audio in seconds that the processor takes without cutting it off."""
        chunk = self.extractor(processor).chunk_length
        longest = getattr(processor, "max_audio_len", None)  # Audio Flamingo 3 and its kin join several chunks
        return float(chunk if longest is None else max(1, longest // chunk) * chunk)

    def seconds_per_token(self, processor: Any) -> float:
        """Seconds one audio token stands for: the mel hop, made longer by the convolution and by pooling."""
        extractor = self.extractor(processor)
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

    def window_frames(self, audio_config: Any) -> int:
        """Frames of one window of the tower, as its blocks see them: the length of its position table."""
        return int(audio_config.max_source_positions)

    def full_size_config(self) -> Any:
        """A new configuration of the published checkpoint."""
        return AutoConfig.for_model(self.model_type, **copy.deepcopy(dict(self.full_size)))


def _resolve(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise UnsupportedModelError(f"{type(model).__name__} has no module at {path!r}") from error
