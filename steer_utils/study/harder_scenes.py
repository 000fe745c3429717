"""Where does a method stop? Overlap and presence on scenes that are less kind, a condition at a time.

Each event of a scene is asked for, and one sound that is not there. Audio longer than the model hears in one go is
heard as `locate` hears it: in half-overlapping windows, and the one in which the model is surest of a yes is searched.
The window that is put has the width of the event: an oracle, and declared as one; `free_iou` does without it.

    harder_summary(harder_table(lm, scenes, settings))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.several_audios import hear_each
from steer_utils.methods.asking import yes_and_no, yes_minus_no
from steer_utils.methods.base import Localisation, Query, find_together
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import finder, in_order, method_named
from steer_utils.sound.audio import stretches
from steer_utils.sound.conditions import CONDITIONS, PLAIN, Condition, condition_named
from steer_utils.sound.measures import SILENCE
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene
from steer_utils.sound.spans import AudioSpan, Interval, best_segment, window_overlaps
from steer_utils.study.benchmark import SceneSet, check_rows, hash_seed, query_in, slot_name
from steer_utils.study.resume import Progress, Record, analysis_identity, resumable_table
from steer_utils.study.statistics import cluster_mean, paired_difference, roc_estimate

METHODS = (
    "steering",
    "steering-heads",
    "prompting",
    "prompting-best",
    "contrast-prompting",
    "random-vector",
    "asking",
    "loudest",
)
MAIN = "steering"  # what the others are compared with
YES_OR_NO = "yes or no"  # the model's own answer to the presence question: a presence score, and no place
FOUND = ("first", "second", "neither")
_COLUMNS = (
    *("condition", "method", "n", "scenes", "overlap", "low", "high", "chance", "more", "more_low", "more_high"),
    *("iou", "free_iou", "area", "area_low", "area_high", *FOUND, "heard"),
)


@dataclass(frozen=True)
class Asked:
    """A sound that is asked for: when it sounds (not at all, once, or twice), and the width of the window put, s."""

    query: Query
    slot: str
    truths: tuple[Interval, ...]

    def overlap(self, window: Interval | None) -> float:
        """|W ∩ E| / |E|; of a sound that is there twice, the share of the window in which either sounds."""
        shared = 0.0 if window is None else sum(window.intersection(truth) for truth in self.truths)
        return min(1.0, shared / self.query.seconds)

    def chance(self, span: AudioSpan) -> float:
        """The expected overlap of a window put anywhere at token steps."""
        width = span.window_tokens(self.query.seconds)
        starts = np.arange(span.count - width + 1)
        shared = sum(window_overlaps(starts, width, span, truth) * truth.duration for truth in self.truths)
        return float(np.minimum(1.0, shared / self.query.seconds).mean())

    def iou(self, window: Interval | None) -> float:
        """Intersection over union with the event; with the nearer one of two."""
        return 0.0 if window is None else max(window.iou(truth) for truth in self.truths)

    def which(self, window: Interval | None) -> str:
        """Which of two the window found, that is covers at least half of: "first", "second" or "neither"."""
        covered = [0.0 if window is None else window.covers(truth) for truth in self.truths]
        best = int(np.argmax(covered))
        return FOUND[best] if covered[best] >= 0.5 else FOUND[2]


def asked_in(scene: Scene, names: Sequence[str], seed: int) -> list[Asked]:
    """What is asked about a scene: each of its sounds, or the one that sounds twice; and one of `names` it lacks."""
    doubled = {name for name in scene.names if scene.names.count(name) > 1}
    asked: dict[str, Asked] = {}
    for slot, event in enumerate(scene.events):
        if event.name in asked or (doubled and event.name not in doubled):
            continue
        truths = tuple(other.span for other in scene.events if other.name == event.name)
        width = float(np.mean([truth.duration for truth in truths]))
        query = replace(query_in(scene, slot, seed), seconds=width)
        asked[event.name] = Asked(query, slot_name(slot, len(scene.events)) if not doubled else "both", truths)
    index = scene.index or 0
    lacking = [name for name in names if name not in scene.names]
    if lacking:
        name = lacking[int(np.random.default_rng(hash_seed(seed, index, 4)).integers(len(lacking)))]
        width = float(np.mean([event.span.duration for event in scene.events]))
        asked[name] = Asked(Query(name, width, hash_seed(seed, index, 5), scene.names), "none", ())
    return list(asked.values())


def harder_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    conditions: Sequence[str] | None = None,
    methods: Sequence[str] = METHODS,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (condition, scene, sound asked for, method).

    there     whether the sound is there; overlap, iou, free_iou, chance and heard are None where it is not
    overlap   of the window as wide as the event; of a sound that is there twice, the share of the window in which
              either sounds. `chance`: that of a window put anywhere
    iou, free_iou   the window's IoU, and that of the stretch that the curve itself suggests (`spans.best_segment`)
    which     of a sound that is there twice: "first", "second" or "neither"
    score     mean of the curve in the window over the even share: the method's own presence score. Of `YES_OR_NO`, the
              log odds of the model's yes
    heard     share of the event in the stretch that was searched, where audio is longer than the model hears

    `scenes`: names, recordings, count and seed; layouts are those of `conditions` (None: all that these names allow;
    "left_out" in the table's attrs has the others). Methods that these settings cannot serve are left out too.
    Cost a scene: the methods, and a question a window. Raises ValueError, before any work, for an unknown condition or
    method, or one that cannot be made of these names. Warns where scenes hold classes that settings were chosen on.
    """
    layouts, left_out = _layouts(scenes, conditions)
    chosen = [method_named(name) for name in methods]
    served = [method.name for method in chosen if not method.lacks(settings, others=True)]
    finders = [finder(name, settings, others=True) for name in served]
    identity = {
        **analysis_identity("conditions", checkpoint, settings),
        "scenes": scenes.as_dict(),
        "conditions": [asdict(condition) for condition, _ in layouts],
        "methods": served,
        "left_out": left_out,
    }
    scenes.warn_of_development(settings)
    yes, no = yes_and_no(checkpoint)

    def rows_of(unit: int) -> list[Record]:
        index, place_of_condition = divmod(unit, len(layouts))  # a run that is cut off has all conditions alike
        condition, maker = layouts[place_of_condition]
        scene = maker.scene(index, scenes.seed)
        asked = asked_in(scene, maker.names, scenes.seed)
        windows = _windows(checkpoint, scene)
        questions = [Row(settings.presence.format(event=one.query.event)) for one in asked]
        logits = [[reading.logits for reading in hearing.read_rows(questions)] for _, hearing in windows]
        odds = np.array([[float(yes_minus_no(one, yes, no)) for one in window] for window in logits])
        surest = odds.argmax(axis=0)  # of the windows, for each sound asked for; the first of equals, as `locate` does
        rows: list[Record] = []
        for number, (start, hearing) in enumerate(windows):
            here = [place for place in range(len(asked)) if surest[place] == number]
            found = find_together(hearing, finders, [asked[place].query for place in here], settings)
            for place, localised in zip(here, found, strict=True):
                one = asked[place]
                columns = {"condition": condition.name, "scene": index, **_asked_row(one, scene, hearing, start)}
                rows.append({**columns, "method": YES_OR_NO, "score": float(odds[number, place])})
                rows += [
                    {**columns, "method": name, **_scores(one, found_by, hearing, start, scene.duration)}
                    for name, found_by in zip(served, localised, strict=True)
                ]
        return rows

    table = resumable_table(len(layouts) * scenes.count, rows_of, identity, resume_file=resume_file, progress=progress)
    return table.astype(dict.fromkeys(("overlap", "iou", "free_iou", "chance", "heard", "score"), float))


