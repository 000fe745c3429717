"""The shared prefix. That it equals a full forward is tested in test_hearing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tinies import covering_padding

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection

SHORT, OTHER = "Describe the sound.", "Focus on the bell."


def test_what_a_plan_is_told_of_it(hearing: Hearing) -> None:
    prefix, lm = hearing._prefix, hearing.checkpoint
    shape = prefix.shape
    assert (shape.span, shape.length, shape.num_blocks) == (prefix.span, prefix.length, lm.num_blocks)
    assert shape.length == shape.span.stop  # these families make no tokens of padding
    assert shape.head == lm.tokens(SHORT).head
    assert shape.cache_bytes == 2 * 4 * 2 * 12 * prefix.length * 4  # blocks, key/value heads, head width, float32
    assert shape.map_bytes == hearing.read(SHORT).attention.share.nbytes


def test_tokens_of_padding_are_heard_but_are_no_time(lm: AudioLM, samples: np.ndarray) -> None:
    """Two seconds in a window of four: 100 tokens run, the curve is over the first 50, and the text comes after all."""
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
