"""How many rows one forward takes. What the rows give is tested in test_hearing."""

from __future__ import annotations

import pytest
import torch

from steer_utils import batches
from steer_utils.batches import MAX_BATCH, MAX_COPIES, Row, rows_at_once
from steer_utils.hearing import Hearing


def test_rows_at_once() -> None:
    assert rows_at_once(1) == MAX_BATCH
    assert rows_at_once(MAX_COPIES // 4) == 4
    assert rows_at_once(MAX_COPIES // 4 + 1) == 3
    assert rows_at_once(100 * MAX_COPIES) == 1  # a call must go on, whatever it takes
    # Qwen2-Audio in bfloat16: 32 blocks of keys and values, 32 heads of 128, for 17 s and for 30 s of audio.
    assert [rows_at_once(2 * 2 * 32 * 32 * 128 * tokens) for tokens in (20 + 425, 20 + 750)] == [18, 10]


def test_large_caches_are_copied_a_few_at_a_time(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = hearing._prefix
    assert prefix.cache_bytes == 2 * 4 * 2 * 12 * prefix.length * 4  # blocks, key/value heads, head width, float32
    rows = [Row(f"Describe the sound. {word}") for word in ("one", "two two", "three three three")]
    together = hearing.read_rows(rows)
    monkeypatch.setattr(batches, "MAX_COPIES", 2 * prefix.cache_bytes)
    assert [indices for indices, _ in batches.batches(rows, prefix, "last")] == [[0, 1], [2]]
    for few, all_at_once in zip(hearing.read_rows(rows), together, strict=True):
        assert few.instruction == all_at_once.instruction
        torch.testing.assert_close(few.logits, all_at_once.logits, atol=1e-4, rtol=1e-4)