def _layouts(scenes: SceneSet, names: Sequence[str] | None) -> tuple[list[tuple[Condition, SceneMaker]], list[str]]:
    """The conditions with their makers, and those that the names of these scenes do not allow."""
    conditions = list(CONDITIONS.values()) if names is None else [condition_named(name) for name in names]
    if not conditions:
        raise ValueError(f"no conditions were passed; pass some of {', '.join(CONDITIONS)}")
    few = len(scenes.maker.names)
    left_out = [condition.name for condition in conditions if condition.events > few]
    if names is not None and left_out:
        raise ValueError(f"{', '.join(left_out)}: the names in a scene are distinct, and there are {few} names")
    return [(one, one.maker(scenes.maker)) for one in conditions if one.name not in left_out], left_out


def _windows(checkpoint: Checkpoint, scene: Scene) -> list[tuple[float, Hearing]]:
    """What is heard of a scene: (start in seconds, hearing) of each stretch that is not silent, as in `locate`."""
    parts = stretches(len(scene.samples), scene.rate, checkpoint.window_seconds, "slide")
    heard = ((start, scene.samples[part]) for start, part in parts if np.abs(scene.samples[part]).max() >= SILENCE)
    return list(hear_each(checkpoint, heard))


def _asked_row(asked: Asked, scene: Scene, hearing: Hearing, start: float) -> Record:
    token = hearing.span.seconds_per_token
    span = hearing.span if scene.duration <= hearing.duration else AudioSpan(0, int(scene.duration / token), token)
    heard = Interval(start, start + hearing.duration)
    return {
        "event": asked.query.event,
        "slot": asked.slot,
        "there": bool(asked.truths),
        "chance": asked.chance(span) if asked.truths else None,
        "heard": max(heard.covers(truth) for truth in asked.truths) if asked.truths else None,
    }


