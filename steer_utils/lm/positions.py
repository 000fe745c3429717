"""Which tokens an edit or a recording touches, in absolute slots of the key/value cache.

Slots are counted from the start of the cache, never from the current call: with a cache every decoding step sees
one token, and "position 0" of that call is not the start of the prompt.

==========  ============================================  ===================
positions   tokens of the prompt                          generated tokens
==========  ============================================  ===================
"last"      the last one                                  every one
"text"      all after the audio                           every one
"audio"     the audio tokens                              none
"all"       all                                           every one
"event"     the words of the event in the instruction     none
[5, 6]      these, counted in the prompt without padding  none
==========  ============================================  ===================
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from steer_utils.lm.checkpoints import Checkpoint, PromptTokens

Named = Literal["last", "text", "audio", "all", "event"]
Positions = Named | Sequence[int]
NAMED: tuple[str, ...] = get_args(Named)


@dataclass(frozen=True)
class Layout:
    """Where things are in one row of a batch, in absolute slots.

    `length`: slots of the prompt, padding included. `audio`: slots of the audio tokens (empty if unknown).
    `padding`: the slots that hold no token. `event`: slots of the event's words, () if no event was named.
    """

    length: int
    audio: range
    padding: Collection[int] = ()
    event: tuple[int, ...] = ()


@dataclass(frozen=True)
class TokenMask:
    """Which tokens are meant: `prompt` (rows, prompt slots) bool, and `generated` for every token after the prompt."""

    prompt: torch.Tensor
    generated: bool

    def slice(self, offset: int, length: int) -> torch.Tensor:
        """The mask for slots offset..offset+length-1, (rows, length) bool, wherever the prompt ends."""
        known = self.prompt[:, offset : offset + length]
        after = known.new_full((known.shape[0], length - known.shape[1]), self.generated)
        return torch.cat([known, after], dim=1)

    def union(self) -> TokenMask:
        """One row: the slots that any row means."""
        return TokenMask(self.prompt.any(dim=0, keepdim=True), self.generated)


def check_positions(positions: Positions) -> None:
    """Raise ValueError or TypeError unless `positions` is a known word or a sequence of slots."""
    if isinstance(positions, str):
        if positions not in NAMED:
            raise ValueError(f"unknown positions {positions!r}; pass one of {', '.join(NAMED)}, or a list of slots")
        return
    if not isinstance(positions, Sequence) or not positions:
        raise ValueError(f"positions must be one of {', '.join(NAMED)}, or a list of slots, got {positions!r}")
    if any(isinstance(slot, bool) or not isinstance(slot, int) or slot < 0 for slot in positions):
        raise ValueError(f"slots must be whole numbers from 0, got {list(positions)}")


def prompt_slots(positions: Positions, layout: Layout) -> list[int]:
    """The absolute slots of the prompt that `positions` means in a row laid out as `layout`.

    Raises ValueError where the row has no such tokens (no event named, no audio known, slot beyond the prompt).
    """
    check_positions(positions)
    slots = [slot for slot in range(layout.length) if slot not in layout.padding]
    if not isinstance(positions, str):
        if max(positions) >= len(slots):
            raise ValueError(f"slot {max(positions)} is beyond the prompt, which has {len(slots)} tokens")
        return sorted({slots[slot] for slot in positions})
    if positions == "last":
        return slots[-1:]
    if positions == "all":
        return slots
    if positions == "event":
        if not layout.event:
            raise ValueError('positions "event" needs the name of the event: pass event="dog bark"')
        return list(layout.event)
    if not layout.audio:
        raise ValueError(f'positions "{positions}" needs to know where the audio is: pass the prompt\'s token ids')
    if positions == "audio":
        return list(layout.audio)
    return [slot for slot in slots if slot >= layout.audio.stop]


def steers_generated(positions: Positions) -> bool:
    """Whether `positions` includes every token that is generated after the prompt."""
    return isinstance(positions, str) and positions in ("last", "text", "all")


def token_mask(positions: Positions, layouts: Sequence[Layout]) -> TokenMask:
    """The mask for rows laid out as `layouts` (all of one length)."""
    mask = torch.zeros(len(layouts), layouts[0].length, dtype=torch.bool)
    for row, layout in enumerate(layouts):
        mask[row, prompt_slots(positions, layout)] = True
    return TokenMask(mask, steers_generated(positions))


def batch_layouts(
    checkpoint: Checkpoint, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> list[Layout]:
    """Where padding and audio are in each row of token ids (rows, slots), padded on the left, the right or both.

    Padding is what `attention_mask` (rows, slots) has 0 for; without one, the padding tokens at both ends of a row.
    Raises ValueError for other shapes, a row of padding only, or ids in which the audio is one token.
    """
    if input_ids.ndim != 2 or not input_ids.shape[1]:
        raise ValueError(f"input_ids must have shape (rows, slots), got {tuple(input_ids.shape)}")
    if attention_mask is not None and attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but input_ids {tuple(input_ids.shape)}"
        )
    masks = [None] * len(input_ids) if attention_mask is None else attention_mask.tolist()
    layouts = []
    for ids, mask in zip(input_ids.tolist(), masks, strict=True):
        padding = _padding(ids, mask, checkpoint.processor.tokenizer.pad_token_id)
        audio = [slot for slot, token in enumerate(ids) if token == checkpoint.audio_token_id]
        if len(audio) == 1:
            raise ValueError("input_ids hold one audio token: pass the ids that the processor made for text and audio")
        layouts.append(Layout(len(ids), range(audio[0], audio[-1] + 1) if audio else range(0), padding=padding))
    return layouts


def _padding(ids: Sequence[int], mask: Sequence[int] | None, padding_id: int | None) -> frozenset[int]:
    """The slots of one row that hold no token."""
    if mask is not None:
        tokens: Sequence[int] = [slot for slot, there in enumerate(mask) if there]
    else:
        others = [slot for slot, token in enumerate(ids) if token != padding_id]
        tokens = range(others[0], others[-1] + 1) if others else others
    if not tokens:
        raise ValueError("a row of input_ids holds nothing but padding")
    return frozenset(range(len(ids))).difference(tokens)


def event_tokens(tokens: PromptTokens, event: str) -> tuple[int, ...]:
    """Which tokens of the tail hold the words `event` of the instruction, as whole words in any case.

    Raises ValueError if the instruction does not hold them.
    """
    words = event.strip()
    mentions = [
        (match.start() + tokens.instruction_start, match.end() + tokens.instruction_start)
        for match in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", tokens.instruction, re.IGNORECASE)
        if words
    ]
    if not mentions:
        raise ValueError(f"the instruction {tokens.instruction!r} does not name the event {event!r}")
    return tuple(
        index
        for index, (start, stop) in enumerate(tokens.tail_characters)
        if any(start < last and first < stop for first, last in mentions)
    )
