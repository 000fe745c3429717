"""Choose the free numbers of the rivals (attention scaling, weighted heads, other vectors, swapped states).

What `tune` does for steering, for the methods that came since: the same development scenes, every candidate read on the
same ones, and the largest mean overlap taken. Each rival is a *trial*: it says how far all of its candidates get in one
scene, as one array a query, and makes its settings of the mean.

Vectors of another make get the candidates of steering's own: strengths x block sets x norm, share or difference, any
run of blocks. Scaling gets `FACTORS` in each block alone and in all, share or difference, any run from the first scaled
block on; it changes attention under the focus prompt, so it takes over the question that prompting alone does best
with. Weighted heads get `POWERS`, share or difference. The swap gets every block, and any run from the second after
it on; what is made largest there is how far attention *follows* the swapped state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from steer_utils.lm.blocks import Blocks
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.environment import library_versions
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.activation_swap import exchange_at, exchanged, rows_with_swapped_states
from steer_utils.methods.base import Query, contrast_of, steered_row
from steer_utils.methods.event_vector import contrast_at_the_name
from steer_utils.methods.settings import Scaling, Settings, Specialists, StateSwap, VectorUse
from steer_utils.methods.specialist_heads import weighted_curve
from steer_utils.methods.text_vector import contrast_from_text
from steer_utils.methods.tuning import STRENGTHS, Sums, candidates_steered, row_overlaps, run_curves, runs_of_blocks
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import three_event_maker
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import best_overlaps

FACTORS = (1.5, 2.0, 4.0)
POWERS = (0.0, 1.0, 2.0, 4.0, 8.0)
READS: tuple[Literal["share", "difference"], ...] = ("share", "difference")


@dataclass(frozen=True)
class Choice:
    """What a trial ends with: the field of `Settings`, what stands in it, and what it got among how many candidates."""

    field: str
    value: VectorUse | Scaling | Specialists | StateSwap
    overlap: float
    candidates: int


class Trial(Protocol):
    """All candidates of one rival."""

    name: str

    def overlaps(self, hearing: Hearing, events: Sequence[Event]) -> list[np.ndarray]:
        """How far each candidate gets, one array an event, all of one shape; NaN for what is no candidate."""
        ...

    def choose(self, means: np.ndarray) -> list[Choice]:
        """The best of the mean over all queries."""
        ...


def tune_rivals(
    checkpoint: Checkpoint,
    names: Sequence[str],
    *,
    start: Settings,
    scenes: int = 60,
    seed: int = 1000,
    strengths: Sequence[float] = STRENGTHS,
    factors: Sequence[float] = FACTORS,
    clips: ClipBank | None = None,
    resume_file: Path | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Settings:
    """`start`, which `tune` has chosen, with the settings of each rival chosen on scenes of the classes `names`.

    Nothing else in `start` is changed; what each rival got is kept in `chosen_on["rivals"]`, and flatters: test on
    other classes. Cost a query: two times the candidates of `tune`, and `factors` x (blocks + 1) rows with scaled keys.
    `resume_file` as in `tune`. Raises ValueError, before any work, for fewer than three names, no scenes, strengths or
    factors, or a model of fewer than three blocks.
    """
    if scenes < 1 or not strengths or not factors or checkpoint.num_blocks < 3:
        raise ValueError(
            f"scenes is {scenes}, strengths {list(strengths)}, factors {list(factors)}, the model has "
            f"{checkpoint.num_blocks} blocks; pass at least one of each, and a model of three blocks"
        )
    maker = three_event_maker(names, checkpoint.window_seconds, clips)
    trials: tuple[Trial, ...] = (
        VectorTrial("text_vector", start, strengths, checkpoint.num_blocks, _from_text),
        VectorTrial("event_vector", start, strengths, checkpoint.num_blocks, contrast_at_the_name),
        ScalingTrial(start, factors, checkpoint.num_blocks),
        SpecialistsTrial(start),
        SwapTrial(start, checkpoint.num_blocks),
    )
    identity = {
        **checkpoint.identity,
        "scenes": [scenes, list(names), maker.seconds, seed, clips and len(clips)],
        "start": asdict(start),
        "candidates": [list(strengths), list(factors), list(POWERS)],
        "versions": library_versions(),
    }
    sums = Sums(resume_file, json.dumps(identity))
    for index in progress(range(scenes)):
        if index < sums.finished:
            continue
        scene = maker.scene(index, seed)
        hearing = Hearing(checkpoint, scene.samples)
        measured = [trial.overlaps(hearing, scene.events) for trial in trials]
        for query in range(len(scene.events)):
            sums.add(**{trial.name: found[query] for trial, found in zip(trials, measured, strict=True)})
        sums.finish(index)
    means = sums.means()
    choices = [choice for trial in trials for choice in trial.choose(means[trial.name])]
    facts = {choice.field: {"overlap": round(choice.overlap, 4), "candidates": choice.candidates} for choice in choices}
    chosen_on = {**start.chosen_on, "rivals": {"scenes": scenes, "seed": seed, **facts}}
    chosen_on["events"] = list(dict.fromkeys([*start.development_events, *names]))
    chosen: dict[str, Any] = {choice.field: choice.value for choice in choices}
    return replace(start, **chosen, chosen_on=chosen_on)


def _query(event: Event) -> Query:
    return Query(event.name, event.span.duration)


def _from_text(hearing: Hearing, query: Query, settings: Settings) -> SteeringVector:
    return contrast_from_text(hearing.checkpoint, query.event, settings)


def _best(means: np.ndarray) -> tuple[tuple[int, ...], float, int]:
    """Where the largest mean is, what it is, and among how many: NaN stands for what is no candidate."""
    place = np.unravel_index(int(np.nanargmax(means)), means.shape)
    return tuple(int(index) for index in place), float(means[place]), int(np.isfinite(means).sum())


class VectorTrial:
    """Vectors of another make, steered and read in every way that `tune` tries: (2 reads, grid, runs)."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        strengths: Sequence[float],
        num_blocks: int,
        vector_of: Callable[[Hearing, Query, Settings], SteeringVector],
    ) -> None:
        self.name, self.settings, self.vector_of = name, settings, vector_of
        self.grid, self.runs = candidates_steered(num_blocks, strengths), runs_of_blocks(num_blocks)

    def overlaps(self, hearing: Hearing, events: Sequence[Event]) -> list[np.ndarray]:
        base = run_curves(hearing.read(self.settings.question).attention, self.runs)
        found = []
        for event in events:
            vector = self.vector_of(hearing, _query(event), self.settings)
            rows = [
                steered_row(replace(self.settings, strength=strength, keep_norm=keep), vector.select(blocks))
                for strength, blocks, keep in self.grid
            ]
            of_runs = partial(best_overlaps, span=hearing.span, truth=event.span)
            found.append(np.stack(row_overlaps(hearing, rows, [base] * len(rows), self.runs, of_runs)))
            for number, (_, blocks, _) in enumerate(self.grid):  # left out: what begins before steering can change it
                found[-1][:, number, [run[0] <= min(blocks) for run in self.runs]] = np.nan
        return found

    def choose(self, means: np.ndarray) -> list[Choice]:
        (read, row, run), overlap, count = _best(means)
        strength, blocks, keep = self.grid[row]
        value = VectorUse(strength, blocks, keep, READS[read], self.runs[run])
        return [Choice(self.name, value, overlap, count)]


