"""Run: one call of the model that executes a plan behind a prefix.

The second of three steps: plan (`plan`), **run** (this file), read (`hearing`). Nothing is known here of rows as users
write them, of events or positions: token ids go in, with masks, edits and queries; states, attention and logits come
out.

Readings that share the prefix run as a *line* of tokens, which rows leave as they are steered (see `plan`). The
model's own forward is not replaced: hooks on its blocks make the line longer between one block and the next, and give
each token its mask and its place in the prompt.

Answers, and rows whose prefix must be recomputed, run as a *batch*. Tails are padded on their left, between prefix
and tail, so that the last prompt token of every row is in the last slot:

    slots     0 ............ prefix          ............ length
    row 0     chat head + audio | padding | short tail
    row 1     chat head + audio | a longer tail
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, LogitsProcessorList

from steer_utils.lm.attention import attention_rows, line_rows, own_cache
from steer_utils.lm.caches import CACHE
from steer_utils.lm.checkpoints import Checkpoint, alone, greedy, stop_tokens, until
from steer_utils.lm.hidden_states import hidden_states
from steer_utils.lm.plan import Line, Plan
from steer_utils.lm.positions import TokenMask
from steer_utils.lm.prefixes import Prefix
from steer_utils.lm.steering import BlockEdits, block_edits, steered


@dataclass(frozen=True, eq=False)
class Output:
    """What a call gave for each row of a plan.

    `hidden`: (rows, blocks, hidden), each block's output at the last prompt token, or the mean over the tokens that a
    row names. `attention`: of each row (blocks,
    heads, queries, audio tokens), softmaxed over all tokens. `logits`: (rows, vocab). All float32 on the CPU.
    """

    hidden: torch.Tensor
    attention: list[torch.Tensor]
    logits: torch.Tensor


@torch.inference_mode()
def run(prefixes: Sequence[Prefix], plan: Plan) -> Output:
    """Run the prompts of a plan that was made for these prefixes of one model, which no other thread uses meanwhile.

    Raises FloatingPointError where the model's number type does not hold what it computes (float16 often).
    """
    needed = [prefixes[number] for number in plan.prefixes]
    checkpoint = needed[0].checkpoint
    with alone(checkpoint):
        output = _run_batch(needed[0], plan) if plan.recompute else _run_line(needed, plan)
    # Attention is not looked through here: maps are large, and `AttentionMap.from_weights` sums them anyway.
    _check_numbers(checkpoint, output.hidden, output.logits)
    return output


def _check_numbers(checkpoint: Checkpoint, *values: torch.Tensor) -> None:
    if not all(value.isfinite().all() for value in values):
        numbers = str(checkpoint.model.dtype).removeprefix("torch.")
        way = (
            "load it with dtype='bfloat16', or dtype='float32' where there is room for twice the memory"
            if checkpoint.model.dtype == torch.float16
            else "its weights are damaged, or the steering is too strong to be computed"
        )
        raise FloatingPointError(f"{checkpoint.name} gives nan or infinity in {numbers}; {way}")


@torch.inference_mode()
def generate(prefix: Prefix, plan: Plan, max_new_tokens: int) -> list[list[int]]:
    """The token ids of a greedy answer to each row, up to where its turn ends; generated tokens are steered too.

    Raises FloatingPointError as `run` does: of nan, the first token of the vocabulary would be the largest.
    """
    checkpoint, batch = prefix.checkpoint, _Batch(prefix, plan)

    def checked(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        _check_numbers(checkpoint, scores.clamp_min(torch.finfo(scores.dtype).min))  # -inf: a word that may not come
        return scores

    with alone(checkpoint), batch.steered(), greedy(checkpoint, max_new_tokens) as config:
        sequences = checkpoint.model.generate(
            input_ids=torch.cat([prefix.ids.expand(len(plan.rows), -1), batch.ids], dim=1).to(checkpoint.device),
            attention_mask=batch.attention_mask.to(checkpoint.device),
            # Said, because Qwen2.5-Omni would go on from what it was last asked, by whomever.
            position_ids=batch.position_ids.to(checkpoint.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([checked]),
            **{CACHE: batch.cache()},
        )
    return [until(ids, stop_tokens(checkpoint)) for ids in sequences[:, batch.length :].tolist()]


# -- a batch ------------------------------------------------------------------------------------------------------
class _Batch:
    """The rows of a plan side by side, padded. On the CPU: `ids` (rows, tail), `attention_mask` (rows, length)."""

    def __init__(self, prefix: Prefix, plan: Plan) -> None:
        self.prefix, self.plan = prefix, plan
        self.length = max(row.length for row in plan.rows)
        # Padding is never looked at, but a repetition penalty counts it: its id is one that every prompt holds.
        self.ids = torch.full((len(plan.rows), self.length - prefix.length), int(prefix.ids[0, 0]))
        self.attention_mask = torch.ones(len(plan.rows), self.length, dtype=torch.long)
        for number, row in enumerate(plan.rows):
            missing = self.length - row.length
            self.ids[number, missing:] = torch.tensor(row.tail)
            self.attention_mask[number, prefix.length : prefix.length + missing] = 0

    @cached_property
    def position_ids(self) -> torch.Tensor:
        """(rows, length). Padding does not count: every row's tail continues right after the audio."""
        return self.attention_mask.cumsum(dim=1) - 1

    def slots(self, number: int, slots: Iterable[int]) -> tuple[int, ...]:
        """Slots of row `number`'s own prompt, in the batch."""
        missing = self.length - self.plan.rows[number].length
        return tuple(slot if slot < self.prefix.length else slot + missing for slot in slots)

    def mask(self, slots: Iterable[Iterable[int]]) -> TokenMask:
        """These slots of each row's own prompt, and no generated token."""
        mask = torch.zeros(self.attention_mask.shape, dtype=torch.bool)
        for number, row_slots in enumerate(slots):
            mask[number, self.slots(number, row_slots)] = True
        return TokenMask(mask, generated=False)

    def steered(self) -> AbstractContextManager[None]:
        """`with batch.steered():` each row is steered by its own edits."""
        edits = [
            [replace(edit, slots=self.slots(number, edit.slots)) for edit in row.edits]
            for number, row in enumerate(self.plan.rows)
        ]
        return steered(self.prefix.checkpoint, edits, [row.keep_norm for row in self.plan.rows], self.length)

    def cache(self) -> DynamicCache:
        """The prefix for each row. If it must be recomputed, this is done here, steered and recorded as the rest is."""
        count = len(self.plan.rows)
        return self.prefix.recomputed(count) if self.plan.recompute else self.prefix.cache(count)


