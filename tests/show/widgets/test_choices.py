"""A choice: the settings' own, its wording, and each mistake by its own message before any model runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import steer_utils
from steer_utils.lm.models import AudioLM
from steer_utils.methods.locate import UnknownEventError
from steer_utils.methods.settings import PAPER
from steer_utils.show.widgets.choices import Choice, code_of, worded
from steer_utils.show.widgets.exploration import explore

HEADS = replace(PAPER, read_heads=((1, 0), (2, 3)), vector_question="Is it high or low?", strength=3.0)


def test_the_choice_of_settings_holds_them() -> None:
    choice = Choice.of(HEADS, "dog bark", seconds=1.5)
    assert choice.instructions == ("Focus on the dog bark.", "Listen to the whole audio.")
    assert (choice.question, choice.asked_of_contrast, choice.strength) == (PAPER.question, "Is it high or low?", 3.0)
    assert (choice.blocks, choice.read_heads, choice.seconds) == (None, None, 1.5)
    assert Choice.of(HEADS, "dog bark", per_head=True).read_heads == ((1, 0), (2, 3))
    assert Choice.of(PAPER, "dog bark").asked_of_contrast == PAPER.question


def test_any_pair_of_instructions() -> None:
    pair = Choice("dog bark", positive="Mind the high sounds.", negative="Mind the {event}.")
    assert pair.instructions == ("Mind the high sounds.", "Mind the dog bark.")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"query": "  "}, "query is empty"),
        ({"positive": ""}, "positive is ''; pass an instruction"),
        ({"negative": " "}, "negative is ' '; pass an instruction"),
        ({"positive": "Focus on {sound}."}, r"positive may hold \{event\} and no other braces"),
        ({"negative": "Listen {"}, r"negative may hold \{event\} and no other braces"),
        ({"positive": "Focus on {event.missing}."}, "no other braces"),
        ({"positive": "Hear the dog bark.", "negative": "Hear the {event}."}, "their difference is nothing"),
        ({"question": ""}, "question is ''"),
        ({"contrast_question": " "}, "contrast_question is empty"),
        ({"strength": float("nan")}, "strength is nan; pass a finite number"),
        ({"strength": "2"}, "strength is '2'; pass a number"),
        ({"blocks": ()}, "blocks is"),
        ({"blocks": 3}, "blocks is 3"),
        ({"read": "both"}, "read is 'both'"),
        ({"read_heads": ((1,),)}, "read_heads is"),
        ({"positions": "first"}, "unknown positions 'first'"),
        ({"positions": [-1]}, "slots must be whole numbers"),
        ({"keep_norm": 1}, "keep_norm is 1"),
        ({"seconds": 0.0}, "seconds is 0.0; pass a positive width"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"seconds": "2 s"}, "seconds is '2 s'"),
    ],
)
def test_each_mistake_has_its_message(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(Choice("dog bark"), **changed)


def test_heads_that_were_never_chosen() -> None:
    with pytest.raises(ValueError, match="name no heads"):
        Choice.of(PAPER, "dog bark", per_head=True)


@given(st.text(max_size=30), st.text(min_size=1, max_size=12))
def test_an_instruction_is_text_or_an_error_of_ours(template: str, query: str) -> None:
    try:
        said = worded("positive", template, query)
    except ValueError as error:
        assert str(error).startswith("positive ")
    else:
        assert template.strip() and ("{" in template or "}" in template or said == template.strip())


# -- against a model -----------------------------------------------------------------------------------------------


def test_blocks_by_number_and_the_event_by_its_name(lm: AudioLM) -> None:
    assert Choice("Dog  bark").fitted(lm).query == "dog bark"
    assert Choice("dog bark").fitted(lm).blocks == (2, 3)
    assert Choice("dog bark", blocks=(-3, 0)).fitted(lm).blocks == (0, 1)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"blocks": (4,)}, "blocks has 4, but the model has blocks 0 to 3"),
        ({"read_blocks": (1, -5)}, "read_blocks has -5"),
        ({"read_heads": ((4, 0),)}, "read_heads has 4, but the model has blocks 0 to 3"),
        ({"read_heads": ((0, 4),)}, "read_heads has 4, but the model has heads 0 to 3"),
        ({"blocks": (3,)}, "steering block 3, the last, changes no attention"),
        ({"blocks": (-1,)}, "steering block 3, the last"),
        ({"question": "What is <|AUDIO|> <sound>?"}, "audio placeholder"),
    ],
)
def test_what_the_model_does_not_have(lm: AudioLM, changed: dict[str, Any], says: str) -> None:
    if "question" in changed:
        changed = {"question": f"What is {lm.processor.audio_token}?"}
    with pytest.raises(ValueError, match=says):
        replace(Choice("dog bark"), **changed).fitted(lm)


def test_a_sound_that_a_pocket_model_does_not_know(lm: AudioLM) -> None:
    with pytest.raises(UnknownEventError, match="Did you mean 'siren'"):
        Choice("sirens").fitted(lm)


def test_the_last_block_is_steered_where_the_read_blocks_are_named(lm: AudioLM) -> None:
    assert Choice("dog bark", blocks=(3,), read_blocks=(1,)).fitted(lm).blocks == (3,)


# -- as code -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"blocks": (0, 2), "strength": -3.5, "seconds": 0.7, "read_blocks": (1, 3)},
        {"read": "share", "read_heads": ((1, 2), (3, 0)), "seconds": 0.4, "keep_norm": False},
        {"positions": "event", "blocks": (0, 1), "question": "Is there a dog bark?", "contrast_question": "Is it low?"},
        {"positions": (3, 5), "positive": "It's \"loud\".", "strength": 0.0},
    ],
)
def test_the_code_gives_the_same_interval(
    lm: AudioLM, samples: np.ndarray, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = replace(Choice("dog bark", strength=4.0), **changed)
    seen = explore(lm.hear(samples, sampling_rate=16_000), choice)
    monkeypatch.setattr(steer_utils, "load", lambda name: {lm.name: lm}[name])
    names: dict[str, Any] = {"samples": samples}
    exec(code_of(choice, lm.name, "hearing = lm.hear(samples, sampling_rate=16_000)"), names)
    assert names["interval"] == seen.interval
    assert names["answer"] == seen.answer_steered
    np.testing.assert_allclose(names["curve"], seen.curve, atol=1e-6)
