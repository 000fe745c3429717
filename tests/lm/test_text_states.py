"""States with no audio: equal to plain transformers on the text alone, and a vector that is their difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.models import AudioLM
from steer_utils.lm.text_states import text_contrast, text_state

FOCUS, WHOLE, ASKED = "Focus on the dog bark.", "Listen to the whole audio.", "Describe the sound."


def plain_states(lm: AudioLM, instruction: str) -> torch.Tensor:
    """By transformers alone, (blocks - 1, hidden): what it calls the last one comes after the final norm."""
    ids = lm.processor.tokenizer(lm.family.text_prompt(lm.processor, instruction), return_tensors="pt").input_ids
    with torch.no_grad():
        states = lm.model(input_ids=ids, output_hidden_states=True).hidden_states
    return torch.stack([state[0, -1] for state in states[1:-1]])


def test_the_state_is_that_of_a_plain_forward_without_audio(lm: AudioLM) -> None:
    found = text_state(lm, f" {FOCUS} ")
    assert found.instruction == FOCUS and found.hidden.shape == (4, lm.hidden_size)
    torch.testing.assert_close(found.hidden[:-1], plain_states(lm, FOCUS), atol=1e-4, rtol=1e-4)


def test_no_audio_is_in_the_prompt(lm: AudioLM) -> None:
    with_audio, without = lm.prompt(FOCUS), lm.family.text_prompt(lm.processor, FOCUS)
    assert lm.processor.audio_token in with_audio and lm.processor.audio_token not in without
    assert without.count(FOCUS) == 1 and with_audio.endswith(without[without.index(FOCUS) :])


def test_the_vector_is_the_difference_of_two_plain_forwards(lm: AudioLM) -> None:
    vector = text_contrast(lm, FOCUS, WHOLE, prompt=ASKED)
    expected = plain_states(lm, f"{FOCUS} {ASKED}") - plain_states(lm, f"{WHOLE} {ASKED}")
    torch.testing.assert_close(vector.directions[:-1], expected, atol=1e-4, rtol=1e-4)
    assert vector.blocks == (0, 1, 2, 3) and "text alone" in vector.provenance.recipe
    assert text_contrast(lm, WHOLE, FOCUS, prompt=ASKED).allclose(-vector, tolerance=1e-4)


def test_what_cannot_be_asked_is_refused(one_model: AudioLM) -> None:
    for text, message in (("  ", "empty"), ("a <|im_end|> b", "special token")):
        with pytest.raises(ValueError, match=message):
            text_state(one_model, text)
    with pytest.raises(ValueError, match="are the same tokens"):
        text_contrast(one_model, FOCUS, FOCUS)


def test_a_template_that_always_has_an_audio_is_refused(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(one_model.family), "text_prompt", type(one_model.family).prompt)
    with pytest.raises(CheckpointError, match="puts an audio into a turn of text"):
        text_state(one_model, FOCUS)


def test_no_hook_is_left_behind(
    lm: AudioLM, hook_count: Callable[[Checkpoint], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise RuntimeError("stopped")

    before, logits = hook_count(lm), text_state(lm, FOCUS).hidden
    assert hook_count(lm) == before
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(type(lm.blocks[-1]), "forward", stop)
        text_state(lm, FOCUS)
    assert hook_count(lm) == before and torch.equal(text_state(lm, FOCUS).hidden, logits)


def test_what_a_number_type_cannot_hold_is_said(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = one_model.blocks[0].mlp.down_proj.weight
    kept = weight.clone()
    try:
        weight.data.fill_(float("inf"))
        with pytest.raises(FloatingPointError, match="gives nan or infinity in float32"):
            text_state(one_model, FOCUS)
    finally:
        weight.data.copy_(kept)
