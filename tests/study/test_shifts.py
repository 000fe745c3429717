"""Shifts: known answers on made maps, the definitions as oracles, each condition against what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.steering import Injection
from steer_utils.methods.base import Query
from steer_utils.methods.settings import PAPER
from steer_utils.sound.spans import AudioSpan, Interval
from steer_utils.study import attention_shift as shifts
from steer_utils.study.attention_shift import CONDITIONS, Shift, shift

SPAN = AudioSpan(5, 20)  # 0.8 s
EVENT, OTHER = Interval(0.2, 0.4), Interval(0.6, 0.8)
OWN = replace(PAPER, positive="Listen for the {event}.", question="What do you hear?", blocks=(1,), strength=2.0,
              keep_norm=False)  # fmt: skip
QUERY = Query("dog bark", 0.5, seed=4)


def attention(weights: np.ndarray) -> AttentionMap:
    """A map from weights (blocks, heads, tokens), which may sum to less than one."""
    return AttentionMap.from_weights(torch.tensor(weights)[:, :, None, :], SPAN)


def drawn(seed: int, blocks: int = 3, heads: int = 4) -> AttentionMap:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(0.3 * np.ones(SPAN.count), (blocks, heads))
    return attention(shares * rng.uniform(0.1, 0.9, (blocks, heads, 1)))


EVEN = attention(np.full((1, 2, 20), 0.5 / 20))
PEAK = attention(0.8 * np.eye(20)[None, [7, 7]])


# One reading against another -------------------------------------------------------------------------------------


def test_known_answers() -> None:
    moved = shift(EVEN, PEAK, EVENT, [OTHER])
    assert moved.mass_base[0] == pytest.approx(0.5) and moved.mass[0] == pytest.approx(0.8)
    assert moved.entropy_base[0] == pytest.approx(np.log(20)) and moved.entropy[0] == pytest.approx(0.0, abs=1e-6)
    mixed = -19 / 40 * np.log2(1 / 40) - 21 / 40 * np.log2(21 / 40)  # of the mean of both shares
    assert moved.js[0] == pytest.approx(mixed - 0.5 * np.log2(20), abs=1e-6)
    assert [moved.inside_base[0], moved.inside[0]] == pytest.approx([0.25, 1.0])  # type: ignore[index]
    assert [moved.others_base[0], moved.others[0]] == pytest.approx([0.25, 0.0], abs=1e-6)  # type: ignore[index]
    (row,) = moved.rows()
    assert row["block"] == 0 and row["effective_base"] == pytest.approx(20) and row["effective"] == pytest.approx(1)


def test_heads_in_opposite_ways_are_lost_in_their_average_only() -> None:
    left, right = attention(np.eye(20)[None, [2, 15]]), attention(np.eye(20)[None, [15, 2]])
    moved = shift(left, right)
    assert moved.js[0] == 0.0 and moved.head_js.tolist() == [[1.0, 1.0]]
    assert moved.head_mass.tolist() == [[0.0, 0.0]] and moved.rows()[0]["head_js"] == 1.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_definitions(seed: int) -> None:
    base, changed = drawn(seed), drawn(seed + 1)
    moved = shift(base, changed, EVENT, [OTHER, Interval(0.35, 0.5)])
    p, q = (each.share.double().mean(dim=(1, 2)).numpy() for each in (base, changed))

    def bits(share: np.ndarray) -> np.ndarray:
        return -(share * np.log2(np.maximum(share, 1e-300))).sum(axis=-1)

    np.testing.assert_allclose(moved.js, bits((p + q) / 2) - (bits(p) + bits(q)) / 2, atol=1e-6)
    np.testing.assert_allclose(moved.entropy, bits(q) * np.log(2), atol=1e-6)
    np.testing.assert_allclose(moved.mass - moved.mass_base, moved.head_mass.mean(axis=1), atol=1e-9)
    centers = SPAN.centers()
    inside, other = (centers >= 0.2) & (centers < 0.4), (centers >= 0.6) | ((centers >= 0.4) & (centers < 0.5))
    np.testing.assert_allclose(moved.inside, q[:, inside].sum(axis=1), atol=1e-7)
    np.testing.assert_allclose(moved.others, q[:, other].sum(axis=1), atol=1e-7)  # a shared token is the event's
    assert np.all(moved.js >= 0) and np.all(moved.js <= moved.head_js.mean(axis=1) + 1e-9)  # JS is convex
    back = shift(changed, base)
    np.testing.assert_allclose(back.js, moved.js, atol=1e-9)
    np.testing.assert_allclose(back.head_entropy, -moved.head_entropy, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, (2, 2, 20), elements=st.floats(1e-6, 1.0)), st.floats(1e-3, 1.0))
def test_nothing_moves_where_only_the_mass_changes(weights: np.ndarray, factor: float) -> None:
    weights = weights / weights.sum(axis=-1, keepdims=True)
    moved = shift(attention(weights), attention(factor * weights), EVENT, [OTHER])
    np.testing.assert_allclose(moved.mass, factor * moved.mass_base, rtol=1e-5)
    assert np.all(moved.js < 1e-9) and np.all(moved.head_js < 1e-9) and np.isfinite(moved.js).all()
    np.testing.assert_allclose(moved.inside, moved.inside_base, atol=1e-6)  # type: ignore[arg-type]
    same = shift(attention(weights), attention(weights))
    assert not same.js.any() and not same.head_js.any() and not same.head_entropy.any()


def test_without_an_event_there_is_no_inside() -> None:
    moved = shift(EVEN, PEAK)
    assert moved.inside is None and moved.others_base is None
    assert not {"inside", "inside_base", "others", "others_base"} & set(moved.rows()[0])
    assert {"inside", "inside_base", "others", "others_base"} < set(shift(EVEN, PEAK, EVENT).rows()[0])


def test_maps_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 1, 20\).*\(3, 4, 1, 20\)"):
        shift(EVEN, drawn(0))
    with pytest.raises(ValueError, match="same audio"):
        shift(EVEN, AttentionMap(PEAK.share, PEAK.mass, AudioSpan(9, 20)))
    with pytest.raises(ValueError, match="does not sum to 1"):
        shift(EVEN, PEAK - EVEN)


# Conditions ------------------------------------------------------------------------------------------------------


def moved_by(name: str, hearing: Hearing, own: object = OWN, query: Query = QUERY) -> Shift:
    settings = own if isinstance(own, type(OWN)) else OWN
    base = hearing.read(settings.question).attention
    return shift(base, CONDITIONS[name](hearing, query, settings).attention)


def test_steering_is_the_reading_it_is_made_of(hearing: Hearing) -> None:
    vector = hearing.contrast("Listen for the dog bark.", OWN.negative, prompt=OWN.question).select(1)
    reading = hearing.read(OWN.question, steer=Injection(vector, 2.0), keep_norm=False)
    found = CONDITIONS["steering"](hearing, QUERY, OWN)
    assert torch.allclose(found.attention.share, reading.attention.share, atol=1e-6)
    moved = moved_by("steering", hearing)
    assert moved.js[2:].min() > 1e-6


@pytest.mark.parametrize("name", ["steering", "random vector"])
def test_blocks_up_to_the_steered_one_do_not_move_at_all(hearing: Hearing, name: str) -> None:
    moved = moved_by(name, hearing)
    assert not moved.js[:2].any() and not (moved.mass - moved.mass_base)[:2].any()  # exactly: tests go by it
    still = moved_by(name, hearing, replace(OWN, strength=0.0))
    assert not still.js.any() and not still.head_mass.any()


def test_the_papers_steering_asks_the_same_question(hearing: Hearing) -> None:
    as_paper = replace(PAPER, question=OWN.question)
    found, expected = (moved_by(name, hearing, own) for name, own in (("steering-paper", OWN), ("steering", as_paper)))
    np.testing.assert_array_equal(found.js, expected.js)
    assert not np.array_equal(found.js, moved_by("steering", hearing).js)


def test_prompting_is_the_instruction_before_the_question(hearing: Hearing) -> None:
    for name, words in (("prompting", "Listen for the dog bark."), ("neutral prompting", OWN.negative)):
        found = CONDITIONS[name](hearing, QUERY, OWN)
        assert found.instruction == f"{words} What do you hear?"
        assert torch.equal(found.attention.share, hearing.read(found.instruction).attention.share)


def test_a_random_vector_follows_its_seed(hearing: Hearing) -> None:
    first, same, other = (moved_by("random vector", hearing, query=replace(QUERY, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.js, same.js)
    assert not np.allclose(first.js, other.js) and not np.allclose(first.js, moved_by("steering", hearing).js)


def test_audio_steering_knows_no_query(hearing: Hearing) -> None:
    first = moved_by("audio steering", hearing)
    np.testing.assert_array_equal(first.js, moved_by("audio steering", hearing, query=Query("siren", 1.0)).js)
    assert not first.js[0].any() and first.js[1:].min() > 0
    vector = shifts.audio_contrast(hearing, OWN.question)
    by_hand = hearing.read(OWN.question, steer=Injection(vector, 0.05))
    found = CONDITIONS["audio steering"](hearing, QUERY, OWN)
    assert torch.allclose(found.attention.share, by_hand.attention.share, atol=1e-6)


def test_conditions_leave_the_model_as_it_was(
    lm: AudioLM, hearing: Hearing, hook_count: Callable[[AudioLM], int]
) -> None:
    hooks = hook_count(lm)  # transformers leaves some where a test asked it for all attention maps
    before = hearing.read(OWN.question).attention.share
    for name in CONDITIONS:
        moved_by(name, hearing)
    assert hook_count(lm) == hooks
    assert torch.equal(before, hearing.read(OWN.question).attention.share)
