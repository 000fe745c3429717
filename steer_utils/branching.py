"""Rows of one prompt are the same row until one of them is steered: run what they share once.

A steered row differs from the unsteered one only after the first block that it is steered in. So a batch starts with
one *trunk* for each different prompt, and every steered row leaves its trunk at the output of its own first block:

    block         0      1      2      3
    trunk         ■──────■──────■            (no row needs it after block 2)
    row 0                └──────■──────■     first steered at block 1
    rows 1, 2                   ╞══════■     first steered at block 2

Over all blocks at even steps this halves the work; rows that differ only in strength share it up to their block. The
model's own forward is not replaced: hooks on its blocks regroup the rows, and what belongs to them (masks, position
embeddings), between one block and the next.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .checkpoints import Checkpoint

#: What runs: (trunk, None) for a trunk, (trunk, row) for a row that has left it.
Branch = tuple[int, int | None]


@dataclass(frozen=True, eq=False)
class Branches:
    """Which rows of a batch run through which block.

    `trunks`: the batch row whose prompt each trunk has. `trunk_of`: the trunk of each batch row. `inside[b]`: what runs
    through block b. `after[b]`: what comes out of it, once rows have left their trunks there.
    """

    trunks: tuple[int, ...]
    trunk_of: tuple[int, ...]
    inside: tuple[tuple[Branch, ...], ...]
    after: tuple[tuple[Branch, ...], ...]

    @classmethod
    def of(cls, prompts: Sequence[Hashable], starts: Sequence[int | None], num_blocks: int) -> Branches:
        """For rows with these prompts (equal ones share a trunk), each first steered at its block of `starts`, or
        never (None)."""
        firsts: dict[Hashable, int] = {}
        for row, prompt in enumerate(prompts):
            firsts.setdefault(prompt, row)
        number = {prompt: trunk for trunk, prompt in enumerate(firsts)}
        trunk_of = tuple(number[prompt] for prompt in prompts)
        after = []
        for block in range(num_blocks):
            left = [(trunk_of[row], row) for row, start in enumerate(starts) if start is not None and start <= block]
            needed = {trunk for trunk, start in zip(trunk_of, starts, strict=True) if start is None or start > block}
            after.append((*((trunk, None) for trunk in sorted(needed)), *left))
        entering: tuple[Branch, ...] = tuple((trunk, None) for trunk in range(len(firsts)))
        return cls(tuple(firsts.values()), trunk_of, (entering, *after[:-1]), tuple(after))

    @classmethod
    def apart(cls, rows: int, num_blocks: int) -> Branches:
        """Every row runs alone, from the first block to the last."""
        running: tuple[Branch, ...] = tuple((row, row) for row in range(rows))
        return cls(tuple(range(rows)), tuple(range(rows)), (running,) * num_blocks, (running,) * num_blocks)

    def rows_after(self, block: int) -> list[int | None]:
        """Which batch row each running one is when it comes out of `block`; None for a trunk, which is not steered."""
        return [row for _, row in self.after[block]]

    def places_inside(self, block: int) -> torch.Tensor:
        """Where each batch row is among those that run through `block`, (rows,): its own place, or its trunk's."""
        return self._places(self.inside[block])

    def places_after(self, block: int) -> torch.Tensor:
        """The same for what comes out of `block`."""
        return self._places(self.after[block])

    def _places(self, running: tuple[Branch, ...]) -> torch.Tensor:
        where = {branch: place for place, branch in enumerate(running)}
        rows = enumerate(self.trunk_of)
        return torch.tensor([where[(trunk, row if (trunk, row) in where else None)] for row, trunk in rows])


@contextmanager
def branched(checkpoint: Checkpoint, branches: Branches) -> Iterator[None]:
    """Run a batch of the trunks' prompts, in which rows leave their trunks as `branches` says.

    Enter it before `steered` and `hidden_states`, whose hooks must find the rows that have just left. The key/value
    cache must take another number of rows in each block (`shared_attention.own_cache` does). On exit, also by an
    exception, only own hooks are removed.
    """
    handles = []
    whole = branches.inside[0]
    try:
        for block, module in enumerate(checkpoint.blocks):
            inside, after = branches.inside[block], branches.after[block]
            if inside != whole:
                trunks = torch.tensor([trunk for trunk, _ in inside])
                handles.append(module.register_forward_pre_hook(_belongings(trunks), with_kwargs=True))
            if after != inside:
                where = {branch: place for place, branch in enumerate(inside)}
                source = [where[branch if branch in where else (branch[0], None)] for branch in after]
                handles.append(module.register_forward_hook(_regroup(torch.tensor(source))))
        yield
    finally:
        for handle in handles:
            handle.remove()


#: What the decoder hands to each block beside the states, one entry a prompt of the batch.
BELONGINGS = ("attention_mask", "position_ids", "position_embeddings")


def _belongings(trunks: torch.Tensor) -> Any:
    """Give every running row the mask and positions of its trunk."""

    def chosen(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(chosen(each) for each in value)
        if not isinstance(value, torch.Tensor) or value.shape[0] == 1:  # one for all rows
            return value
        return value.index_select(0, trunks.to(value.device))

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        return args, {name: chosen(value) if name in BELONGINGS else value for name, value in kwargs.items()}

    return hook


def _regroup(source: torch.Tensor) -> Any:
    """Row i of what comes out of a block becomes row `source[i]` of what the block made."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.index_select(0, source.to(hidden.device))
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    return hook
