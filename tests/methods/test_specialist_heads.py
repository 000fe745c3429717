"""Heads weighted by how much they listen: the weights, their limits, and steering underneath."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from localising import OWN, QUERY, curve, curve_of

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Query, contrast_of, steered_row
from steer_utils.methods.rounds import together
from steer_utils.methods.settings import Specialists
from steer_utils.methods.specialist_heads import specialist_heads, weighted_curve
from steer_utils.sound.spans import AudioSpan


def attention(weights: list[list[list[float]]], first_block: int = 0) -> AttentionMap:
    """Weights (blocks, heads, tokens) of one row."""
    return AttentionMap.from_weights(torch.tensor(weights)[:, :, None], AudioSpan(0, len(weights[0][0])), first_block)


LISTENING = attention([[[0.9, 0.0], [0.0, 0.9]], [[0.6, 0.2], [0.05, 0.15]]], first_block=1)


def test_weights_are_the_audio_mass_to_a_power() -> None:
    np.testing.assert_allclose(weighted_curve(LISTENING, None, 0.0), [0.5 * (0.75 + 0.25), 0.5], atol=1e-6)
    np.testing.assert_allclose(weighted_curve(LISTENING, None, 1.0), [0.65, 0.35], atol=1e-6)  # raw weights: 0.65 of 1
    np.testing.assert_allclose(weighted_curve(LISTENING, None, 60.0), [0.75, 0.25], atol=1e-6)  # the one that listens
    np.testing.assert_allclose(weighted_curve(LISTENING, LISTENING, 1.0), [0.0, 0.0], atol=1e-7)


def test_heads_that_do_not_listen_at_all_count_alike() -> None:
    deaf = attention([[[0.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(weighted_curve(deaf, None, 4.0), [0.5, 0.5])
    half = attention([[[0.2, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(weighted_curve(half, None, 4.0), [1.0, 0.0], atol=1e-6)


def test_steering_the_last_block_leaves_nothing_to_read() -> None:
    with pytest.raises(ValueError, match="the last, changes no attention"):
        weighted_curve(attention([[[0.5, 0.1]]], first_block=1), None, 1.0)


def test_it_is_the_steered_row_of_steering(hearing: Hearing) -> None:
    vector = contrast_of(hearing, QUERY, OWN)
    steered = hearing.read_rows([steered_row(OWN, vector)])[0].attention
    base = hearing.read_rows([Row(OWN.question)])[0].attention
    for read, plain in (("share", None), ("difference", base)):
        settings = replace(OWN, specialists=Specialists(3.0, read))  # type: ignore[arg-type]
        expected = weighted_curve(steered, plain, 3.0)
        np.testing.assert_allclose(curve("specialist-heads", hearing, settings), expected, atol=1e-6)
    flat = replace(OWN, specialists=Specialists(0.0, "share"))
    np.testing.assert_allclose(curve("specialist-heads", hearing, flat), steered.curve(), atol=1e-6)  # blocks 1 to 3


def test_queries_together_find_what_each_finds_alone(hearing: Hearing) -> None:
    queries = [QUERY, Query("bell", 0.4)]
    for query, found in zip(
        queries, together([specialist_heads.steps(hearing, query, OWN) for query in queries]), strict=True
    ):
        np.testing.assert_allclose(curve_of(found), curve_of(specialist_heads(hearing, query, OWN)), atol=1e-6)
