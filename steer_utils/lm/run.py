"""One call of the model for a batch of rows: behind the shared prefix, or, where it is steered or read, with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steer_utils.lm.attention import attention_rows, line_rows, own_cache
from steer_utils.lm.branching import branched, last_states
from steer_utils.lm.hidden_states import hidden_states
from steer_utils.lm.plan import Batch
from steer_utils.lm.positions import TokenMask, token_mask
from steer_utils.lm.prefixes import Prefix
from steer_utils.lm.steering import steered


@dataclass(frozen=True, eq=False)
class Pass:
    """What a call gave for each row of a batch.

    `hidden`: (rows, blocks, hidden), at the last prompt token. `weights`: of each row (blocks, heads, captured rows,
    audio tokens), softmaxed over all tokens. `logits`: (rows, vocab). All float32 on the CPU.
    """

    hidden: torch.Tensor
    weights: list[torch.Tensor]
    logits: torch.Tensor


def run(prefix: Prefix, batch: Batch, wanted: TokenMask) -> Pass:
    """Run the rows of a batch and keep the attention of the `wanted` tokens of each."""
    return _with_prefix(prefix, batch, wanted) if batch.recompute else _behind_prefix(prefix, batch, wanted)


def _behind_prefix(prefix: Prefix, batch: Batch, wanted: TokenMask) -> Pass:
    """All rows as one line of tokens; what they share is run once (see `branching`)."""
    checkpoint = prefix.checkpoint
    branches = batch.branches(checkpoint.num_blocks)
    slots = [mask.nonzero()[:, 0].tolist() for mask in wanted.prompt]
    kept = [branches.places(line, slots) for line in branches.inside]
    ids, positions = batch.line(branches)
    with (
        branched(checkpoint, branches),
        steered(checkpoint, batch.edits(), batch.keep_norm(), branches),
        line_rows(checkpoint, prefix.layers, kept, prefix.span) as seen,
        last_states(checkpoint, branches) as states,
    ):
        output = checkpoint.family.backbone(checkpoint.model)(
            input_ids=ids.to(checkpoint.device),
            attention_mask=torch.ones(1, prefix.length + ids.shape[1], dtype=torch.long, device=checkpoint.device),
            position_ids=positions.to(checkpoint.device),
            past_key_values=own_cache(prefix.length, checkpoint.num_blocks),
            use_cache=True,
        )
    last = branches.last_places(branches.after[-1]).to(checkpoint.device)
    logits = checkpoint.family.head(checkpoint.model)(output.last_hidden_state[0, last])
    weights = seen.weights.split([len(each) for each in slots], dim=2)
    return Pass(torch.stack(states, dim=1), list(weights), logits.float().cpu())


def _with_prefix(prefix: Prefix, batch: Batch, wanted: TokenMask) -> Pass:
    """Each row with a prefix of its own, which is steered and recorded too."""
    checkpoint, rows = prefix.checkpoint, len(batch.rows)
    with (
        steered(checkpoint, batch.edits(), batch.keep_norm()),
        attention_rows(checkpoint, wanted, prefix.span) as seen,
        hidden_states(checkpoint, token_mask("last", batch.layouts)) as states,
    ):
        output = checkpoint.family.backbone(checkpoint.model)(
            input_ids=batch.suffix_ids.to(checkpoint.device),
            attention_mask=batch.attention_mask.to(checkpoint.device),
            position_ids=batch.position_ids.to(checkpoint.device),
            past_key_values=prefix.recomputed(rows),
            use_cache=True,
        )
    logits = checkpoint.family.head(checkpoint.model)(output.last_hidden_state[:, -1])
    captured = [[place for place, slot in enumerate(seen.slots) if mask[slot]] for mask in wanted.prompt]
    weights = [one[:, :, places] for one, places in zip(seen.weights(), captured, strict=True)]
    return Pass(states.states()[:, :, 0], weights, logits.float().cpu())
