"""What is added to the output of one block, row by row: the edits of a batch, and the hooks that make them.

See `steering` for the two rules; this module knows nothing of prompts, only of slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from .positions import TokenMask
from .vectors import SteeringVector

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
