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
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessorPil,
    Qwen2AudioProcessor,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)

from steer_utils.lm.patch_grid import MediaSpan, PatchGrid
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


class QwenOmni(Family):
    """Of the whole model only the part that hears and writes is loaded, the Thinker.

    Its own processor asks for torchvision, for pictures and films; what it does with text and audio is what
    Qwen2-Audio's does. The tower hears in windows of two seconds, each without the others.
    """

    def processor(self, source: str, revision: str | None = None) -> Any:
        stored, _ = Qwen2AudioProcessor.get_processor_dict(source, revision=revision)
        return Qwen2AudioProcessor(
            WhisperFeatureExtractor.from_pretrained(source, revision=revision or "main"),
            tokenizer := AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False),
            chat_template=stored.get("chat_template") or tokenizer.chat_template,
        )

    def window_frames(self, audio_config: Any) -> int:
        return int(audio_config.n_window)


class Voxtral(Family):
    """Every window is heard whole, padding too: 375 tokens for 30 s, however short the audio.

    Its own way to make a prompt needs mistral-common. The prompt is short, so it stands here, and transformers reads
    the checkpoint's tekken.json without that package.
    """

    def processor(self, source: str, revision: str | None = None) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(
            source,
            revision=revision,
            trust_remote_code=False,
            mistral_format=False,
            fix_mistral_regex=True,  # how text is cut: as tekken.json says, also where a tokenizer.json says otherwise
            unk_token="<unk>",
            bos_token="<s>",
            eos_token="</s>",
            pad_token="<pad>",
            padding_side="left",
        )
        return VoxtralProcessor(WhisperFeatureExtractor.from_pretrained(source, revision=revision or "main"), tokenizer)

    def prompt(self, processor: Any, instruction: str) -> str:
        """As mistral-common's InstructTokenizerV7 writes it."""
        return f"<s>[INST][BEGIN_AUDIO]{processor.audio_token}{instruction}[/INST]"

    def text_prompt(self, processor: Any, instruction: str) -> str:
        return f"<s>[INST]{instruction}[/INST]"

    def expanded(self, processor: Any, text: str, tokens: int) -> str:
        return text.replace(processor.audio_token, processor.audio_token * tokens)

    def inputs(self, processor: Any, text: str, samples: np.ndarray, sampling_rate: int) -> dict[str, torch.Tensor]:
        extractor = processor.feature_extractor
        # The mel of the whole audio, then cut: as VoxtralProcessor does it, levels are those of all windows together.
        mel = extractor(
            samples,
            sampling_rate=sampling_rate,
            padding=True,
            truncation=False,
            pad_to_multiple_of=extractor.n_samples,
            return_tensors="pt",
        )["input_features"]
        windows = mel.reshape(extractor.feature_size, -1, extractor.nb_max_frames).transpose(0, 1)
        text = self.expanded(processor, text, self.audio_tokens(mel.shape[-1]))
        ids = processor.tokenizer([text], return_tensors="pt")
        return {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"], "input_features": windows}

    def window_seconds(self, processor: Any) -> float:
        return float(self.max_windows * processor.feature_extractor.chunk_length)


class Llava(Family):
    """A model that sees: one token a patch, row by row. PIL makes its pixels, torchvision there or not."""

    def processor(self, source: str, revision: str | None = None) -> Any:
        processor = super().processor(source, revision)
        processor.image_processor = CLIPImageProcessorPil.from_pretrained(source, revision=revision or "main")
        return processor

    def expanded(self, processor: Any, text: str, tokens: int) -> str:
        return text.replace(processor.image_token, processor.image_token * tokens)

    def media_inputs(self, processor: Any, text: str, media: np.ndarray) -> dict[str, torch.Tensor]:
        """`media`: (side, side, 3), 0 to 255."""
        return dict(processor(text=[text], images=[media], return_tensors="pt"))

    def span(self, processor: Any, media: np.ndarray, first: int, count: int) -> PatchGrid:
        side = processor.image_processor.crop_size["height"] // processor.patch_size
        if count != side**2:
            raise ValueError(
                f"makes {count} image tokens of a picture, where {self.name} makes {side} x {side}: boxes would be "
                "wrong, so this checkpoint is not supported"
            )
        return PatchGrid(first, side, side, media.shape[0] / side)

    def extractor(self, processor: Any) -> Any:
        raise UnsupportedModelError(f"{self.name} sees pictures and hears nothing: show it one with lm.see(picture)")


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

# nvidia/music-flamingo-2601-hf and nvidia/audio-flamingo-next-hf: transformers' convert_musicflamingo_to_hf.py and
# convert_audioflamingonext_to_hf.py. The shapes are those above; Audio Flamingo Next's rope_theta is 15 300 000.

# Qwen/Qwen2.5-Omni-7B: the defaults of Qwen2_5OmniThinkerConfig, but for what its config.json names.
_QWEN_OMNI_TEXT = {"max_position_embeddings": 32768, "rope_theta": 1_000_000.0, "vocab_size": 152064}

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
    "musicflamingo": Family(
        name="MusicFlamingo",  # and Audio Flamingo Next, nvidia/audio-flamingo-next-hf: the same class
        model_type="musicflamingo",
        model_class="MusicFlamingoForConditionalGeneration",
        checkpoint="nvidia/music-flamingo-2601-hf",
        licence="MusicFlamingo and Audio Flamingo Next weights: NVIDIA OneWay Noncommercial License, research use only",
        non_commercial=True,
        parameters=8_267_215_360,  # as Audio Flamingo 3: its rotary time embedding has none
        full_size={
            "audio_config": {"model_type": "audioflamingo3_encoder", **_TOWER},
            "text_config": {"model_type": "qwen2", **_AUDIO_FLAMINGO_3_TEXT},
            "audio_token_id": 151669,
        },
        max_windows=40,  # its processor's max_audio_len, 1200 s; 1800 s in Audio Flamingo Next
    ),
    "qwen2_5_omni_thinker": QwenOmni(
        name="Qwen2.5-Omni",
        model_type="qwen2_5_omni_thinker",
        model_class="Qwen2_5OmniThinkerForConditionalGeneration",
        checkpoint="Qwen/Qwen2.5-Omni-7B",
        licence="Qwen2.5-Omni-7B weights: Apache-2.0; those of the 3B: Qwen Research License, non-commercial",
        non_commercial=False,
        parameters=8_931_813_888,  # of the thinker; 0.68 billion of them see, and are loaded too
        full_size={
            "audio_config": {"model_type": "qwen2_5_omni_audio_encoder", **_TOWER},
            "text_config": {"model_type": "qwen2_5_omni_text", **_QWEN_OMNI_TEXT},
            "vision_config": {"model_type": "qwen2_5_omni_vision_encoder", "hidden_size": 1280},
            "vision_start_token_id": 151652,
        },
        max_windows=150,  # its feature extractor's 300 s, in windows of 2 s
        projector_path="model.audio_tower.proj",
    ),
    "voxtral": Voxtral(
        name="Voxtral",
        model_type="voxtral",
        model_class="VoxtralForConditionalGeneration",
        checkpoint="mistralai/Voxtral-Mini-3B-2507",
        licence="Voxtral weights: Apache-2.0",
        non_commercial=False,
        parameters=4_676_271_104,
        full_size={
            "audio_config": {"model_type": "voxtral_encoder", **_TOWER},
            "text_config": {"model_type": "llama", "rope_theta": 100_000_000.0},
            "audio_token_id": 24,
        },
        max_windows=80,  # 40 minutes, as its card says
        pooling=4,  # four frames of the tower are stacked to one token: 80 ms
        covers_padding=True,
        turn_end="</s>",
    ),
}

