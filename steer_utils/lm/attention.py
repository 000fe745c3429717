"""Attention of chosen tokens, kept while the model goes on using SDPA; and attention behind a prefix that is shared.

SDPA never forms the weights, and eager attention forms all T x T of them. Here the model's output still comes from
SDPA; for the few query rows that are wanted, the scores against all keys are computed once more and softmaxed in
float32: O(rows x T) a block. Only the weights on the audio tokens are kept.

    with attention_rows(checkpoint, mask, span) as rows:
        checkpoint.model(**inputs)
    rows.weights()      # (batch, blocks, heads, rows, audio tokens)

Where many rows share a prefix (`run`), its keys and values are never copied. A key/value cache of the usual kind gives
each row a copy as soon as it adds a token. Here the tokens of all rows stand in one line beside the prefix. With s the
scores q kᵀ·scaling and m their largest, a query's output is

    ( e^(s_prefix - m) V_prefix + e^(s_own - m) V_own ) / ( Σ e^(s_prefix - m) + Σ e^(s_own - m) )

which is softmax attention over prefix and own tokens together, in float32 up to the weights. Every query lies behind
the whole prefix, so only own tokens are masked (a row does not see another row's). Cost: that of attention over prefix
+ line, without the copies; memory: scores of `CHUNK_BYTES` at a time. The weights of queries that are kept fall off on
the way. Where a line has rows of several audios, this is done for each prefix and the stretch of tokens behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from steer_utils.lm.blocks import within
from steer_utils.lm.caches import cache_of
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.patch_grid import MediaSpan
from steer_utils.lm.plan import Stretch
from steer_utils.lm.positions import TokenMask

NAME = "sdpa_rows"
CHUNK_BYTES = 256 * 2**20
KeysValues = tuple[torch.Tensor, torch.Tensor]  # both (1, kv heads, prefix, head width)


# -- what is asked for ------------------------------------------------------------------------------------------------
@contextmanager
def attention_rows(
    checkpoint: Checkpoint,
    wanted: TokenMask,
    span: MediaSpan | Sequence[MediaSpan],
    *,
    blocks: Iterable[int] | None = None,
) -> Iterator[AttentionRows]:
    """Record the attention of the `wanted` query rows over the audio tokens in `span`, in these blocks (default all).

    `span` is one for all rows of the batch, or one for each (left-padded prompts), all with equally many tokens.
    Contexts may be nested. On exit, also by an exception, the model is as it was before. Needs a growing cache (the
    default of `generate`) or none: a static cache hides how far the sequence has come, and raises ValueError.
    """
    spans = [span] if isinstance(span, MediaSpan) else list(span)
    if not spans or len({audio.count for audio in spans}) != 1:
        raise ValueError(
            f"the audio spans of a batch must have equally many tokens, got {[audio.count for audio in spans]}"
        )
    count = checkpoint.num_blocks
    numbers = within(range(count) if blocks is None else blocks, count)
    recorder = AttentionRows(wanted, spans, numbers)
    modules = _modules(checkpoint, numbers)
    with _switched(checkpoint):
        guard = modules[numbers[0]].register_forward_pre_hook(_refuse_static_cache, with_kwargs=True)
        try:
            for number, module in modules.items():
                _recorders.setdefault(module, []).append((number, recorder))
            yield recorder
        finally:
            guard.remove()
            for number, module in modules.items():
                entries = _recorders.get(module, [])
                entries[:] = [entry for entry in entries if entry != (number, recorder)]
                if not entries:
                    _recorders.pop(module, None)


def _refuse_static_cache(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Its keys are as many as it has room for, so that the slots of a call cannot be told from them."""
    if getattr(cache_of(kwargs), "is_compileable", False):
        raise ValueError("attention rows need a growing cache; pass cache_implementation='dynamic', or none")