class ScalingTrial:
    """Scores of the audio scaled in each block alone, and in all: (2 reads, blocks + 1, factors, runs)."""

    name = "scaling"

    def __init__(self, settings: Settings, factors: Sequence[float], num_blocks: int) -> None:
        self.settings, self.factors, self.runs = settings, tuple(factors), runs_of_blocks(num_blocks)
        self.sets: list[Blocks] = [(block,) for block in range(num_blocks)] + [tuple(range(num_blocks))]

    def overlaps(self, hearing: Hearing, events: Sequence[Event]) -> list[np.ndarray]:
        rows = [Row(self.settings.focus(event.name, self.settings.prompt_question)) for event in events]
        plain = [run_curves(reading.attention, self.runs) for reading in hearing.read_rows(rows)]
        found = [np.full((2, len(self.sets), len(self.factors), len(self.runs)), np.nan) for _ in events]
        for place, blocks in enumerate(self.sets):
            kept = [run[0] >= min(blocks) for run in self.runs]
            for number, factor in enumerate(self.factors):
                sharper = hearing.with_scaled_audio(dict.fromkeys(blocks, factor))
                for query, reading in enumerate(sharper.read_rows(rows)):
                    share, truth = run_curves(reading.attention, self.runs), events[query].span
                    for read, curves in enumerate((share, share - plain[query])):
                        found[query][read, place, number, kept] = best_overlaps(curves[kept], hearing.span, truth)
        return found

    def choose(self, means: np.ndarray) -> list[Choice]:
        return [self._of("scaling", means, slice(0, -1)), self._of("scaling_all", means, slice(-1, None))]

    def _of(self, field: str, means: np.ndarray, part: slice) -> Choice:
        (read, place, number, run), overlap, count = _best(means[:, part])
        blocks = self.sets[part][place]
        value = Scaling(self.factors[number], blocks, self.settings.prompt_question, READS[read], self.runs[run])
        return Choice(field, value, overlap, count)


