"""What a sweep measures on the scenes of one unit: every question, choice of blocks and strength, and two controls.

Each scene is encoded once; what is measured on it is batches of short suffixes. A unit is a dict that json can hold,
made by `planning`. Beside what the grid lists, each choice of blocks is read at strength 0 (vector "none"), and at
each strength with a random vector that is as long as the steering vector in each block ("random").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.blocks import blocks_text
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Query, read_out, steered_row
from steer_utils.methods.settings import Settings
from steer_utils.runs.executors import Unit
from steer_utils.sound.datasets import open_clips
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study.benchmark import DEVELOPMENT, SPLITS, TEST, SceneSet, scene_set
from steer_utils.study.resume import Record, resumable_table
from steer_utils.study.sensitivity import WIDTHS, window_scores

POINT = ("question", "blocks", "steered", "strength", "vector")  # the columns that name a point


@dataclass(frozen=True)
class Point:
    """One thing that is done to a query under a `question` (by its number): `vector` ("steering", "random" or "none")
    at `strength` in `blocks` of the model, which the grid calls `label`."""

    question: int
    label: str
    blocks: tuple[int, ...]
    strength: float
    vector: str


def points_of(unit: Unit) -> list[Point]:
    """All that is done to each query, in a fixed order."""
    points = []
    for question in range(len(unit["questions"])):
        for label, numbers in unit["blocks"]:
            blocks = tuple(numbers)
            points.append(Point(question, label, blocks, 0.0, "none"))
            for strength in unit["strengths"]:
                points += [Point(question, label, blocks, strength, vector) for vector in ("steering", "random")]
    return points


def scenes_of(checkpoint: Checkpoint, unit: Unit) -> dict[str, SceneSet]:
    """The scenes of both splits, as `benchmark.scene_set` makes them: of the development classes, and of the others.

    The development classes are recordings if the unit has recordings of all of them, else procedural. Raises ValueError
    for one that there is not or that the model does not know, and where fewer than three classes are left for a split.
    """
    settings, chosen = Settings(**unit["settings"]), unit["development"]
    asked = (*(checkpoint.events or ()), *chosen, *settings.development_events)
    bank = None if unit["clips"] is None else clip_bank(unit["clips"]).named_as(asked)
    recorded = bank is not None and set(chosen) <= set(bank.categories)
    offered = bank.categories if bank is not None and recorded else tuple(SOUNDS)
    known = offered if checkpoint.events is None else [name for name in offered if name in checkpoint.events]
    if lacking := [name for name in chosen if name not in known]:
        raise ValueError(
            f"split: development has {', '.join(lacking)}; {checkpoint.name} can be asked for {', '.join(known)}"
        )
    left_out = list(dict.fromkeys([*settings.development_events, *chosen]))
    others = [name for name in offered if name not in chosen]
    return {
        DEVELOPMENT: scene_set(
            checkpoint,
            replace(settings, chosen_on={"events": others}),
            count=unit["choosing"],
            seed=unit["seed"],
            clips=bank if recorded else None,
        ),
        TEST: scene_set(
            checkpoint,
            replace(settings, chosen_on={"events": left_out}),
            count=unit["scenes"],
            seed=unit["seed"],
            clips=bank,
        ),
    }


@lru_cache(maxsize=1)
def clip_bank(folder: str) -> ClipBank:
    """The recordings of a folder, decoded once in a process."""
    return ClipBank(open_clips(folder))


def steering_table(checkpoint: Checkpoint, unit: Unit, resume_file: Path | None = None) -> pd.DataFrame:
    """One row a (split, scene, event, point): `overlap` |W ∩ E| / |E| and `iou` of the window found, `chance`, truth.

    `attrs`: the unit, the model's number type, facts of the scenes of both splits, and versions. `resume_file`: a file
    that keeps each finished scene, so that a killed unit goes on there. Raises ValueError as `scenes_of` does, before
    any work.
    """
    scenes, points = scenes_of(checkpoint, unit), points_of(unit)
    first = scenes[DEVELOPMENT].count
    facts = {
        "unit": unit,
        "numbers": checkpoint.numbers,
        "scenes": {split: scenes[split].as_dict() for split in SPLITS},
    }

    def rows_of(index: int) -> list[Record]:
        split, number = (DEVELOPMENT, index) if index < first else (TEST, index - first)
        return [{"split": split, **row} for row in _scene_rows(checkpoint, scenes[split], unit, points, number)]

    return _tidy(resumable_table(first + scenes[TEST].count, rows_of, facts, resume_file=resume_file), unit, points)


def _scene_rows(
    checkpoint: Checkpoint, scenes: SceneSet, unit: Unit, points: Sequence[Point], index: int
) -> Iterator[Record]:
    heard = scenes.heard(checkpoint, index)
    hearing = heard.hearing
    bases = [reading.attention for reading in hearing.read_rows([Row(question) for question in unit["questions"]])]
    for event, query, names in heard.queries():
        curves = _curves(hearing, query, unit, points, bases)
        if not np.isfinite(curves).all():
            raise ValueError(f"attention to {event.name} holds NaN or infinite values; use a wider number type")
        overlap, iou = window_scores(curves, hearing.span, event.span)[:, :, WIDTHS.index(1.0)]
        yield {
            **names,
            "source": event.source,
            "truth_start": event.span.start,
            "truth_end": event.span.end,
            "chance": heard.chance(event),
            "overlap": overlap.tolist(),
            "iou": iou.tolist(),
        }


def _curves(
    hearing: Hearing, query: Query, unit: Unit, points: Sequence[Point], bases: Sequence[AttentionMap]
) -> np.ndarray:
    """The curve of each point, (points, tokens). Strength 0 is read as a share: minus itself it would be nothing."""
    settings = Settings(**unit["settings"])
    vectors = {}
    for number, question in enumerate(unit["questions"]):
        asked = replace(settings, question=question).contrast_question
        vector = hearing.contrast(settings.positive.format(event=query.event), settings.negative, prompt=asked)
        vectors[number, "steering"], vectors[number, "random"] = vector, vector.random_like(query.seed)
    curves: dict[Point, np.ndarray] = {}
    steered = [point for point in points if point.vector != "none"]
    most = hearing.maps_at_once()
    for first in range(0, len(steered), most):  # the maps of all heads are large: read batch by batch
        part = steered[first : first + most]
        rows = []
        for point in part:
            vector = vectors[point.question, point.vector].select(point.blocks)
            here = replace(settings, question=unit["questions"][point.question], strength=point.strength)
            rows.append(steered_row(here, vector))
        for point, reading in zip(part, hearing.read_rows(rows), strict=True):
            blocks = blocks_read(unit, point.blocks)
            curves[point] = read_out(reading.attention, bases[point.question], settings.read, blocks)
    for point in points:
        if point.vector == "none":
            curves[point] = bases[point.question].curve(blocks_read(unit, point.blocks))
    return np.stack([curves[point] for point in points])


def blocks_read(unit: Unit, steered: Sequence[int]) -> list[int]:
    """The blocks whose attention is read: those of the unit, else all after the first steered one (perhaps none)."""
    return unit["read_blocks"] or list(range(min(steered) + 1, unit["num_blocks"]))


def _tidy(measured: pd.DataFrame, unit: Unit, points: Sequence[Point]) -> pd.DataFrame:
    """A row a (query, point) from rows of lists, one a query."""
    asked = unit["questions"]
    each = pd.DataFrame(
        [(asked[one.question], one.label, blocks_text(one.blocks), one.strength, one.vector) for one in points],
        columns=list(POINT),
    )
    known = measured.drop(columns=["overlap", "iou"])
    table = known.loc[known.index.repeat(len(points))].reset_index(drop=True)
    table.insert(0, "seed", unit["seed"])
    table.insert(0, "model", unit["model"])
    table[list(POINT)] = pd.concat([each] * len(measured), ignore_index=True)
    for name in ("overlap", "iou"):
        table[name] = np.concatenate(measured[name].to_list())
    table.attrs = measured.attrs
    return table
