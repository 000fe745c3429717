"""Add steering vectors to the residual stream while the model runs.

At each token that an edit touches, the output of decoder block l becomes

    h' = h + Σ λ v_l                 (the sum over the row's edits)
    h' = h' · ‖h‖ / ‖h'‖             (where the norm is kept)

The paper states the sum; keeping the norm, and which tokens are touched, are choices of ours (see `positions`).
An edit of rule "vista" adds, in place of λ v,

    ‖h‖ λ (1 + max(0, cos(h, -v))) v / ‖v‖

With the norm kept this is VISTA (arXiv 2502.03628), x' = ‖x‖ norm(norm(x) + λ (1 + max(0, cos(x, -v))) norm(v)), at
the output of the whole block, where VISTA's own code takes that of the MLP. The length of v has no say in it.

    with steer(lm, 0.5 * focus.late(), input_ids=inputs["input_ids"]):
        lm.model.generate(**inputs)

An `Injection` is what a user asks for; an `Edit` is the same with its tokens found; `BlockEdits` are those of many rows
at one block, ready to be added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from steer_utils.lm.blocks import blocks_text
from steer_utils.lm.caches import cache_of
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.positions import Layout, Positions, batch_layouts, check_positions, prompt_slots, steers_generated
from steer_utils.lm.vectors import SteeringVector

Rule = Literal["add", "vista"]


@dataclass(frozen=True)
class Injection:
    """A vector, how strongly it is added (λ), at which tokens and by which rule (see the head of this module).

    Raises ValueError for a strength that is not finite, and positions or a rule that do not exist.
    """

    vector: SteeringVector
    strength: float = 1.0
    positions: Positions = "last"
    rule: Rule = "add"

    def __post_init__(self) -> None:
        if not isinstance(self.vector, SteeringVector):
            raise TypeError(f"an injection needs a SteeringVector, got {type(self.vector).__name__}")
        if not math.isfinite(self.strength):
            raise ValueError(f"strength must be a finite number, got {self.strength}")
        check_positions(self.positions)
        if self.rule not in get_args(Rule):
            raise ValueError(f"unknown rule {self.rule!r}; pass one of {', '.join(get_args(Rule))}")

    def acting_blocks(self) -> tuple[int, ...]:
        """The blocks whose output this changes; none at strength 0."""
        return self.vector.acting_blocks() if self.strength else ()


@dataclass(frozen=True)
class Edit:
    """What is added to one row: `strength` times `vector`, at the output of `blocks`, to the tokens in `slots` of the
    prompt and, if `generated`, to every token after it."""

    vector: SteeringVector
    strength: float
    rule: Rule
    blocks: tuple[int, ...]
    slots: tuple[int, ...]
    generated: bool

    def __str__(self) -> str:
        rule = "" if self.rule == "add" else f", rule {self.rule!r},"
        generated = " and generated tokens" if self.generated else ""
        return (
            f"{self.strength:+g} * ({self.vector.provenance.recipe}){rule} at block {blocks_text(self.blocks)}, "
            f"slot {blocks_text(self.slots)}{generated}"
        )


def find_edits(injections: Sequence[Injection], layout: Layout) -> tuple[Edit, ...]:
    """The injections of one row with their tokens found; those that change nothing are left out.

    Raises ValueError where the row has no such tokens.
    """
    edits = []
    for injection in injections:
        slots, generated = prompt_slots(injection.positions, layout), steers_generated(injection.positions)
        if blocks := injection.acting_blocks():
            edits.append(Edit(injection.vector, injection.strength, injection.rule, blocks, tuple(slots), generated))
    return tuple(edits)


def as_injections(
    steer: SteeringVector | Injection | Sequence[SteeringVector | Injection] | None,
    strength: float = 1.0,
    positions: Positions = "last",
) -> tuple[Injection, ...]:
    """What callers may pass as `steer`, as injections. `strength` and `positions` are those of bare vectors."""
    if steer is None:
        return ()
    values = [steer] if isinstance(steer, (SteeringVector, Injection)) else list(steer)
    wrong = [type(value).__name__ for value in values if not isinstance(value, (SteeringVector, Injection))]
    if wrong:
        raise TypeError(f"steer takes SteeringVector or Injection, or a list of them, got {', '.join(wrong)}")
    return tuple(value if isinstance(value, Injection) else Injection(value, strength, positions) for value in values)


@contextmanager
def steer(
    checkpoint: Checkpoint,
    vector: SteeringVector | Injection | Sequence[SteeringVector | Injection],
    *,
    strength: float = 1.0,
    positions: Positions = "last",
    input_ids: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    prompt_length: int | None = None,
    keep_norm: bool = True,
) -> Iterator[None]:
    """Steer everything that runs inside, such as `checkpoint.model.generate`, in every row of the batch.

    Say where the prompt ends, by its `input_ids` (rows, slots; padded on either side) or, for positions "last" and
    "all" of a batch not padded on the right, by `prompt_length` alone. `attention_mask` (rows, slots) says what is
    padding where the padding token is also one of the prompt. Tokens generated after it are steered as the table in
    `positions` says. Raises ValueError or TypeError before anything is changed, VectorMismatchError for a vector that
    does not fit.
    """
    injections = as_injections(vector, strength, positions)
    if (input_ids is None) == (prompt_length is None):
        raise ValueError("say where the prompt ends: pass either input_ids or prompt_length")
    if attention_mask is not None and input_ids is None:
        raise ValueError("attention_mask says what is padding in input_ids; pass both")
    if input_ids is not None:
        layouts = batch_layouts(checkpoint, input_ids, attention_mask)
    else:
        layouts = [Layout(length=int(prompt_length or 0), audio=range(0))]
    for injection in injections:
        injection.vector.check_fits(checkpoint)
    edits = [find_edits(injections, layout) for layout in layouts]
    with steered(checkpoint, edits, [keep_norm] * len(layouts), layouts[0].length):
        if input_ids is not None or not any(edits):
            yield
            return
        handle = checkpoint.decoder.register_forward_pre_hook(_refuse_right_padding, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def _refuse_right_padding(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A length alone does not say where a shorter prompt ends: the padding would be steered in its place."""
    mask = kwargs.get("attention_mask")
    if isinstance(mask, torch.Tensor) and mask.ndim == 2 and not mask[:, -1].all():
        raise ValueError("this batch is padded on the right; pass its input_ids to `steer` in place of prompt_length")


