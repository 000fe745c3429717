"""Plan: from rows (instructions and steering) to what the model is to do, in plain numbers, before it runs.

The first of three steps: **plan** (this file), run (`run`), read (`hearing`). A plan says which token ids run, which of
them rows share, where each edit acts, and whose attention is kept. It needs token ids and counts, and no model. All
that can be wrong with a row is found here. `print(plan)` shows it.

Rows of one prompt are the same row until one of them is steered, so what they share is run once. A steered row differs
from the unsteered one only after the first block that it is steered in, and there only from its first steered token
on: earlier tokens cannot look at later ones. So each different prompt is one *trunk*, and every steered row leaves it
at its own block, with tokens of its own, mostly the last one alone:

    tokens            D  e  s  c  .        the trunk: a whole prompt, through all blocks
    after block 1                 └─ .     row 0, steered there at its last token: one token more
    after block 2                 └─ .     rows 1, 2, ...

A row of a sweep over blocks and strengths then costs one token in half of the blocks, and not a prompt in all of them.
All tokens of a call stand in one *line*, those of trunks and rows side by side; a mask says who sees whom. Rows of
several audios may stand in one line too, stretch by stretch, each behind the prefix of its audio: they share nothing
but the call, which reads all weights of the model once.

Slots are counted in the row's own prompt: chat head and audio (the prefix, the same for all rows of an audio), then
the tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch

from steer_utils.lm.blocks import blocks_text
from steer_utils.lm.checkpoints import Checkpoint, PromptTokens
from steer_utils.lm.positions import Layout, Positions, check_positions, event_tokens, prompt_slots
from steer_utils.lm.prefixes import PrefixShape
from steer_utils.lm.steering import Edit, Injection, find_edits

MAX_BATCH = 32  # rows of one forward; more where they stand in one short line
MAX_LINE = 512  # tokens of such a line: products are fast by then, and what its tokens look at of each other is little
MAX_MAPS = 2**30  # bytes of the attention that its rows leave behind
MAX_COPIES = 4 * 2**30  # bytes of keys and values copied for one forward: a 7B model leaves so much of a 24 GB GPU


@dataclass(frozen=True)
class Row:
    """One instruction and how the model is steered while it reads it.

    `event`: the words in the instruction that positions "event" means. `keep_norm`: h' is scaled back to ‖h‖.
    `hidden_at`: the tokens whose state is read, the mean of several; it has no part in an answer.
    """

    instruction: str
    steer: tuple[Injection, ...] = ()
    keep_norm: bool = True
    event: str | None = None
    hidden_at: Positions = "last"

    def __post_init__(self) -> None:
        check_positions(self.hidden_at)
        injections = (self.steer,) if isinstance(self.steer, Injection) else tuple(self.steer)
        wrong = [type(value).__name__ for value in injections if not isinstance(value, Injection)]
        if wrong:
            raise TypeError(f"Row.steer holds Injection objects, got {', '.join(wrong)}")
        object.__setattr__(self, "steer", injections)

    @property
    def is_steered(self) -> bool:
        """Whether the steering changes anything: a strength or a vector of zero does not."""
        return any(injection.acting_blocks() for injection in self.steer)


@dataclass(frozen=True)
class PlannedRow:
    """One row in numbers. `tail`: token ids behind the audio. `length`: slots of the whole prompt. `prefix`: which of
    the prefixes that a plan was made for it stands behind.

    `edits`: what is added where; those that change nothing are left out. `query_slots`: whose attention is kept;
    `hidden_slots`: whose state.
    """

    instruction: str
    tail: tuple[int, ...]
    length: int
    edits: tuple[Edit, ...]
    keep_norm: bool
    query_slots: tuple[int, ...]
    hidden_slots: tuple[int, ...]
    prefix: int = 0

    @classmethod
    def of(
        cls, row: Row, prompt: PromptTokens, prefix: PrefixShape, query_positions: Positions, number: int
    ) -> PlannedRow:
        """Behind prefix `number`. Raises ValueError where the row has no such tokens, or does not name its event."""
        audio = range(prefix.span.first, prefix.length)
        words = () if row.event is None else event_tokens(prompt, row.event)
        layout = Layout(audio.stop + len(prompt.tail), audio, event=tuple(audio.stop + word for word in words))
        queries, states = (tuple(prompt_slots(positions, layout)) for positions in (query_positions, row.hidden_at))
        edits = find_edits(row.steer, layout)
        return cls(row.instruction, prompt.tail, layout.length, edits, row.keep_norm, queries, states, number)

    @property
    def prefix_length(self) -> int:
        """Slots of the prefix: the first slot of the tail."""
        return self.length - len(self.tail)

    @cached_property
    def first_steered_block(self) -> int | None:
        """The first block whose output is changed; None if none is."""
        return min((block for edit in self.edits for block in edit.blocks), default=None)

    @cached_property
    def first_steered_slot(self) -> int:
        """The first token that is changed; the end of the prompt if none is."""
        return min((slot for edit in self.edits for slot in edit.slots), default=self.length)

    @property
    def first_changed_block(self) -> int:
        """The first block whose attention the steering can change: the one after the first steered; 0 if unsteered."""
        return 0 if self.first_steered_block is None else self.first_steered_block + 1

    def __str__(self) -> str:
        slots = f"slots {self.prefix_length}-{self.length - 1}"
        edits = "; ".join(map(str, self.edits)) or "not steered"
        states = "" if self.hidden_slots == (self.length - 1,) else f"; state of slot {blocks_text(self.hidden_slots)}"
        norm = "" if self.keep_norm or not self.edits else "; norm not kept"
        return (
            f"{self.instruction!r} in {slots}; attention of slot {blocks_text(self.query_slots)}{states}; {edits}{norm}"
        )


@dataclass(frozen=True, eq=False)
class Stretch:
    """The tokens of a line that stand behind one prefix, side by side: where in the line; and `kept`, (queries,), whose
    attention is kept, row after row, counted from the first of them."""

    tokens: slice
    kept: torch.Tensor


@dataclass(frozen=True, eq=False)
class Line:
    """The tokens that run through one block, each as (owner, slot): the owner is a row, or ~row for a trunk, whose
    tokens all rows with the prompt of that row share. `trunk_of`: the first row with each row's prompt. Rows, and so
    tokens, come prefix by prefix."""

    rows: tuple[PlannedRow, ...]
    trunk_of: tuple[int, ...]
    tokens: tuple[tuple[int, int], ...]

    @cached_property
    def places(self) -> dict[tuple[int, int], int]:
        """Where in the line each token is."""
        return {token: place for place, token in enumerate(self.tokens)}

    def place(self, owner: int, slot: int) -> int:
        """Where the token is that `owner` has in `slot`: its own, or its trunk's."""
        own = self.places.get((owner, slot))
        return self.places[~self.trunk_of[owner], slot] if own is None else own

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """One for each prefix that rows stand behind."""
        stretches, first = list[Stretch](), 0
        for prefix, tokens in groupby(self.tokens, lambda token: self.rows[_row(token[0])].prefix):
            rows = [(number, row) for number, row in enumerate(self.rows) if row.prefix == prefix]
            kept = [self.place(number, slot) - first for number, row in rows for slot in row.query_slots]
            stretches.append(Stretch(slice(first, first + len(list(tokens))), torch.tensor(kept, dtype=torch.long)))
            first = stretches[-1].tokens.stop
        return tuple(stretches)

    @cached_property
    def hidden_places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the tokens are whose state is kept, row after row, and the row of each: both (all of them,)."""
        kept = [(row, slot) for row, planned in enumerate(self.rows) for slot in planned.hidden_slots]
        places, owners = [self.place(row, slot) for row, slot in kept], [row for row, _ in kept]
        return torch.tensor(places), torch.tensor(owners)

    @cached_property
    def last_places(self) -> torch.Tensor:
        """Where each row's last token is, (rows,)."""
        return torch.tensor([self.place(row, planned.length - 1) for row, planned in enumerate(self.rows)])

    def sources(self, before: Line) -> torch.Tensor:
        """Where each token comes from in the line `before`, (tokens,): its own place there, or its trunk's."""
        return torch.tensor([before.place(owner, slot) for owner, slot in self.tokens])

    @cached_property
    def owners(self) -> torch.Tensor:
        """The owner of each token, (tokens,)."""
        return torch.tensor([owner for owner, _ in self.tokens])

    @cached_property
    def slots(self) -> torch.Tensor:
        """The slot of each token, (tokens,): its position id too."""
        return torch.tensor([slot for _, slot in self.tokens])

    @cached_property
    def ids(self) -> torch.Tensor:
        """The id of each token, (tokens,)."""
        rows = [(self.rows[_row(owner)], slot) for owner, slot in self.tokens]
        return torch.tensor([row.tail[slot - row.length] for row, slot in rows])

    @cached_property
    def mask(self) -> torch.Tensor:
        """Who may look at whom, (tokens, tokens) bool: a token at its owner's up to itself, and at those of the trunk
        before its owner left it."""
        firsts: dict[int, int] = {}
        for owner, slot in self.tokens:
            firsts.setdefault(owner, slot)
        first = torch.tensor([firsts[owner] for owner, _ in self.tokens])[:, None]
        trunk = torch.tensor([~self.trunk_of[_row(owner)] for owner, _ in self.tokens])[:, None]
        own = (self.owners[:, None] == self.owners) & (self.slots[:, None] >= self.slots)
        return own | ((trunk == self.owners) & (first > self.slots))


