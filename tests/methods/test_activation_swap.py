"""States swapped in at an event's name: exactly the other's state, nothing with itself, and read where it can act."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from localising import curve

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.methods.activation_swap import exchange_at, exchanged, rows_with_swapped_states, swapped_block
from steer_utils.methods.settings import StateSwap

FOCUS = "Listen for the dog bark. What do you hear?"
BLOCKS = list(range(4))


def states_at(lm: AudioLM, hearing: Hearing, row: Row) -> torch.Tensor:
    """The outputs of all blocks at the two tokens of the name, (2, blocks, hidden)."""
    words = [hearing.prefix_length + n for n, token in enumerate(lm.tokens(FOCUS).tail) if token in name_ids(lm)]
    assert len(words) == 2
    return torch.stack([hearing.read_rows([replace(row, hidden_at=[slot])])[0].hidden for slot in words])


def name_ids(lm: AudioLM) -> list[int]:
    return list(lm.processor.tokenizer("dog bark", add_special_tokens=False).input_ids)


@pytest.fixture
def other(lm: AudioLM, other_samples: np.ndarray) -> Hearing:
    return lm.hear(other_samples, sampling_rate=16_000)


def test_the_state_at_the_name_is_the_others_and_no_other_state_of_that_block_is_touched(
    lm: AudioLM, hearing: Hearing, other: Hearing
) -> None:
    here, there = (states_at(lm, place, Row(FOCUS)) for place in (hearing, other))
    assert (here - there).abs().amax(dim=(0, 2)).min() > 1e-3
    for block, row in enumerate(rows_with_swapped_states(hearing, other, FOCUS, "dog bark", BLOCKS)):
        swapped = states_at(lm, hearing, row)
        torch.testing.assert_close(swapped[:, block], there[:, block], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(swapped[:, :block], here[:, :block], atol=1e-6, rtol=0)
        last, plain = hearing.read_rows([row, Row(FOCUS)])
        assert torch.equal(last.hidden[: block + 1], plain.hidden[: block + 1])  # the last token comes later


def test_a_swap_with_itself_changes_nothing(hearing: Hearing) -> None:
    rows = rows_with_swapped_states(hearing, hearing, FOCUS, "dog bark", BLOCKS)
    assert not any(row.is_steered for row in rows)
    for reading, plain in zip(hearing.read_rows(rows), hearing.read_rows([Row(FOCUS)] * 4), strict=True):
        assert torch.equal(reading.logits, plain.logits)
        assert torch.equal(reading.attention.share, plain.attention.share)


def test_attention_of_the_last_token_moves_from_the_second_block_after_it_on(hearing: Hearing, other: Hearing) -> None:
    plain = hearing.read(FOCUS).attention.share
    rows = rows_with_swapped_states(hearing, other, FOCUS, "dog bark", BLOCKS)
    for block, reading in enumerate(hearing.read_rows(rows)):
        moved = (reading.attention.share - plain).abs().amax(dim=(1, 2, 3))
        assert moved[: block + 2].max() < 1e-5
        assert block > 1 or moved[block + 2 :].min() > 1e-5


def test_what_is_read_by_default_and_what_cannot_be(one_hearing: Hearing) -> None:
    assert swapped_block(StateSwap(), 32) == (16, tuple(range(18, 32)))
    assert swapped_block(StateSwap(), 4) == (1, (3,)) and swapped_block(StateSwap(), 3) == (0, (2,))
    assert swapped_block(StateSwap(0, None, (2,)), 4) == (0, (2,))
    for swap, blocks in ((StateSwap(2), 4), (StateSwap(-1), 4), (StateSwap(), 2)):
        with pytest.raises(ValueError, match="moves no attention of the last token"):
            swapped_block(swap, blocks)


def test_the_other_audio_is_this_one_with_its_parts_exchanged(one_model: AudioLM, samples: np.ndarray) -> None:
    quiet = samples.copy()
    quiet[20_000:23_000] = 0.0  # 1.25 to 1.44 s
    hearing = one_model.hear(quiet, sampling_rate=16_000)
    cut = exchange_at(hearing)
    assert 1.25 <= cut * hearing.span.seconds_per_token <= 1.44
    other, edge = exchanged(hearing), round(cut * 0.04 * 16_000)
    np.testing.assert_array_equal(other.samples, np.concatenate([quiet[edge:], quiet[:edge]]))
    assert exchanged(hearing) is other and other.span == hearing.span


def test_following_is_staying_moved_back_by_the_exchange(hearing: Hearing) -> None:
    stays, follows = (curve(name, hearing) for name in ("swap-stays", "swap-follows"))
    np.testing.assert_array_equal(follows, np.roll(stays, exchange_at(hearing)))
    none = curve("swap-none", hearing)
    np.testing.assert_array_equal(none, hearing.read(FOCUS).attention.curve((3,)))
    assert np.abs(stays - none).max() > 1e-6


def test_audios_of_different_lengths_are_refused(one_model: AudioLM, one_hearing: Hearing, samples: Any) -> None:
    shorter = one_model.hear(samples[:16_000], sampling_rate=16_000)
    with pytest.raises(ValueError, match="audios of equal length"):
        rows_with_swapped_states(one_hearing, shorter, FOCUS, "dog bark", [0])
