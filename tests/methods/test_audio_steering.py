"""Audio-based steering: its vector, its strengths and its three forms, each against readings made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from localising import curve_of

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection
from steer_utils.methods.audio_steering import (
    LWVS,
    MAVS,
    VISTA,
    AudioSteering,
    audio_contrast,
    audio_readings,
    audio_steered,
    block_factors,
    boosted_blocks,
    lwvs,
    mavs,
    vista,
)
from steer_utils.methods.base import Localisation, Query
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import Interval

QUERY = Query("dog bark", 0.5)
OWN = Settings(positive="Listen for the {event}.", question="What do you hear?", strength=7.0, blocks=(0,))
ASKED = "Listen for the dog bark. What do you hear?"
FORMS = {mavs: MAVS, lwvs: LWVS, vista: VISTA}


# The vector and its strengths ----------------------------------------------------------------------------------------


def test_the_vector_is_audio_minus_silence(hearing: Hearing, lm: AudioLM) -> None:
    silent = Hearing(lm, np.zeros_like(hearing.samples))
    v = audio_contrast(hearing, ASKED)
    torch.testing.assert_close(v.directions, hearing.read(ASKED).hidden - silent.read(ASKED).hidden)
    assert v.blocks == v.acting_blocks() == (0, 1, 2, 3)
    norms = 0.5 * (hearing.read(ASKED).hidden.norm(dim=1) + silent.read(ASKED).hidden.norm(dim=1))
    torch.testing.assert_close(v.hidden_norms, norms)
    assert v.provenance.recipe == f"audio - silence, both {ASKED!r}"
    assert not audio_contrast(silent, ASKED).acting_blocks()  # silence - silence


def test_the_boosted_blocks_are_those_of_the_paper_scaled() -> None:
    assert boosted_blocks(32) == range(14, 30)
    assert boosted_blocks(28) == range(12, 26)
    assert boosted_blocks(8) == range(4, 8)
    assert boosted_blocks(4) == range(2, 4)
    for count in range(1, 130):
        blocks = boosted_blocks(count)
        assert 0 <= blocks.start < blocks.stop <= count


def test_the_strengths_of_qwen2_audio() -> None:
    factors = block_factors(32, 0.5)  # 16 boosted, 16 not
    assert factors == (0.5,) * 14 + (1.5,) * 16 + (0.5,) * 2
    assert block_factors(28, 0.5)[12:26] == (1.5,) * 14
    assert block_factors(7, 0.5)[0] == 0.5 and block_factors(7, 0.5)[3] == 1 + 0.5 * 3 / 4  # 3 to 6 of 7


@given(st.integers(1, 120), st.floats(0, 1))
def test_strength_is_moved_and_not_added(blocks: int, beta: float) -> None:
    assert np.mean(block_factors(blocks, beta)) == pytest.approx(1)
    assert block_factors(blocks, 0.0) == (1.0,) * blocks
    assert all(factor >= 0 for factor in block_factors(blocks, beta))


@given(st.floats().filter(lambda beta: not 0 <= beta <= 1))
def test_what_is_no_form_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match=r"beta must lie in 0\.\.1"):
        AudioSteering(beta=beta)
    with pytest.raises(ValueError, match="strength must be a finite number"):
        AudioSteering(strength=float("nan"))
    with pytest.raises(ValueError, match="one strength for all blocks"):
        AudioSteering(beta=0.5, rule="vista")


# The three forms ----------------------------------------------------------------------------------------------------


def by_hand(hearing: Hearing, injection: Injection) -> np.ndarray:
    """Share with the vector minus share without it, under the same prompt, over blocks 1.. (block 0 is steered)."""
    steered = hearing.read(ASKED, steer=injection).attention
    return np.asarray((steered.share - hearing.read(ASKED).attention.share)[1:].mean(dim=(0, 1, 2)))


def test_each_form_by_hand(hearing: Hearing) -> None:
    v = audio_contrast(hearing, ASKED)  # of four blocks LWVS boosts the last two, by half as the others lose
    for method, injection in (
        (mavs, Injection(v, 0.05)),
        (mavs, Injection(0.05 * v)),
        (lwvs, Injection(0.025 * v.select([0, 1]) + 0.075 * v.select([2, 3]))),
        (vista, Injection(9 * v, 0.17, rule="vista")),
    ):
        found = curve_of(method(hearing, QUERY, OWN))
        np.testing.assert_allclose(found, by_hand(hearing, injection), atol=1e-6)
        assert np.abs(found).max() > 1e-4 and abs(found.sum()) < 1e-5


@pytest.mark.parametrize("strength", [0.05, 1.0])
def test_lwvs_that_moves_nothing_is_mavs(one_hearing: Hearing, strength: float) -> None:
    uniform, moving = (AudioSteering(strength, beta) for beta in (0.0, 0.5))
    same = curve_of(audio_steered(one_hearing, QUERY, OWN, AudioSteering(strength, beta=0.0)))
    assert np.array_equal(same, curve_of(audio_steered(one_hearing, QUERY, OWN, uniform)))
    assert np.abs(same - curve_of(audio_steered(one_hearing, QUERY, OWN, moving))).max() > 1e-5
    assert np.array_equal(
        curve_of(mavs(one_hearing, QUERY, OWN)), curve_of(audio_steered(one_hearing, QUERY, OWN, MAVS))
    )


@pytest.mark.parametrize("form", [AudioSteering(0.0), AudioSteering(0.0, 0.5), AudioSteering(0.0, rule="vista")])
def test_at_strength_zero_the_curve_is_flat_and_the_window_the_first(one_hearing: Hearing, form: AudioSteering) -> None:
    found = audio_steered(one_hearing, QUERY, OWN, form)
    assert not curve_of(found).any()
    assert found.interval == Interval(0.0, 0.48) and found.score == 0.0


@pytest.mark.parametrize("method", FORMS)
def test_silence_is_not_steered(lm: AudioLM, method: Callable[..., Localisation]) -> None:
    found = method(Hearing(lm, np.zeros(16_000, np.float32)), QUERY, OWN)
    assert not curve_of(found).any() and found.interval == Interval(0.0, 0.48)


@pytest.mark.parametrize("method", FORMS)
def test_the_query_counts_and_the_settings_of_instruction_steering_do_not(
    one_hearing: Hearing, method: Callable[..., Localisation]
) -> None:
    found = method(one_hearing, QUERY, OWN)
    same = method(one_hearing, QUERY, replace(OWN, strength=1.0, blocks=(2,), keep_norm=False, read="share"))
    assert np.array_equal(curve_of(found), curve_of(same))
    for query, settings in ((Query("bell", 0.5), OWN), (QUERY, replace(OWN, question="How loud is it?"))):
        assert np.abs(curve_of(method(one_hearing, query, settings)) - curve_of(found)).max() > 1e-6


@pytest.mark.parametrize(("method", "form"), FORMS.items())
def test_readings_are_those_the_curve_is_made_of(
    one_hearing: Hearing, method: Callable[..., Localisation], form: AudioSteering
) -> None:
    steered, base = audio_readings(one_hearing, QUERY, OWN, form)
    assert steered.instruction == base.instruction == ASKED
    assert (steered.attention.first_block, base.attention.first_block) == (1, 0)
    assert torch.equal(base.logits, one_hearing.read(ASKED).logits)
    np.testing.assert_array_equal(
        (steered.attention - base.attention).curve(), curve_of(method(one_hearing, QUERY, OWN))
    )


def test_the_norm_is_kept_whatever_the_settings_say(one_hearing: Hearing) -> None:
    v = audio_contrast(one_hearing, ASKED).select([2])
    plain = one_hearing.read(ASKED).hidden[2].norm()
    for injection in (Injection(v, 3.0), Injection(v, 3.0, rule="vista")):
        torch.testing.assert_close(one_hearing.read(ASKED, steer=injection).hidden[2].norm(), plain)
    steered, _ = audio_readings(one_hearing, QUERY, replace(OWN, keep_norm=False), AudioSteering(3.0))
    torch.testing.assert_close(steered.hidden[0].norm(), one_hearing.read(ASKED).hidden[0].norm())


def test_rules_may_differ_within_one_call(one_hearing: Hearing) -> None:
    v = audio_contrast(one_hearing, ASKED)
    rows = [Row(ASKED, (Injection(v, 0.5, rule=rule),)) for rule in ("add", "vista", "add")]  # type: ignore[arg-type]
    readings = one_hearing.read_rows([Row(ASKED), *rows, Row("Describe the sound.", rows[1].steer)])
    for row, reading in zip(rows, readings[1:4], strict=True):
        alone = one_hearing.read(ASKED, steer=row.steer)
        torch.testing.assert_close(reading.hidden, alone.hidden, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(readings[1].hidden, readings[2].hidden, atol=1e-2)


def test_three_passes_and_silence_encoded_once(hearing: Hearing, lm: AudioLM, hook_count: Callable[..., int]) -> None:
    hooks, encoded, passes = hook_count(lm), [], []
    handles = [
        lm.family.audio_tower(lm.model).register_forward_hook(lambda *_: encoded.append(1)),
        lm.blocks[0].register_forward_hook(lambda *_: passes.append(1)),
    ]
    try:
        mavs(hearing, QUERY, OWN)
        assert (len(encoded), len(passes)) == (1, 4)  # one pass is silence itself
        lwvs(hearing, QUERY, OWN)
        assert (len(encoded), len(passes)) == (1, 7)
    finally:
        for handle in handles:
            handle.remove()
    assert hook_count(lm) == hooks
