"""Attention rows under SDPA against the full matrices of eager attention; a shared prefix against copies of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from steer_utils.lm import attention
from steer_utils.lm.attention import (
    NAME,
    _lines,
    _recorders,
    attention_rows,
    expanded,
    line_rows,
    own_cache,
    row_weights,
    shared_attention,
)
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import TokenMask, batch_layouts, token_mask
from steer_utils.sound.spans import AudioSpan

SHORT, LONG = "Describe the sound.", "Focus on the dog bark. Is the bell high or low?"


def spans(lm: AudioLM, ids: torch.Tensor) -> list[AudioSpan]:
    layouts = batch_layouts(lm, ids)
    return [AudioSpan(layout.audio.start, len(layout.audio)) for layout in layouts]


def eager_rows(lm: AudioLM, inputs: dict[str, Any], eager: Callable[..., Any]) -> torch.Tensor:
    """The oracle: (batch, blocks, heads, queries, keys)."""
    with eager(lm), torch.no_grad():
        return torch.stack(lm.model(**inputs, output_attentions=True).attentions, dim=1)


def test_prefill_of_a_left_padded_batch(
    lm: AudioLM, samples: np.ndarray, other_samples: np.ndarray, eager: Callable[..., Any], full_inputs: Any
) -> None:
    inputs = full_inputs(lm, (SHORT, samples), (LONG, other_samples))
    assert int(inputs["attention_mask"][0].sum()) < inputs["attention_mask"].shape[1]  # row 0 is padded
    expected = eager_rows(lm, inputs, eager)
    layouts = batch_layouts(lm, inputs["input_ids"])
    audio_spans = spans(lm, inputs["input_ids"])
    assert audio_spans[0].first != audio_spans[1].first
    for positions in ("last", "text", [0, 3, 20]):
        with torch.no_grad(), attention_rows(lm, token_mask(positions, layouts), audio_spans) as rows:
            lm.model(**inputs)
        assert rows.slots == sorted(rows.slots)
        for index, span in enumerate(audio_spans):
            wanted = expected[index][:, :, rows.slots, span.first : span.stop]
            torch.testing.assert_close(rows.weights()[index], wanted, atol=1e-5, rtol=0)
    assert float(expected[..., -1, :].max()) > 0.2  # the oracle's attention is not flat


def test_one_prompt_without_padding_and_without_cache(
    lm: AudioLM, samples: np.ndarray, eager: Callable[..., Any], full_inputs: Any
) -> None:
    """The mask is None here: rows are causal from their own slot."""
    inputs = full_inputs(lm, (LONG, samples))
    expected = eager_rows(lm, inputs, eager)
    (span,) = spans(lm, inputs["input_ids"])
    every = token_mask("all", batch_layouts(lm, inputs["input_ids"]))
    with torch.no_grad(), attention_rows(lm, every, span, blocks=[1, 3]) as rows:
        lm.model(**inputs, use_cache=False)
    torch.testing.assert_close(rows.weights(), expected[:, [1, 3], :, :, span.first : span.stop], atol=1e-5, rtol=0)


def test_each_generated_token_with_a_cache(
    lm: AudioLM, samples: np.ndarray, other_samples: np.ndarray, eager: Callable[..., Any], full_inputs: Any
) -> None:
    inputs = full_inputs(lm, (SHORT, samples), (LONG, other_samples))
    options = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6}
    with eager(lm):
        oracle = lm.model.generate(**inputs, **options, output_attentions=True, return_dict_in_generate=True)
    audio_spans = spans(lm, inputs["input_ids"])
    wanted = token_mask("last", batch_layouts(lm, inputs["input_ids"]))
    with attention_rows(lm, wanted, audio_spans) as rows:
        sequences = lm.model.generate(**inputs, **options)
    assert torch.equal(sequences, oracle.sequences)
    length = inputs["input_ids"].shape[1]
    assert rows.slots == list(range(length - 1, length + 5))
    for step, attentions in enumerate(oracle.attentions):
        for index, span in enumerate(audio_spans):
            expected = torch.stack([block[index, :, -1, span.first : span.stop] for block in attentions])
            torch.testing.assert_close(rows.weights()[index, :, :, step], expected, atol=1e-5, rtol=0)


def test_the_output_is_that_of_sdpa_bit_for_bit(lm: AudioLM, samples: np.ndarray, full_inputs: Any) -> None:
    inputs = full_inputs(lm, (SHORT, samples))
    every = token_mask("all", batch_layouts(lm, inputs["input_ids"]))
    with torch.no_grad():
        before = lm.model(**inputs).logits
        with attention_rows(lm, every, spans(lm, inputs["input_ids"])):
            inside = lm.model(**inputs).logits
    assert torch.equal(before, inside)


def test_nothing_is_left_behind(lm: AudioLM, hook_count: Callable[..., int]) -> None:
    config, hooks = lm.decoder.config, hook_count(lm)
    tower = lm.family.audio_tower(lm.model).config
    mask, span = TokenMask(torch.ones(1, 3, dtype=torch.bool), False), AudioSpan(0, 1)
    assert config._attn_implementation == "sdpa"
    with pytest.raises(RuntimeError, match="inside"), attention_rows(lm, mask, span):
        assert config._attn_implementation == NAME
        assert tower._attn_implementation == "sdpa"  # only the decoder is switched
        with attention_rows(lm, mask, span, blocks=[0]):
            assert config._attn_implementation == NAME
        assert config._attn_implementation == NAME
        raise RuntimeError("inside")
    assert config._attn_implementation == "sdpa"
    assert hook_count(lm) == hooks
    assert not any(block.self_attn in _recorders for block in lm.blocks)


def test_nested_recorders_each_see_their_rows(lm: AudioLM, samples: np.ndarray, full_inputs: Any) -> None:
    inputs = full_inputs(lm, (SHORT, samples))
    layouts, (span,) = batch_layouts(lm, inputs["input_ids"]), spans(lm, inputs["input_ids"])
    with torch.no_grad(), attention_rows(lm, token_mask("text", layouts), span) as outer:
        with attention_rows(lm, token_mask("last", layouts), span, blocks=[2]) as inner:
            lm.model(**inputs)
        first = outer.weights().clone()
        lm.model(**inputs)
    torch.testing.assert_close(first[:, 2, :, -1:], inner.weights()[:, 0])
    assert len(inner.slots) == 1
    assert len(outer.slots) == 2 * first.shape[3]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["none", "boolean", "additive"])
def test_row_weights_for_every_kind_of_mask(kv_heads: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 5, 8, generator=generator)
    key = torch.randn(2, kv_heads, 9, 8, generator=generator)
    allowed = torch.ones(5, 9, dtype=torch.bool).tril(4).expand(2, 1, 5, 9)
    if kind != "none":
        allowed = allowed.clone()
        allowed[1, :, :, 3:6] = False
    additive = torch.zeros(2, 1, 5, 9).masked_fill(~allowed, torch.finfo(torch.float32).min)
    repeated = key.repeat_interleave(4 // kv_heads, dim=1)
    expected = (query @ repeated.transpose(2, 3) * 0.3 + additive).softmax(-1)[:, :, [1, 4]]
    mask = {"none": None, "boolean": allowed, "additive": additive}[kind]
    torch.testing.assert_close(row_weights(query, key, mask, 0.3, torch.tensor([1, 4])), expected)


def test_a_row_that_may_look_nowhere_is_not_nan() -> None:
    query, key = torch.randn(1, 2, 2, 4), torch.randn(1, 2, 3, 4)
    nothing = torch.zeros(1, 1, 2, 3, dtype=torch.bool)
    assert torch.isfinite(row_weights(query, key, nothing, 1.0, torch.tensor([0]))).all()


def test_what_is_refused(lm: AudioLM, samples: np.ndarray, full_inputs: Any) -> None:
    mask, span = TokenMask(torch.ones(1, 3, dtype=torch.bool), False), AudioSpan(0, 1)
    with pytest.raises(ValueError, match="equally many tokens"), attention_rows(lm, mask, [span, AudioSpan(0, 2)]):
        pass
    for blocks in ([4], [-5], []):
        with (
            pytest.raises(ValueError, match=r"but the model has blocks 0 to 3|blocks is \[\]; pass"),
            attention_rows(lm, mask, span, blocks=blocks),
        ):
            pass
    with attention_rows(lm, mask, span, blocks=[-1, 0]) as rows:
        assert rows.blocks == (3, 0)
    with pytest.raises(ValueError, match="no query row was recorded"):
        rows.weights()
    inputs = full_inputs(lm, (SHORT, samples))
    with (
        pytest.raises(ValueError, match="2 audio spans were given for a batch of 1"),
        attention_rows(lm, mask, [span, span]),
    ):
        lm.model(**inputs)
    assert lm.decoder.config._attn_implementation == "sdpa"


# -- behind a prefix that is not copied -----------------------------------------------------------------------------
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


def oracle(
    query: torch.Tensor, prefix: Any, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
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
    tensors = material(kv_heads, groups, tokens, past, seed)
    kept = [tokens - 1, 0, 0]  # in any order, and twice
    output, weights = shared_attention(**tensors, kept=torch.tensor(kept))
    expected, whole = oracle(**tensors)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights, whole[:, kept], atol=1e-6, rtol=1e-5)


def test_tokens_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {**material(2, 2, 5, 7, 1), "kept": torch.tensor([3, 0, 4, 3])}
    whole = shared_attention(**tensors)
    for tokens in (1, 2):
        monkeypatch.setattr(attention, "CHUNK_BYTES", tokens * 4 * 4 * (7 + 5))
        for expected, actual in zip(whole, shared_attention(**tensors), strict=True):
            torch.testing.assert_close(actual, expected)


def test_no_row_kept_is_no_row() -> None:
    assert shared_attention(**material(2, 1, 3, 6, 4), kept=torch.tensor([], dtype=torch.long))[1].shape == (2, 0, 6)


def test_scores_beyond_float_range_do_not_overflow() -> None:
    tensors = material(2, 1, 3, 6, 4)
    tensors["query"] = tensors["query"] * 1e4
    output, weights = shared_attention(**tensors, kept=torch.tensor([2]))
    assert output.isfinite().all() and weights.isfinite().all()


@pytest.mark.parametrize(("dtype", "rows", "outputs"), [(torch.bfloat16, 0.004, 0.02), (torch.float16, 0.001, 0.004)])
def test_large_key_biases_in_half_precision(dtype: torch.dtype, rows: float, outputs: float) -> None:
    """Qwen2.5's decoders have key biases of norm 600 to 900: equal for all keys, so that the weights do not feel them,
    but scores rounded to 16 bits do. The oracle takes the same numbers in float64."""
    tensors = {**material(2, 2, 6, 200, 2), "kept": torch.arange(6), "scaling": 8**-0.5}
    bias = torch.nn.functional.normalize(torch.randn(8, generator=torch.Generator().manual_seed(3)), dim=0) * 921
    tensors["key"] = tensors["key"] + bias
    tensors["prefix"] = (tensors["prefix"][0] + bias, tensors["prefix"][1])
    half = {
        name: tuple(part.to(dtype) for part in value) if name == "prefix" else value.to(dtype)
        for name, value in tensors.items()
        if name in ("query", "prefix", "key", "value")
    }
    exact = {
        name: tuple(p.double() for p in part) if name == "prefix" else part.double() for name, part in half.items()
    }
    expected, whole = oracle(**exact, mask=tensors["mask"], scaling=tensors["scaling"])
    output, weights = shared_attention(**{**tensors, **half})
    assert output.dtype == dtype and weights.dtype == torch.float32
    assert 0.5 * float((weights - whole).abs().sum(-1).max()) <= rows
    assert float((output.double() - expected).abs().max()) <= outputs * float(expected.abs().max())
    # And so are the rows that are kept beside SDPA.
    keys, last = torch.cat([half["prefix"][0], half["key"][None]], dim=2), torch.tensor([5])  # it sees only its own
    own = torch.cat([torch.ones(1, 200, dtype=torch.bool), tensors["mask"][5:]], dim=1).expand(6, -1)[None, None]
    recorded = row_weights(half["query"][None], keys, own, tensors["scaling"], last)[0, :, :, :200]
    assert 0.5 * float((recorded - whole[:, 5:]).abs().sum(-1).max()) <= rows


def test_flat_attention_over_many_tokens_in_float16() -> None:
    """Ten minutes of audio: 15 000 equal weights, whose sum with values of 8 is beyond float16."""
    half, past = torch.float16, 15_000
    prefix = (torch.zeros(1, 1, past, 8, dtype=half), torch.full((1, 1, past, 8), 8.0, dtype=half))
    own = torch.zeros(1, 1, 8, dtype=half)
    mask = torch.ones(1, 1, dtype=torch.bool)
    output, weights = shared_attention(own, prefix, own, own + 8, mask, 1.0, torch.tensor([0]))
    torch.testing.assert_close(output, torch.full((1, 1, 8), 8.0, dtype=half), atol=0.02, rtol=0)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-3)


def test_a_static_cache_is_refused(lm: AudioLM, samples: np.ndarray, full_inputs: Any) -> None:
    """Its keys are padded, so that a row would be recorded under the wrong slot."""
    inputs = full_inputs(lm, (SHORT, samples))
    layouts, (span,) = batch_layouts(lm, inputs["input_ids"]), spans(lm, inputs["input_ids"])
    options = {"max_new_tokens": 2, "do_sample": False, "disable_compile": True}
    with attention_rows(lm, token_mask("last", layouts), span) as rows:
        with pytest.raises(ValueError, match="need a growing cache"):
            lm.model.generate(**inputs, cache_implementation="static", **options)
        lm.model.generate(**inputs, **options)
    assert rows.slots[0] == inputs["input_ids"].shape[1] - 1


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
    with pytest.raises(RuntimeError, match="inside"), line_rows(lm, [(hearing._prefix.layers, hearing.span)], []):
        assert all(block.self_attn in _lines for block in lm.blocks)
        raise RuntimeError("inside")
    assert lm.decoder.config._attn_implementation == before
    assert not any(block.self_attn in _lines for block in lm.blocks)
