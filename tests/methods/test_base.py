"""What methods share: the contrast, the steered row and its read-out, and what an entry says of its needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from localising import OWN, PAPER_LIKE, QUERY

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection
from steer_utils.methods.base import (
    Method,
    Need,
    Query,
    contrast_of,
    read_out,
    steered_attention,
    steered_curve,
    steered_row,
)
from steer_utils.methods.settings import PAPER
from steer_utils.methods.table import METHODS


def test_the_contrast_acts_on_the_steered_blocks(one_hearing: Hearing) -> None:
    whole = one_hearing.contrast("Listen for the dog bark.", "Attend to the whole audio.", prompt="What do you hear?")
    assert torch.equal(contrast_of(one_hearing, QUERY, OWN).directions, whole.select([0, 1]).directions)
    assert contrast_of(one_hearing, QUERY, replace(OWN, blocks=None)).blocks == (2, 3)


def test_the_steered_row_says_what_the_settings_say(one_hearing: Hearing) -> None:
    vector = contrast_of(one_hearing, QUERY, OWN)
    assert steered_row(OWN, vector) == Row("What do you hear?", (Injection(vector, 2.0),), keep_norm=False)
    assert steered_row(PAPER_LIKE, vector, event="bell").event is None  # only positions "event" mean it
    named = steered_row(PAPER_LIKE, vector, positions="event", rule="vista", event="bell")
    assert named == Row("What do you hear?", (Injection(vector, 2.0, "event", "vista"),), event="bell")


@pytest.mark.parametrize("read", ["share", "difference"])
def test_the_curve_is_the_steered_share_or_its_change(one_hearing: Hearing, read: str) -> None:
    settings = replace(OWN, read=read, read_blocks=(2, 3))  # type: ignore[arg-type]
    vector = contrast_of(one_hearing, QUERY, settings)
    steered = one_hearing.read(OWN.question, steer=Injection(vector, 2.0), keep_norm=False).attention
    base = one_hearing.read(OWN.question).attention
    expected = steered if read == "share" else steered - base
    attention = steered_attention(one_hearing, vector, settings)
    torch.testing.assert_close(attention.share, expected.share, atol=1e-5, rtol=1e-5)
    assert attention.first_block == 1
    over_blocks = steered_curve(one_hearing, vector, settings)
    np.testing.assert_allclose(over_blocks, expected.curve([2, 3]), atol=1e-6)
    over_heads = steered_curve(one_hearing, vector, settings, ((2, 1), (3, 0)))
    np.testing.assert_allclose(over_heads, expected.share[[2, 3], [1, 0], 0].mean(dim=0), atol=1e-6)
    for blocks, heads, curve in (((2, 3), None, over_blocks), (None, ((2, 1), (3, 0)), over_heads)):
        np.testing.assert_allclose(read_out(steered, base, read, blocks, heads), curve, atol=1e-6)  # type: ignore[arg-type]
    assert np.abs(over_heads - expected.curve([2, 3])).max() > 1e-3


def test_the_vector_is_made_before_its_own_question(one_hearing: Hearing) -> None:
    settings = replace(OWN, vector_question="How loud is it?")
    vector = contrast_of(one_hearing, QUERY, settings)
    positive = settings.positive.format(event=QUERY.event)
    expected = one_hearing.contrast(positive, settings.negative, prompt="How loud is it?").select(vector.blocks)
    torch.testing.assert_close(vector.directions, expected.directions)
    assert not torch.allclose(vector.directions, contrast_of(one_hearing, QUERY, OWN).directions, atol=1e-3)
    # What is steered and read stays the other question.
    steered = one_hearing.read(OWN.question, steer=Injection(vector, OWN.strength), keep_norm=OWN.keep_norm).attention
    curve = steered_curve(one_hearing, vector, settings)
    np.testing.assert_allclose(curve, steered.curve(OWN.read_blocks), atol=1e-6)


def test_a_query_draws_by_a_seed_of_its_own(one_hearing: Hearing) -> None:
    random = METHODS["random"].find
    assert random is not None
    drawn = [random(one_hearing, query, PAPER).interval for query in (Query("bell", 0.5), Query("bell", 0.5, seed=0))]
    assert drawn[0] == drawn[1] != random(one_hearing, Query("bell", 0.5, seed=1), PAPER).interval


def test_a_method_says_what_it_lacks() -> None:
    need = Need("a pair of scenes", lambda settings, others, scenes: settings.strength > 1 and others and scenes > 1)
    method = Method("pair", "a pair", None, "0", "made for this test", needs=need)
    assert method.lacks(OWN, others=True, scenes=2) == ""
    for lacking in (method.lacks(PAPER, others=True, scenes=2), method.lacks(OWN, scenes=2), method.lacks(OWN)):
        assert lacking == "a pair of scenes"
    assert replace(method, needs=None).lacks(PAPER) == ""
