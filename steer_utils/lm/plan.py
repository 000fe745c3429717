"""Rows of one call: many instructions and edits behind one audio, laid out as one batch.

    slots     0 ............ prefix          ............ length
    row 0     chat head + audio | padding | short suffix
    row 1     (shared)          | a longer suffix

The prefix ends with the last audio token, so it is the same for every instruction. Suffixes are padded on their
left, between prefix and suffix, so that the last prompt token of every row sits in the last slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from steer_utils.lm.branching import Branches
from steer_utils.lm.checkpoints import PromptTokens
from steer_utils.lm.positions import (
    Layout,
    Positions,
    TokenMask,
    check_positions,
    event_tokens,
    prompt_slots,
    token_mask,
)
from steer_utils.lm.prefixes import Prefix
from steer_utils.lm.steering import Edit, Injection

MAX_BATCH = 32  # rows of one forward; more where they stand in one short line
MAX_LINE = 512  # tokens of such a line: products are fast by then, and what its tokens look at of each other is little
MAX_MAPS = 2**30  # bytes of the attention that its rows leave behind
MAX_COPIES = 4 * 2**30  # bytes of keys and values copied for one forward: a 7B model leaves so much of a 24 GB GPU


@dataclass(frozen=True)
class Row:
    """One instruction and how the model is steered while it reads it.

    `event`: the words in the instruction that positions "event" means. `keep_norm`: h' is scaled back to ‖h‖.
    """

    instruction: str
    steer: tuple[Injection, ...] = ()
    keep_norm: bool = True
    event: str | None = None

    def __post_init__(self) -> None:
        given = (self.steer,) if isinstance(self.steer, Injection) else tuple(self.steer)
        wrong = [type(one).__name__ for one in given if not isinstance(one, Injection)]
        if wrong:
            raise TypeError(f"Row.steer holds Injection objects, got {', '.join(wrong)}")
        object.__setattr__(self, "steer", given)

    def first_steered_block(self) -> int | None:
        """The first block whose output the steering changes; None if it changes nothing."""
        return min((block for injection in self.steer for block in injection.acting_blocks()), default=None)

    def first_changed_block(self) -> int:
        """The first block whose attention the steering can change: the one after the first steered; 0 if unsteered."""
        first = self.first_steered_block()
        return 0 if first is None else first + 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows laid out together. Tensors are on the CPU: suffix ids, mask and position ids of shape (rows, ...).

    `recompute`: an edit or a captured row lies in the prefix, so the shared cache cannot be used.
    """

    rows: tuple[Row, ...]
    layouts: tuple[Layout, ...]
    suffix_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    recompute: bool

    def edits(self) -> list[list[Edit]]:
        """What `steered` takes: the injections of each row with their tokens found."""
        return [
            [_edit(injection, layout) for injection in row.steer]
            for row, layout in zip(self.rows, self.layouts, strict=True)
        ]

    def branches(self, num_blocks: int) -> Branches:
        """Which tokens run through which block: rows that differ only from some token and block on share the rest."""
        first = [layout.padding.stop for layout in self.layouts]
        starts = [
            None if (block := row.first_steered_block()) is None else (block, _first_slot(edits))
            for row, edits in zip(self.rows, self.edits(), strict=True)
        ]
        prompts = [tuple(ids) for ids in self.suffix_ids.tolist()]
        return Branches.of(prompts, first, starts, self.layouts[0].length, num_blocks)

    def line(self, branches: Branches) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and position ids that enter the first block, both (1, tokens)."""
        line = branches.inside[0]
        rows = torch.tensor(branches.trunks)[line.numbers]
        columns = line.slots - (line.stop - self.suffix_ids.shape[1])
        return self.suffix_ids[rows, columns][None], self.position_ids[rows, columns][None]

    def keep_norm(self) -> list[bool]:
        """Whether each row keeps the norm of what it edits."""
        return [row.keep_norm for row in self.rows]

    def wanted(self, positions: Positions) -> TokenMask:
        """The prompt tokens that `positions` means in each row (no generated ones)."""
        return TokenMask(token_mask(positions, self.layouts).prompt, generated=False)


def rows_at_once(cache_bytes: int) -> int:
    """How many rows one forward takes, if each copies a prefix cache of `cache_bytes`: 1 ... `MAX_BATCH`."""
    return min(MAX_BATCH, max(1, MAX_COPIES // cache_bytes))


def check_rows(rows: Sequence[Row]) -> None:
    """Raise TypeError for anything but a list of rows."""
    if isinstance(rows, (str, Row)) or not all(isinstance(row, Row) for row in rows):
        raise TypeError("pass a list of Row(instruction, steer=...)")


def batches(
    rows: Sequence[Row], prefix: Prefix, capture: Positions, *, copied: bool = True
) -> list[tuple[list[int], Batch]]:
    """The rows in batches, each with the indices of its rows: those that share the prefix, and those that cannot.

    `copied`: each row that shares the prefix will copy its keys and values, as answers do; readings do not.

    Everything is checked here, before the model runs: instructions, positions, event names, shapes of vectors.
    """
    check_rows(rows)
    check_positions(capture)
    for row in rows:
        for injection in row.steer:
            injection.vector.check_fits(prefix.checkpoint)
    prompts = [prefix.checkpoint.tokens(row.instruction) for row in rows]
    for prompt in prompts:
        if prompt.head != prefix.head:
            raise ValueError(f"this prompt begins otherwise before the audio: {prompt.text!r}")
    reaches = [_Reach.of(row, prompt, prefix, capture) for row, prompt in zip(rows, prompts, strict=True)]
    made = []
    for kind in (False, True):
        indices = [index for index, reach in enumerate(reaches) if (reach.first < prefix.length) is kind]
        if kind or copied:
            most = rows_at_once(prefix.cache_bytes)
            chunks = [indices[first : first + most] for first in range(0, len(indices), most)]
        else:
            chunks = _lines({index: reaches[index] for index in indices}, prefix)
        for chunk in chunks:
            batch = _lay_out([rows[index] for index in chunk], [prompts[index] for index in chunk], prefix, kind)
            made.append((chunk, batch))
    return made


def maps_at_once(prefix: Prefix, captured: int) -> int:
    """How many rows, with so many captured tokens each, leave at most `MAX_MAPS` of attention: `MAX_BATCH` or more."""
    return max(MAX_BATCH, MAX_MAPS // (prefix.map_bytes * captured))


@dataclass(frozen=True)
class _Reach:
    """What of its prompt a row concerns. `tail`: the prompt after the audio. `steered`: tokens from the first steered
    one on, which it shares with no other row. `captured`: how many are read. `first`: the first slot of both."""

    tail: tuple[int, ...]
    steered: int
    captured: int
    first: int

    @classmethod
    def of(cls, row: Row, prompt: PromptTokens, prefix: Prefix, capture: Positions) -> _Reach:
        layout = _layout(row, prompt, prefix, len(prompt.tail))
        reached = [(min(prompt_slots(one.positions, layout)), one.acting_blocks()) for one in row.steer]
        first = min((slot for slot, blocks in reached if blocks), default=layout.length)
        captured = prompt_slots(capture, layout)
        return cls(prompt.tail, layout.length - first, len(captured), min(first, *captured))


def _lines(reaches: Mapping[int, _Reach], prefix: Prefix) -> list[list[int]]:
    """Rows, by index, in the lines they run in: a line takes `MAX_BATCH` rows, or more within `MAX_LINE` tokens. Each
    call of the model reads all weights, so that few long lines are faster than many short ones."""
    lines: list[list[int]] = [[]]
    tokens, trunks, captured = 0, set[tuple[int, ...]](), 0
    for index, row in reaches.items():
        longer = tokens + row.steered + (0 if row.tail in trunks else len(row.tail))
        captured = max(captured, row.captured)
        if len(lines[-1]) >= (MAX_BATCH if longer > MAX_LINE else maps_at_once(prefix, captured)):
            lines.append([])
            longer, trunks, captured = row.steered + len(row.tail), set(), row.captured
        lines[-1].append(index)
        tokens = longer
        trunks.add(row.tail)
    return [line for line in lines if line]


def _lay_out(rows: Sequence[Row], prompts: Sequence[PromptTokens], prefix: Prefix, recompute: bool) -> Batch:
    width = max(len(prompt.tail) for prompt in prompts)
    padding_id = prefix.checkpoint.processor.tokenizer.pad_token_id or 0
    suffix_ids = torch.full((len(rows), width), padding_id)
    attention_mask = torch.ones(len(rows), prefix.length + width, dtype=torch.long)
    for index, prompt in enumerate(prompts):
        missing = width - len(prompt.tail)
        suffix_ids[index, missing:] = torch.tensor(prompt.tail)
        attention_mask[index, prefix.length : prefix.length + missing] = 0
    # Padding does not count: every row's suffix continues right after the audio, whatever its slots are.
    position_ids = (attention_mask.cumsum(dim=1) - 1)[:, prefix.length :]
    layouts = tuple(_layout(row, prompt, prefix, width) for row, prompt in zip(rows, prompts, strict=True))
    return Batch(tuple(rows), layouts, suffix_ids, attention_mask, position_ids, recompute)


def _layout(row: Row, prompt: PromptTokens, prefix: Prefix, width: int) -> Layout:
    first = prefix.length + width - len(prompt.tail)
    words = event_tokens(prompt, row.event) if row.event is not None else ()
    return Layout(
        length=prefix.length + width,
        audio=range(prefix.span.first, prefix.span.stop),
        padding=range(prefix.length, first),
        event=tuple(first + word for word in words),
    )


def _first_slot(edits: Sequence[Edit]) -> int:
    """The first slot of a prompt that any edit that does something touches."""
    acting = [edit for edit in edits if edit.strength and edit.vector.acting_blocks()]
    return min(int(edit.mask.nonzero()[0]) for edit in acting)


def _edit(injection: Injection, layout: Layout) -> Edit:
    mask = token_mask(injection.positions, [layout])
    return Edit(injection.vector, injection.strength, mask.prompt[0], mask.generated, injection.rule)
