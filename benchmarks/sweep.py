"""The work of the sweep, and how each of us does it: ours here, the peers' in `peers`.

One audio, one question, queries x blocks x strengths. For each query a vector is made from two instructions; for each
point that vector is added, in one block and at the last prompt token, with the norm kept, and the attention of the last
prompt token over the audio tokens is read in every block. The last block is not steered: that moves no attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch

from benchmarks.shapes import EVENTS, NEGATIVE, POSITIVE, QUESTION, SAMPLING_RATE
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Point:
    """One reading of the sweep."""

    event: str
    block: int
    strength: float


@dataclass(frozen=True)
class Sweep:
    """A model, an audio (samples,), and the points to read."""

    lm: AudioLM
    samples: np.ndarray
    events: tuple[str, ...] = EVENTS
    strengths: tuple[float, ...] = STRENGTHS

    @cached_property
    def points(self) -> list[Point]:
        blocks = range(self.lm.num_blocks - 1)
        return [Point(*each) for each in product(self.events, blocks, self.strengths)]

    @property
    def instructions(self) -> list[str]:
        """What the vectors are made from: one neutral instruction, and one for each event."""
        return [contrast_prompt(None), *map(contrast_prompt, self.events)]

    @property
    def forwards(self) -> int:
        """Forwards of the whole prompt, one a reading: the instructions, each once, and the points."""
        return len(self.instructions) + len(self.points)

    def inputs(self, instruction: str) -> dict[str, torch.Tensor]:
        """What the model's forward takes for this audio and instruction: the peers' way in."""
        lm = self.lm
        made = lm.family.inputs(lm.processor, lm.prompt(instruction), self.samples, SAMPLING_RATE)
        return {
            name: value.to(lm.device, lm.dtype if value.is_floating_point() else value.dtype)
            for name, value in made.items()
        }

    @cached_property
    def audio_columns(self) -> slice:
        """Where the audio tokens are in every prompt."""
        slots = (self.inputs(QUESTION)["input_ids"][0] == self.lm.audio_token_id).nonzero()[:, 0]
        return slice(int(slots[0]), int(slots[-1]) + 1)


def contrast_prompt(event: str | None) -> str:
    """The instruction that names an event, or the neutral one, before the question."""
    return f"{NEGATIVE if event is None else POSITIVE.format(event=event)} {QUESTION}"


def ours(sweep: Sweep) -> torch.Tensor:
    """The whole sweep, from the samples on: weights on the audio tokens, (points, blocks, heads, tokens)."""
    hearing = sweep.lm.hear(sweep.samples, sampling_rate=SAMPLING_RATE)
    vectors = {
        event: hearing.contrast(POSITIVE.format(event=event), NEGATIVE, prompt=QUESTION) for event in sweep.events
    }
    rows = [
        Row(QUESTION, steer=(Injection(vectors[point.event].select(point.block), point.strength),))
        for point in sweep.points
    ]
    maps = [reading.attention for reading in hearing.read_rows(rows)]
    weights = torch.empty(len(maps), *maps[0].share[:, :, 0].shape)  # gigabytes, all blocks of a 7B given
    for row, each in zip(weights, maps, strict=True):
        torch.mul(each.share[:, :, 0], each.mass, out=row)
    return weights


def difference(ours: torch.Tensor, sweep: Sweep, points: Sequence[Point], theirs: torch.Tensor) -> float:
    """The largest difference of a weight between our sweep and a peer's readings of some of its points."""
    mine = ours[[sweep.points.index(point) for point in points]]
    if mine.shape != theirs.shape:
        raise ValueError(f"ours has shape {tuple(mine.shape)}, the peer's {tuple(theirs.shape)}")
    return float((mine - theirs).abs().max())