def _run_batch(prefix: Prefix, plan: Plan) -> Output:
    """Each row with a prefix of its own, which is steered and recorded too."""
    checkpoint, batch = prefix.checkpoint, _Batch(prefix, plan)
    queries, kept = (
        batch.mask(slots) for slots in ([row.query_slots for row in plan.rows], [row.hidden_slots for row in plan.rows])
    )
    with (
        batch.steered(),
        attention_rows(checkpoint, queries, prefix.span) as rows,
        hidden_states(checkpoint, kept) as states,
    ):
        output = checkpoint.family.backbone(checkpoint.model)(
            input_ids=batch.ids.to(checkpoint.device),
            attention_mask=batch.attention_mask.to(checkpoint.device),
            position_ids=batch.position_ids[:, prefix.length :].to(checkpoint.device),
            use_cache=True,
            **{CACHE: batch.cache()},
        )
    logits = checkpoint.family.head(checkpoint.model)(output.last_hidden_state[:, -1])
    # Recorded are the tokens of any row, for all rows: keep each row's own.
    attention = [weights[:, :, own] for weights, own in zip(rows.weights(), _places(rows.slots, queries), strict=True)]
    hidden = [
        state[:, own].mean(dim=1) for state, own in zip(states.states(), _places(states.slots, kept), strict=True)
    ]
    return Output(torch.stack(hidden), attention, logits.float().cpu())


def _places(recorded: Sequence[int], wanted: TokenMask) -> list[list[int]]:
    """For each row, where among the recorded slots its own are."""
    return [[place for place, slot in enumerate(recorded) if mask[slot]] for mask in wanted.prompt]


