"""Kept hidden states against transformers' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from steer_utils.lm.hidden_states import hidden_states
from steer_utils.lm.models import AudioLM
from steer_utils.lm.positions import batch_layouts, token_mask


def test_equal_to_output_hidden_states(
    lm: AudioLM, samples: np.ndarray, other_samples: np.ndarray, full_inputs: Any
) -> None:
    pairs = (("Describe the sound.", samples), ("Focus on the dog bark.", other_samples))
    inputs = full_inputs(lm, *pairs)
    wanted = token_mask("text", batch_layouts(lm, inputs["input_ids"]))
    with torch.no_grad():
        expected = lm.model(**inputs, output_hidden_states=True).hidden_states
        with hidden_states(lm, wanted) as kept:
            lm.model(**inputs)
    states = kept.states()
    assert states.shape == (2, 4, len(kept.slots), 48)
    for block in range(3):
        torch.testing.assert_close(states[:, block], expected[block + 1][:, kept.slots])
    # transformers' last state comes after the final norm, ours before it
    torch.testing.assert_close(lm.decoder.norm(states[:, 3]), expected[4][:, kept.slots])


def test_tokens_of_a_generation_are_kept_as_they_come(lm: AudioLM, samples: np.ndarray, full_inputs: Any) -> None:
    inputs = full_inputs(lm, ("Describe the sound.", samples))
    length = inputs["input_ids"].shape[1]
    with hidden_states(lm, token_mask("last", batch_layouts(lm, inputs["input_ids"]))) as kept:
        sequences = lm.model.generate(**inputs, do_sample=False, max_new_tokens=4, min_new_tokens=4)
    assert kept.slots == list(range(length - 1, length + 3))
    whole = {**inputs, "input_ids": sequences[:, :-1], "attention_mask": torch.ones_like(sequences[:, :-1])}
    with torch.no_grad():
        expected = lm.model(**whole, output_hidden_states=True).hidden_states
    torch.testing.assert_close(kept.states()[:, 1], expected[2][:, kept.slots], atol=1e-4, rtol=1e-4)


def test_hooks_are_gone_after_an_exception(lm: AudioLM, hook_count: Callable[..., int]) -> None:
    before = hook_count(lm)
    wanted = token_mask([0], batch_layouts(lm, torch.tensor([[5, 6]])))
    with pytest.raises(RuntimeError, match="inside"), hidden_states(lm, wanted) as kept:
        assert hook_count(lm) == before + 4
        raise RuntimeError("inside")
    assert hook_count(lm) == before
    with pytest.raises(ValueError, match="no hidden state was kept"):
        kept.states()
