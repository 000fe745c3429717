"""Rows of one prompt are the same row until one of them is steered: run what they share once.

A steered row differs from the unsteered one only after the first block that it is steered in, and there only from its
first steered token on: earlier tokens cannot look at later ones. So each different prompt is one *trunk*, and every
steered row leaves it at its own block with its own tokens, mostly the last one alone:

    tokens            D  e  s  c  .        the trunk: a whole prompt, through all blocks
    after block 1                 └─ .     row 0, steered there at its last token: one token more
    after block 2                 └─ .     rows 1, 2, ...

A row of a sweep over blocks and strengths then costs one token in half of the blocks, and not a prompt in all of them.
All tokens of a call stand in one *line*, prompts and what has left them side by side; a mask says who sees whom. The
model's own forward is not replaced: hooks on its blocks make the line longer between one block and the next, and give
each token its mask and its place in the prompt.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from steer_utils.lm.checkpoints import Checkpoint


@dataclass(frozen=True)
class Branch:
    """The tokens of one row from slot `first` to the end of its prompt. `row` None: those of a trunk, for all rows."""

    trunk: int
    row: int | None
    first: int


@dataclass(frozen=True, eq=False)
class Line:
    """The tokens that run through one block, branch by branch. All prompts end before slot `stop`."""

    branches: tuple[Branch, ...]
    stop: int

    @cached_property
    def begins(self) -> dict[tuple[int, int | None], tuple[int, int]]:
        """(trunk, row) of each branch -> where in the line it begins, and the slot that stands there."""
        found, place = {}, 0
        for branch in self.branches:
            found[branch.trunk, branch.row] = place, branch.first
            place += self.stop - branch.first
        return found

    @cached_property
    def numbers(self) -> torch.Tensor:
        """Which of `branches` each token belongs to, (tokens,)."""
        lengths = torch.tensor([self.stop - branch.first for branch in self.branches])
        return torch.arange(len(self.branches)).repeat_interleave(lengths)

    @cached_property
    def slots(self) -> torch.Tensor:
        """The slot of each token, (tokens,)."""
        return torch.cat([torch.arange(branch.first, self.stop) for branch in self.branches])

    @cached_property
    def rows(self) -> torch.Tensor:
        """The batch row of each token, (tokens,); -1 for a trunk's."""
        return torch.tensor([-1 if branch.row is None else branch.row for branch in self.branches])[self.numbers]

    def mask(self) -> torch.Tensor:
        """Who may look at whom, (tokens, tokens) bool: at what came before in the own branch, and in the trunk before
        the branch left it."""
        places = {(branch.trunk, branch.row): number for number, branch in enumerate(self.branches)}
        trunks = torch.tensor([places.get((branch.trunk, None), number) for number, branch in enumerate(self.branches)])
        left = torch.tensor([branch.first for branch in self.branches])[self.numbers]
        own = (self.numbers[:, None] == self.numbers) & (self.slots[:, None] >= self.slots)
        return own | ((trunks[self.numbers][:, None] == self.numbers) & (left[:, None] > self.slots))

    def place(self, trunk: int, row: int, slot: int) -> int:
        """Where in the line the token is that row `row` has in `slot`: its own, or its trunk's."""
        place, first = self.begins.get((trunk, row), (0, self.stop))
        if slot < first:
            place, first = self.begins[trunk, None]
        return place + slot - first

    def source(self, before: Line) -> torch.Tensor:
        """Where each token comes from in the line `before`, (tokens,): its own branch there, or its trunk."""
        found = []
        for branch in self.branches:
            own = (branch.trunk, branch.row)
            place, first = before.begins[own if own in before.begins else (branch.trunk, None)]
            start = place + branch.first - first
            found.append(torch.arange(start, start + self.stop - branch.first))
        return torch.cat(found)