def _row(owner: int) -> int:
    """The row that an owner of tokens is, or whose prompt it has."""
    return owner if owner >= 0 else ~owner


@dataclass(frozen=True, eq=False)
class Plan:
    """What one call of the model is to do for its rows; `indices`: which of the rows that were asked for they are.

    `recompute`: an edit or a query lies in the prefix, so the prefix runs again with each row; all rows then stand
    behind one. Otherwise the rows of a prefix share it, and readings run in `lines`.
    """

    rows: tuple[PlannedRow, ...]
    indices: tuple[int, ...]
    num_blocks: int
    recompute: bool

    @cached_property
    def prefixes(self) -> tuple[int, ...]:
        """Which prefixes the rows stand behind, in the order of the rows."""
        return tuple(dict.fromkeys(row.prefix for row in self.rows))

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """`lines[b]` runs through block b, `lines[b + 1]` comes out of it, once rows have left their trunks there.
        Where none has, both are one object."""
        trunks: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for number, row in enumerate(self.rows):
            trunks.setdefault((row.prefix, row.tail), []).append(number)
        trunk_of = tuple(trunks[row.prefix, row.tail][0] for row in self.rows)
        lines: list[Line] = []
        for block in range(-1, self.num_blocks):
            tokens = tuple(token for rows in trunks.values() for token in self._tokens(rows, block))
            same = bool(lines) and lines[-1].tokens == tokens
            lines.append(lines[-1] if same else Line(self.rows, trunk_of, tokens))
        return tuple(lines)

    def _tokens(self, rows: Sequence[int], block: int) -> list[tuple[int, int]]:
        """Those of the rows that have one prompt, after `block` (-1: before the first)."""
        trunk, whole = rows[0], range(self.rows[rows[0]].prefix_length, self.rows[rows[0]].length)
        if len(rows) == 1:  # a row whose prompt no other row has is its own trunk
            return [(trunk, slot) for slot in whole]
        starts = [(row, self.rows[row].first_steered_block) for row in rows]
        left = {row: self.rows[row].first_steered_slot for row, start in starts if start is not None and start <= block}
        # Those that have left go on looking at the tokens before the one at which they left.
        needed = len(left) < len(rows) or any(first > whole.start for first in left.values())
        shared = [(~trunk, slot) for slot in whole] if needed else []
        return shared + [(row, slot) for row, first in left.items() for slot in range(first, whole.stop)]

    def __str__(self) -> str:
        shared = "which runs again with each row" if self.recompute else "which all rows share"
        parts = list[str]()
        for _, rows in groupby(zip(self.indices, self.rows, strict=True), lambda row: row[1].prefix):
            numbered = list(rows)
            beside = "in the same call " if parts else ""
            parts.append(f"{beside}behind a prefix of {numbered[0][1].prefix_length} slots, {shared}:")
            parts += [f"  row {index}: {row}" for index, row in numbered]
        if not self.recompute:
            parts.append(
                f"  tokens that enter each block: {', '.join(str(len(line.tokens)) for line in self.lines[:-1])}"
            )
        return "\n".join(parts)


