"""Attention behind a prefix that is not copied: equal to attention with the copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from steer_utils import shared_attention as module
from steer_utils.attention import attention_rows
from steer_utils.batches import Row
from steer_utils.hearing import Hearing
from steer_utils.models import AudioLM
from steer_utils.positions import TokenMask
from steer_utils.shared_attention import expanded, own_cache, shared_attention


def material(rows: int, kv_heads: int, groups: int, queries: int, past: int, seed: int) -> dict[str, Any]:
    """Random queries, prefix, own keys and values, and a causal mask whose first rows are padded."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    mask = torch.ones(rows, 1, queries, past + queries, dtype=torch.bool).tril(past)
    for row in range(rows):
        mask[row, :, :, past : past + row % queries] = False
    return {
        "query": draw(rows, kv_heads * groups, queries, 8),
        "prefix": (draw(1, kv_heads, past, 8), draw(1, kv_heads, past, 8)),
        "key": draw(rows, kv_heads, queries, 8),
        "value": draw(rows, kv_heads, queries, 8),
        "mask": mask,
        "scaling": 0.6,
    }


def oracle(query: torch.Tensor, prefix: Any, key: torch.Tensor, value: torch.Tensor, mask: Any,
           scaling: float) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """With the prefix copied for each row: SDPA's output, and the whole softmax."""
    key, value = expanded(prefix, (key, value))
    output = scaled_dot_product_attention(query, key, value, mask, scale=scaling, enable_gqa=True)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    weights = (query @ key.transpose(2, 3) * scaling).masked_fill(~mask, -torch.inf).softmax(dim=-1)
    return output.transpose(1, 2), weights[..., : prefix[0].shape[2]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.integers(0, 9))
def test_it_equals_attention_over_copies(
    rows: int, kv_heads: int, groups: int, queries: int, past: int, seed: int
) -> None:
    made = material(rows, kv_heads, groups, queries, past, seed)
    output, weights = shared_attention(**made, kept=torch.tensor([queries - 1, 0]))
    right, whole = oracle(**made)
    torch.testing.assert_close(output, right, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights, whole[:, :, [queries - 1, 0]], atol=1e-6, rtol=1e-5)


def test_rows_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {**material(5, 2, 2, 4, 7, 1), "kept": torch.tensor([3])}
    whole = shared_attention(**made)
    monkeypatch.setattr(module, "CHUNK_BYTES", 2 * 4 * 4 * 4 * 7)  # two rows at a time
    for one, other in zip(whole, shared_attention(**made), strict=True):
        torch.testing.assert_close(one, other)


def test_one_query_needs_no_mask() -> None:
    made = {**material(1, 2, 1, 1, 6, 4), "kept": torch.tensor([0])}
    for one, other in zip(shared_attention(**made), shared_attention(**{**made, "mask": None}), strict=True):
        torch.testing.assert_close(one, other)


def test_no_row_kept_is_no_row() -> None:
    made = material(2, 2, 1, 3, 6, 4)
    assert shared_attention(**made, kept=torch.tensor([], dtype=torch.long))[1].shape == (2, 2, 0, 6)


def test_scores_beyond_float_range_do_not_overflow() -> None:
    made = material(2, 2, 1, 3, 6, 4)
    made["query"] = made["query"] * 1e4
    output, weights = shared_attention(**made, kept=torch.tensor([2]))
    assert output.isfinite().all() and weights.isfinite().all()


def test_the_cache_counts_and_refuses_a_second_call() -> None:
    cache = own_cache(10, 2)
    key = torch.zeros(3, 2, 4, 8)
    assert cache.get_seq_length(0) == 10
    assert cache.update(key, key, 0)[0] is key  # not joined to anything
    assert (cache.get_seq_length(0), cache.get_seq_length(1)) == (14, 10)
    with pytest.raises(RuntimeError, match="one call"):
        cache.update(key, key, 0)


def test_an_outer_recording_sees_what_it_would_see(hearing: Hearing, lm: AudioLM) -> None:
    alone = hearing.read("Describe the sound.").attention
    slots = hearing.prefix_length + len(lm.tokens("Describe the sound.").tail)
    last = TokenMask(torch.arange(slots)[None] == slots - 1, False)
    with attention_rows(lm, last, hearing.span) as outer:
        (reading,) = hearing.read_rows([Row("Describe the sound.")])
    torch.testing.assert_close(reading.attention.share, alone.share, atol=1e-6, rtol=0)
    torch.testing.assert_close(outer.weights()[0], alone.share * alone.mass[..., None], atol=1e-5, rtol=0)


def test_a_shared_prefix_goes_with_one_span_and_all_blocks(hearing: Hearing, lm: AudioLM) -> None:
    with pytest.raises(ValueError, match="one audio span"), attention_rows(
        lm, TokenMask(torch.ones(1, 1, dtype=torch.bool), False), hearing.span, blocks=[0], prefix=[]
    ):  # fmt: skip
        pass
