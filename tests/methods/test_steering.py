"""Steering against the public objects, one step a line; its read-out from chosen heads; the paper's declared form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from localising import OWN, QUERY, curve, find

import steer_utils.methods.settings
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.steering import Injection
from steer_utils.methods.base import Query, contrast_of, steered_curve
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.steering import steering_heads
from steer_utils.sound.spans import best_window


def steered(hearing: Hearing, settings: Settings) -> np.ndarray:
    """The steered share by the public objects, one step a line."""
    positive = settings.positive.format(event="dog bark")
    vector = hearing.contrast(positive, settings.negative, prompt=settings.vector_question or settings.question)
    vector = vector.select(settings.steered_blocks(hearing.checkpoint.num_blocks))
    injection = Injection(vector, settings.strength)
    reading = hearing.read(settings.question, steer=injection, keep_norm=settings.keep_norm)
    return reading.attention.curve(settings.read_blocks)


@pytest.mark.parametrize("settings", [OWN, replace(OWN, keep_norm=True, blocks=None, read_blocks=None, strength=-1.0)])
def test_steering_reads_the_steered_share(hearing: Hearing, settings: Settings) -> None:
    np.testing.assert_allclose(curve("steering", hearing, settings), steered(hearing, settings), atol=1e-6)


def test_steering_reads_the_difference(hearing: Hearing) -> None:
    base = hearing.read(OWN.question).attention.curve(OWN.read_blocks)
    difference = curve("steering", hearing, replace(OWN, read="difference"))
    np.testing.assert_allclose(difference, steered(hearing, OWN) - base, atol=1e-6)
    assert abs(difference.sum()) < 1e-5 and np.abs(difference).max() > 1e-4


def test_steering_at_strength_zero_is_the_unsteered_share(one_hearing: Hearing) -> None:
    settings = replace(OWN, strength=0.0, read_blocks=(2, 3), peak_blocks=(2, 3))
    base = curve("unsteered", one_hearing, settings)
    np.testing.assert_allclose(curve("steering", one_hearing, settings), base, atol=1e-6)
    assert find("steering", one_hearing, settings).interval == find("unsteered", one_hearing, settings).interval
    assert np.abs(curve("steering", one_hearing, replace(settings, read="difference"))).max() < 1e-6


def test_steering_depends_on_the_query_and_its_strength(one_hearing: Hearing) -> None:
    bark = curve("steering", one_hearing)
    for other in (
        curve("steering", one_hearing, query=Query("bell", 0.5)),
        curve("steering", one_hearing, replace(OWN, strength=-2.0)),
        curve("steering", one_hearing, replace(OWN, keep_norm=True)),
    ):
        assert np.abs(other - bark).max() > 1e-4


@pytest.mark.parametrize("read", ["share", "difference"])
def test_steering_is_the_shared_read_out_over_all_heads(one_hearing: Hearing, read: str) -> None:
    settings = replace(OWN, read=read)  # type: ignore[arg-type]
    expected = steered_curve(one_hearing, contrast_of(one_hearing, QUERY, settings), settings)
    np.testing.assert_allclose(expected, curve("steering", one_hearing, settings), atol=1e-7)  # chosen heads or not


def test_the_papers_method_does_not_depend_on_a_models_settings(one_hearing: Hearing) -> None:
    declared = find("steering", one_hearing, PAPER)
    for settings in (OWN, PAPER, replace(OWN, ask="When is the {event}?")):
        found = find("steering-paper", one_hearing, settings)
        assert found.interval == declared.interval
        np.testing.assert_array_equal(found.curve, declared.curve)


def test_the_papers_sum_alone_leaves_the_norm_free(one_hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    # Attention right after a steered block does not see the norm, and the later half of four blocks leaves one block.
    early = replace(PAPER, blocks=(0, 1))
    monkeypatch.setattr(steer_utils.methods.settings, "PAPER", early)
    free = curve("steering-paper-free", one_hearing, OWN)
    np.testing.assert_array_equal(free, curve("steering", one_hearing, replace(early, keep_norm=False)))
    assert np.abs(free - curve("steering-paper", one_hearing, OWN)).max() > 1e-5


def test_per_head_selection_reads_the_chosen_heads(one_hearing: Hearing) -> None:
    settings = replace(OWN, read_blocks=(2, 3))
    expected = steered_curve(one_hearing, contrast_of(one_hearing, QUERY, settings), settings, settings.read_heads)
    chosen, found = curve("steering-heads", one_hearing, settings), find("steering-heads", one_hearing, settings)
    np.testing.assert_allclose(chosen, expected, atol=1e-7)
    assert (found.interval, found.score) == best_window(chosen, one_hearing.span, 0.5)
    every = replace(settings, read_heads=tuple((block, head) for block in (2, 3) for head in range(4)))
    whole = curve("steering", one_hearing, settings)
    np.testing.assert_allclose(curve("steering-heads", one_hearing, every), whole, atol=1e-6)
    assert np.abs(chosen - whole).max() > 1e-3


def test_heads_must_have_been_chosen(one_hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hearing, "read_rows", None)  # the model is not asked
    with pytest.raises(ValueError, match=r"name no heads to read; choose them with tuning\.select_heads"):
        steering_heads(one_hearing, QUERY, replace(OWN, read_heads=None))
    with pytest.raises(TypeError):
        steering_heads(one_hearing, QUERY, OWN)