#: What sees instead of hearing. The methods that give seconds do not fit them, and say so.
PICTURE_FAMILIES: dict[str, Family] = {
    "llava": Llava(
        name="LLaVA",
        model_type="llava",
        model_class="LlavaForConditionalGeneration",
        checkpoint="llava-hf/llava-1.5-7b-hf",
        licence="LLaVA 1.5 weights: Llama 2 Community License",
        non_commercial=False,
        parameters=7_063_427_072,
        full_size={"text_config": {"model_type": "llama", "vocab_size": 32064}},  # the rest are LlavaConfig's defaults
        turn_end="</s>",
        medium="image",
        audio_tower_path="model.vision_tower",
    ),
}

#: The two that the paper is about.
PAPER_FAMILIES = ("qwen2_audio", "audioflamingo3")

_GEMMA = "most of its decoder blocks see only a sliding window of the past, and some use the keys of others"
_PHI = "its decoder is not a part of its own, and adapters that depend on what it is given change its weights"

#: Kinds of model that hear, but that the methods here do not fit: why.
REFUSED = {
    "gemma3n": f"{_GEMMA}; its states are four a token",
    "gemma4": _GEMMA,
    "gemma4_unified": _GEMMA,
    "phi4_multimodal": _PHI,
    "phi4mm": _PHI,
}


def listening_config(config: Any) -> Any:
    """The configuration of the part that hears and writes: the thinker of a model that also speaks, or all of it."""
    return getattr(config, "thinker_config", None) or config


def family_of(config: Any) -> Family:
    """The entry for a transformers config. Raises UnsupportedModelError that lists what is supported."""
    model_type = getattr(listening_config(config), "model_type", None)
    if model_type in FAMILIES or model_type in PICTURE_FAMILIES:
        return (FAMILIES | PICTURE_FAMILIES)[model_type]
    raise UnsupportedModelError(refusal(model_type))


def refusal(model_type: str | None) -> str:
    """What to tell somebody whose model is of another type: why, where that is known, and what is supported."""
    why = f": {REFUSED[model_type]}" if model_type in REFUSED else ""
    supported = "; ".join(f"{family.name} (for example {family.checkpoint})" for family in FAMILIES.values())
    return f"model type {model_type!r} is not supported{why}; supported are: {supported}"


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
