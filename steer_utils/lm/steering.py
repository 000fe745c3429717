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

What is added to the output of one block, row by row: the edits of a batch, and the hooks that make them.

See `steering` for the two rules; this module knows nothing of prompts, only of slots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from steer_utils.lm.branching import Branches
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.positions import Layout, Positions, TokenMask, batch_layouts, check_positions, token_mask
from steer_utils.lm.vectors import SteeringVector

Rule = Literal["add", "vista"]


@dataclass(frozen=True)
class Edit:
    """An injection whose tokens are known: `mask` is one row of `TokenMask.prompt` (slots,), for one row of a batch."""

    vector: SteeringVector
    strength: float
    mask: torch.Tensor
    generated: bool
    rule: Rule = "add"


@dataclass(frozen=True)
class EditLayer:
    """One edit for each row of a batch, some of them none. `direction`: (rows, hidden), v, of length 1 under VISTA's
    rule. `strength`: (rows,), λ. `vista`: (rows,) bool, which rule. `mask`: where it acts."""

    direction: torch.Tensor
    strength: torch.Tensor
    vista: torch.Tensor
    mask: TokenMask

    def acting(self) -> torch.Tensor:
        """The rows in which anything is added, (rows,) bool."""
        return (self.strength != 0) & self.direction.any(dim=1)

    def added(self, source: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """What is added to the states `hidden` (tokens, width), of the batch rows `source` (tokens,)."""
        delta = (self.strength[:, None] * self.direction)[source].to(hidden.device)
        if not self.vista.any():
            return delta
        direction = self.direction[source].to(hidden.device)
        towards = nn.functional.cosine_similarity(hidden, -direction, dim=-1)[:, None]
        gain = hidden.norm(dim=-1, keepdim=True) * (1 + towards.clamp_min(0))
        return torch.where(self.vista[source].to(hidden.device)[:, None], gain * delta, delta)


def layers_of(rows: Sequence[Sequence[Edit]], block: int) -> list[EditLayer]:
    """The edits of one block, the n-th of every row together: at most as many layers as a row has edits."""
    acting = [[edit for edit in edits if edit.strength and bool(edit.vector.directions[block].any())] for edits in rows]
    slots = max((len(edit.mask) for edits in acting for edit in edits), default=0)
    hidden = next(edit.vector.hidden_size for edits in acting for edit in edits)
    layers = []
    # Edits that reach generated tokens and edits that do not cannot share one TokenMask.
    for generated in (False, True):
        kind = [[edit for edit in edits if edit.generated == generated] for edits in acting]
        for depth in range(max(len(edits) for edits in kind)):
            direction, strength = torch.zeros(len(rows), hidden), torch.zeros(len(rows))
            vista = torch.zeros(len(rows), dtype=torch.bool)
            mask = torch.zeros(len(rows), slots, dtype=torch.bool)
            for row, edits in enumerate(kind):
                if depth < len(edits):
                    edit = edits[depth]
                    own = edit.vector.directions[block]
                    vista[row] = edit.rule == "vista"
                    direction[row] = nn.functional.normalize(own, dim=0, eps=1e-30) if edit.rule == "vista" else own
                    strength[row] = edit.strength
                    mask[row, : len(edit.mask)] = edit.mask
            layers.append(EditLayer(direction, strength, vista, TokenMask(mask, generated)))
    return layers


class _Generated:
    """What happens to each generated token, known beforehand: a hook runs once a token and a block, and each operation
    of it is paid again and again.

    `delta`: (rows, 1, hidden), Σ λ v. `acting`, `keep_norm`: (rows, 1, 1) bool, None where they hold for all rows.
    """

    def __init__(self, layers: Sequence[EditLayer], keep_norm: torch.Tensor) -> None:
        kind = [layer for layer in layers if layer.mask.generated]
        delta = torch.zeros_like(layers[0].direction)
        for layer in kind:
            delta += layer.strength[:, None] * layer.direction
        acting = torch.stack([layer.acting() for layer in kind]).any(dim=0) if kind else torch.zeros_like(keep_norm)
        self.delta = delta[:, None]
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


class BlockHook:
    """The forward hook of one block. It never edits in place, and returns None where nothing is to be done."""

    def __init__(self, block: int, layers: Sequence[EditLayer], keep_norm: torch.Tensor) -> None:
        self.block = block
        self.layers = layers
        self.keep_norm = keep_norm
        self.rows = len(keep_norm)
        self.prompt = max(layer.mask.prompt.shape[1] for layer in layers)
        self.generated = None if any(layer.vista.any() for layer in layers) else _Generated(layers, keep_norm)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        batch, length, _ = hidden.shape
        rows = self.rows
        if rows not in (1, batch):
            raise ValueError(f"{rows} rows are steered, but the batch has {batch}: beams and extra rows are not known")
        cache = kwargs.get("past_key_values")
        # The block has already put this call's tokens in the cache, so its length is where the call ends.
        offset = 0 if cache is None else int(cache.get_seq_length(self.block)) - length
        if length == 1 and offset >= self.prompt and self.generated is not None and not hidden.requires_grad:
            changed = self.generated.steered(hidden)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed
        masks = [layer.mask.slice(offset, length) for layer in self.layers]
        acting = [layer.acting()[:, None] & mask for layer, mask in zip(self.layers, masks, strict=True)]
        touched = torch.stack(acting).any(dim=0)
        if not touched.any():
            return None
        row, token = touched.expand(batch, length).nonzero(as_tuple=True)
        source = row if rows == batch else torch.zeros_like(row)
        place = (row.to(hidden.device), token.to(hidden.device))
        where = [mask[source, token] for mask in acting]
        changed = hidden.clone()
        changed[place] = edited(hidden[place], source, self.layers, where, self.keep_norm)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed


class LineHook:
    """The forward hook of one block that a line of tokens runs through, (1, tokens, width) (see `branching`).

    `rows`, `slots`: which batch row each token belongs to (-1: none) and its slot in the prompt, (tokens,).
    """

    def __init__(
        self, layers: Sequence[EditLayer], keep_norm: torch.Tensor, rows: torch.Tensor, slots: torch.Tensor
    ) -> None:
        acting = [(rows >= 0) & layer.acting()[rows] & layer.mask.prompt[rows, slots] for layer in layers]
        self.place = torch.stack(acting).any(dim=0).nonzero()[:, 0]
        self.source = rows[self.place]
        self.where = [mask[self.place] for mask in acting]
        self.layers = layers
        self.keep_norm = keep_norm

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not len(self.place):
            return None
        hidden = output[0] if isinstance(output, tuple) else output
        changed = hidden.clone()
        place = self.place.to(hidden.device)
        changed[0, place] = edited(hidden[0, place], self.source, self.layers, self.where, self.keep_norm)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed


def edited(
    hidden: torch.Tensor,
    source: torch.Tensor,
    layers: Sequence[EditLayer],
    where: Sequence[torch.Tensor],
    keep_norm: torch.Tensor,
) -> torch.Tensor:
    """The states `hidden` (tokens, width) with the edits of their batch rows `source` (tokens,) added; a new tensor.

    `where`: of each layer, the tokens that it touches, (tokens,) bool. `keep_norm`: (rows,) bool.
    """
    before = hidden.float()
    after = before.clone()
    for layer, touched in zip(layers, where, strict=True):
        after += layer.added(source, before) * touched.to(hidden.device)[:, None]
    norm = before.norm(dim=-1, keepdim=True) / after.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    return torch.where(keep_norm[source].to(hidden.device)[:, None], after * norm, after).to(hidden.dtype)


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


@contextmanager
def steered(
    checkpoint: Checkpoint,
    rows: Sequence[Sequence[Edit]],
    keep_norm: Sequence[bool] | None = None,
    branches: Branches | None = None,
) -> Iterator[None]:
    """Steer each row of a batch by its own edits: `rows[i]` are those of batch row i.

    `keep_norm[i]`: whether row i keeps ‖h‖ (default: all do). One row given for a larger batch steers all of it.
    `branches`: the rows run as a line of tokens that they leave and join (see `branching`), and not as a batch.
    Everything is checked before the first hook is set; on exit, also by an exception, only own hooks are removed.
    Raises VectorMismatchError for a vector that does not fit.
    """
    norms = torch.tensor(list(keep_norm) if keep_norm is not None else [True] * len(rows))
    if len(norms) != len(rows):
        raise ValueError(f"keep_norm has {len(norms)} entries for {len(rows)} rows")
    for edits in rows:
        for edit in edits:
            edit.vector.check_fits(checkpoint)
    lengths = {len(edit.mask) for edits in rows for edit in edits}
    if len(lengths) > 1:
        raise ValueError(f"all masks of a batch must have one length, got {sorted(lengths)}")
    touched = sorted(
        {block for edits in rows for edit in edits if edit.strength for block in edit.vector.acting_blocks()}
    )
    hooks: list[tuple[int, BlockHook | LineHook]] = []
    for block in touched:
        layers = layers_of(rows, block)
        if branches is None:
            hooks.append((block, BlockHook(block, layers, norms)))
        else:
            line = branches.after[block]
            hooks.append((block, LineHook(layers, norms, line.rows, line.slots)))
    handles = []
    try:
        for block, hook in hooks:
            by_name = isinstance(hook, BlockHook)  # it asks the cache how far the prompt has come
            handles.append(checkpoint.blocks[block].register_forward_hook(hook, with_kwargs=by_name))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def steer(
    checkpoint: Checkpoint,
    vector: SteeringVector | Injection | Sequence[SteeringVector | Injection],
    *,
    strength: float = 1.0,
    positions: Positions = "last",
    input_ids: torch.Tensor | None = None,
    prompt_length: int | None = None,
    keep_norm: bool = True,
) -> Iterator[None]:
    """Steer everything that runs inside, such as `checkpoint.model.generate`, in every row of the batch.

    Say where the prompt ends, by its `input_ids` (rows, slots; left-padded rows are understood) or, for positions
    "last" and "all", by `prompt_length` alone. Tokens generated after it are steered as the table in `positions` says.
    """
    injections = as_injections(vector, strength, positions)
    if (input_ids is None) == (prompt_length is None):
        raise ValueError("say where the prompt ends: pass either input_ids or prompt_length")
    if input_ids is not None:
        layouts = batch_layouts(checkpoint, input_ids)
    else:
        layouts = [Layout(length=int(prompt_length or 0), audio=range(0))]
    masks = [token_mask(injection.positions, layouts) for injection in injections]
    rows = [
        [
            Edit(injection.vector, injection.strength, mask.prompt[row], mask.generated, injection.rule)
            for injection, mask in zip(injections, masks, strict=True)
        ]
        for row in range(len(layouts))
    ]
    with steered(checkpoint, rows, [keep_norm] * len(rows)):
        yield


def as_injections(
    steer: SteeringVector | Injection | Sequence[SteeringVector | Injection] | None,
    strength: float = 1.0,
    positions: Positions = "last",
) -> tuple[Injection, ...]:
    """What callers may pass as `steer`, as injections. `strength` and `positions` are those of bare vectors."""
    if steer is None:
        return ()
    given = [steer] if isinstance(steer, (SteeringVector, Injection)) else list(steer)
    wrong = [type(one).__name__ for one in given if not isinstance(one, (SteeringVector, Injection))]
    if wrong:
        raise TypeError(f"steer takes SteeringVector or Injection, or a list of them, got {', '.join(wrong)}")
    return tuple(one if isinstance(one, Injection) else Injection(one, strength, positions) for one in given)