@contextmanager
def steered(
    checkpoint: Checkpoint, rows: Sequence[Sequence[Edit]], keep_norm: Sequence[bool], prompt_length: int
) -> Iterator[None]:
    """Steer each row of a batch by its own edits: `rows[i]` are those of batch row i, with its padding counted.

    `keep_norm[i]`: whether row i keeps ‖h‖. One row given for a larger batch steers all of it. On exit, also by an
    exception, only own hooks are removed.
    """
    hooks = block_edits(rows, keep_norm, prompt_length)
    handles = []
    try:
        for block, hook in hooks.items():
            handles.append(checkpoint.blocks[block].register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def block_edits(rows: Sequence[Sequence[Edit]], keep_norm: Sequence[bool], prompt_length: int) -> dict[int, BlockEdits]:
    """What is added at each block that any row is steered at. Slots from `prompt_length` on are generated tokens."""
    blocks = sorted({block for edits in rows for edit in edits for block in edit.blocks})
    return {block: BlockEdits(block, rows, keep_norm, prompt_length) for block in blocks}


class BlockEdits:
    """What is added to the output of one block, in many rows at once. As a forward hook it steers a batch.

    Edits stand in layers, the n-th edit of every row side by side; a row with fewer has zeros there. `direction`:
    (layers, rows, hidden), v, of length 1 under VISTA's rule. `strength`: (layers, rows), λ. `vista`: (layers, rows)
    bool, which rule. `mask`: (layers, rows, prompt length + 1) bool, which tokens; the last column stands for every
    token after the prompt. `keep_norm`: (rows,) bool.
    """

    def __init__(
        self, block: int, rows: Sequence[Sequence[Edit]], keep_norm: Sequence[bool], prompt_length: int
    ) -> None:
        here = [[edit for edit in edits if block in edit.blocks] for edits in rows]
        layers = max(len(edits) for edits in here)
        hidden = next(edit.vector.hidden_size for edits in here for edit in edits)
        self.block = block
        self.prompt_length = prompt_length
        self.keep_norm = torch.tensor(list(keep_norm))
        self.direction = torch.zeros(layers, len(rows), hidden)
        self.strength = torch.zeros(layers, len(rows))
        self.vista = torch.zeros(layers, len(rows), dtype=torch.bool)
        self.mask = torch.zeros(layers, len(rows), prompt_length + 1, dtype=torch.bool)
        for row, edits in enumerate(here):
            for layer, edit in enumerate(edits):
                v = edit.vector.directions[block]
                self.vista[layer, row] = edit.rule == "vista"
                self.direction[layer, row] = nn.functional.normalize(v, dim=0, eps=1e-30) if edit.rule == "vista" else v
                self.strength[layer, row] = edit.strength
                self.mask[layer, row, list(edit.slots)] = True
                self.mask[layer, row, -1] = edit.generated
        self.any_vista = bool(self.vista.any())
        self.generated = None if self.any_vista else _GeneratedToken(self)

    def touched(self, rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Which layers touch the tokens in these `slots` of these `rows`: (layers, ...) bool."""
        return self.mask[:, rows, slots.clamp_max(self.prompt_length)]

    def edited(self, hidden: torch.Tensor, rows: torch.Tensor, touched: torch.Tensor) -> torch.Tensor:
        """The states `hidden` (tokens, width) of these `rows` (tokens,) with the edits of the layers that touch them,
        (layers, tokens), added; a new tensor."""
        before = hidden.float()
        after = before.clone()
        for layer, tokens in enumerate(touched):
            after += self._added(layer, rows, before) * tokens.to(hidden.device)[:, None]
        norm = before.norm(dim=-1, keepdim=True) / after.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        return torch.where(self.keep_norm[rows].to(hidden.device)[:, None], after * norm, after).to(hidden.dtype)

    def _added(self, layer: int, rows: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        direction, strength = self.direction[layer], self.strength[layer, :, None]
        delta = (strength * direction)[rows].to(hidden.device)
        if not self.any_vista:
            return delta
        towards = nn.functional.cosine_similarity(hidden, -direction[rows].to(hidden.device), dim=-1)[:, None]
        gain = hidden.norm(dim=-1, keepdim=True) * (1 + towards.clamp_min(0))
        return torch.where(self.vista[layer, rows].to(hidden.device)[:, None], gain * delta, delta)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The forward hook. It never edits in place, and returns None where nothing is to be done."""
        hidden = output[0] if isinstance(output, tuple) else output
        batch, length, _ = hidden.shape
        rows = len(self.keep_norm)
        if rows not in (1, batch):
            raise ValueError(f"{rows} rows are steered, but the batch has {batch}: beams and extra rows are not known")
        cache = cache_of(kwargs)
        # The block has already put this call's tokens in the cache, so its length is where the call ends.
        offset = 0 if cache is None else int(cache.get_seq_length(self.block)) - length
        if length == 1 and offset >= self.prompt_length and self.generated is not None and not hidden.requires_grad:
            changed = self.generated.steered(hidden)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed
        touched = self.touched(torch.arange(rows)[:, None], torch.arange(offset, offset + length))
        if not touched.any():
            return None
        row, token = touched.any(dim=0).expand(batch, length).nonzero(as_tuple=True)
        source = row if rows == batch else torch.zeros_like(row)
        where = (row.to(hidden.device), token.to(hidden.device))
        changed = hidden.clone()
        changed[where] = self.edited(hidden[where], source, touched[:, source, token])
        return (changed, *output[1:]) if isinstance(output, tuple) else changed


class _GeneratedToken:
    """What happens to each generated token, known beforehand: a hook runs once a token and a block, and each operation
    of it is paid again and again.

    `delta`: (rows, 1, hidden), Σ λ v. `acting`, `keep_norm`: (rows, 1, 1) bool, None where they hold for all rows.
    """

    def __init__(self, edits: BlockEdits) -> None:
        touched = edits.mask[..., -1]
        self.delta = torch.zeros_like(edits.direction[0])
        for direction, strength in zip(edits.direction, edits.strength * touched, strict=True):
            self.delta += strength[:, None] * direction
        self.delta = self.delta[:, None]
        acting, keep_norm = touched.any(dim=0), edits.keep_norm
        self.acting = None if acting.all() else acting[:, None, None]
        self.any_norm = bool(keep_norm.any())
        self.keep_norm = None if keep_norm.all() else keep_norm[:, None, None]

    def steered(self, hidden: torch.Tensor) -> torch.Tensor:
        """`hidden` (batch, 1, width), which wants no gradient, with the edits added; a new tensor."""
        if self.delta.device != hidden.device:  # once: the model stays where it is
            self.delta = self.delta.to(hidden.device)
            self.acting = None if self.acting is None else self.acting.to(hidden.device)
            self.keep_norm = None if self.keep_norm is None else self.keep_norm.to(hidden.device)
        before = hidden.float()
        after = before + self.delta
        if self.any_norm:  # in place: each new tensor costs as much as the sum in it
            length = torch.linalg.vector_norm(after, 2, -1, True).clamp_min_(1e-30)
            ratio = torch.linalg.vector_norm(before, 2, -1, True).div_(length)
            after.mul_(ratio if self.keep_norm is None else torch.where(self.keep_norm, ratio, 1.0))
        if self.acting is not None:
            after = torch.where(self.acting, after, before)
        return after.to(hidden.dtype)
