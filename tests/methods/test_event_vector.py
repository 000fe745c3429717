"""A vector read at the event's name: which tokens those are, what is subtracted, and that questions play no part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from localising import OWN, QUERY, curve_of

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Query, localise, steered_curve
from steer_utils.methods.event_vector import contrast_at_the_name, event_vector
from steer_utils.methods.rounds import together
from steer_utils.methods.settings import VectorUse

PLUS, MINUS = "Listen for the dog bark. What do you hear?", "Attend to the whole audio. What do you hear?"


def slots_of(lm: AudioLM, instruction: str, words: str, prefix: int) -> list[int]:
    """By the tokenizer's own offsets in the chat text, counted in slots behind the audio."""
    prompt = lm.tokens(instruction)
    text, begin = prompt.text, prompt.text.index(words, prompt.instruction_start)
    offsets = lm.processor.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    inside = [
        n for n, (start, stop) in enumerate(offsets) if start < begin + len(words) and begin < stop and stop > start
    ]
    return [prefix + n - len(prompt.head) for n in inside]


def test_the_vector_is_the_name_minus_the_neutral_instruction(hearing: Hearing, lm: AudioLM) -> None:
    name = slots_of(lm, PLUS, "dog bark", hearing.prefix_length)
    neutral = slots_of(lm, MINUS, OWN.negative, hearing.prefix_length)
    assert len(name) == 2 and len(neutral) > 4
    states = {
        text: [hearing.read_rows([Row(text, hidden_at=[slot])])[0].hidden for slot in slots]
        for text, slots in ((PLUS, name), (MINUS, neutral))
    }
    expected = torch.stack(states[PLUS]).mean(dim=0) - torch.stack(states[MINUS]).mean(dim=0)
    vector = contrast_at_the_name(hearing, QUERY, OWN)
    torch.testing.assert_close(vector.directions, expected, atol=1e-5, rtol=1e-4)
    assert vector.provenance.positions == "event" and "at the event's name" in vector.provenance.recipe


def test_the_question_plays_no_part(one_hearing: Hearing) -> None:
    first = contrast_at_the_name(one_hearing, QUERY, OWN)
    second = contrast_at_the_name(one_hearing, QUERY, replace(OWN, vector_question="How loud is it?"))
    assert first.allclose(second, tolerance=1e-5)
    assert not first.allclose(contrast_at_the_name(one_hearing, Query("bell", 0.5), OWN), tolerance=1e-2)


def test_it_is_added_and_read_as_steering_does(hearing: Hearing) -> None:
    use = VectorUse(5.0, (1,), True, "difference", (3,))
    own = replace(OWN, strength=5.0, blocks=(1,), keep_norm=True, read="difference", read_blocks=(3,))
    for settings, acting in ((OWN, OWN), (replace(OWN, event_vector=use), own)):
        vector = contrast_at_the_name(hearing, QUERY, settings).select(acting.steered_blocks(4))
        expected = localise(steered_curve(hearing, vector, acting), hearing, QUERY)
        np.testing.assert_allclose(curve_of(event_vector(hearing, QUERY, settings)), curve_of(expected), atol=1e-6)


def test_an_instruction_that_hides_the_name_is_refused(one_hearing: Hearing) -> None:
    with pytest.raises(ValueError, match="does not name the event 'dog bark'"):
        event_vector(one_hearing, QUERY, replace(OWN, positive="Listen for the{event}x."))


def test_queries_together_find_what_each_finds_alone(hearing: Hearing) -> None:
    queries = [QUERY, Query("bell", 0.4)]
    for query, found in zip(
        queries, together([event_vector.steps(hearing, query, OWN) for query in queries]), strict=True
    ):
        np.testing.assert_allclose(curve_of(found), curve_of(event_vector(hearing, query, OWN)), atol=1e-6)
