"""A vector from text alone: made without the audio, used as steering uses its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from localising import OWN, PAPER_LIKE, QUERY, curve, curve_of

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.text_states import text_contrast
from steer_utils.methods.base import Query, localise, steered_curve
from steer_utils.methods.rounds import together
from steer_utils.methods.settings import VectorUse
from steer_utils.methods.steering import steering
from steer_utils.methods.text_vector import contrast_from_text, text_vector


def test_the_vector_is_the_contrast_of_both_instructions_without_audio(lm: AudioLM) -> None:
    vector = contrast_from_text(lm, "dog bark", OWN)
    expected = text_contrast(lm, "Listen for the dog bark.", "Attend to the whole audio.", prompt=OWN.question)
    assert vector.allclose(expected)
    other = contrast_from_text(lm, "dog bark", replace(OWN, vector_question="How loud is it?"))
    assert not vector.allclose(other)


def test_it_is_added_and_read_as_steering_does(hearing: Hearing, lm: AudioLM) -> None:
    for settings in (OWN, PAPER_LIKE):
        vector = contrast_from_text(lm, "dog bark", settings).select(settings.steered_blocks(4))
        expected = localise(steered_curve(hearing, vector, settings), hearing, QUERY)
        found = text_vector(hearing, QUERY, settings)
        np.testing.assert_array_equal(curve_of(found), curve_of(expected))
        assert np.abs(curve_of(found) - curve_of(steering(hearing, QUERY, settings))).max() > 1e-4


def test_its_own_settings_take_the_place_of_steerings(one_hearing: Hearing) -> None:
    use = VectorUse(5.0, (1,), True, "difference", (3,))
    own = replace(OWN, strength=5.0, blocks=(1,), keep_norm=True, read="difference", read_blocks=(3,))
    chosen = curve("text-vector", one_hearing, replace(OWN, text_vector=use))
    np.testing.assert_array_equal(chosen, curve("text-vector", one_hearing, own))
    assert np.abs(chosen - curve("text-vector", one_hearing)).max() > 1e-4


def test_queries_together_find_what_each_finds_alone(hearing: Hearing) -> None:
    queries = [QUERY, Query("bell", 0.4)]
    for query, found in zip(
        queries, together([text_vector.steps(hearing, query, OWN) for query in queries]), strict=True
    ):
        np.testing.assert_allclose(curve_of(found), curve_of(text_vector(hearing, query, OWN)), atol=1e-6)