# -- a line -------------------------------------------------------------------------------------------------------
def _run_line(prefixes: Sequence[Prefix], plan: Plan) -> Output:
    """All rows as one line of tokens behind their prefixes, which are not copied; what rows share is run once."""
    checkpoint, first, last = prefixes[0].checkpoint, plan.lines[0], plan.lines[-1]
    longest = max(prefix.length for prefix in prefixes)
    stretches = [line.stretches for line in plan.lines[:-1]]
    with (
        line_hooks(checkpoint, plan) as states,
        line_rows(checkpoint, [(prefix.layers, prefix.span) for prefix in prefixes], stretches) as rows,
    ):
        output = checkpoint.family.backbone(checkpoint.model)(
            input_ids=first.ids[None].to(checkpoint.device),
            attention_mask=torch.ones(1, longest + len(first.tokens), dtype=torch.long, device=checkpoint.device),
            position_ids=first.slots[None].to(checkpoint.device),
            use_cache=True,
            **{CACHE: own_cache(longest, checkpoint.num_blocks)},
        )
    last_state = output.last_hidden_state[0]  # of a model on two GPUs, on the second one
    last_states = last_state.index_select(0, last.last_places.to(last_state.device))
    logits = checkpoint.family.head(checkpoint.model)(last_states)
    attention = list[torch.Tensor]()
    for number, weights in zip(plan.prefixes, rows.weights, strict=True):
        attention += weights.split([len(row.query_slots) for row in plan.rows if row.prefix == number], dim=2)
    return Output(torch.stack(states, dim=1), attention, logits.float().cpu())


@contextmanager
def line_hooks(checkpoint: Checkpoint, plan: Plan) -> Iterator[list[torch.Tensor]]:
    """Run the first line of a plan, (1, tokens), through all blocks: rows leave their trunks, and are steered.

    Yields each block's output at the tokens that every row names, their mean: (rows, hidden), float32 on the CPU. The
    key/value cache must take another number of tokens in each block (`attention.own_cache` does). On exit, also by an
    exception, only own hooks are removed.
    """
    edits = block_edits(
        [row.edits for row in plan.rows],
        [row.keep_norm for row in plan.rows],
        max(row.length for row in plan.rows),
    )
    states: list[torch.Tensor] = []
    handles = []
    try:
        for block, module in enumerate(checkpoint.blocks):
            inside, after = plan.lines[block : block + 2]
            handles.append(module.register_forward_pre_hook(_before(inside, plan.lines[0]), with_kwargs=True))
            handles.append(module.register_forward_hook(_after(inside, after, edits.get(block), states)))
        yield states
    finally:
        for handle in handles:
            handle.remove()


#: What the decoder hands to each block beside the states, one entry a token: (1, tokens, ...).
TOKEN_ARGUMENTS = ("position_ids", "position_embeddings")


def _before(line: Line, at_first: Line) -> Any:
    """Give every token of the line its place in the prompt, and say who sees whom: a mask (1, 1, tokens, tokens)."""
    sources = None if line is at_first else line.sources(at_first)

    def chosen(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(chosen(part) for part in value)
        return value if value is None or sources is None else value.index_select(1, sources.to(value.device))

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        hidden = args[0] if args else kwargs["hidden_states"]
        arguments = {**kwargs, "attention_mask": line.mask[None, None].to(hidden.device)}
        arguments |= {name: chosen(kwargs[name]) for name in TOKEN_ARGUMENTS if name in kwargs}
        return args, arguments

    return hook


def _after(inside: Line, after: Line, edits: BlockEdits | None, states: list[torch.Tensor]) -> Any:
    """Let rows leave their trunks, steer them, and keep the state of the tokens that each row names."""
    sources = None if after is inside else after.sources(inside)
    if edits is not None:
        touched = edits.touched(after.owners, after.slots) & (after.owners >= 0)
        steered_places = touched.any(dim=0).nonzero()[:, 0]
        owners, touched = after.owners[steered_places], touched[:, steered_places]

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        if sources is not None:
            hidden = hidden.index_select(1, sources.to(hidden.device))
        if edits is not None:
            where = steered_places.to(hidden.device)
            changed = hidden.clone()
            changed[0, where] = edits.edited(hidden[0, where], owners, touched)
            hidden = changed
        places, rows = after.hidden_places
        kept = hidden[0].index_select(0, places.to(hidden.device)).float().cpu()
        if len(kept) > len(after.rows):  # the mean over each row's tokens
            sums = kept.new_zeros(len(after.rows), kept.shape[1]).index_add_(0, rows, kept)
            kept = sums / torch.bincount(rows)[:, None]
        states.append(kept)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    return hook
