"""Controls: each is steering with one thing changed, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from localising import OWN, PAPER_LIKE, QUERY, curve, curve_of, find

from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Query, contrast_of
from steer_utils.methods.controls import negative, random_vector, swapped
from steer_utils.methods.settings import Settings
from steer_utils.methods.steering import steering

both = pytest.mark.parametrize("settings", [OWN, PAPER_LIKE], ids=["own", "paper"])


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


@both
def test_negative_is_steering_backwards(one_hearing: Hearing, settings: Settings) -> None:
    found = negative(one_hearing, QUERY, settings)
    back = steering(one_hearing, QUERY, replace(settings, strength=-2.0))
    np.testing.assert_allclose(curve_of(found), curve_of(back), atol=1e-7)
    assert found.interval == back.interval
    again = negative(one_hearing, QUERY, replace(settings, strength=-2.0))
    np.testing.assert_allclose(curve_of(again), curve_of(steering(one_hearing, QUERY, settings)), atol=1e-7)
    assert np.abs(curve_of(found) - curve_of(again)).max() > 1e-4


@both
def test_a_random_vector_is_as_long_as_the_contrast_in_each_block(
    one_hearing: Hearing, settings: Settings, steered_rows: list[Row]
) -> None:
    random_vector(one_hearing, QUERY, settings)
    steering(one_hearing, QUERY, settings)
    random, own = steered_rows
    (drawn,), (contrast,) = random.steer, own.steer
    torch.testing.assert_close(drawn.vector.norms(), contrast_of(one_hearing, QUERY, settings).norms())
    assert drawn.vector.blocks == settings.steered_blocks(4)
    assert drawn.vector.cosine(contrast.vector).abs().max() < 0.6
    assert (drawn.strength, drawn.positions, drawn.rule) == (contrast.strength, contrast.positions, contrast.rule)
    assert (random.instruction, random.keep_norm) == (own.instruction, own.keep_norm)


def test_a_random_vector_is_decided_by_the_seed(one_hearing: Hearing) -> None:
    first, again, other = (
        curve_of(random_vector(one_hearing, replace(QUERY, seed=seed), OWN)) for seed in (4, 4, 2**32 - 1)
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4
    assert np.abs(first - curve_of(steering(one_hearing, QUERY, OWN))).max() > 1e-4


@both
def test_swapping_steers_with_another_event(one_hearing: Hearing, settings: Settings) -> None:
    for others, event in ((("dog bark",), "dog bark"), (("bell",), "bell"), (("siren", "bell", "siren"), "bell")):
        found = swapped(one_hearing, replace(QUERY, others=others), settings)  # seed 4: the second of three
        expected = steering(one_hearing, replace(QUERY, event=event), settings)
        np.testing.assert_allclose(curve_of(found), curve_of(expected), atol=1e-7)
        assert found.interval == expected.interval
    bell, bark = (curve_of(steering(one_hearing, Query(name, 0.5), settings)) for name in ("bell", "dog bark"))
    assert np.abs(bell - bark).max() > 1e-4  # else the identities above say nothing


def test_swapping_picks_each_of_the_others(one_hearing: Hearing, steered_rows: list[Row]) -> None:
    for seed in range(4):
        swapped(one_hearing, replace(QUERY, seed=seed), OWN)
    named = [row.steer[0].vector.provenance.positive for row in steered_rows]
    assert named == [f"Listen for the {name}. What do you hear?" for name in ("bell", "siren", "bell", "siren")]


def test_a_query_without_others_cannot_be_swapped(one_hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hearing, "read_rows", None)  # the model is not asked
    with pytest.raises(ValueError, match="'dog bark' names no other event"):
        swapped(one_hearing, Query("dog bark", 0.5), OWN)


@pytest.mark.parametrize("blocks", [(0,), None])
def test_the_unsteered_peak_reads_its_own_blocks_whatever_is_queried(one_hearing: Hearing, blocks: Any) -> None:
    plain, settings = one_hearing.read("What do you hear?").attention, replace(OWN, peak_blocks=blocks)
    np.testing.assert_allclose(curve("unsteered", one_hearing, settings), plain.curve(blocks), atol=1e-6)
    other = find("unsteered", one_hearing, settings, Query("bell", 0.5))
    assert other.interval == find("unsteered", one_hearing, settings).interval
