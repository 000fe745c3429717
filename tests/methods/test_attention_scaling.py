"""Attention scaling: prompting with sharper scores, in one block or all, read as it is declared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from localising import OWN, QUERY, curve, curve_of

from steer_utils.lm.hearing import Hearing
from steer_utils.methods.attention_scaling import attention_scaling, attention_scaling_all, scaled
from steer_utils.methods.base import Query
from steer_utils.methods.rounds import together
from steer_utils.methods.settings import Scaling, Settings

FOCUS = "Listen for the dog bark. How loud is it?"
CHOSEN = Scaling(3.0, (1,), "How loud is it?", "share", (2, 3))


def with_scaling(chosen: Scaling) -> Settings:
    return replace(OWN, scaling=chosen, scaling_all=chosen)


def test_a_factor_of_one_is_prompting_itself(hearing: Hearing) -> None:
    for name in ("attention-scaling", "attention-scaling-all"):
        share = curve(name, hearing, with_scaling(replace(CHOSEN, factor=1.0)))
        np.testing.assert_array_equal(share, hearing.read(FOCUS).attention.curve((2, 3)))
        difference = curve(name, hearing, with_scaling(replace(CHOSEN, factor=1.0, read="difference")))
        np.testing.assert_array_equal(difference, np.zeros(hearing.span.count))


def test_what_is_chosen_is_what_is_read(hearing: Hearing) -> None:
    plain, sharper = (place.read(FOCUS).attention for place in (hearing, hearing.with_scaled_audio({1: 3.0})))
    np.testing.assert_array_equal(curve("attention-scaling", hearing, with_scaling(CHOSEN)), sharper.curve((2, 3)))
    difference = curve("attention-scaling", hearing, with_scaling(replace(CHOSEN, read="difference")))
    np.testing.assert_allclose(difference, (sharper - plain).curve((2, 3)), atol=1e-7)
    assert np.abs(difference).max() > 1e-4


def test_as_declared_one_block_as_deep_as_theirs_and_all(one_hearing: Hearing) -> None:
    instruction = OWN.focus(QUERY.event)
    plain = one_hearing.read(instruction).attention
    for found, factors, blocks in (
        (attention_scaling(one_hearing, QUERY, OWN), {2: 2.0}, (2, 3)),  # 20 of 32 is 2 of 4
        (attention_scaling_all(one_hearing, QUERY, OWN), dict.fromkeys(range(4), 2.0), (0, 1, 2, 3)),
    ):
        sharper = one_hearing.with_scaled_audio(factors).read(instruction).attention
        np.testing.assert_allclose(curve_of(found), (sharper - plain).curve(blocks), atol=1e-7)


@pytest.mark.parametrize("read", ["share", "difference"])
def test_queries_together_find_what_each_finds_alone(hearing: Hearing, read: str) -> None:
    settings = with_scaling(Scaling(3.0, (1,), None, read))  # type: ignore[arg-type]
    queries = [QUERY, Query("bell", 0.4), Query("siren", 0.4)]
    steps = [attention_scaling.steps(hearing, query, settings) for query in queries]
    for query, found in zip(queries, together(steps), strict=True):
        alone = attention_scaling(hearing, query, settings)
        np.testing.assert_allclose(curve_of(found), curve_of(alone), atol=1e-6)
        assert found.interval == alone.interval


def test_blocks_that_do_not_exist_are_refused(one_hearing: Hearing) -> None:
    with pytest.raises(ValueError, match="blocks has 7, but the model has blocks 0 to 3"):
        scaled(one_hearing, QUERY, OWN, Scaling(), (7,))