@dataclass(frozen=True, eq=False)
class Branches:
    """Which tokens of a batch run through which block.

    `trunks`: the batch row whose prompt each trunk has. `trunk_of`: the trunk of each batch row. `inside[b]`: the line
    that runs through block b. `after[b]`: what comes out of it, once rows have left their trunks there.
    """

    trunks: tuple[int, ...]
    trunk_of: tuple[int, ...]
    inside: tuple[Line, ...]
    after: tuple[Line, ...]

    @classmethod
    def of(
        cls,
        prompts: Sequence[Hashable],
        firsts: Sequence[int],
        starts: Sequence[tuple[int, int] | None],
        stop: int,
        num_blocks: int,
    ) -> Branches:
        """For rows with these prompts (equal ones share a trunk) in slots `firsts[i]` to `stop - 1`.

        `starts[i]`: the block and slot at which a row is first steered, None if it never is. A row whose prompt no
        other row has is its own trunk.
        """
        of_prompt: dict[Hashable, list[int]] = {}
        for row, prompt in enumerate(prompts):
            of_prompt.setdefault(prompt, []).append(row)
        groups = list(of_prompt.values())
        lines = [
            Line(tuple(each for trunk, rows in enumerate(groups)
                       for each in _running(trunk, rows, firsts[rows[0]], starts, block)), stop)
            for block in range(-1, num_blocks)
        ]  # fmt: skip
        trunk_of = {row: trunk for trunk, rows in enumerate(groups) for row in rows}
        return cls(
            tuple(rows[0] for rows in groups), tuple(trunk_of[row] for row in range(len(prompts))),
            tuple(lines[:-1]), tuple(lines[1:]),
        )  # fmt: skip

    def places(self, line: Line, slots: Sequence[Sequence[int]]) -> torch.Tensor:
        """Where in `line` each row's tokens of `slots[row]` are, one row after the other: (all of them,)."""
        return torch.tensor(
            [line.place(self.trunk_of[row], row, slot) for row, wanted in enumerate(slots) for slot in wanted]
        )

    def last_places(self, line: Line) -> torch.Tensor:
        """Where in `line` each row's last token is, (rows,)."""
        return self.places(line, [[line.stop - 1]] * len(self.trunk_of))


def _running(
    trunk: int, rows: Sequence[int], first: int, starts: Sequence[tuple[int, int] | None], block: int
) -> Iterator[Branch]:
    """The branches of one trunk after `block` (-1: before the first)."""
    if len(rows) == 1:
        yield Branch(trunk, rows[0], first)
        return
    begun = [(row, starts[row]) for row in rows]
    left = [Branch(trunk, row, max(first, start[1])) for row, start in begun if start is not None and start[0] <= block]
    # Those that have left go on looking at the tokens before the one at which they left.
    if len(left) < len(rows) or any(branch.first > first for branch in left):
        yield Branch(trunk, None, first)
    yield from left


@contextmanager
def branched(checkpoint: Checkpoint, branches: Branches) -> Iterator[None]:
    """Run the line of the trunks, (1, tokens), which rows leave as `branches` says.

    Enter it before `steered` and `last_states`, whose hooks must find the rows that have just left. The key/value cache
    must take another number of tokens in each block (`shared_attention.own_cache` does). Blocks get, as their attention
    mask, who of the line sees whom: (1, 1, tokens, tokens). On exit, also by an exception, only own hooks are removed.
    """
    handles = []
    at_first = branches.inside[0]
    try:
        for module, inside, after in zip(checkpoint.blocks, branches.inside, branches.after, strict=True):
            handles.append(module.register_forward_pre_hook(_belongings(inside, at_first), with_kwargs=True))
            if after.branches != inside.branches:
                handles.append(module.register_forward_hook(_regroup(after.source(inside))))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def last_states(checkpoint: Checkpoint, branches: Branches) -> Iterator[list[torch.Tensor]]:
    """Keep each block's output at every row's last token: (rows, hidden) a block, float32 on the CPU.

    Enter it inside `steered` to see the steered states. On exit, also by an exception, only own hooks are removed.
    """
    kept: list[torch.Tensor] = []
    handles = []
    try:
        for module, after in zip(checkpoint.blocks, branches.after, strict=True):
            handles.append(module.register_forward_hook(_keep(kept, branches.last_places(after))))
        yield kept
    finally:
        for handle in handles:
            handle.remove()


#: What the decoder hands to each block beside the states, one entry a token: (1, tokens, ...).
BELONGINGS = ("position_ids", "position_embeddings")


def _belongings(line: Line, at_first: Line) -> Any:
    """Give every token of the line its place in the prompt, and say who sees whom."""
    mask = line.mask()[None, None]
    source = line.source(at_first)
    same = line.branches == at_first.branches

    def chosen(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(chosen(each) for each in value)
        return value if value is None else value.index_select(1, source.to(value.device))

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        hidden = args[0] if args else kwargs["hidden_states"]
        given = {**kwargs, "attention_mask": mask.to(hidden.device)}
        if not same:
            given |= {name: chosen(kwargs[name]) for name in BELONGINGS if name in kwargs}
        return args, given

    return hook


def _regroup(source: torch.Tensor) -> Any:
    """Token i of what comes out of a block becomes token `source[i]` of what the block made."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.index_select(1, source.to(hidden.device))
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    return hook


def _keep(kept: list[torch.Tensor], places: torch.Tensor) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        kept.append(hidden[0].index_select(0, places.to(hidden.device)).float().cpu())

    return hook
