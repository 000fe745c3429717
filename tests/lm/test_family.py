"""What holds of every model family: its parts are where the entry says, and its tokens are as long."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.models import AudioLM


def test_the_decoder_is_not_the_audio_tower(lm: AudioLM) -> None:
    decoder = lm.family.decoder(lm.model)
    assert decoder is lm.model.model.language_model
    assert decoder is not lm.family.audio_tower(lm.model)
    assert len(lm.family.blocks(lm.model)) == lm.model.config.text_config.num_hidden_layers
    assert lm.family.head(lm.model) is lm.model.get_output_embeddings()
    assert lm.family.norm(lm.model) is decoder.norm
    assert lm.family.attention(lm.blocks[1]) is lm.blocks[1].self_attn
    audio = lm.model.config.audio_config
    width = audio.intermediate_size if lm.family.model_type == "voxtral" else audio.hidden_size  # four frames of it
    heard = torch.zeros(3, width)
    assert lm.family.projector(lm.model)(heard).shape == (3, lm.hidden_size)


def test_a_wrong_width_is_refused(one_model: AudioLM) -> None:
    config = one_model.model.config.text_config
    width = config.hidden_size
    try:
        config.hidden_size = width + 1
        with pytest.raises(UnsupportedModelError, match=f"width {width} .* says width {width + 1}"):
            one_model.family.decoder(one_model.model)
    finally:
        config.hidden_size = width


def test_a_family_with_another_hop(one_model: AudioLM, samples: np.ndarray) -> None:
    """Seconds a token follow the processor's hop and the entry, up to the intervals that a map names."""
    lm = one_model
    extractor = SimpleNamespace(hop_length=240, sampling_rate=24_000, chunk_length=30)
    processor = SimpleNamespace(feature_extractor=extractor)
    assert lm.family.seconds_per_token(processor) == 0.04
    assert replace(lm.family, tower_stride=3, pooling=5).seconds_per_token(processor) == 0.15
    extractor.hop_length = 600
    assert lm.family.seconds_per_token(processor) == 0.1


def test_a_rate_that_is_not_the_processors_is_refused(lm: AudioLM, samples: np.ndarray) -> None:
    """Tokens of another length than the entry says would give wrong seconds without a word. (Voxtral's are made here,
    so that transformers says it first.)"""
    refusal = r"makes 50 audio tokens of 2\.00 s, where .* makes \d+ of \d+ ms|features and audio tokens do not match"
    for wrong in (replace(lm.family, pooling=2 * lm.family.pooling), replace(lm.family, tower_stride=1)):
        other = replace(lm, family=wrong)
        with pytest.raises(ValueError, match=refusal):
            other.hear(samples, sampling_rate=16_000)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1.01, 1.02, 1.03, 3.999])
def test_as_many_audio_tokens_as_the_processor_makes(lm: AudioLM, seconds: float) -> None:
    inputs = lm.family.inputs(lm.processor, lm.prompt("?"), np.ones(round(16_000 * seconds), np.float32), 16_000)
    mel_frames = math.ceil(round(seconds * lm.family.mel_rate, 6))
    made, _ = lm.family.token_counts(mel_frames, 4 * lm.family.mel_rate)
    assert int((inputs["input_ids"] == lm.audio_token_id).sum()) == made


def test_audio_tokens_of_other_strides() -> None:
    family = replace(FAMILIES["qwen2_audio"], tower_stride=3, pooling=4)
    assert [family.audio_tokens(mel_frames) for mel_frames in (1, 9, 10, 21, 22, 36)] == [0, 0, 1, 1, 2, 3]


def test_missing_parts_are_named() -> None:
    with pytest.raises(UnsupportedModelError, match=r"model\.language_model"):
        FAMILIES["qwen2_audio"].decoder(torch.nn.Linear(2, 2))
