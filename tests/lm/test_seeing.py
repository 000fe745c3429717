"""A model that sees: the same plan, run and read as for audio, against the plain class of transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures_shown import shown, tiny_llava
from tinies import tiny
from transformers import LlavaForConditionalGeneration

import steer_utils as su
from steer_utils.lm.families import family_of
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.hearing import Seeing
from steer_utils.lm.models import AudioLM
from steer_utils.pocket.architecture import save

QUESTION = "Describe the picture."


@pytest.fixture(scope="module")
def lm() -> AudioLM:
    return tiny_llava()


@pytest.fixture(scope="module")
def seeing(lm: AudioLM) -> Seeing:
    return lm.see(shown().pixels)


def plain_inputs(lm: AudioLM, text: str) -> dict[str, torch.Tensor]:
    return dict(lm.processor(text=[lm.prompt(text)], images=[shown().pixels], return_tensors="pt"))


def test_rows_and_logits_are_those_of_the_plain_class(lm: AudioLM, seeing: Seeing) -> None:
    plain = LlavaForConditionalGeneration(lm.model.config).eval()
    plain.load_state_dict(lm.model.state_dict())
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        output = plain(**plain_inputs(lm, QUESTION), output_attentions=True, output_hidden_states=True)
    reading, grid = seeing.read(QUESTION), seeing.grid
    expected = torch.stack([weights[0, :, -1, grid.first : grid.stop] for weights in output.attentions])
    found = reading.attention.share * reading.attention.mass[..., None]
    assert expected.max() > 0.1, "flat attention would pass by accident"
    torch.testing.assert_close(found[:, :, 0], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(reading.logits, output.logits[0, -1], atol=1e-4, rtol=1e-4)
    for block in range(lm.num_blocks - 1):
        torch.testing.assert_close(reading.hidden[block], output.hidden_states[block + 1][0, -1], atol=1e-4, rtol=1e-4)


def test_a_prefix_that_is_kept_gives_what_one_run_again_gives(seeing: Seeing) -> None:
    shared = seeing.read(QUESTION)
    again = seeing.read(QUESTION, query_positions=[seeing.grid.first, seeing.prefix_length + 5])
    assert again.recomputed_prefix and not shared.recomputed_prefix
    torch.testing.assert_close(again.hidden, shared.hidden, atol=1e-4, rtol=1e-4)


def test_answers_are_those_of_generate(lm: AudioLM, seeing: Seeing) -> None:
    inputs = plain_inputs(lm, QUESTION)
    ids = lm.model.generate(**inputs, do_sample=False, max_new_tokens=6)[0, inputs["input_ids"].shape[1] :]
    assert seeing.answer(QUESTION, max_new_tokens=6) == lm.processor.tokenizer.decode(ids, skip_special_tokens=True)


def test_a_vector_of_strength_zero_changes_nothing_and_hooks_are_gone(lm: AudioLM, seeing: Seeing) -> None:
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.model.modules()]
    vector = seeing.contrast("Focus on the red circle.", "Look at the whole picture.")
    base, zero, steered = (seeing.read(QUESTION, steer=vector, strength=strength) for strength in (0.0, 0.0, 2.0))
    plain = seeing.read(QUESTION)
    assert torch.equal(zero.hidden, plain.hidden) and torch.equal(zero.attention.share, plain.attention.share)
    assert not torch.allclose(steered.attention.share[1:], base.attention.share[1:], atol=1e-3)
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.model.modules()]


def test_attention_over_a_picture_is_read_as_a_box(seeing: Seeing) -> None:
    grid, attention = seeing.grid, seeing.read(QUESTION).attention
    assert (grid.rows, grid.columns, grid.patch) == (10, 10, 6) and str(grid.rows) in repr(seeing)
    assert attention.box(12, 8) == su.best_box(attention.curve(), grid, 12, 8)[0]
    with pytest.raises(TypeError, match="has no seconds"):
        attention.window(1.0)


def test_a_larger_picture_has_larger_patches(lm: AudioLM) -> None:
    assert lm.see(np.kron(shown().pixels, np.ones((2, 2, 1), np.uint8))).grid.patch == 12


def test_who_sees_does_not_hear_and_the_other_way_round(lm: AudioLM) -> None:
    sound = np.zeros(16_000, np.float32)
    for refused in (
        lambda: lm.hear(sound, sampling_rate=16_000),
        lambda: next(iter(lm.hear_many([sound], sampling_rate=16_000))),
        lambda: su.locate(lm, sound, "red circle", sampling_rate=16_000),
        lambda: lm.seconds_per_token,
        lambda: lm.window_seconds,
    ):
        with pytest.raises(UnsupportedModelError, match=r"sees pictures and hears nothing.*lm\.see"):
            refused()
    audio = tiny("qwen2_audio")
    with pytest.raises(UnsupportedModelError, match=r"hears and sees nothing.*lm\.hear"):
        audio.see(shown().pixels)
    attention = audio.hear(np.sin(np.arange(32_000) / 9).astype(np.float32), sampling_rate=16_000).read(
        "Describe the sound."
    )
    with pytest.raises(TypeError, match="has no pixels"):
        attention.attention.box(4, 4)


def test_a_folder_is_opened_as_it_was_saved(lm: AudioLM, seeing: Seeing, tmp_path: Path) -> None:
    save(lm.model, lm.processor, tmp_path, {"events": list(lm.events or ())})
    opened = su.load(tmp_path)
    assert opened.family is family_of(lm.model.config) and opened.events == lm.events
    torch.testing.assert_close(opened.see(shown().pixels).read(QUESTION).logits, seeing.read(QUESTION).logits)
    opened.processor.patch_size = 12  # another number of patches than the picture's grid has
    with pytest.raises((su.CheckpointError, ValueError), match=r"patches|image tokens|do not match"):
        opened.see(shown().pixels)
