"""Sets of decoder blocks: read from numbers or text, checked against a model, written for people.

Blocks are counted from 0; a negative number counts from the end, as in Python. Only whole numbers (also numpy's) are
block numbers: 1.7, "2" and True are refused rather than rounded.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping

Blocks = tuple[int, ...]
NAMED_BLOCKS = ("early", "late", "all")


def early(num_blocks: int) -> range:
    """The earlier half, blocks 0..floor(L/2)-1."""
    return range(num_blocks // 2)


def late(num_blocks: int) -> range:
    """The later half, blocks floor(L/2)..L-1: where the paper finds steering to work."""
    return range(num_blocks // 2, num_blocks)


def named_blocks(name: str, num_blocks: int) -> range:
    """The blocks of a name in NAMED_BLOCKS. Raises KeyError for another name."""
    return {"early": early(num_blocks), "late": late(num_blocks), "all": range(num_blocks)}[name]


def as_blocks(numbers: object, name: str = "blocks", what: str = "block") -> Blocks:
    """The numbers as they are given. Raises ValueError, naming `name`, for none, or for anything but whole numbers."""
    try:
        if isinstance(numbers, (str, bytes, bytearray, Mapping)):
            raise TypeError("all of these are iterable, too")
        given = list(numbers)  # type: ignore[call-overload]
        if any(isinstance(number, bool) or "bool" in str(getattr(number, "dtype", "")) for number in given):
            raise TypeError("Python and torch take True for 1")
        whole = tuple(operator.index(number) for number in given)
    except TypeError:
        whole = ()
    if not whole:
        raise ValueError(f"{name} is {numbers!r}; pass {what} numbers such as [3, 4, 5]")
    return whole


def within(numbers: object, count: int, name: str = "blocks", what: str = "block", owner: str = "the model") -> Blocks:
    """The same in their order, counted from 0. Raises ValueError, too, for a number beyond the `count` of `owner`."""
    whole = as_blocks(numbers, name, what)
    for number in whole:
        if not -count <= number < count:
            raise ValueError(f"{name} has {number}, but {owner} has {what}s 0 to {count - 1}")
    return tuple(number % count for number in whole)


def block_numbers(numbers: object, num_blocks: int, name: str = "blocks", owner: str = "the model") -> Blocks:
    """The set of blocks in a model of `num_blocks`: sorted, each once. Raises ValueError as `within` does."""
    return tuple(sorted(set(within(numbers, num_blocks, name, owner=owner))))


def parse_blocks(text: str, name: str = "blocks") -> Blocks:
    """`8-10,20` as (8, 9, 10, 20). Raises ValueError for any other form, and for a range that counts down."""
    blocks: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if match is None:
            raise ValueError(f"{name} is {text!r}; pass block numbers such as 1-5 or 2,4")
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if last < first:
            raise ValueError(f"{name} is {text!r}, which counts down; pass block numbers such as 1-5 or 2,4")
        blocks += range(first, last + 1)
    return tuple(blocks)


def blocks_text(blocks: str | Iterable[int]) -> str:
    """What tables and messages call a set of blocks: neighbours as a range, "8-15, 20"; a name as it is."""
    if isinstance(blocks, str):
        return blocks
    runs: list[list[int]] = []
    for block in blocks:
        if runs and 0 <= runs[-1][-1] == block - 1:  # numbers from the end form no range: -2--1 is hard to read
            runs[-1].append(block)
        else:
            runs.append([block])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
