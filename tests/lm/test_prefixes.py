"""The shared prefix. That it equals a full forward is tested in test_hearing."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tinies import covering_padding
from tones import tones

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.prefixes import Prefix, encode, encode_many
from steer_utils.lm.steering import Injection

RATE = 16_000
SHORT, OTHER = "Describe the sound.", "Focus on the bell."


def test_what_a_plan_is_told_of_it(hearing: Hearing) -> None:
    prefix, lm = hearing._prefix, hearing.checkpoint
    shape = prefix.shape
    assert (shape.span, shape.length, shape.num_blocks) == (prefix.span, prefix.length, lm.num_blocks)
    assert (shape.length > shape.span.stop) == lm.family.covers_padding
    assert shape.head == lm.tokens(SHORT).head
    width = 16 if lm.family.model_type == "voxtral" else 12
    assert shape.cache_bytes == 2 * 4 * 2 * width * prefix.length * 4  # blocks, key/value heads, head width, float32
    assert shape.map_bytes == hearing.read(SHORT).attention.share.nbytes


def test_tokens_of_padding_are_heard_but_are_no_time(one_model: AudioLM, samples: np.ndarray) -> None:
    """Two seconds in a window of four: 100 tokens run, the curve is over the first 50, and the text comes after all."""
    lm = one_model
    padded = covering_padding(lm)
    hearing = padded.hear(samples, sampling_rate=16_000)
    assert (hearing.span.count, hearing.span.duration) == (50, 2.0)
    assert hearing.prefix_length == hearing.span.first + 100

    whole = lm.hear(np.pad(samples, (0, 2 * 16_000)), sampling_rate=16_000)  # the silence as if it had been recorded
    vector = whole.contrast(OTHER, SHORT)
    rows = [Row(SHORT), *(Row(SHORT, Injection(vector, 2.0, where)) for where in ("last", "text", "audio"))]
    for reading, other in zip(hearing.read_rows(rows), whole.read_rows(rows), strict=True):
        torch.testing.assert_close(reading.logits, other.logits)
        ours, theirs = (map.share * map.mass[..., None] for map in (reading.attention, other.attention))
        torch.testing.assert_close(ours, theirs[..., :50])
    assert hearing.answers(rows) == whole.answers(rows)

    forgotten = replace(padded, family=lm.family)
    with pytest.raises(CheckpointError, match=r"makes 100 audio tokens of 2\.00 s, where .* makes 50 of 40 ms"):
        forgotten.hear(samples, sampling_rate=16_000)


def check_equal(many: list[Prefix], singles: list[Prefix]) -> None:
    for together, alone in zip(many, singles, strict=True):
        assert together.span == alone.span and torch.equal(together.ids, alone.ids)
        for mine, other in zip(states(together), states(alone), strict=True):
            torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)


def states(prefix: Prefix) -> list[torch.Tensor]:
    return [prefix.embeddings, *(tensor for pair in prefix.layers for tensor in pair)]


@pytest.mark.parametrize("seconds", [(2.0, 2.0, 2.0), (1.3, 4.0, 0.1, 2.7), (4.0,)], ids=["equal", "unequal", "one"])
def test_audios_encoded_together_are_what_each_is_alone(lm: AudioLM, seconds: tuple[float, ...]) -> None:
    audios = tones(*seconds)
    singles = [encode(lm, samples) for samples in audios]
    check_equal(encode_many(lm, audios), singles)
    check_equal(encode_many(lm, audios[::-1]), singles[::-1])
    if len(seconds) > 1:  # the comparison can fail: another audio is far away
        first, second = (prefix.layers[-1][1][:, :, -1] for prefix in singles[:2])
        assert float((first - second).abs().max()) > 1e-2
    assert encode_many(lm, []) == []


def test_audios_whose_tokens_cover_padding_are_encoded_together(lm: AudioLM) -> None:
    padded, audios = covering_padding(lm), tones(1.3, 4.0)
    check_equal(encode_many(padded, audios), [encode(padded, samples) for samples in audios])


def test_audios_of_several_windows_are_encoded_together(tiny_models: dict[str, AudioLM]) -> None:
    """Audio Flamingo 3 joins windows: those of all audios stand in one batch of its tower."""
    tiny = tiny_models["audioflamingo3"]
    processor = copy.deepcopy(tiny.processor)
    processor.max_audio_len = 12
    lm = AudioLM(tiny.model, processor, tiny.family, "joins windows")
    audios = tones(9.5, 1.0, 6.0)
    many = encode_many(lm, audios)
    assert [prefix.span.count for prefix in many] == [237, 25, 150]
    check_equal(many, [encode(lm, samples) for samples in audios])


def test_audios_whose_features_have_other_shapes_run_apart(one_model: AudioLM) -> None:
    """Some processors pad to the longest and not to a window; what they give cannot stand in one batch."""
    runs: list[int] = []

    class Narrow(type(one_model.family)):  # type: ignore[misc]
        def inputs(self, processor: object, text: str, samples: np.ndarray, rate: int) -> dict[str, torch.Tensor]:
            values = super().inputs(processor, text, samples, rate)
            return {**values, "extra": torch.zeros(1, 3 if len(samples) > RATE else 2)}

    family = Narrow(**vars(one_model.family))
    lm = AudioLM(one_model.model, one_model.processor, family, "narrow")
    backbone = family.backbone(lm.model)
    drop = backbone.register_forward_pre_hook(
        lambda module, args, kwargs: (runs.append(len(kwargs.pop("extra"))), (args, kwargs))[1], with_kwargs=True
    )
    audios = tones(2.0, 0.5, 1.5)
    try:
        many = encode_many(lm, audios)
    finally:
        drop.remove()
    assert runs == [2, 1]
    check_equal(many, [encode(one_model, samples) for samples in audios])


def test_a_prefix_that_is_kept_does_not_keep_its_batch(one_model: AudioLM) -> None:
    short, _ = encode_many(one_model, tones(0.5, 4.0))
    for tensor in states(short):
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
