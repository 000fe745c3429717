"""AttentionMap: where chosen query rows look, over audio tokens, ready to be read in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from steer_utils.lm.blocks import within
from steer_utils.lm.patch_grid import Box, MediaSpan, PatchGrid, best_box
from steer_utils.sound.spans import AudioSpan, Interval, best_window

NO_MASS = 1e-20  # below this the row does not look at the audio, and its share is taken to be even


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """Attention of query rows over the audio tokens, apart as *share* and *mass*.

    `share`: (blocks, heads, rows, tokens), weights renormalised over the audio tokens (each row sums to 1).
    `mass`: (blocks, heads, rows), how much of the row's whole attention goes to the audio.
    `first_block`: the first block whose attention the steering can have changed: the default for reading.

    A difference of two maps (`steered - base`) holds the differences of both, and is read in the same way.
    """

    share: torch.Tensor
    mass: torch.Tensor
    span: MediaSpan
    first_block: int = 0

    def __post_init__(self) -> None:
        if self.share.ndim != 4 or self.share.shape[-1] != self.span.count:
            raise ValueError(
                f"share must have shape (blocks, heads, rows, {self.span.count} tokens), got {tuple(self.share.shape)}"
            )
        if self.mass.shape != self.share.shape[:-1]:
            raise ValueError(f"mass has shape {tuple(self.mass.shape)}, share {tuple(self.share.shape)}")

    def __repr__(self) -> str:
        blocks, heads, rows, tokens = self.share.shape
        return (
            f"AttentionMap({blocks} blocks, {heads} heads, {rows} rows, {tokens} tokens, from block {self.first_block})"
        )

    @property
    def audio_span(self) -> AudioSpan:
        """`span`, of an audio. Raises TypeError for a picture, which has no seconds."""
        if not isinstance(self.span, AudioSpan):
            raise TypeError("this attention lies over a picture, which has no seconds; read a box: .box(width, height)")
        return self.span

    @classmethod
    def from_weights(cls, weights: torch.Tensor, span: MediaSpan, first_block: int = 0) -> AttentionMap:
        """From attention weights over the audio tokens, (blocks, heads, rows, tokens), softmaxed over all tokens."""
        weights = weights.detach().to("cpu", torch.float32)
        mass = weights.sum(dim=-1)
        if not bool(mass.isfinite().all()):
            raise FloatingPointError("attention weights hold nan or infinity; run the model in bfloat16 or float32")
        share = weights / mass.clamp_min(NO_MASS)[..., None]
        share[~(mass > NO_MASS)] = 1.0 / weights.shape[-1]  # in place: maps of a 7B model are megabytes a row
        return cls(share, mass, span, first_block)

    def __sub__(self, other: AttentionMap) -> AttentionMap:
        if not isinstance(other, AttentionMap):
            return NotImplemented
        if self.span != other.span or self.share.shape != other.share.shape:
            raise ValueError(
                f"the maps do not match: {tuple(self.share.shape)} over {self.span} and "
                f"{tuple(other.share.shape)} over {other.span}; compare readings of the same audio and rows"
            )
        first_block = max(self.first_block, other.first_block)
        return AttentionMap(self.share - other.share, self.mass - other.mass, self.span, first_block)

    def curve(
        self, blocks: Iterable[int] | None = None, heads: Iterable[int] | None = None, row: int | None = None
    ) -> np.ndarray:
        """Share of each audio token, (tokens,): mean over heads, over rows (unless `row` is given) and over blocks.

        `blocks` defaults to `first_block` and later. Raises ValueError if that leaves none (steering the last block
        changes no attention), or for blocks, heads or a row that do not exist.
        """
        kept = self._kept(self.share, blocks, heads, row)
        return kept.mean(dim=(0, 1, 2)).double().numpy()

    def curve_of_heads(self, pairs: Iterable[tuple[int, int]], row: int | None = None) -> np.ndarray:
        """Share of each audio token, (tokens,): mean over these (block, head) pairs and over rows (or of `row` alone).

        Raises ValueError for no pairs, or for blocks, heads or a row that do not exist.
        """
        numbers = list(pairs)
        blocks = _index("block", [block for block, _ in numbers], self.share.shape[0])
        heads = _index("head", [head for _, head in numbers], self.share.shape[1])
        kept = self.share[blocks, heads]
        if row is not None:
            kept = kept.index_select(1, _index("row", [row], kept.shape[1]))
        return kept.mean(dim=(0, 1)).double().numpy()

    def audio_mass(
        self, blocks: Iterable[int] | None = None, heads: Iterable[int] | None = None, row: int | None = None
    ) -> float:
        """How much of the attention goes to the audio at all, 0..1 (a difference for a difference map)."""
        return float(self._kept(self.mass, blocks, heads, row).mean())

    def located(
        self,
        seconds: float,
        blocks: Iterable[int] | None = None,
        heads: Iterable[int] | None = None,
        row: int | None = None,
    ) -> tuple[Interval, float]:
        """The window of `seconds` with the most attention, and the mean of the curve in it.

        Raises TypeError for a picture, which has no seconds.
        """
        return best_window(self.curve(blocks, heads, row), self.audio_span, seconds)

    def window(
        self,
        seconds: float,
        blocks: Iterable[int] | None = None,
        heads: Iterable[int] | None = None,
        row: int | None = None,
    ) -> Interval:
        """The window of `seconds` with the most attention (for a difference map: the largest rise)."""
        return self.located(seconds, blocks, heads, row)[0]

    def box(
        self,
        width: float,
        height: float,
        blocks: Iterable[int] | None = None,
        heads: Iterable[int] | None = None,
        row: int | None = None,
    ) -> Box:
        """The box of so many pixels with the most attention, in a picture (of a difference map: the largest rise).

        Raises TypeError for an audio, which has no pixels.
        """
        if not isinstance(self.span, PatchGrid):
            raise TypeError("this attention lies over an audio, which has no pixels; read a window: .window(seconds)")
        return best_box(self.curve(blocks, heads, row), self.span, width, height)[0]

    def _kept(
        self, values: torch.Tensor, blocks: Iterable[int] | None, heads: Iterable[int] | None, row: int | None
    ) -> torch.Tensor:
        count = len(values)
        if blocks is None and self.first_block >= count:
            raise ValueError(
                f"steering block {self.first_block - 1}, the last, changes no attention: steer an earlier block, "
                "or name the blocks to read"
            )
        block_numbers = range(self.first_block, count) if blocks is None else blocks
        rows = None if row is None else [row]
        for axis, (name, chosen) in enumerate((("block", block_numbers), ("head", heads), ("row", rows))):
            if chosen is not None:
                values = values.index_select(axis, _index(name, chosen, values.shape[axis]))
        return values


def _index(name: str, chosen: Iterable[int], count: int) -> torch.Tensor:
    return torch.tensor(within(chosen, count, f"{name}s", name, owner="the map"))