def tokenised(checkpoint: Checkpoint, rows: Sequence[Row]) -> list[PromptTokens]:
    """The prompt of each row, and the checks that need to know the model; words that it does not know are told.

    Raises TypeError for anything but a list of rows, ValueError for an instruction that no prompt can hold,
    VectorMismatchError for a vector of another shape.
    """
    check_rows(rows)
    for row in rows:
        for injection in row.steer:
            injection.vector.check_fits(checkpoint)
    prompts = [checkpoint.tokens(row.instruction) for row in rows]
    checkpoint.warn_of_unknown_words(prompts)
    return prompts


def check_rows(rows: Sequence[Row]) -> None:
    """Raise TypeError for anything but a list of rows."""
    if isinstance(rows, (str, Row)) or not all(isinstance(row, Row) for row in rows):
        raise TypeError("pass a list of Row(instruction, steer=...)")


def plan_rows(
    rows: Sequence[Row],
    prompts: Sequence[PromptTokens],
    behind: Sequence[int],
    prefixes: Sequence[PrefixShape],
    query_positions: Positions = "last",
    *,
    answers: bool = False,
) -> list[Plan]:
    """The calls of the model that read the rows, or answer them; `prompts` are those of `tokenised`.

    `behind`: which of `prefixes` each row stands behind, in rising order. `query_positions`: the tokens whose attention
    is kept. An answer copies the prefix's keys and values for its row, so that fewer rows may run at once; readings
    copy nothing, unless the prefix must be recomputed.
    Raises ValueError for positions that do not exist, or that a row does not have.
    """
    check_positions(query_positions)
    planned = list[PlannedRow]()
    for row, prompt, number in zip(rows, prompts, behind, strict=True):
        if prompt.head != prefixes[number].head:
            raise ValueError(f"this prompt begins otherwise before the audio: {prompt.text!r}")
        planned.append(PlannedRow.of(row, prompt, prefixes[number], query_positions, number))
    shared, recomputed = list[int](), list[int]()
    for index, ready in enumerate(planned):
        reaches_prefix = min(ready.first_steered_slot, *ready.query_slots, *ready.hidden_slots) < ready.prefix_length
        (recomputed if reaches_prefix else shared).append(index)
    fill = _parts if answers else _fill_lines
    calls = [(part, False) for part in fill(planned, shared, prefixes)]
    calls += [(part, True) for part in _parts(planned, recomputed, prefixes)]
    return [
        Plan(tuple(planned[index] for index in part), tuple(part), prefixes[0].num_blocks, recompute)
        for part, recompute in calls
    ]


