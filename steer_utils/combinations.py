"""Which combinations the sensitivity grid measures: two stars of one factor at a time, and two planes.

A star is drawn around each of two points, the model's own settings ("own") and `settings.PAPER` ("paper"): one factor
is changed, the others stay. The plane is strength x steered blocks, for both read-outs. All combinations of all levels
would be thousands; these are some 6 (L + 2) + 2 runs a point for a model of L > 3 blocks, each read in several ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from .positions import Named
from .settings import Blocks, Settings, paper_settings
from .tuning import block_sets

STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
READS: tuple[Literal["share", "difference"], ...] = ("share", "difference")
FACTORS = ("strength", "blocks", "positions", "rows", "norm", "read", "read_blocks")
AFTER = "after"  # the level of read_blocks that means: those after the first steered one


@dataclass(frozen=True)
class Run:
    """What is done to the model: one suffix pass."""

    strength: float
    blocks: Blocks
    positions: Named
    keep_norm: bool


@dataclass(frozen=True)
class Combination:
    """A run, and how it is read. `around`: the point of the star, "own" or "paper". `rows`: the last prompt token, or
    the mean over the tokens of the instruction. `read_blocks` None: those after the first steered one. `varied`: the
    factors in which it differs from its point, as "strength, blocks"."""

    around: str
    run: Run
    rows: Literal["last", "instruction"]
    read: Literal["share", "difference"]
    read_blocks: Blocks | None
    varied: str = ""

    def levels(self) -> dict[str, str | float]:
        """What the table says of it: its point, the level of each of FACTORS, and what is varied."""
        return {
            "around": self.around,
            "strength": self.run.strength,
            "blocks": blocks_label(self.run.blocks),
            "positions": self.run.positions,
            "rows": self.rows,
            "norm": "kept" if self.run.keep_norm else "free",
            "read": self.read,
            "read_blocks": AFTER if self.read_blocks is None else blocks_label(self.read_blocks),
            "varied": self.varied,
        }

    def compared(self, point: Combination) -> Combination:
        """The same, with `varied` told."""
        own, other = self.levels(), point.levels()
        return replace(self, varied=", ".join(factor for factor in FACTORS if own[factor] != other[factor]))

    def moves(self, num_blocks: int) -> bool:
        """Whether the run can change what is read: a later block, in a row that is steered or comes after one."""
        last_read = num_blocks - 1 if self.read_blocks is None else max(self.read_blocks)
        unreached = self.rows == "instruction" and self.run.positions == "last"
        return self.run.strength != 0 and last_read > min(self.run.blocks) and not unreached


def blocks_label(blocks: Blocks) -> str:
    """(5,) as "5", a run such as (0, 1, 2, 3) as "0-3", anything else as "0,2"."""
    if len(blocks) > 1 and blocks == tuple(range(blocks[0], blocks[-1] + 1)):
        return f"{blocks[0]}-{blocks[-1]}"
    return ",".join(map(str, blocks))


def blocks_order(label: str) -> tuple[int, int, str]:
    """Sorts labels: AFTER, single blocks, then sets by size: the early half, the later one, all."""
    ends = [int(number) for number in re.split("[-,]", label)] if label != AFTER else []
    return (0, 0, label) if not ends else (max(1, ends[-1] - ends[0] + 1), ends[0], label)


def points(settings: Settings) -> dict[str, Settings]:
    """The settings that the star is drawn around; one point only where the model's own settings steer as PAPER does."""
    paper = paper_settings(settings)
    names = ("positive", "negative", "question", "strength", "blocks", "keep_norm", "read", "read_blocks")
    same = all(getattr(settings, name) == getattr(paper, name) for name in names)
    return {"paper": paper} if same else {"own": settings, "paper": paper}


def combinations(
    num_blocks: int, settings: Settings, *, thorough: bool = False, event_named: Sequence[str] = ()
) -> list[Combination]:
    """Every combination once, in a fixed order; those in which nothing read can have changed are left out.

    `event_named`: the points whose question names the event, where positions "event" is a level too. `thorough` adds
    positions "all" and "audio", for which the whole prompt runs again, and the plane of the other norm mode.
    Raises ValueError for a model of one block, block numbers it does not have, or a point that itself changes nothing.
    """
    if num_blocks < 2:
        raise ValueError(f"the model has {num_blocks} block; pass one with a block after the steered one")
    found: dict[Combination, None] = {}
    for around, own in points(settings).items():
        steered = _numbers("blocks", own.steered_blocks(num_blocks), num_blocks)
        read_blocks = None if own.read_blocks is None else _numbers("read_blocks", own.read_blocks, num_blocks)
        run = Run(float(own.strength), steered, "last", own.keep_norm)
        point = Combination(around, run, "last", own.read, read_blocks)
        if not point.moves(num_blocks):
            raise ValueError(
                f"the {around} settings steer blocks {list(steered)} at strength {own.strength:g} and read "
                f"{AFTER if read_blocks is None else list(read_blocks)}; attention changes after the first steered "
                "block only: steer an earlier block with a strength that is not 0, or read a later block"
            )
        positions: list[Named] = ["text"]
        if around in event_named:
            positions.append("event")
        if thorough:
            positions += ["all", "audio"]
        made = _star(point, num_blocks, positions, thorough)
        found.update(dict.fromkeys(each.compared(point) for each in made if each.moves(num_blocks)))
    return list(found)


def _star(point: Combination, num_blocks: int, positions: Sequence[Named], thorough: bool) -> Iterator[Combination]:
    run = point.run
    strengths = sorted({*STRENGTHS, run.strength})
    sets = list(dict.fromkeys([*block_sets(num_blocks), run.blocks]))
    norms = (run.keep_norm, not run.keep_norm) if thorough else (run.keep_norm,)
    for keep, read, strength, blocks in product(norms, READS, strengths, sets):
        yield replace(point, run=replace(run, strength=strength, blocks=blocks, keep_norm=keep), read=read)
    yield replace(point, run=replace(run, keep_norm=not run.keep_norm))
    for where in positions:
        yield replace(point, run=replace(run, positions=where))
    # A steered last token cannot reach the instruction before it, so its rows are read with the text steered.
    yield replace(point, run=replace(run, positions="text"), rows="instruction")
    choices: list[Blocks | None] = [None, *((block,) for block in range(num_blocks))]
    yield from (replace(point, read_blocks=blocks) for blocks in choices)


def passes(made: Sequence[Combination]) -> int:
    """Suffix passes a query: each different run once, and two for the contrast of each point."""
    return len({(each.around, each.run) for each in made}) + 2 * len({each.around for each in made})


def _numbers(name: str, blocks: Blocks, num_blocks: int) -> Blocks:
    if not all(-num_blocks <= block < num_blocks for block in blocks):
        raise ValueError(f"{name} is {list(blocks)}; the model has blocks 0 to {num_blocks - 1}")
    return tuple(sorted({block % num_blocks for block in blocks}))
