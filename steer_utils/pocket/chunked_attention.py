"""Attention for training on a CPU: a few rows of the batch at a time, so that their scores stay in the cache.

It is eager attention, sum for sum. For a whole batch the scores of one block are tens of megabytes, and each step over
them (scale, mask, softmax, product) waits for memory, forward and back; a few rows of them fit the cache. Measured on
two cores, forward and back, milliseconds a block:

                                                  eager   fused (SDPA)   chunked
    tower, 32 rows x 2 heads x 400 positions        53          54          20
    decoder, 24 rows x 6 heads x 379 positions       -          94          49

Cost: the operations of eager attention; memory: the weights of each block, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "chunked"
CHUNK_BYTES = 4 * 2**20  # scores in work at a time; two cores share a little more of fast cache


class _Chunked(torch.autograd.Function):
    """softmax(query keyᵀ + mask) value; query (batch, kv heads, group x queries, width), already scaled."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        weights = query.new_empty(*query.shape[:3], key.shape[2])
        output = torch.empty_like(query)
        for rows in _chunks(weights):
            scores = torch.matmul(query[rows], key[rows].mT, out=weights[rows])
            if mask is not None:
                by_query = scores.view(len(scores), -1, mask.shape[2], key.shape[2])
                by_query.add_(_added(mask[rows] if len(mask) > 1 else mask, scores.dtype))
            torch.softmax(scores, dim=-1, out=scores)
            torch.matmul(scores, value[rows], out=output[rows])
        ctx.save_for_backward(query, key, value, weights)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        query, key, value, weights = ctx.saved_tensors
        (gradient,) = gradients
        by_query, by_key, by_value = (torch.empty_like(each) for each in (query, key, value))
        for rows in _chunks(weights):
            torch.matmul(weights[rows].mT, gradient[rows], out=by_value[rows])
            of_weights = torch.matmul(gradient[rows], value[rows].mT)
            of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights[rows], -1, weights.dtype)
            torch.matmul(of_scores, key[rows], out=by_query[rows])
            torch.matmul(of_scores.mT, query[rows], out=by_key[rows])
        return by_query, by_key, by_value, None


def _chunks(weights: torch.Tensor) -> Iterator[slice]:
    """Rows of the batch whose scores fit `CHUNK_BYTES`, at least one."""
    count = max(1, CHUNK_BYTES // max(1, weights[0].nbytes))
    return (slice(first, first + count) for first in range(0, len(weights), count))


def _added(mask: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """A mask as what is added to scores: where it is False their lowest number, not -inf, as eager attention has it."""
    lowest = torch.finfo(kind).min
    if mask.dtype != torch.bool:
        return mask.clamp_min(lowest).to(kind)
    return torch.zeros(mask.shape, dtype=kind, device=mask.device).masked_fill_(~mask, lowest)


def chunked_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,  # transformers' own attention interface: nothing in it is of use here
) -> tuple[torch.Tensor, None]:
    """Transformers' attention interface: (batch, heads, queries, width) in, (batch, queries, heads, width) out.

    `attention_mask`: (batch or 1, 1, queries or 1, keys), True where a key may be seen, or numbers to be added; None
    hides nothing. Raises ValueError for attention dropout, which it does not know.
    """
    if dropout:
        raise ValueError(f"chunked attention knows no dropout, {dropout} was asked for; use eager attention")
    batch, heads, queries, width = query.shape
    scaling = width**-0.5 if scaling is None else scaling
    kind = value.dtype  # under autocast rotary positions leave queries and keys in float32
    with torch.autocast(query.device.type, enabled=False):
        query = query if scaling == 1.0 else query * scaling
        grouped = query.to(kind).reshape(batch, key.shape[1], -1, width)  # query heads of one key head, in one line
        output = _Chunked.apply(grouped, key.to(kind).contiguous(), value.contiguous(), attention_mask)
    return output.view(batch, heads, queries, width).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, chunked_attention)
AttentionMaskInterface.register(NAME, eager_mask)  # the one that leaves no causal mask for the kernel to make up


@contextmanager
def chunked(module: Any) -> Iterator[None]:
    """Chunked attention in a tower or a decoder for a while, on a CPU; a GPU has better kernels of its own."""
    before = module.config._attn_implementation
    if next(module.parameters()).device.type == "cpu":
        module.set_attn_implementation(NAME)
    try:
        yield
    finally:
        module.set_attn_implementation(before)