def _scores(asked: Asked, found: Localisation, hearing: Hearing, start: float, duration: float) -> Record:
    row: Record = {"score": found.score * hearing.span.count, "which": None, "overlap": None, "iou": None}
    if not asked.truths:
        return row
    window = _placed(found.interval, start, duration)
    row |= {"overlap": asked.overlap(window), "iou": asked.iou(window)}
    if found.curve is not None:
        row["free_iou"] = asked.iou(_placed(best_segment(found.curve, hearing.span)[0], start, duration))
    if len(asked.truths) > 1:
        row["which"] = asked.which(window)
    return row


def _placed(interval: Interval | None, start: float, duration: float) -> Interval | None:
    """An interval of a stretch in the whole audio."""
    return None if interval is None else interval.shifted(start).cut(duration)


def harder_summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row a (condition, method), intervals 95 % over scenes.

    overlap, low, high   of the sounds that are there; chance is that of the same queries
    more, more_low, more_high   MAIN minus this method, paired over the same queries
    iou, free_iou    with the event's width, and without it (see `harder_table`)
    area, area_low, area_high   under the ROC curve of the method's score, sounds that are there against those that are
                     not: 0.5 tells nothing. `YES_OR_NO` has nothing else
    first, second, neither   which of two events of a class was found
    heard            share of the event in the stretch that was searched

    Raises ValueError for a table without rows.
    """
    check_rows(table)
    rows: list[Record] = []
    for condition, of_condition in table.groupby("condition", sort=False):
        main = of_condition[of_condition["there"] & of_condition["method"].eq(MAIN)].set_index(["scene", "event"])
        for method in [*in_order(set(of_condition["method"]) - {YES_OR_NO}), YES_OR_NO]:
            part = of_condition[of_condition["method"] == method]
            there = part[part["there"]].set_index(["scene", "event"])
            area = roc_estimate(part["score"].to_numpy(), part["there"].to_numpy(bool), part["scene"].to_numpy())
            row: Record = {"condition": condition, "method": method, "n": len(there), "scenes": part["scene"].nunique()}
            if method != YES_OR_NO:
                clusters = there.index.get_level_values("scene").to_numpy()
                overlap = cluster_mean(there["overlap"].to_numpy(), clusters)
                row |= {"overlap": overlap.mean, "low": overlap.low, "high": overlap.high}
                row |= {"chance": float(there["chance"].mean()), "iou": float(there["iou"].mean())}
                row["free_iou"] = float(there["free_iou"].mean())
                if method != MAIN and len(main):
                    ours = main["overlap"].reindex(there.index).to_numpy()
                    gap = paired_difference(ours, there["overlap"].to_numpy(), clusters)
                    row |= {"more": gap.mean, "more_low": gap.low, "more_high": gap.high}
                if there["which"].notna().any():
                    row |= {name: float((there["which"] == name).mean()) for name in FOUND}
                row["heard"] = float(there["heard"].mean())
            rows.append({**row, "area": area.mean, "area_low": area.low, "area_high": area.high})
    return pd.DataFrame(rows).reindex(columns=_COLUMNS)


def limits(summary: pd.DataFrame) -> list[str]:
    """What MAIN does not do, in sentences, out of `harder_summary`."""
    rows = {(row["condition"], row["method"]): row for row in summary.to_dict("records")}
    ours = {condition: row for (condition, method), row in rows.items() if method == MAIN}
    plain = ours.get(PLAIN)
    said: list[str] = []
    if plain is not None and plain["scenes"] > 1:
        worse = sorted((row for row in ours.values() if row["high"] < plain["low"]), key=lambda row: row["overlap"])
        listed = "; ".join(f"{row['condition']} {_percent(row)}, chance {100 * row['chance']:.0f} %" for row in worse)
        said.append(
            f"Of plain scenes steering finds {_percent(plain)}, chance {100 * plain['chance']:.0f} %. "
            + (f"It finds less, the interval lying below that of plain scenes, of: {listed}." if listed else "")
        )
    if plain is not None:
        said.append(
            "The window has the event's own width, which a user does not know. Where the curve sets the width, the "
            f"mean IoU of plain scenes is {plain['free_iou']:.2f} in place of {plain['iou']:.2f}."
        )
    asked = rows.get((PLAIN, YES_OR_NO))
    if plain is not None and asked is not None and pd.notna(asked["area"]):
        said.append(
            "Steering puts a window for a sound that is not there too. By how much the attention in it rises, ROC area "
            f"{plain['area']:.2f} in plain scenes (0.5 is a guess); by the model's own yes or no {asked['area']:.2f}."
        )
    if (twice := ours.get("twice")) is not None:
        shares = ", ".join(f"{name} {100 * twice[name]:.0f} %" for name in FOUND)
        said.append(f"Of a class that sounds twice it finds one: {shares}.")
    return said


def _percent(row: Record) -> str:
    return f"{100 * row['overlap']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
