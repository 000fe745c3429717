"""Every method on the same scenes: a tidy table of overlaps, resumable, and its summary with intervals.

Scenes hold three events, every class equally often in each slot. The queried class is never one on which the
settings were chosen, and a recording the model was trained on is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .checkpoints import Checkpoint
from .facts import trained_recordings
from .files import whole_file
from .hearing import Hearing
from .methods import METHODS, method_named
from .provenance import library_versions
from .queries import Method, Query
from .recordings import ClipBank
from .scenemaker import SceneMaker
from .settings import Settings
from .sounds import SOUNDS
from .statistics import Estimate, chance_corrected, cluster_mean, paired_difference, random_overlap

SLOTS = ("first", "middle", "last")
Record = dict[str, Any]  # a row of the table
PAPER_SECONDS = 17.0  # three clips of 5 s, two gaps of 1 s: a random 5 s window then covers 27.8 %


@dataclass(frozen=True)
class SceneSet:
    """The scenes of a run: how they are made, and where their sounds come from."""

    maker: SceneMaker
    count: int
    seed: int
    left_out: int = 0  # recordings left out because the model was trained on them

    def facts(self) -> dict[str, object]:
        """What a reader needs to make the same scenes again."""
        return {
            "scenes": self.count,
            "seed": self.seed,
            "classes": list(self.maker.names),
            "sounds": "procedural" if self.maker.clips is None else f"{len(self.maker.clips)} recordings",
            "left_out": self.left_out,
            "seconds": list(self.maker.seconds),
            "event_seconds": list(self.maker.event_seconds),
        }


def scene_set(
    checkpoint: Checkpoint, settings: Settings, *, count: int, seed: int, clips: ClipBank | None = None
) -> SceneSet:
    """Three-event scenes that fit the model: its known classes (any, for a model that takes any text) without the
    classes the settings were chosen on. A model that hears 17 s or more gets the paper's form: 5 s clips, 1 s gaps.

    Raises ValueError when fewer than three classes are left, or all recordings were used in training.
    """
    if count < 1 or seed < 0:
        raise ValueError(f"scenes is {count}, seed {seed}; pass at least 1 scene and a seed of 0 or more")
    left_out = 0
    if clips is not None:
        used = trained_recordings(checkpoint)
        left_out = sum(clip.path.name in used for clip in clips.clips)
        if left_out == len(clips):
            raise ValueError(f"all {left_out} recordings were used to train {checkpoint.name}; pass other ones")
        clips = clips.subset(exclude_files=used)
    offered = tuple(SOUNDS) if clips is None else clips.categories
    known = offered if checkpoint.events is None else [name for name in offered if name in checkpoint.events]
    names = [name for name in known if name not in settings.development_events]
    if len(names) < 3:
        raise ValueError(
            f"three-event scenes need three classes, {len(names)} are left ({', '.join(names) or 'none'}); the model "
            f"knows: {', '.join(checkpoint.events or ('any text',))}; the settings were chosen on: "
            f"{', '.join(settings.development_events) or 'none'}; {left_out} recordings were used in its training"
        )
    if checkpoint.window_seconds >= PAPER_SECONDS:
        maker = SceneMaker(names, clips=clips, seconds=PAPER_SECONDS, event_seconds=(5.0, 5.0), min_gap=1.0)
    else:
        maker = SceneMaker(names, clips=clips, seconds=checkpoint.window_seconds)
    return SceneSet(maker, count, seed, left_out)


def run(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    methods: Sequence[str] = tuple(METHODS),
    partial: Path | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """One row a (scene, event, method): truth, found window, overlap, IoU, chance.

    Cost: a scene is encoded once, then about ten short suffix passes a query. `partial`: a file to which each
    finished scene is appended; a killed run with the same settings goes on from there, one with others starts anew.
    Raises ValueError for no methods, an unknown one or one named twice, before any work.
    """
    chosen = [method_named(name) for name in methods]
    if not chosen or len(set(methods)) != len(chosen):
        raise ValueError(f"methods is {', '.join(methods) or 'empty'}; pass each of {', '.join(METHODS)} at most once")
    facts = _facts(checkpoint, scenes, settings, methods)
    finished = _resumed(partial, facts)
    for index in progress(range(scenes.count)):
        if index in finished:
            continue
        finished[index] = _scene_rows(checkpoint, scenes, settings, chosen, index)
        if partial is not None:
            with partial.open("a", encoding="utf-8") as file:
                file.write(_line(finished[index]))
    table = pd.DataFrame([row for index in range(scenes.count) for row in finished[index]])
    table = table.astype({"start": float, "end": float})  # a method that found nothing at all gives None only
    table = table.sort_values(["scene", "method"], kind="stable", ignore_index=True)
    table.attrs = {**facts, "versions": library_versions()}
    return table


def _scene_rows(
    checkpoint: Checkpoint, scenes: SceneSet, settings: Settings, methods: Sequence[Method], index: int
) -> list[Record]:
    scene = scenes.maker.scene(index, scenes.seed)
    hearing = Hearing(checkpoint, scene.samples)
    rows: list[Record] = []
    for slot, event in enumerate(scene.events):
        query = Query(event.name, event.span.duration, seed=hash_seed(scenes.seed, index, slot))
        chance = random_overlap(event.span, hearing.span, event.span.duration)
        for method in methods:
            found = method.find(hearing, query, settings)
            rows.append(
                {
                    "scene": index,
                    "slot": slot_name(slot, len(scene.events)),
                    "event": event.name,
                    "source": event.source,
                    "method": method.name,
                    "truth_start": event.span.start,
                    "truth_end": event.span.end,
                    "start": found.interval.start if found.interval else None,
                    "end": found.interval.end if found.interval else None,
                    "overlap": found.interval.covers(event.span) if found.interval else 0.0,
                    "iou": found.interval.iou(event.span) if found.interval else 0.0,
                    "chance": chance,
                    "failed": found.interval is None,
                    "answer": found.answer,
                }
            )
    return rows


def slot_name(slot: int, count: int) -> str:
    """first, middle or last; with other than three events the middle ones share a name."""
    return SLOTS[0] if slot == 0 else SLOTS[2] if slot == count - 1 else SLOTS[1]


def hash_seed(*parts: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _facts(checkpoint: Checkpoint, scenes: SceneSet, settings: Settings, methods: Sequence[str]) -> dict[str, object]:
    facts = {
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "scenes": scenes.facts(),
        "settings": asdict(settings),
        "methods": list(methods),
    }
    return dict(json.loads(json.dumps(facts)))  # as it will be compared: tuples become lists


def _resumed(partial: Path | None, facts: dict[str, object]) -> dict[int, list[Record]]:
    """Rows of the finished scenes of an interrupted run with the same facts, by scene; (re)starts its file.

    The file has a line of facts, then a line a scene: one that a kill cut short does not parse, and is dropped.
    """
    if partial is None:
        return {}
    finished: dict[int, list[Record]] = {}
    if partial.exists():
        first, *lines = (_parsed(line) for line in partial.read_bytes().split(b"\n"))
        if first == facts:
            finished = {rows[0]["scene"]: rows for rows in lines if rows}
    partial.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(partial) as part:
        part.write_text(_line(facts) + "".join(map(_line, finished.values())), encoding="utf-8")
    return finished


def _line(value: object) -> str:
    return json.dumps(value) + "\n"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Overlap with its 95 % interval per method and slot, beside the analytic chance of that slot.

    `corrected` is (overlap - chance) / (1 - chance); `failed` the share of answers that named no time (overlap 0).
    """
    rows = []
    for method in _methods_of(table):
        own = table[table["method"] == method]
        for slot in ("all", *SLOTS):
            part = own if slot == "all" else own[own["slot"] == slot]
            if part.empty:
                continue
            estimate = cluster_mean(part["overlap"].to_numpy(float), part["scene"].to_numpy())
            chance = float(part["chance"].mean())
            rows.append(
                {
                    "method": method,
                    "slot": slot,
                    "n": estimate.n,
                    "overlap": estimate.mean,
                    "low": estimate.low,
                    "high": estimate.high,
                    "chance": chance,
                    "corrected": chance_corrected(estimate.mean, chance),
                    "iou": float(part["iou"].mean()),
                    "failed": float(part["failed"].mean()),
                }
            )
    return pd.DataFrame(rows)


