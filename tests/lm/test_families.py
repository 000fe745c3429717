"""Family entries: parts are found by path, the audio comes first, seconds and tokens are those of the processor."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.lm.families import FAMILIES, UnsupportedModelError, family_of
from steer_utils.lm.models import AudioLM


def test_the_decoder_is_not_the_audio_tower(lm: AudioLM) -> None:
    decoder = lm.family.decoder(lm.model)
    assert decoder is lm.model.model.language_model
    assert decoder is not lm.family.audio_tower(lm.model)
    assert len(lm.family.blocks(lm.model)) == lm.model.config.text_config.num_hidden_layers
    assert lm.family.head(lm.model) is lm.model.get_output_embeddings()
    assert lm.family.norm(lm.model) is decoder.norm
    assert lm.family.attention(lm.blocks[1]) is lm.blocks[1].self_attn
    heard = torch.zeros(3, lm.model.config.audio_config.hidden_size)
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
    """Tokens of another length than the entry says would give wrong seconds without a word."""
    for wrong in (replace(lm.family, pooling=4), replace(lm.family, tower_stride=1)):
        other = replace(lm, family=wrong)
        with pytest.raises(CheckpointError, match=r"makes 50 audio tokens of 2\.00 s, where .* makes \d+ of \d0 ms"):
            other.hear(samples, sampling_rate=16_000)


def test_the_rate_of_voxtral() -> None:
    """12.5 tokens a second, of which there are as many as whole windows of 30 s have."""
    voxtral = replace(FAMILIES["qwen2_audio"], pooling=4, covers_padding=True)
    extractor = SimpleNamespace(hop_length=160, sampling_rate=16_000)
    assert voxtral.seconds_per_token(SimpleNamespace(feature_extractor=extractor)) == 0.08
    counts = {mel_frames: voxtral.token_counts(mel_frames, 3000) for mel_frames in (5, 1700, 3000, 3100)}
    assert counts == {5: (375, 1), 1700: (375, 212), 3000: (375, 375), 3100: (750, 387)}


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1.01, 1.02, 1.03, 3.999])
def test_as_many_audio_tokens_as_the_processor_makes(lm: AudioLM, seconds: float) -> None:
    inputs = lm.family.inputs(lm.processor, lm.prompt("?"), np.ones(round(16_000 * seconds), np.float32), 16_000)
    mel_frames = math.ceil(round(seconds * lm.family.mel_rate, 6))
    assert int((inputs["input_ids"] == lm.audio_token_id).sum()) == lm.family.audio_tokens(mel_frames)


def test_audio_tokens_of_other_strides() -> None:
    family = replace(FAMILIES["qwen2_audio"], tower_stride=3, pooling=4)
    assert [family.audio_tokens(mel_frames) for mel_frames in (1, 9, 10, 21, 22, 36)] == [0, 0, 1, 1, 2, 3]


def test_missing_parts_are_named() -> None:
    with pytest.raises(UnsupportedModelError, match=r"model\.language_model"):
        FAMILIES["qwen2_audio"].decoder(torch.nn.Linear(2, 2))


def test_family_of(lm: AudioLM) -> None:
    assert family_of(lm.model.config) is lm.family
    with pytest.raises(UnsupportedModelError, match=r"'gpt2' is not supported.*qwen2_audio.*audioflamingo3"):
        family_of(SimpleNamespace(model_type="gpt2"))


def test_everything_up_to_the_audio_is_the_same_under_every_instruction(lm: AudioLM, samples: np.ndarray) -> None:
    prefixes = set()
    for instruction in (
        "Focus on the dog bark.",
        "Listen to the whole audio. Describe the sound.",
        "assistant audio 1",
    ):
        inputs = lm.family.inputs(lm.processor, lm.prompt(instruction), samples, 16_000)
        ids = inputs["input_ids"][0].tolist()
        last = max(slot for slot, token in enumerate(ids) if token == lm.audio_token_id)
        prefixes.add(tuple(ids[: last + 1]))
        assert ids.count(lm.audio_token_id) == 50  # two seconds
        assert tuple(ids[last + 1 :]) == lm.tokens(instruction).tail
    assert len(prefixes) == 1


def test_only_the_non_commercial_weights_carry_a_note() -> None:
    assert [family.name for family in FAMILIES.values() if family.non_commercial] == ["Audio Flamingo 3"]