class AttentionRows:
    """What was recorded. Rows come in the order of their slots; `slots` names them.

    All rows of a batch are recorded at the same slots: the union of the slots that any of them wants.
    """

    def __init__(self, wanted: TokenMask, spans: Sequence[MediaSpan], blocks: tuple[int, ...]) -> None:
        self.blocks = blocks
        self._wanted = wanted.union()
        self._first = torch.tensor([span.first for span in spans])
        self._count = spans[0].count
        self._weights: dict[int, list[torch.Tensor]] = {block: [] for block in blocks}
        self._slots: dict[int, list[int]] = {block: [] for block in blocks}

    @property
    def slots(self) -> list[int]:
        """The absolute slots of the recorded query rows."""
        return self._slots[self.blocks[0]]

    def block(self, block: int) -> torch.Tensor:
        """The weights of one block, (batch, heads, rows, audio tokens), softmaxed over all keys."""
        if not self._weights[block]:
            raise ValueError("no query row was recorded: the model did not run, or the rows asked for did not occur")
        return torch.cat(self._weights[block], dim=2)

    def weights(self) -> torch.Tensor:
        """Weights on the audio tokens, (batch, blocks, heads, rows, audio tokens), float32 on the CPU."""
        return torch.stack([self.block(block).to("cpu") for block in self.blocks], dim=1)

    def record(
        self, block: int, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scaling: float
    ) -> None:
        """Keep the wanted rows of one call. `query`: (batch, heads, queries, d); `key`: (batch, kv heads, keys, d)."""
        batch, _, queries, _ = query.shape
        offset = key.shape[2] - queries  # slots before this call are in the cache already
        chosen = self._wanted.slice(offset, queries)[0].nonzero()[:, 0]
        if not len(chosen):
            return
        if len(self._first) not in (1, batch):
            raise ValueError(f"{len(self._first)} audio spans were given for a batch of {batch} rows")
        weights = row_weights(query, key, mask, scaling, chosen.to(query.device))
        columns = (self._first[:, None] + torch.arange(self._count)).to(weights.device)
        columns = columns[:, None, None, :].expand(batch, *weights.shape[1:3], self._count)
        self._weights[block].append(weights.gather(3, columns))
        self._slots[block].extend((chosen + offset).tolist())


def row_weights(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scaling: float, rows: torch.Tensor
) -> torch.Tensor:
    """softmax(q kᵀ · scaling + mask) for the given query rows: (batch, heads, len(rows), keys), float32.

    `mask` is None (causal), boolean (True = may look) or additive, each broadcastable to (batch, heads, queries, keys).
    Query heads that share a key/value head are grouped, so that keys are not repeated.
    """
    batch, heads, queries, width = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    chosen = query.index_select(2, rows).float().reshape(batch, kv_heads, -1, width)
    scores = (chosen @ key.float().transpose(2, 3) * scaling).view(batch, heads, len(rows), keys)
    lowest = torch.finfo(torch.float32).min  # not -inf: a padding row with nothing to look at must not give NaN
    if mask is None:
        allowed = torch.arange(keys, device=rows.device) <= (rows + keys - queries)[:, None]
        scores = scores.masked_fill(~allowed, lowest)
    else:
        mask = mask[..., :keys].index_select(2, rows)
        scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask.float()
    return scores.softmax(dim=-1)


# -- behind a shared prefix -------------------------------------------------------------------------------------------
@contextmanager
def line_rows(
    checkpoint: Checkpoint,
    prefixes: Sequence[tuple[Sequence[KeysValues], MediaSpan]],
    stretches: Sequence[Sequence[Stretch]],
) -> Iterator[LineRows]:
    """Run a line of tokens behind prefixes that are not copied, and record the attention of those tokens that its
    stretches keep: `stretches[block][number]` stands behind prefix `number`.

    `prefixes`: keys and values of each block, and where the audio is. The model then runs on the line alone, inside
    `run.line_hooks`, which say who sees whom, and with `own_cache`; attention is computed by `shared_attention` instead
    of SDPA. On exit, also by an exception, the model is as it was before.
    """
    recorder = LineRows(prefixes, stretches)
    modules = _modules(checkpoint, range(checkpoint.num_blocks))
    with _switched(checkpoint):
        try:
            _lines.update({module: (number, recorder) for number, module in modules.items()})
            yield recorder
        finally:
            for module in modules.values():
                _lines.pop(module, None)


