"""Attention rows read under SDPA against the full matrices of eager attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from steer_utils.lm.attention import NAME, _recorders, attention_rows, row_weights
from steer_utils.lm.models import AudioLM
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
    own = spans(lm, inputs["input_ids"])
    assert own[0].first != own[1].first
    for positions in ("last", "text", [0, 3, 20]):
        with torch.no_grad(), attention_rows(lm, token_mask(positions, layouts), own) as rows:
            lm.model(**inputs)
        assert rows.slots == sorted(rows.slots)
        for index, span in enumerate(own):
            wanted = expected[index][:, :, rows.slots, span.first : span.stop]
            torch.testing.assert_close(rows.weights()[index], wanted, atol=1e-5, rtol=0)
            torch.testing.assert_close(rows.mass()[index], wanted.sum(-1), atol=1e-5, rtol=0)
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
    own = spans(lm, inputs["input_ids"])
    wanted = token_mask("last", batch_layouts(lm, inputs["input_ids"]))
    with attention_rows(lm, wanted, own) as rows:
        made = lm.model.generate(**inputs, **options)
    assert torch.equal(made, oracle.sequences)
    length = inputs["input_ids"].shape[1]
    assert rows.slots == list(range(length - 1, length + 5))
    for step, attentions in enumerate(oracle.attentions):
        for index, span in enumerate(own):
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
    with attention_rows(lm, mask, span) as rows:
        pass
    with pytest.raises(ValueError, match="no query row was recorded"):
        rows.weights()
    inputs = full_inputs(lm, (SHORT, samples))
    with (
        pytest.raises(ValueError, match="2 audio spans were given for a batch of 1"),
        attention_rows(lm, mask, [span, span]),
    ):
        lm.model(**inputs)
    assert lm.decoder.config._attn_implementation == "sdpa"
