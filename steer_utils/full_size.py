"""The configurations of the two published checkpoints, written out: what can be checked before 16 GB are downloaded.

Each number comes from the checkpoint's config.json or from the script that made it; what is not named here is the
default of the transformers classes, as it is for `from_pretrained`. The shapes settle the number of parameters.
"""

from __future__ import annotations

from typing import Any

from transformers import AudioFlamingo3Config, Qwen2AudioConfig

from .families import FAMILIES, UnsupportedModelError

#: Parameters in the published weights. Qwen2-Audio: the hub counts 8.4 B (its technical report, arXiv 2407.10759,
#: says 8.2 B). Audio Flamingo 3: Qwen2.5-7B with the vocabulary below (7.61 B), AF-Whisper (0.64 B), projector.
PARAMETERS = {"qwen2_audio": 8_397_094_912, "audioflamingo3": 8_267_215_360}

#: Both towers have the shape of Whisper large-v3's encoder (arXiv 2407.10759; arXiv 2507.08128). It is named in
#: Qwen2-Audio's config.json, and is the default of AudioFlamingo3EncoderConfig, which the script below takes.
#: 1500 frames after the convolutions are 30 s.
_TOWER = {
    "num_mel_bins": 128,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "max_source_positions": 1500,
}

#: Qwen/Qwen2-Audio-7B-Instruct, config.json: its text_config names the last eight, the rest are Qwen2Config's defaults.
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

#: nvidia/audio-flamingo-3-hf: the Qwen2Config in transformers' convert_audioflamingo3_to_hf.py, into which the
#: published weights are loaded strictly. Qwen2.5-7B's shape, with three tokens added to its vocabulary.
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


def full_size_config(model_type: str) -> Any:
    """A new configuration of the published checkpoint of this family (a key of `families.FAMILIES`).

    Raises UnsupportedModelError for another model type.
    """
    if model_type == "qwen2_audio":
        audio, text = {"model_type": "qwen2_audio_encoder", **_TOWER}, {"model_type": "qwen2", **_QWEN2_AUDIO_TEXT}
        return Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=151646)
    if model_type == "audioflamingo3":
        audio = {"model_type": "audioflamingo3_encoder", **_TOWER}
        text = {"model_type": "qwen2", **_AUDIO_FLAMINGO_3_TEXT}
        return AudioFlamingo3Config(audio_config=audio, text_config=text, audio_token_id=151669)
    raise UnsupportedModelError(f"no full-size checkpoint of {model_type!r}; there are: {', '.join(FAMILIES)}")
