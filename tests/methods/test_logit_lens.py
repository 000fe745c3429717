"""Rollout against the full maps of eager attention; the logit lens against the model's own logits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from watched_work import failed

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods import logit_lens as module
from steer_utils.methods.base import Query
from steer_utils.methods.logit_lens import lens_curve, logit_lens, name_tokens, rolled_out, rollout
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import AudioSpan

OWN = Settings(presence="Is there a {event} in the audio? Answer yes or no.")
QUERY = Query("dog bark", 0.5)


# Attention rollout --------------------------------------------------------------------------------------------------


def test_rollout_equals_the_product_of_eager_maps(
    lm: AudioLM, hearing: Hearing, samples: np.ndarray, full_inputs: Any, eager: Any
) -> None:
    inputs = full_inputs(lm, (OWN.presence.format(event="dog bark"), samples))
    with eager(lm), torch.no_grad():
        attentions = lm.model(**inputs, output_attentions=True, use_cache=False).attentions
    product = np.eye(inputs["input_ids"].shape[1])
    for block in attentions:
        mixed = block[0].double().mean(dim=0).numpy() + np.eye(len(product))
        product = mixed / mixed.sum(axis=1, keepdims=True) @ product
    flow = rolled_out(hearing, QUERY, OWN)
    np.testing.assert_allclose(flow, product[-1], atol=1e-5)
    heard = product[-1, hearing.span.first : hearing.span.stop]
    found = rollout(hearing, QUERY, OWN)
    assert found.curve is not None
    np.testing.assert_allclose(found.curve, heard / heard.sum(), atol=1e-4)
    assert heard.max() > 2 * heard.mean()  # not flat, or any curve would pass


def test_the_flow_is_a_share_of_the_whole_prompt(lm: AudioLM, hearing: Hearing) -> None:
    flow = rolled_out(hearing, QUERY, OWN)
    prompt = lm.tokens(OWN.presence.format(event="dog bark"))
    assert flow.shape == (len(prompt.head) - 1 + hearing.span.count + len(prompt.tail),)
    assert flow.min() >= 0 and flow.sum() == pytest.approx(1.0)
    assert flow[-1] > 0.5**lm.num_blocks  # the identity passes at least one half in each block


def test_too_large_maps_are_refused_before_any_work(
    lm: AudioLM, hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = len(rolled_out(hearing, QUERY, OWN))
    needed = 4 * 4 * 4 * slots**2  # bytes of a float32, blocks, heads
    monkeypatch.setattr(module, "ROLLOUT_BYTES", needed)
    rolled_out(hearing, QUERY, OWN)
    monkeypatch.setattr(module, "ROLLOUT_BYTES", needed - 1)
    monkeypatch.setattr(type(lm.blocks[0]), "forward", failed)
    with pytest.raises(ValueError, match=f"4 blocks x 4 heads x {slots}² weights.*pass a shorter audio"):
        rollout(hearing, QUERY, OWN)


# Logit lens ---------------------------------------------------------------------------------------------------------


def full_lens(lm: AudioLM, inputs: dict[str, Any], span: AudioSpan, token: int) -> torch.Tensor:
    """log p(token) at the audio slots, (blocks, tokens), from transformers' own hidden states and logits."""
    with torch.no_grad():
        output = lm.model(**inputs, output_hidden_states=True, use_cache=False)
        logits = [lm.model.lm_head(lm.decoder.norm(state)) for state in output.hidden_states[1:-1]]
    audio = slice(span.first, span.stop)
    return torch.stack([each[0, audio].log_softmax(dim=-1)[:, token] for each in [*logits, output.logits]])


def test_the_lens_of_the_last_block_is_the_models_own_logits(
    lm: AudioLM, hearing: Hearing, samples: np.ndarray, full_inputs: Any
) -> None:
    inputs = full_inputs(lm, ("Describe the sound.", samples))  # another instruction: it comes after the audio
    dog = lm.processor.tokenizer.convert_tokens_to_ids("dog")
    expected = full_lens(lm, inputs, hearing.span, dog).numpy()
    found = logit_lens(hearing, QUERY, OWN)
    assert found.curve is not None
    np.testing.assert_allclose(found.curve, expected[-1] - expected[-1].mean(), atol=2e-4)
    assert np.ptp(expected[-1]) > 0.1 and found.curve.mean() == pytest.approx(0.0, abs=1e-9)
    for block in range(lm.num_blocks):
        np.testing.assert_allclose(lens_curve(hearing, (dog,), block), expected[block], atol=2e-4)
    assert np.abs(expected[0] - expected[-1]).max() > 0.1


def test_chunks_and_several_tokens(one_hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lens_curve(one_hearing, (5, 9))
    monkeypatch.setattr(module, "LENS_TOKENS", 7)
    np.testing.assert_allclose(lens_curve(one_hearing, (5, 9)), whole, atol=1e-5)
    apart = [lens_curve(one_hearing, (token,)) for token in (5, 9)]
    np.testing.assert_allclose(np.logaddexp(*apart), whole, atol=1e-5)


def test_the_lens_depends_on_the_name_alone(one_hearing: Hearing) -> None:
    bark = logit_lens(one_hearing, QUERY, OWN).curve
    assert bark is not None
    again = logit_lens(one_hearing, QUERY, replace(OWN, presence="Did the {event} occur?", question="What?")).curve
    np.testing.assert_array_equal(again, bark)
    bell = logit_lens(one_hearing, Query("bell", 0.5), OWN).curve
    assert bell is not None and np.abs(bell - bark).max() > 1e-2


def test_name_tokens(lm: AudioLM) -> None:
    tokenizer = lm.processor.tokenizer
    assert name_tokens(lm, " dog bark ") == (tokenizer.convert_tokens_to_ids("dog"),)
    for unknown in ("", "  ", "xylophone"):
        with pytest.raises(ValueError, match="no token for the event"):
            name_tokens(lm, unknown)
    with pytest.raises(ValueError, match="the event holds '<unk>'"):
        name_tokens(lm, "dog <unk>")


def test_name_tokens_of_a_tokenizer_that_marks_spaces() -> None:
    """As byte-level tokenizers do: a word has one token at the start of a text and another after a space."""
    ids = {"dog bark": [70, 71], " dog bark": [12, 71]}

    class Marked:
        unk_token_id = None

        def __call__(self, text: str, add_special_tokens: bool) -> Any:
            assert not add_special_tokens
            return SimpleNamespace(input_ids=ids[text])

    checkpoint: Any = SimpleNamespace(
        processor=SimpleNamespace(tokenizer=Marked()), name="marked", check_text=lambda text, what: None
    )
    assert name_tokens(checkpoint, "dog bark") == (12, 70)
