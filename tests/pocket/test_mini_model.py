"""The mini model itself (30 blocks, grouped heads, BPE): what the library reads is what plain transformers computes.

Opened once for all tests; the first time on a machine it is assembled (half a minute).
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import pytest
import torch

import steer_utils as su
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection
from steer_utils.pocket.language_model import SMOLLM2
from steer_utils.pocket.packing import Packer
from steer_utils.pocket.text import FOCUS, NEUTRAL, Turn
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene
from steer_utils.sound.sounds import SOUNDS

pytestmark = [pytest.mark.slow, pytest.mark.mini]
QUESTION = "Describe the clock tick."


@pytest.fixture(scope="module")
def mini() -> AudioLM:
    try:
        distribution(SMOLLM2.package)
    except PackageNotFoundError:
        pytest.skip(f"the language model is not installed: {SMOLLM2.install}")
    return su.load("mini-smollm2-audio")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return SceneMaker(tuple(SOUNDS), seconds=4.0, event_seconds=(1.0, 1.2)).scene(3, 77)


@pytest.fixture(scope="module")
def heard(mini: AudioLM, scene: Scene) -> Hearing:
    return mini.hear(scene.samples, sampling_rate=scene.rate)


def test_rows_and_logits_are_those_of_plain_eager_attention(mini: AudioLM, scene: Scene, heard: Hearing) -> None:
    reading = heard.read(QUESTION)
    inputs = mini.family.inputs(mini.processor, mini.prompt(QUESTION), scene.samples, scene.rate)
    before = mini.model.config._attn_implementation
    mini.model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            plain = mini.model(**inputs, output_attentions=True, output_hidden_states=True)
    finally:
        mini.model.set_attn_implementation(before)
    span = heard.span
    rows = torch.stack([block[0, :, -1, span.first : span.stop] for block in plain.attentions])
    mass = rows.sum(-1)
    assert rows.shape[:2] == (30, 9)
    torch.testing.assert_close(reading.attention.mass[:, :, 0], mass, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(reading.attention.share[:, :, 0] * mass[..., None], rows, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(reading.logits, plain.logits[0, -1], atol=2e-3, rtol=1e-3)
    hidden = torch.stack([states[0, -1] for states in plain.hidden_states[1:-1]])
    torch.testing.assert_close(reading.hidden[:-1], hidden, atol=2e-2, rtol=1e-3)


def test_an_answer_is_that_of_generate(mini: AudioLM, scene: Scene, heard: Hearing) -> None:
    inputs = mini.family.inputs(mini.processor, mini.prompt("What do you hear?"), scene.samples, scene.rate)
    with torch.inference_mode():
        made = mini.model.generate(**inputs, do_sample=False, max_new_tokens=16)
    said = mini.processor.tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert heard.answer("What do you hear?", max_new_tokens=16) == said.strip()
    assert said.strip() == ", ".join(scene.names)


def test_a_steered_row_in_a_batch_is_the_row_alone(heard: Hearing) -> None:
    vector = heard.contrast("Focus on the clock tick.", "Listen to the whole audio.")
    rows = [Row(QUESTION, (Injection(vector.select((19,)), 4.0),), keep_norm=False), Row("What do you hear?")]
    together = heard.read_rows(rows)
    for row, reading in zip(rows, together, strict=True):
        (alone,) = heard.read_rows([row])
        torch.testing.assert_close(alone.attention.share, reading.attention.share, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(together[0].attention.share[20:], heard.read(QUESTION).attention.share[20:], atol=1e-3)


def test_names_of_several_tokens_are_found_and_packed_as_they_are_asked(mini: AudioLM) -> None:
    tokenizer, packer = mini.processor.tokenizer, Packer(mini.processor)
    assert len(tokenizer(" helicopter").input_ids) >= 1 and len(tokenizer(" fire crackling").input_ids) >= 2
    for instruction in (FOCUS[0].format(x="fire crackling"), NEUTRAL[0], "Is the puppy's bark, far away, loud?"):
        question, _ = packer.pair(Turn("", instruction, ""))
        tokens = mini.tokens(instruction)
        assert [*packer.head, packer.audio_id] == list(tokens.head)
        assert question[:-1] == list(tokens.tail)
        assert tokens.text[tokens.instruction_start :].startswith(instruction)


def test_any_text_may_be_asked_after(mini: AudioLM, scene: Scene) -> None:
    assert mini.events is None
    found = su.locate(mini, scene.samples, "a big dog that barks", sampling_rate=scene.rate, seconds=1.0)
    assert found is not None
