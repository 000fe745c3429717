"""blocks: what counts as a block number, which of them a model has, and how a set of them is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.lm.blocks import (
    NAMED_BLOCKS,
    as_blocks,
    block_numbers,
    blocks_text,
    early,
    late,
    named_blocks,
    parse_blocks,
    within,
)


def test_halves() -> None:
    assert (early(5), late(5)) == (range(2), range(2, 5))
    assert [list(named_blocks(name, 3)) for name in NAMED_BLOCKS] == [[0], [1, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    "numbers",
    [[3, 1], (3, 1), range(3, 0, -2), np.array([3, 1]), torch.tensor([3, 1]), [np.int64(3), np.uint8(1)], iter([3, 1])],
)
def test_whole_numbers_of_any_kind_keep_their_order(numbers: Any) -> None:
    blocks = as_blocks(numbers)
    assert blocks == (3, 1) and all(type(block) is int for block in blocks)


@pytest.mark.parametrize(
    "numbers",
    [
        [],
        None,
        3,
        "34",
        ["2"],
        [1.7],
        [2.0],
        [True],
        [[1]],
        [None],
        np.array([1.0]),
        np.array([True]),
        torch.tensor([1.0]),
        torch.tensor([True, False]),
        {1: 2},
        b"12",
        bytearray(2),
    ],
)
def test_what_is_no_block_number_is_refused(numbers: Any) -> None:
    with pytest.raises(ValueError, match=r"read_blocks is .*; pass block numbers such as \[3, 4, 5\]"):
        as_blocks(numbers, "read_blocks")
    with pytest.raises(ValueError, match="blocks is"):
        block_numbers(numbers, 4)


def test_a_set_is_sorted_and_counted_from_0() -> None:
    assert block_numbers([3, -4, 1, 1, -1], 4) == (0, 1, 3)
    assert within([3, -4, 1, 1], 4) == (3, 0, 1, 1)


@pytest.mark.parametrize("wrong", [4, -5, 10**9])
def test_a_block_that_the_model_lacks_is_named(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"^blocks has {wrong}, but the model has blocks 0 to 3$"):
        block_numbers([0, wrong], 4)
    with pytest.raises(ValueError, match=f"read_heads has {wrong}, but pocket has heads 0 to 3"):
        within([wrong], 4, "read_heads", "head", owner="pocket")


@pytest.mark.parametrize(
    ("text", "blocks"), [("1-3,5", (1, 2, 3, 5)), ("2, 4", (2, 4)), (" 0 - 1 ", (0, 1)), ("7-7", (7,))]
)
def test_parsed_text(text: str, blocks: tuple[int, ...]) -> None:
    assert parse_blocks(text) == blocks


@pytest.mark.parametrize("text", ["", "late", "1,", "-1", "1.5", "3-1", "1-2-3", "99999", "٣"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"blocks is {text!r}.* pass block numbers such as 1-5 or 2,4"):
        parse_blocks(text)


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ("late", "late"),
        ((5,), "5"),
        ((0, 1), "0-1"),
        (range(8, 16), "8-15"),
        ((0, 2), "0, 2"),
        ((), ""),
        ((0, 1, 3, 4, 5, 9), "0-1, 3-5, 9"),
        ((3, 2), "3, 2"),
        ((-2, -1), "-2, -1"),
        ((-1, 0, 1), "-1, 0-1"),
    ],
)
def test_written(blocks: Any, text: str) -> None:
    assert blocks_text(blocks) == text


@given(st.sets(st.integers(0, 99), min_size=1))
def test_what_is_written_reads_back(numbers: set[int]) -> None:
    blocks = tuple(sorted(numbers))
    assert parse_blocks(blocks_text(blocks)) == blocks