class LineRows:
    """Rows recorded behind shared prefixes, where all tokens of a call stand in one line (see `plan`).

    `weights`: for each prefix (blocks, heads, rows kept, audio tokens), float32 on the CPU, softmaxed over all keys.
    """

    def __init__(
        self, prefixes: Sequence[tuple[Sequence[KeysValues], MediaSpan]], stretches: Sequence[Sequence[Stretch]]
    ) -> None:
        self.prefixes = [layers for layers, _ in prefixes]
        self.weights = [torch.empty(0)] * len(prefixes)
        self._stretches = stretches
        self._audio = [slice(span.first, span.stop) for _, span in prefixes]

    def attend(
        self,
        block: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Attention of the line, (1, tokens, heads, d); the rows to keep are kept on the way."""
        outputs = []
        for number, stretch in enumerate(self._stretches[block]):
            here, prefix = stretch.tokens, self.prefixes[number]
            queries, keys, values = (states[0, :, here] for states in (query, key, value))
            kept, own = stretch.kept.to(query.device), mask[0, 0, here, here]
            output, weights = shared_attention(queries, prefix[block], keys, values, own, scaling, kept)
            seen = weights[..., self._audio[number]]
            if not len(self.weights[number]):  # in one piece from the start: to join a list would take all of it twice
                self.weights[number] = torch.empty(len(prefix), *seen.shape)
            self.weights[number][block] = seen
            outputs.append(output)
        return torch.cat(outputs)[None]


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
    # (kv heads, queries of all heads that look at one, d): keys and values are not repeated for them. Scores are made
    # in float32: Qwen2.5's first and last block have key biases of norm 600 to 900, and scores of thousands that are
    # rounded to 16 bits are off by whole units (in float16 they overflow).
    grouped = query.reshape(kv_heads, -1, width).float()
    past = (grouped @ prefix[0][0].float().transpose(1, 2)).mul_(scaling)
    own = (grouped @ key.float().transpose(1, 2)).mul_(scaling)
    own.view(kv_heads, -1, queries, tokens).masked_fill_(~mask, torch.finfo(torch.float32).min)
    largest = torch.maximum(past.amax(dim=-1, keepdim=True), own.amax(dim=-1, keepdim=True))
    past = past.sub_(largest).exp_()
    own = own.sub_(largest).exp_()
    total = past.sum(dim=-1, keepdim=True) + own.sum(dim=-1, keepdim=True)
    past, own = past.div_(total), own.div_(total)  # before the product: sums over 15 000 tokens overflow float16
    output = past.to(value.dtype) @ prefix[1][0] + own.to(value.dtype) @ value
    return output.view(heads, queries, width).transpose(0, 1), past.view(heads, queries, -1)[:, kept]


def expanded(prefix: KeysValues, own: KeysValues) -> KeysValues:
    """Keys and values of prefix and own tokens in one: for whoever needs them whole."""
    first, second = (torch.cat(pair, dim=2) for pair in zip(prefix, own, strict=True))
    return first, second


# -- how the model comes here -----------------------------------------------------------------------------------------
# Which attention modules are being recorded, and for whom. Weak keys: a deleted model leaves nothing behind.
_recorders: WeakKeyDictionary[nn.Module, list[tuple[int, AttentionRows]]] = WeakKeyDictionary()
# Which of them run behind a shared prefix.
_lines: WeakKeyDictionary[nn.Module, tuple[int, LineRows]] = WeakKeyDictionary()


def _sdpa_rows_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,  # transformers' own attention interface: passed on untouched
) -> tuple[torch.Tensor, None]:
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    output = None
    if module in _lines:
        block, line = _lines[module]
        assert attention_mask is not None  # `run.line_hooks` say who sees whom
        output = line.attend(block, query, key, value, attention_mask, factor)
        if module in _recorders:  # somebody records from outside: their keys are those of the whole prompt
            if len(line.prefixes) > 1:
                raise ValueError(
                    "attention rows of several audios cannot be recorded in one call; read them one by one"
                )
            key, value = expanded(line.prefixes[0][block], (key, value))
            attention_mask = nn.functional.pad(attention_mask, (key.shape[2] - query.shape[2], 0), value=True)
    for block, recorder in _recorders.get(module, []):
        recorder.record(block, query, key, attention_mask, factor)
    if output is not None:
        return output, None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
    )


AttentionInterface.register(NAME, _sdpa_rows_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)


def _modules(checkpoint: Checkpoint, blocks: Iterable[int]) -> dict[int, nn.Module]:
    """The attention module of each block. Raises ValueError for those that do not see the whole past."""
    modules: dict[int, Any] = {block: checkpoint.family.attention(checkpoint.blocks[block]) for block in blocks}
    if any(getattr(module, "sliding_window", None) for module in modules.values()):
        raise ValueError("attention rows cannot be read from blocks with a sliding window")
    return modules


@contextmanager
def _switched(checkpoint: Checkpoint) -> Iterator[None]:
    """Attention goes through this module; afterwards as before."""
    config = checkpoint.decoder.config
    before = config._attn_implementation
    try:
        config._attn_implementation = NAME
        yield
    finally:
        config._attn_implementation = before
