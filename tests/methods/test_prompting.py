"""Prompting: each reads its own blocks under its own instruction, and nothing is steered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from localising import OWN, curve

from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.plan import Row

FOCUS, NEUTRAL = "Listen for the dog bark. What do you hear?", "Attend to the whole audio. What do you hear?"


@pytest.mark.parametrize("blocks", [(1, 3), None])
def test_prompting_reads_its_own_blocks(one_hearing: Hearing, blocks: Any) -> None:
    focus, settings = one_hearing.read(FOCUS).attention, replace(OWN, prompt_blocks=blocks)
    np.testing.assert_allclose(curve("prompting", one_hearing, settings), focus.curve(blocks), atol=1e-6)
    assert np.abs(focus.curve([1, 3]) - focus.curve()).max() > 1e-4


def test_prompting_has_a_question_and_blocks_of_its_own(one_hearing: Hearing) -> None:
    other = one_hearing.read("Listen for the dog bark. Name the sounds.").attention
    np.testing.assert_allclose(curve("prompting-best", one_hearing), other.curve([2]), atol=1e-6)


@pytest.mark.parametrize("blocks", [(1, 3), None])
def test_contrast_prompting_subtracts_the_share_of_the_two_prompts(one_hearing: Hearing, blocks: Any) -> None:
    plus, minus = (one_hearing.read(prompt).attention.curve(blocks) for prompt in (FOCUS, NEUTRAL))
    difference = curve("contrast-prompting", one_hearing, replace(OWN, prompt_blocks=blocks))
    np.testing.assert_allclose(difference, plus - minus, atol=1e-6)
    assert np.abs(difference).max() > 1e-4


def test_contrast_prompting_adds_no_vector(one_hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = []
    read = Hearing.read_rows

    def watched(self: Hearing, given: list[Row], **options: Any) -> list[Reading]:
        rows.extend(given)
        return read(self, given, **options)

    monkeypatch.setattr(Hearing, "read_rows", watched)
    curve("contrast-prompting", one_hearing, replace(OWN, strength=50.0))
    assert rows == [Row(FOCUS), Row(NEUTRAL)]
    same = curve("contrast-prompting", one_hearing, replace(OWN, negative="Listen for the dog bark."))
    assert np.abs(same).max() < 1e-6  # no contrast, no curve
