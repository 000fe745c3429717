"""Controls: each is steering with one thing changed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Localisation, Query, contrast_of
from steer_utils.methods.controls import negative, random_vector, swapped
from steer_utils.methods.prompting import contrast_prompting
from steer_utils.methods.settings import Settings
from steer_utils.methods.steering import steering
from steer_utils.sound.spans import best_window

QUERY = Query("dog bark", 0.5, seed=4, others=("bell", "siren"))
OWN = Settings(
    positive="Listen for the {event}.",
    negative="Attend to the whole audio.",
    question="What do you hear?",
    strength=2.0,
    blocks=(0, 1),
    keep_norm=False,
    read="share",
    read_blocks=(2,),
    prompt_blocks=(1, 3),
)
PAPER_LIKE = replace(OWN, keep_norm=True, blocks=None, read="difference", read_blocks=None)
CONTROLS = (contrast_prompting, negative, random_vector, swapped)
both = pytest.mark.parametrize("settings", [OWN, PAPER_LIKE], ids=["own", "paper"])


def curve_of(found: Localisation) -> np.ndarray:
    assert found.curve is not None
    return found.curve


@pytest.fixture
def steered_rows(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The steered rows that the model is asked to read, as they come."""
    rows: list[Row] = []
    read = Hearing.read_rows

    def watched(self: Hearing, given: list[Row], **options: Any) -> list[Reading]:
        rows.extend(row for row in given if row.steer)
        return read(self, given, **options)

    monkeypatch.setattr(Hearing, "read_rows", watched)
    return rows


@pytest.mark.parametrize("blocks", [(1, 3), None])
def test_contrast_prompting_subtracts_the_share_of_the_two_prompts(hearing: Hearing, blocks: Any) -> None:
    plus = hearing.read("Listen for the dog bark. What do you hear?").attention.curve(blocks)
    minus = hearing.read("Attend to the whole audio. What do you hear?").attention.curve(blocks)
    found = contrast_prompting(hearing, QUERY, replace(OWN, prompt_blocks=blocks))
    np.testing.assert_allclose(curve_of(found), plus - minus, atol=1e-6)
    assert np.abs(curve_of(found)).max() > 1e-4


def test_contrast_prompting_adds_no_vector(hearing: Hearing, steered_rows: list[Row]) -> None:
    contrast_prompting(hearing, QUERY, OWN)
    assert steered_rows == []
    contrast_prompting(hearing, QUERY, replace(OWN, strength=50.0))
    same = contrast_prompting(hearing, QUERY, replace(OWN, negative="Listen for the dog bark."))
    assert np.abs(curve_of(same)).max() < 1e-6  # no contrast, no curve


@both
def test_negative_is_steering_backwards(hearing: Hearing, settings: Settings) -> None:
    found = negative(hearing, QUERY, settings)
    back = steering(hearing, QUERY, replace(settings, strength=-2.0))
    np.testing.assert_allclose(curve_of(found), curve_of(back), atol=1e-7)
    assert found.interval == back.interval
    again = negative(hearing, QUERY, replace(settings, strength=-2.0))
    np.testing.assert_allclose(curve_of(again), curve_of(steering(hearing, QUERY, settings)), atol=1e-7)
    assert np.abs(curve_of(found) - curve_of(again)).max() > 1e-4


@both
def test_a_random_vector_is_as_long_as_the_contrast_in_each_block(
    hearing: Hearing, settings: Settings, steered_rows: list[Row]
) -> None:
    random_vector(hearing, QUERY, settings)
    steering(hearing, QUERY, settings)
    random, own = steered_rows
    (drawn,), (contrast,) = random.steer, own.steer
    torch.testing.assert_close(drawn.vector.norms(), contrast_of(hearing, QUERY, settings).norms())
    assert drawn.vector.blocks == settings.steered_blocks(4)
    assert drawn.vector.cosine(contrast.vector).abs().max() < 0.6
    assert (drawn.strength, drawn.positions, drawn.rule) == (contrast.strength, contrast.positions, contrast.rule)
    assert (random.instruction, random.keep_norm) == (own.instruction, own.keep_norm)


def test_a_random_vector_is_decided_by_the_seed(hearing: Hearing) -> None:
    first, again, other = (
        curve_of(random_vector(hearing, replace(QUERY, seed=seed), OWN)) for seed in (4, 4, 2**32 - 1)
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4
    assert np.abs(first - curve_of(steering(hearing, QUERY, OWN))).max() > 1e-4


@both
def test_swapping_steers_with_another_event(hearing: Hearing, settings: Settings) -> None:
    for others, event in ((("dog bark",), "dog bark"), (("bell",), "bell"), (("siren", "bell", "siren"), "bell")):
        found = swapped(hearing, replace(QUERY, others=others), settings)  # seed 4: the second of three
        expected = steering(hearing, replace(QUERY, event=event), settings)
        np.testing.assert_allclose(curve_of(found), curve_of(expected), atol=1e-7)
        assert found.interval == expected.interval
    bell, bark = (curve_of(steering(hearing, Query(name, 0.5), settings)) for name in ("bell", "dog bark"))
    assert np.abs(bell - bark).max() > 1e-4  # else the identities above say nothing


def test_swapping_picks_each_of_the_others(hearing: Hearing, steered_rows: list[Row]) -> None:
    for seed in range(4):
        swapped(hearing, replace(QUERY, seed=seed), OWN)
    named = [row.steer[0].vector.provenance.positive for row in steered_rows]
    assert named == [f"Listen for the {name}. What do you hear?" for name in ("bell", "siren", "bell", "siren")]


def test_a_query_without_others_cannot_be_swapped(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hearing, "read_rows", None)  # the model is not asked
    with pytest.raises(ValueError, match="'dog bark' names no other event"):
        swapped(hearing, Query("dog bark", 0.5), OWN)


@pytest.mark.parametrize("control", CONTROLS)
@both
def test_the_window_is_that_of_the_curve_and_nothing_is_left_behind(
    hearing: Hearing, control: Callable[..., Localisation], settings: Settings, hook_count: Callable[..., int]
) -> None:
    hooks, before = hook_count(hearing.checkpoint), hearing.read("What do you hear?").logits
    for seconds in (0.5, 1.2):
        found = control(hearing, replace(QUERY, seconds=seconds), settings)
        assert (found.interval, found.score) == best_window(curve_of(found), hearing.span, seconds)
    assert hook_count(hearing.checkpoint) == hooks
    assert torch.equal(hearing.read("What do you hear?").logits, before)
