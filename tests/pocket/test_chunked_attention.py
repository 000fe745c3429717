"""Chunked attention is eager attention: outputs, gradients, masks and key heads, however small the chunks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2.modeling_qwen2 import eager_attention_forward

from steer_utils.pocket import chunked_attention as module
from steer_utils.pocket.chunked_attention import NAME, chunked, chunked_attention
from steer_utils.pocket.corpus import tower_states

LOWEST = torch.finfo(torch.float64).min


def states(
    batch: int, heads: int, kv_heads: int, queries: int, keys: int, kind: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random queries, keys, values that want gradients, (batch, heads, tokens, 8)."""
    shapes = ((batch, heads, queries, 8), (batch, kv_heads, keys, 8), (batch, kv_heads, keys, 8))
    query, key, value = (torch.randn(*shape, dtype=torch.float64).to(kind).requires_grad_() for shape in shapes)
    return query, key, value


def eager(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Transformers' own, with a mask that is added."""
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)
    layer: Any = SimpleNamespace(num_key_value_groups=query.shape[1] // key.shape[1], training=True)
    return eager_attention_forward(layer, query, key, value, mask, scaling=8**-0.5)[0]


def ours(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return chunked_attention(torch.nn.Identity(), query, key, value, mask)[0]


def gradients(output: torch.Tensor, wanted: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    weight = torch.sin(torch.arange(output.numel(), dtype=torch.float64)).view(output.shape).to(output.dtype)
    return torch.autograd.grad((output * weight).sum(), wanted)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    queries=st.integers(1, 9),
    keys=st.integers(1, 9),
    mask=st.sampled_from(["none", "keys", "rows", "one for all", "numbers"]),
    chunk=st.sampled_from([1, 700, 2**22]),
    seed=st.integers(0, 99),
)
def test_it_is_eager_attention_forward_and_back(
    batch: int, kv_heads: int, group: int, queries: int, keys: int, mask: str, chunk: int, seed: int
) -> None:
    torch.manual_seed(seed)
    made = states(batch, kv_heads * group, kv_heads, queries, keys)
    shape = {"none": (), "keys": (batch, 1, 1, keys), "one for all": (1, 1, queries, keys)}.get(
        mask, (batch, 1, queries, keys)
    )
    seen = torch.rand(shape) < 0.6
    if mask != "none":
        seen[..., 0] = True  # a query with nothing to look at has no answer
    hidden: torch.Tensor | None = None if mask == "none" else seen
    if mask == "numbers":
        hidden = torch.randn(shape, dtype=torch.float64).masked_fill(~seen, LOWEST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", chunk)
        output, expected = ours(*made, hidden), eager(*made, hidden)
        assert torch.allclose(output, expected.to(output.dtype), atol=1e-6)  # transformers' softmax is in float32
        for mine, theirs in zip(gradients(output, made), gradients(expected, made), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-5)


def test_its_gradient_is_the_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    torch.manual_seed(0)
    made = states(2, 4, 2, 3, 5)
    seen = torch.tensor([True, True, False, True, False]).expand(2, 1, 3, 5)
    assert torch.autograd.gradcheck(lambda *each: ours(*each, seen), made)


def test_what_is_hidden_is_neither_heard_nor_taught() -> None:
    torch.manual_seed(0)
    query, key, value = states(1, 2, 2, 3, 6)
    seen = torch.ones(1, 1, 3, 6, dtype=torch.bool)
    seen[..., 4:] = False
    output = ours(query, key, value, seen)
    assert torch.equal(output, ours(query, key, value.detach().clone().index_fill_(2, torch.tensor([4, 5]), 9.0), seen))
    for each in gradients(output, (key, value)):
        assert each[:, :, :4].any() and not each[:, :, 4:].any()


@pytest.mark.parametrize("lowest", [torch.finfo(torch.float32).min, -float("inf")])
def test_numbers_of_a_wider_type_do_not_become_nan(lowest: float) -> None:
    """The lowest float32 is -inf in bfloat16, and a query that may look at nothing then has no softmax."""
    query, key, value = states(2, 2, 2, 3, 6, torch.bfloat16)
    nothing = torch.full((2, 1, 3, 6), lowest)
    assert torch.isfinite(ours(query, key, value, nothing)).all()


def test_under_autocast_products_are_in_half_precision() -> None:
    """Rotary positions leave queries and keys in float32, values are in bfloat16."""
    query, key, _ = states(2, 2, 2, 5, 5, torch.float32)
    value = torch.randn(2, 2, 5, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        output = ours(query, key, value, None)
    assert output.dtype == torch.bfloat16
    exact = eager(query, key, value.float(), None)
    assert torch.allclose(output.float(), exact, atol=0.05)


def test_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"knows no dropout, 0\.1 was asked for; use eager"):
        chunked_attention(torch.nn.Identity(), *states(1, 1, 1, 2, 2), None, dropout=0.1)


def test_a_tower_and_a_decoder_answer_as_with_eager_attention(fresh: tuple[Any, Any]) -> None:
    model, _ = fresh
    tower, decoder = model.model.audio_tower, model.model.language_model
    torch.manual_seed(0)
    mel, lengths = torch.randn(3, 40, 800), torch.tensor([800, 500, 301])
    ids = torch.arange(5, 25)[None].expand(2, -1)
    seen = torch.ones(20, 20, dtype=torch.bool).tril()[None, None].expand(2, 1, -1, -1)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        heard = tower_states(model, mel, lengths)
        return heard, decoder(input_ids=ids, attention_mask=seen, use_cache=False).last_hidden_state

    tower.set_attn_implementation("eager")
    expected_heard, expected_hidden = both()  # the decoder with SDPA: eager attention takes no mask of True and False
    with chunked(tower), chunked(decoder):
        assert tower.config._attn_implementation == decoder.config._attn_implementation == NAME
        heard, hidden = both()
    for row, tokens in enumerate((200, 125, 75)):  # what stands after the end of an audio is of no matter
        assert torch.allclose(heard[row, :tokens], expected_heard[row, :tokens], atol=1e-4)
    assert torch.allclose(hidden, expected_hidden, atol=1e-4)


def test_the_attention_of_before_comes_back_after_an_error(fresh: tuple[Any, Any]) -> None:
    tower = fresh[0].model.audio_tower
    before = tower.config._attn_implementation
    with pytest.raises(RuntimeError, match="in between"), chunked(tower):
        raise RuntimeError("in between")
    assert tower.config._attn_implementation == before != NAME
