"""The families that hear: one entry says all that the library must know of one; to add one, add an entry to FAMILIES.

Each number of a published checkpoint comes from its config.json or from the script that made it; what is not named
here is the default of the transformers classes, as it is for `from_pretrained`. So a model can be laid out, and its
cost counted, before 16 GB are downloaded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, Qwen2AudioProcessor, VoxtralProcessor, WhisperFeatureExtractor

from steer_utils.lm.family import Family as Family  # lessons take it from here
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.picture_families import PICTURE_FAMILIES


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