def rows_at_once(cache_bytes: int) -> int:
    """How many rows one forward takes, if each copies a prefix cache of `cache_bytes`: 1 ... `MAX_BATCH`."""
    return min(MAX_BATCH, max(1, MAX_COPIES // cache_bytes))


def maps_at_once(map_bytes: int, queries: int) -> int:
    """How many rows leave at most `MAX_MAPS` of attention, `map_bytes` for each of their queries: at least
    `MAX_BATCH`."""
    return max(MAX_BATCH, MAX_MAPS // (map_bytes * queries))


def _parts(rows: Sequence[PlannedRow], indices: Sequence[int], prefixes: Sequence[PrefixShape]) -> list[Sequence[int]]:
    """Rows, by index, in the batches they run in: each copies its prefix, so that a batch has rows of one alone."""
    batches = list[Sequence[int]]()
    for number, some in groupby(indices, lambda index: rows[index].prefix):
        part, most = list(some), rows_at_once(prefixes[number].cache_bytes)
        batches += [part[first : first + most] for first in range(0, len(part), most)]
    return batches


def _fill_lines(
    rows: Sequence[PlannedRow], indices: Sequence[int], prefixes: Sequence[PrefixShape]
) -> list[Sequence[int]]:
    """Rows, by index, in the lines they run in: a line takes `MAX_BATCH` rows, or more within `MAX_LINE` tokens. Each
    call of the model reads all weights, so that few long lines are faster than many short ones."""
    lines: list[list[int]] = [[]]
    map_bytes = max(prefix.map_bytes for prefix in prefixes)
    tokens, trunks, queries = 0, set[tuple[int, tuple[int, ...]]](), 0
    for index in indices:
        row = rows[index]
        trunk = (row.prefix, row.tail)
        own = row.length - row.first_steered_slot  # the tokens that it shares with no other row
        longer = tokens + own + (0 if trunk in trunks else len(row.tail))
        queries = max(queries, len(row.query_slots))
        if len(lines[-1]) >= (MAX_BATCH if longer > MAX_LINE else maps_at_once(map_bytes, queries)):
            lines.append([])
            longer, trunks, queries = own + len(row.tail), set(), len(row.query_slots)
        lines[-1].append(index)
        tokens = longer
        trunks.add(trunk)
    return [line for line in lines if line]
