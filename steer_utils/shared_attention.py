"""Many rows behind one prefix: attention in which the prefix's keys and values are never copied.

A key/value cache of the usual kind gives each row a copy of the prefix as soon as it adds a token. Here the tokens of
all rows stand in one line beside it. With s the scores q kᵀ·scaling and m their largest, a query's output is

    ( e^(s_prefix - m) V_prefix + e^(s_own - m) V_own ) / ( Σ e^(s_prefix - m) + Σ e^(s_own - m) )

which is softmax attention over prefix and own tokens together. Every query lies behind the whole prefix, so only own
tokens are masked (a row does not see another row's). Cost: that of attention over prefix + line, without the copies;
memory: scores of `CHUNK_BYTES` at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

CHUNK_BYTES = 256 * 2**20
KeysValues = tuple[torch.Tensor, torch.Tensor]  # both (1, kv heads, prefix, head width)


class _OwnTokens(DynamicLayer):
    """What one block adds behind a prefix of `length` slots that is kept elsewhere: counted, but not held."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The line's own keys and values, as they came: attention looks the prefix up itself."""
        if self.is_initialized:
            raise RuntimeError("rows behind a shared prefix are read in one call; a second one was made")
        self.lazy_initialization(key_states, value_states)
        self.length += key_states.shape[-2]
        return key_states, value_states

    def get_seq_length(self) -> int:
        return self.length


def own_cache(length: int, num_blocks: int) -> DynamicCache:
    """A cache for one call of any number of tokens in each block, which begins after a prefix of `length` slots."""
    cache = DynamicCache()
    cache.layers.extend(_OwnTokens(length) for _ in range(num_blocks))
    return cache


def shared_attention(
    query: torch.Tensor,
    prefix: KeysValues,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    kept: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of `query` (heads, tokens, d) over the prefix and the line's own `key`, `value` (kv heads, tokens, d).

    `mask`: (tokens, tokens) bool, True = may look; each token sees itself. Returns the output (tokens, heads, d), and
    for the queries `kept`, in their order, the weights over the prefix: (heads, len(kept), prefix), float32, softmaxed
    over prefix and own tokens.
    """
    heads, tokens, width = query.shape
    length = prefix[0].shape[2]
    chunk = max(1, CHUNK_BYTES // (4 * heads * (length + tokens)))
    output = query.new_empty(tokens, heads, width)
    weights = torch.empty(heads, len(kept), length, device=query.device)
    for first in range(0, tokens, chunk):
        part = slice(first, min(first + chunk, tokens))
        here = ((kept >= part.start) & (kept < part.stop)).nonzero()[:, 0]
        output[part], weights[:, here] = _chunk(
            query[:, part], prefix, key, value, mask[part], scaling, kept[here] - first
        )
    return output, weights


def _chunk(
    query: torch.Tensor,
    prefix: KeysValues,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    kept: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    heads, queries, width = query.shape
    kv_heads, tokens, _ = key.shape
    # (kv heads, queries of all heads that look at one, d): keys and values are not repeated for them.
    grouped = query.reshape(kv_heads, -1, width)
    past = (grouped @ prefix[0][0].transpose(1, 2)).float().mul_(scaling)
    own = (grouped @ key.transpose(1, 2)).float().mul_(scaling)
    own.view(kv_heads, -1, queries, tokens).masked_fill_(~mask, torch.finfo(torch.float32).min)
    largest = torch.maximum(past.amax(dim=-1, keepdim=True), own.amax(dim=-1, keepdim=True))
    past = past.sub_(largest).exp_()
    own = own.sub_(largest).exp_()
    total = past.sum(dim=-1, keepdim=True) + own.sum(dim=-1, keepdim=True)
    output = (past.to(value.dtype) @ prefix[1][0] + own.to(value.dtype) @ value) / total.to(value.dtype)
    seen = past.view(heads, queries, -1)[:, kept] / total.view(heads, queries, 1)[:, kept]
    return output.view(heads, queries, width).transpose(0, 1), seen


def expanded(prefix: KeysValues, own: KeysValues) -> KeysValues:
    """Keys and values of prefix and own tokens in one: for whoever needs them whole."""
    first, second = (torch.cat(pair, dim=2) for pair in zip(prefix, own, strict=True))
    return first, second