class SpecialistsTrial:
    """Steering as it was chosen, its heads weighted: (2 reads, powers)."""

    name = "specialists"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def overlaps(self, hearing: Hearing, events: Sequence[Event]) -> list[np.ndarray]:
        rows = [steered_row(self.settings, contrast_of(hearing, _query(event), self.settings)) for event in events]
        base, *steered = hearing.read_rows([Row(self.settings.question), *rows])
        found = []
        for event, reading in zip(events, steered, strict=True):
            curves = [
                [weighted_curve(reading.attention, plain, power) for power in POWERS]
                for plain in (None, base.attention)
            ]
            found.append(best_overlaps(np.array(curves), hearing.span, event.span))
        return found

    def choose(self, means: np.ndarray) -> list[Choice]:
        (read, power), overlap, count = _best(means)
        return [Choice(self.name, Specialists(POWERS[power], READS[read]), overlap, count)]


class SwapTrial:
    """The state at the event's name, swapped after each block: how far attention follows it, (blocks - 2, runs)."""

    name = "state_swap"

    def __init__(self, settings: Settings, num_blocks: int) -> None:
        self.settings, self.runs = settings, runs_of_blocks(num_blocks)
        self.blocks = list(range(num_blocks - 2))

    def overlaps(self, hearing: Hearing, events: Sequence[Event]) -> list[np.ndarray]:
        other, back, found = exchanged(hearing), exchange_at(hearing), []
        for event in events:
            instruction = self.settings.focus(event.name, self.settings.prompt_question)
            rows = rows_with_swapped_states(hearing, other, instruction, event.name, self.blocks)
            reached = np.full((len(self.blocks), len(self.runs)), np.nan)
            for block, reading in zip(self.blocks, hearing.read_rows(rows), strict=True):
                kept = [run[0] >= block + 2 for run in self.runs]
                curves = np.roll(run_curves(reading.attention, self.runs)[kept], back, axis=-1)
                reached[block, kept] = best_overlaps(curves, hearing.span, event.span)
            found.append(reached)
        return found

    def choose(self, means: np.ndarray) -> list[Choice]:
        (block, run), overlap, count = _best(means)
        value = StateSwap(self.blocks[block], self.settings.prompt_question, self.runs[run])
        return [Choice(self.name, value, overlap, count)]
