"""Attention behind a prefix that is not copied: equal to attention with the copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from steer_utils.lm import attention as module
from steer_utils.lm.attention import _lines, attention_rows, expanded, line_rows, own_cache, shared_attention
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import TokenMask


def material(kv_heads: int, groups: int, tokens: int, past: int, seed: int) -> dict[str, Any]:
    """Random queries, prefix, own keys and values, and a mask in which each token sees itself and some others."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "query": draw(kv_heads * groups, tokens, 8),
        "prefix": (draw(1, kv_heads, past, 8), draw(1, kv_heads, past, 8)),
        "key": draw(kv_heads, tokens, 8),
        "value": draw(kv_heads, tokens, 8),
        "mask": (draw(tokens, tokens) > 0) | torch.eye(tokens, dtype=torch.bool),
        "scaling": 0.6,
    }


def oracle(query: torch.Tensor, prefix: Any, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor,
           scaling: float) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """With prefix and line in one: SDPA's output, and the whole softmax."""
    past = prefix[0].shape[2]
    key, value = expanded(prefix, (key[None], value[None]))
    mask = torch.nn.functional.pad(mask, (past, 0), value=True)
    output = scaled_dot_product_attention(query[None], key, value, mask, scale=scaling, enable_gqa=True)
    key = key.repeat_interleave(query.shape[0] // key.shape[1], dim=1)
    weights = (query @ key[0].transpose(1, 2) * scaling).masked_fill(~mask, -torch.inf).softmax(dim=-1)
    return output[0].transpose(0, 1), weights[..., :past]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.integers(0, 9))
def test_it_equals_attention_over_copies(kv_heads: int, groups: int, tokens: int, past: int, seed: int) -> None:
    made = material(kv_heads, groups, tokens, past, seed)
    kept = [tokens - 1, 0, 0]  # in any order, and twice
    output, weights = shared_attention(**made, kept=torch.tensor(kept))
    right, whole = oracle(**made)
    torch.testing.assert_close(output, right, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights, whole[:, kept], atol=1e-6, rtol=1e-5)


def test_tokens_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {**material(2, 2, 5, 7, 1), "kept": torch.tensor([3, 0, 4, 3])}
    whole = shared_attention(**made)
    for tokens in (1, 2):
        monkeypatch.setattr(module, "CHUNK_BYTES", tokens * 4 * 4 * (7 + 5))
        for one, other in zip(whole, shared_attention(**made), strict=True):
            torch.testing.assert_close(one, other)


def test_no_row_kept_is_no_row() -> None:
    assert shared_attention(**material(2, 1, 3, 6, 4), kept=torch.tensor([], dtype=torch.long))[1].shape == (2, 0, 6)


def test_scores_beyond_float_range_do_not_overflow() -> None:
    made = material(2, 1, 3, 6, 4)
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


def test_attention_is_as_before_after_an_exception(hearing: Hearing, lm: AudioLM) -> None:
    before = lm.decoder.config._attn_implementation
    with pytest.raises(RuntimeError, match="inside"), line_rows(lm, hearing._prefix.layers, [], hearing.span):
        assert all(block.self_attn in _lines for block in lm.blocks)
        raise RuntimeError("inside")
    assert lm.decoder.config._attn_implementation == before
    assert not any(block.self_attn in _lines for block in lm.blocks)
