"""Many rows behind one prefix: attention in which the prefix's keys and values are never copied.

A key/value cache of the usual kind gives each row a copy of the prefix as soon as it adds a token. Here the rows add
their own tokens beside it. With s the scores q kᵀ·scaling and m their largest, a query's output is

    ( e^(s_prefix - m) V_prefix + e^(s_own - m) V_own ) / ( Σ e^(s_prefix - m) + Σ e^(s_own - m) )

which is softmax attention over prefix and own tokens together. The first product is one matrix product for all rows.
Every query lies behind the whole prefix, so only own tokens are masked. Cost: that of attention, without the copies;
memory: scores of `CHUNK_BYTES` at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        """The rows' own keys and values, as they came: attention looks the prefix up itself."""
        if self.is_initialized:
            raise RuntimeError("rows behind a shared prefix are read in one call; a second one was made")
        self.lazy_initialization(key_states, value_states)
        self.length += key_states.shape[-2]
        return key_states, value_states

    def get_seq_length(self) -> int:
        return self.length


def own_cache(length: int, num_blocks: int) -> DynamicCache:
    """A cache for one call of any number of rows in each block, which begins after a prefix of `length` slots."""
    cache = DynamicCache()
    cache.layers.extend(_OwnTokens(length) for _ in range(num_blocks))
    return cache


def shared_attention(
    query: torch.Tensor,
    prefix: KeysValues,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    kept: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of `query` (rows, heads, queries, d) over the prefix and the rows' own `key`, `value` (rows, kv heads,
    queries, d). `mask`: as transformers passes it to SDPA, boolean over (rows, 1, queries, prefix + queries), or None
    for a single query.

    Returns the output (rows, queries, heads, d) and the weights of the queries `kept` over the prefix,
    (rows, heads, len(kept), prefix), float32, softmaxed over prefix and own tokens.
    """
    rows, heads, queries, _ = query.shape
    length = prefix[0].shape[2]
    chunk = max(1, CHUNK_BYTES // (4 * heads * queries * length))
    outputs, weights = [], []
    for first in range(0, rows, chunk):
        part = slice(first, first + chunk)
        own = None if mask is None else mask[part if mask.shape[0] > 1 else slice(None), ..., length:]
        output, seen = _chunk(query[part], prefix, key[part], value[part], own, scaling, kept)
        outputs.append(output)
        weights.append(seen)
    return torch.cat(outputs), torch.cat(weights)


def _chunk(
    query: torch.Tensor,
    prefix: KeysValues,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    kept: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    rows, heads, queries, width = query.shape
    past_keys, past_values = prefix
    kv_heads, length = past_keys.shape[1:3]
    each = heads // kv_heads * queries  # queries that look at one key/value head in one row
    # (kv heads, rows * each, d): all rows' queries against the one copy of the prefix.
    together = query.reshape(rows, kv_heads, each, width).transpose(0, 1).reshape(kv_heads, rows * each, width)
    past = (together @ past_keys[0].transpose(1, 2)).float().mul_(scaling)
    own = (query.reshape(rows, kv_heads, each, width) @ key.transpose(2, 3)).float().mul_(scaling)
    if mask is not None:
        shaped = own.view(rows, kv_heads, -1, queries, queries)
        shaped.masked_fill_(~mask[:, :, None], torch.finfo(torch.float32).min)
    own = own.transpose(0, 1).reshape(kv_heads, rows * each, queries)
    largest = torch.maximum(past.amax(dim=-1, keepdim=True), own.amax(dim=-1, keepdim=True))
    past = past.sub_(largest).exp_()
    own = own.sub_(largest).exp_()
    total = past.sum(dim=-1, keepdim=True) + own.sum(dim=-1, keepdim=True)
    values = value.transpose(0, 1)  # (kv heads, rows, queries, d)
    output = past.to(value.dtype) @ past_values[0]
    own_output = own.to(value.dtype).view(kv_heads, rows, each, queries) @ values
    output = (output + own_output.reshape(output.shape)) / total.to(value.dtype)
    output = output.view(kv_heads, rows, -1, queries, width).permute(1, 3, 0, 2, 4).reshape(rows, queries, heads, width)
    past = past.view(kv_heads, rows, -1, queries, length).index_select(3, kept)
    seen = past / total.view(kv_heads, rows, -1, queries, 1).index_select(3, kept)
    return output, seen.transpose(0, 1).reshape(rows, heads, len(kept), length)


def expanded(prefix: KeysValues, own: Sequence[torch.Tensor]) -> KeysValues:
    """Keys and values of prefix and own tokens in one, copied for each row: for whoever needs them whole."""
    first, second = (
        torch.cat([past.expand(len(each), -1, -1, -1), each], dim=2) for past, each in zip(prefix, own, strict=True)
    )
    return first, second
