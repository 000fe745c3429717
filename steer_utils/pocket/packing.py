"""Several question-answer pairs behind one audio, in one sequence, kept apart by a mask.

    [ system ... user  audio audio ... audio | pair 1 | pair 2 | ... | padding ]

Each pair sees the audio and itself, never another pair, and counts its positions from the end of the audio: the
model sees what it will see at inference, and the audio, which is most of the sequence, is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from steer_utils.pocket.text import Turn

IGNORE = -100
_SHARED, _PADDING = 0, -1


@dataclass(frozen=True)
class Packed:
    """A batch of packed sequences of length T.

    ids, labels, positions (batch, T); mask (batch, 1, T, T), True where a key may be seen; audio_slots (batch, T).
    """

    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    audio_slots: torch.Tensor

    def to(self, device: torch.device) -> Packed:
        return Packed(*(getattr(self, name).to(device, non_blocking=True) for name in Packed.__dataclass_fields__))


class Packer:
    """Turns words into packed sequences with the processor's own template and tokenizer. `medium`: "audio" or "image":
    whose tokens stand before the pairs; a picture's are called audio here too."""

    def __init__(self, processor: Any, medium: str = "audio") -> None:
        self.tokenizer = processor.tokenizer
        self.audio_id: int = getattr(processor, f"{medium}_token_id")
        self._cache: dict[str, list[int]] = {}
        marker = "\ue000"  # a character that no template holds: the instruction goes where it stands
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": medium, medium: ""}, {"type": "text", "text": marker}]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        before, after = (self.words(part) for part in prompt.split(marker))
        audio = before.index(self.audio_id)
        self.head, self.before_instruction, self.after_instruction = before[:audio], before[audio + 1 :], after
        self.end = self.tokenizer.eos_token_id

    def words(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self._cache[text]

    def pair(self, turn: Turn) -> tuple[list[int], list[int]]:
        """Token ids and labels of one question and its answer; only the answer (and its end) is learnt."""
        question = self.before_instruction + self.words(turn.instruction) + self.after_instruction
        answer = [*self.words(turn.answer), self.end]
        return question + answer, [IGNORE] * len(question) + answer

    def pack(
        self, audio_tokens: Sequence[int], turns: Sequence[Sequence[Turn]], local_audio: np.ndarray | None = None
    ) -> Packed:
        """One row a scene. `local_audio[b]`: in that row, audio tokens see only themselves among the audio."""
        rows = [[self.pair(turn) for turn in scene_turns] for scene_turns in turns]
        lengths = [
            len(self.head) + count + sum(len(ids) for ids, _ in row)
            for count, row in zip(audio_tokens, rows, strict=True)
        ]
        shape = (len(rows), max(lengths))
        ids = np.full(shape, self.tokenizer.pad_token_id)
        labels, positions, segment = np.full(shape, IGNORE), np.zeros(shape, int), np.full(shape, _PADDING)
        for b, (count, row) in enumerate(zip(audio_tokens, rows, strict=True)):
            start = len(self.head) + count
            ids[b, :start] = self.head + [self.audio_id] * count
            positions[b, :start] = np.arange(start)
            segment[b, :start] = _SHARED
            cursor = start
            for number, (pair_ids, pair_labels) in enumerate(row, start=1):
                stop = cursor + len(pair_ids)
                ids[b, cursor:stop], labels[b, cursor:stop] = pair_ids, pair_labels
                positions[b, cursor:stop] = np.arange(start, start + len(pair_ids))
                segment[b, cursor:stop] = number
                cursor = stop
        audio_slots = torch.from_numpy(ids == self.audio_id)
        return Packed(
            torch.from_numpy(ids),
            torch.from_numpy(labels),
            torch.from_numpy(positions),
            visibility(torch.from_numpy(segment), audio_slots, local_audio),
            audio_slots,
        )


def visibility(segment: torch.Tensor, audio_slots: torch.Tensor, local_audio: np.ndarray | None) -> torch.Tensor:
    """(batch, 1, T, T): causal, own segment or the shared head and audio; every token sees itself."""
    length = segment.shape[1]
    mask = (segment[:, :, None] == segment[:, None, :]) | (segment == _SHARED)[:, None, :]
    mask &= torch.ones(length, length, dtype=torch.bool).tril()
    if local_audio is not None:
        local = torch.from_numpy(np.asarray(local_audio, bool))[:, None, None]
        mask &= ~(local & audio_slots[:, :, None] & audio_slots[:, None, :])
    mask |= torch.eye(length, dtype=torch.bool)
    return mask[:, None]
