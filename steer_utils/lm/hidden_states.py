"""Keep the hidden states of chosen tokens, and of no others.

A block's output is the residual stream after that block. It equals transformers' `output_hidden_states[l + 1]`,
except for the last block: there transformers returns the state after the final norm, this module the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from steer_utils.lm.caches import cache_of
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.positions import TokenMask


class HiddenStates:
    """What was kept, in the order of the slots. All rows of a batch are kept at the same slots (their union)."""

    def __init__(self, wanted: TokenMask, num_blocks: int) -> None:
        self._wanted = wanted.union()
        self._states: list[list[torch.Tensor]] = [[] for _ in range(num_blocks)]
        self.slots: list[int] = []

    def states(self) -> torch.Tensor:
        """(batch, blocks, rows, hidden), float32 on the CPU. Raises ValueError if none of the tokens occurred."""
        if not self.slots:
            raise ValueError("no hidden state was kept: the model did not run, or the tokens asked for did not occur")
        return torch.stack([self.block(block) for block in range(len(self._states))], dim=1)

    def block(self, block: int) -> torch.Tensor:
        """What one block put out, (batch, rows, hidden), float32 on the CPU."""
        return torch.cat(self._states[block], dim=1).float().cpu()

    def keep(self, block: int, hidden: torch.Tensor, offset: int) -> None:
        """Keep the wanted tokens of one call: `hidden` (batch, tokens, width) begins at absolute slot `offset`."""
        chosen = self._wanted.slice(offset, hidden.shape[1])[0].nonzero()[:, 0]
        if len(chosen):
            self._states[block].append(hidden.index_select(1, chosen.to(hidden.device)))
            if block == 0:
                self.slots.extend((chosen + offset).tolist())


@contextmanager
def hidden_states(checkpoint: Checkpoint, wanted: TokenMask) -> Iterator[HiddenStates]:
    """Keep every block's output at the `wanted` tokens. Enter it inside `steered` to see the steered states.

    Hooks run in the order in which they were set. On exit, also by an exception, only own hooks are removed.
    """
    kept = HiddenStates(wanted, checkpoint.num_blocks)
    handles = []
    try:
        for number, block in enumerate(checkpoint.blocks):
            handles.append(block.register_forward_hook(_keeper(kept, number), with_kwargs=True))
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _keeper(kept: HiddenStates, number: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        cache = cache_of(kwargs)
        offset = 0 if cache is None else int(cache.get_seq_length(number)) - hidden.shape[1]
        kept.keep(number, hidden, offset)

    return hook