def differences(table: pd.DataFrame, method: str = "steering") -> dict[str, Estimate]:
    """Paired difference in overlap, `method` minus each other method, over the same queries.

    Raises ValueError if the table lacks the method, or a query lacks one of the methods.
    """
    methods = _methods_of(table)
    if method not in methods:
        raise ValueError(f"the table has no rows of {method!r}; it has: {', '.join(methods)}")
    wide = table.pivot(index=["scene", "event"], columns="method", values="overlap")  # an event is in a scene once
    scenes = wide.index.get_level_values("scene").to_numpy()
    return {
        other: paired_difference(wide[method].to_numpy(), wide[other].to_numpy(), scenes)
        for other in methods
        if other != method
    }


def _methods_of(table: pd.DataFrame) -> list[str]:
    there = set(table["method"])
    return [name for name in METHODS if name in there]


def report(table: pd.DataFrame) -> dict[str, object]:
    """The run as one json object: model, settings, summary rows and paired differences."""
    own = differences(table) if "steering" in set(table["method"]) else {}
    return {
        "model": table.attrs["model"],
        "revision": table.attrs["revision"],
        "settings": {**table.attrs["settings"], "scenes": table.attrs["scenes"]},
        "versions": table.attrs["versions"],
        "rows": summary(table).to_dict("records"),
        "steering_minus": {name: asdict(estimate) for name, estimate in own.items()},
    }
