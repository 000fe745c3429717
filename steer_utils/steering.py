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
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import torch

from .branching import Branches
from .checkpoints import Checkpoint
from .edits import BlockHook, Edit, LineHook, Rule, layers_of
from .positions import Layout, Positions, check_positions, token_mask
from .vectors import SteeringVector


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


def batch_layouts(checkpoint: Checkpoint, input_ids: torch.Tensor) -> list[Layout]:
    """Where padding and audio are in each row of left-padded token ids (rows, slots)."""
    if input_ids.ndim != 2 or not input_ids.shape[1]:
        raise ValueError(f"input_ids must have shape (rows, slots), got {tuple(input_ids.shape)}")
    layouts = []
    for ids in input_ids.tolist():
        padding = next(
            (slot for slot, token in enumerate(ids) if token != checkpoint.processor.tokenizer.pad_token_id), 0
        )
        audio = [slot for slot, token in enumerate(ids) if token == checkpoint.audio_token_id]
        if len(audio) == 1:
            raise ValueError("input_ids hold one audio token: pass the ids that the processor made for text and audio")
        layouts.append(Layout(len(ids), range(audio[0], audio[-1] + 1) if audio else range(0), padding=range(padding)))
    return layouts
