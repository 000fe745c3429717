"""The read-out that steering and its controls share, against the public objects one step a line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.steering import Injection
from steer_utils.methods.base import Query, contrast_of, steered_attention, steered_curve
from steer_utils.methods.settings import Settings
from steer_utils.methods.steering import steering, steering_heads
from steer_utils.sound.spans import best_window

QUERY = Query("dog bark", 0.5)
OWN = Settings(question="What do you hear?", strength=2.0, blocks=(0, 1), keep_norm=False, read_blocks=(2, 3))


def test_the_contrast_acts_on_the_steered_blocks(hearing: Hearing) -> None:
    whole = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.", prompt="What do you hear?")
    assert torch.equal(contrast_of(hearing, QUERY, OWN).directions, whole.select([0, 1]).directions)
    assert contrast_of(hearing, QUERY, replace(OWN, blocks=None)).blocks == (2, 3)


@pytest.mark.parametrize("read", ["share", "difference"])
def test_the_curve_is_the_steered_share_or_its_change(hearing: Hearing, read: str) -> None:
    settings = replace(OWN, read=read)  # type: ignore[arg-type]
    vector = contrast_of(hearing, QUERY, settings)
    expected = hearing.read(OWN.question, steer=Injection(vector, 2.0), keep_norm=False).attention
    if read == "difference":
        expected = expected - hearing.read(OWN.question).attention
    found = steered_attention(hearing, vector, settings)
    torch.testing.assert_close(found.share, expected.share, atol=1e-5, rtol=1e-5)
    assert found.first_block == 1
    np.testing.assert_allclose(steered_curve(hearing, vector, settings), expected.curve([2, 3]), atol=1e-6)
    heads = ((2, 1), (3, 0))
    np.testing.assert_allclose(
        steered_curve(hearing, vector, settings, heads), expected.share[[2, 3], [1, 0], 0].mean(dim=0), atol=1e-6
    )
    assert np.abs(steered_curve(hearing, vector, settings, heads) - expected.curve([2, 3])).max() > 1e-3


@pytest.mark.parametrize("read", ["share", "difference"])
def test_steering_is_this_read_out(hearing: Hearing, read: str) -> None:
    settings = replace(OWN, read=read, read_heads=((2, 0),))  # type: ignore[arg-type]
    curve = steered_curve(hearing, contrast_of(hearing, QUERY, settings), settings)
    found = steering(hearing, QUERY, settings)
    assert found.curve is not None
    np.testing.assert_allclose(curve, found.curve, atol=1e-7)  # over all heads, chosen ones or not


def test_per_head_selection_reads_the_chosen_heads(hearing: Hearing) -> None:
    settings = replace(OWN, read_heads=((2, 1), (3, 0)))
    curve = steered_curve(hearing, contrast_of(hearing, QUERY, settings), settings, settings.read_heads)
    found = steering_heads(hearing, QUERY, settings)
    assert found.curve is not None
    np.testing.assert_allclose(found.curve, curve, atol=1e-7)
    assert (found.interval, found.score) == best_window(found.curve, hearing.span, 0.5)
    every = replace(OWN, read_heads=tuple((block, head) for block in (2, 3) for head in range(4)))
    all_heads, whole = steering_heads(hearing, QUERY, every).curve, steering(hearing, QUERY, OWN).curve
    assert all_heads is not None and whole is not None
    np.testing.assert_allclose(all_heads, whole, atol=1e-6)
    assert np.abs(found.curve - whole).max() > 1e-3


def test_heads_must_have_been_chosen(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hearing, "read_rows", None)  # the model is not asked
    with pytest.raises(ValueError, match=r"name no heads to read; choose them with tuning\.select_heads"):
        steering_heads(hearing, QUERY, OWN)
    with pytest.raises(TypeError):
        steering_heads(hearing, QUERY, replace(OWN, read_heads=((2, 0),)))


def test_the_vector_is_made_before_its_own_question(hearing: Hearing) -> None:
    settings = replace(OWN, vector_question="How loud is it?")
    vector = contrast_of(hearing, QUERY, settings)
    positive = settings.positive.format(event=QUERY.event)
    expected = hearing.contrast(positive, settings.negative, prompt="How loud is it?").select(vector.blocks)
    torch.testing.assert_close(vector.directions, expected.directions)
    assert not torch.allclose(vector.directions, contrast_of(hearing, QUERY, OWN).directions, atol=1e-3)
    base = hearing.read(OWN.question).attention  # what is steered and read stays the other question
    steered = hearing.read(OWN.question, steer=Injection(vector, OWN.strength), keep_norm=OWN.keep_norm).attention
    expected_curve = (steered if OWN.read == "share" else steered - base).curve(OWN.read_blocks)
    np.testing.assert_allclose(steered_curve(hearing, vector, settings), expected_curve, atol=1e-6)
