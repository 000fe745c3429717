"""Is what `locate` says of a recording true? Precision and recall in files as one records them outside.

A file: 6 to 20 s long, one to three events, over a bed of another sound, 0 to 30 dB below the events. It is asked for
each of its events and for two sounds that it does not hold. The model decides whether a sound is there, a method where.
From which score on a sound counts as there is chosen on development files alone: of recordings they are made from half
of the sources, the test files from the other half; of procedural sounds, from the classes that settings are chosen on.

    table = field_table(lm, scene_set(lm, settings, count=100, seed=0, clips=bank), settings)
    field_summary(table)        # precision and recall of each method, by four criteria
    field_groups(table)         # of steering, by sound, loudness of the bed and length: what goes wrong first
    calibration_of(table)       # the model's yes or no as a probability, fitted on the development files
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.methods.base import Method
from steer_utils.methods.calibration import Calibration, brier_score, calibration_error, fit_calibration
from steer_utils.methods.locate import NoTimeError, locate_events
from steer_utils.methods.settings import Settings
from steer_utils.sound.measures import rms, rms_curve
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene
from steer_utils.sound.sounds import SOUNDS, synthesise
from steer_utils.sound.spans import AudioSpan, Interval, best_segment
from steer_utils.sound.synthesis import RATE
from steer_utils.study.benchmark import DEVELOPMENT, TEST, SceneSet, check_rows, hash_seed
from steer_utils.study.resume import Progress, Record, analysis_identity, resumable_table
from steer_utils.study.statistics import mean_record, roc_area

METHODS = ("steering", "prompting-best", "loudest")  # whose presence is the model's yes or no
LOUDNESS = "loudness"  # neither: how far the loudest stretch stands out, whatever is asked
BEDS = ("rain", "sea waves", "fire crackling", "engine", "helicopter", "chainsaw")  # sounds that go on
SECONDS = (6.0, 20.0)
EVENT_SECONDS = (0.8, 3.0)
BELOW = (0.0, 30.0)  # dB that the bed is below the events
ABSENT = 2  # sounds asked for that are not there
TOKEN = 0.04  # seconds of a value of the loudness curve

PRESENCE = "presence"
#: What counts as found, beside that the sound is there and said to be.
CRITERIA = (PRESENCE, "IoU 0.5", "within 0.5 s", "within 0.2 s")


@dataclass(frozen=True, eq=False)
class FieldScene:
    """A scene, the sound that lies under it, and by how many dB it is below the events."""

    scene: Scene
    bed: str
    below: float
    absent: tuple[str, ...]

    def queries(self) -> list[tuple[str, Interval | None]]:
        """What is asked for, and where it is; None where it is not."""
        there = [(event.name, event.span) for event in self.scene.events]
        return [*there, *((name, None) for name in self.absent)]


def field_scene(maker: SceneMaker, index: int, seed: int) -> FieldScene:
    """File `index` of those that follow from `seed`, of the sounds of `maker` (its recordings, if it has any).

    The bed is a sound of `maker` that goes on, else a procedural one; it is neither an event nor asked for.
    """
    rng = np.random.default_rng([seed, index, 7])
    beds = [name for name in BEDS if name in maker.names] or [name for name in BEDS if name in SOUNDS]
    bed = beds[rng.integers(len(beds))]
    names = [name for name in maker.names if name != bed]
    events = SceneMaker(names, clips=maker.clips, seconds=SECONDS, events=(1, 3), event_seconds=EVENT_SECONDS)
    scene = events.make(hash_seed(seed, index, 7))
    recorded = maker.clips is not None and bed in maker.clips.categories
    seconds = scene.duration
    under = (
        maker.clips.take(bed, seconds, rng)
        if recorded and maker.clips is not None
        else synthesise(bed, seconds=seconds, rng=rng)
    )
    under = np.resize(under, len(scene.samples))
    spans = [event.span for event in scene.events]
    loud = np.concatenate([scene.samples[round(span.start * RATE) : round(span.end * RATE)] for span in spans])
    below = float(rng.uniform(*BELOW))
    track = scene.samples + under * np.float32(rms(loud) / rms(under) * 10 ** (-below / 20))
    track = track / max(1.0, float(np.abs(track).max()))
    sounding = {event.name for event in scene.events}
    absent = rng.permutation([name for name in names if name not in sounding])[:ABSENT]
    return FieldScene(
        replace(scene, samples=track.astype(np.float32), index=index), bed, below, tuple(map(str, absent))
    )


def field_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    external: Sequence[Method] = (),
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (file, sound asked for, method), for as many development files as there are scenes, then for those.

    split              "development" or "test"
    there              whether the sound is in the file, from truth_start to truth_end (s)
    score              how sure: log odds of the model's yes against no; of "loudness" and external methods their own
    start, end         where the method puts it (s); None where it names no time
    bed, below         what lies under the events, dB below them; seconds, windows: of the file

    Cost: each file is encoded once, and the methods share their calls. Raises ValueError for recordings of a class that
    come from one source, and for settings that name fewer than four development classes where sounds are procedural.
    """
    scenes.warn_of_development(settings)
    makers = _makers(scenes.maker, settings)
    identity = {
        **analysis_identity("field", checkpoint, settings),
        "scenes": {**scenes.as_dict(), "development": list(makers[0].names)},
        "files": {"seconds": SECONDS, "event_seconds": EVENT_SECONDS, "below": BELOW, "absent": ABSENT, "beds": BEDS},
        "external": {method.name: method.label for method in external},
    }

    def rows_of(unit: int) -> list[Record]:
        part, index = divmod(unit, scenes.count)
        made = field_scene(makers[part], index, scenes.seed)
        return [{"split": (DEVELOPMENT, TEST)[part], **row} for row in _rows(checkpoint, made, settings, external)]

    table = resumable_table(2 * scenes.count, rows_of, identity, resume_file=resume_file, progress=progress)
    return table.astype(dict.fromkeys(("start", "end", "truth_start", "truth_end"), float))


def _makers(maker: SceneMaker, settings: Settings) -> tuple[SceneMaker, SceneMaker]:
    """Of the development files, and of the test files."""
    if maker.clips is not None:
        first, second = halves(maker.clips)
        return SceneMaker(maker.names, clips=first), SceneMaker(maker.names, clips=second)
    if lacking := lacking_of_settings(settings):
        raise ValueError(lacking)
    return SceneMaker(settings.development_events), maker


def lacking_of_settings(settings: Settings) -> str:
    """Why these settings will not do for procedural files; empty where they do."""
    if (count := len(settings.development_events)) >= 4:
        return ""
    return f"a threshold is chosen on files of at least four development classes; the settings name {count}"


def halves(clips: ClipBank) -> tuple[ClipBank, ClipBank]:
    """The recordings of each class in two parts of no common source: in ESC-50 cuts of one recording share a number.

    Raises ValueError for a class that comes from one source.
    """
    parts: tuple[set[str], set[str]] = (set(), set())
    for category in clips.categories:
        names = sorted(clip.path.name for clip in clips.clips if clip.category == category)
        sources = list(dict.fromkeys(map(_source, names)))
        if len(sources) < 2:
            raise ValueError(f"the recordings of {category!r} come from one source; a development half needs another")
        for name in names:
            parts[sources.index(_source(name)) % 2].add(name)
    return clips.subset(exclude_files=parts[1]), clips.subset(exclude_files=parts[0])


def _source(name: str) -> str:
    named = re.match(r"\d-(\d+)-", name)
    return named[1] if named else name


def _rows(checkpoint: Checkpoint, made: FieldScene, settings: Settings, external: Sequence[Method]) -> list[Record]:
    scene, queries = made.scene, made.queries()
    ((_, answers),) = locate_events(
        checkpoint,
        [scene.samples],
        [name for name, _ in queries],
        methods=METHODS,
        external=external,
        sampling_rate=scene.rate,
        settings=settings,
        batch=1,  # so that no figure hangs on what else is read in one call
    )
    if not isinstance(answers, list):
        raise answers
    loud, stands_out = _loudest(scene)
    rows = []
    for (name, truth), answer in zip(queries, answers, strict=True):
        row: Record = {
            "scene": scene.index,
            "event": name,
            "there": truth is not None,
            "truth_start": None if truth is None else truth.start,
            "truth_end": None if truth is None else truth.end,
            "bed": made.bed,
            "below": made.below,
            "seconds": scene.duration,
        }
        for method, located in answer.located.items():
            found = None if isinstance(located, NoTimeError) else located
            score = answer.log_odds if method in METHODS or found is None else found.score
            rows.append({**row, "method": method, "score": score, **_times(None if found is None else found.interval)})
        rows.append({**row, "method": LOUDNESS, "score": stands_out, **_times(loud)})
    return rows


def _times(interval: Interval | None) -> Record:
    return {"start": None if interval is None else interval.start, "end": None if interval is None else interval.end}


def _loudest(scene: Scene) -> tuple[Interval, float]:
    """The loudest stretch of the file, and how many times the mean level it has."""
    span = AudioSpan(0, max(1, int(scene.duration / TOKEN)), TOKEN)
    curve = rms_curve(scene.samples, scene.rate, TOKEN, span.count)
    interval, mean = best_segment(curve, span)
    return interval, mean / max(float(curve.mean()), 1e-12)


# -- sums ------------------------------------------------------------------------------------------------------------
def thresholds(table: pd.DataFrame) -> dict[str, float]:
    """The score from which on each method says that a sound is there: where F1 on development files is highest."""
    chosen = {}
    for method, rows in table[table["split"] == DEVELOPMENT].groupby("method", sort=False):
        scores = rows["score"].to_numpy()
        levels = np.unique(scores)
        claims = scores[None] >= levels[:, None]
        right = (claims & rows["there"].to_numpy()[None]).sum(axis=1)
        f1 = 2 * right / (claims.sum(axis=1) + rows["there"].sum())
        best = np.flatnonzero(f1 == f1.max())
        chosen[str(method)] = float(levels[best].mean())  # in the middle of those that do equally well
    return chosen


def correct(rows: pd.DataFrame, criterion: str) -> np.ndarray:
    """Whether a claim that the sound is there would be right, by a criterion of `CRITERIA`: (rows,).

    "within": onset within so many seconds, offset within as many or half the event's duration (as sed_eval counts).
    """
    there = rows["there"].to_numpy()
    if criterion == PRESENCE:
        return there
    start, end, first, last = (rows[name].to_numpy(float) for name in ("start", "end", "truth_start", "truth_end"))
    with np.errstate(invalid="ignore"):  # what is not there has no times
        if criterion.startswith("IoU"):
            shared = np.clip(np.minimum(end, last) - np.maximum(start, first), 0, None)
            good = shared / (np.maximum(end, last) - np.minimum(start, first)) >= float(criterion.split()[1])
        else:
            collar = float(criterion.split()[1])
            good = (np.abs(start - first) <= collar) & (np.abs(end - last) <= np.maximum(collar, 0.5 * (last - first)))
    return there & good


def field_summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a (method, criterion) on the test files: precision, recall and F1, the first two with 95 % intervals over
    files, at the `threshold` chosen on development files; and the area under the ROC curve of the score.

    Raises ValueError for a table without rows.
    """
    check_rows(table)
    chosen, test = thresholds(table), table[table["split"] == TEST]
    records = []
    for method, rows in test.groupby("method", sort=False):
        for criterion in CRITERIA:
            names = {"method": method, "criterion": criterion, "threshold": chosen[str(method)]}
            records.append({**names, **_scores(rows, criterion, chosen)})
    return pd.DataFrame(records)


def field_groups(table: pd.DataFrame, method: str = "steering") -> pd.DataFrame:
    """The same of one method by sound, by dB of the bed below the events, and by length: `by`, `group`.

    Raises ValueError for a table without rows.
    """
    check_rows(table)
    chosen = thresholds(table)
    test = table[(table["split"] == TEST) & (table["method"] == method)]
    quiet = _steps(test["below"], "dB", [0, 10, 20, 30])
    length = _steps(test["seconds"], "s", [6, 8, 14, 20])
    groups = {"sound": test["event"], "bed below events": quiet, "length": length, "bed": test["bed"]}
    rows = [
        {"by": by, "group": str(group), "criterion": criterion, **_scores(part, criterion, chosen)}
        for by, column in groups.items()
        for group, part in test.groupby(column, sort=True, observed=True)
        for criterion in CRITERIA[:2]
    ]
    return pd.DataFrame(rows)


def _steps(values: pd.Series, unit: str, edges: list[int]) -> pd.Series:
    names = [f"{low} to {high} {unit}" for low, high in pairwise(edges)]
    return pd.cut(values, edges, labels=names, include_lowest=True)


def _scores(rows: pd.DataFrame, criterion: str, chosen: dict[str, float]) -> Record:
    claimed = rows["score"].to_numpy() >= rows["method"].map(chosen).to_numpy()
    right, there = correct(rows, criterion) & claimed, rows["there"].to_numpy()
    values = pd.Series(right.astype(float), index=pd.MultiIndex.from_frame(rows[["scene", "event"]]))
    found: Record = {}
    for name, among in (("precision", claimed), ("recall", there)):
        record = mean_record(values[among]) if among.any() else dict.fromkeys(("mean", "low", "high"), float("nan"))
        found |= {name: record["mean"], f"{name}_low": record["low"], f"{name}_high": record["high"]}
    found["f1"] = float(2 * right.sum() / max(1, claimed.sum() + there.sum()))
    area = roc_area(rows["score"].to_numpy(), there)
    found |= {"auc": area, "there": int(there.sum()), "n": len(rows), "scenes": int(rows["scene"].nunique())}
    return found


# -- presence --------------------------------------------------------------------------------------------------------
def calibration_of(table: pd.DataFrame) -> Calibration:
    """The calibration of the model's yes or no that fits the development files, its threshold with it."""
    rows, sounds = _presence_rows(table, DEVELOPMENT), table.attrs["scenes"]["sounds"]
    fitted = fit_calibration(
        rows["score"].to_numpy(),
        rows["there"].to_numpy(),
        question=table.attrs["settings"]["presence"],
        fitted_on={
            "sounds": sounds if sounds == "procedural" else f"{sounds}, half of their sources",
            "classes": sorted(set(rows["event"])),
            "files": int(rows["scene"].nunique()),
            "questions": len(rows),
            "seed": table.attrs["scenes"]["seed"],
            "revision": table.attrs["revision"],
        },
    )
    return replace(fitted, threshold=round(fitted.probability(thresholds(table)["steering"]), 3))


def presence_summary(table: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """How well presence is told on the test files, as the model says it and calibrated: a row each.

    auc    area under the ROC curve; brier  mean squared error; ece  expected calibration error in ten steps
    yes    share of sounds that are there and given 50 % or more; no  of those that are not, and given less
    """
    rows = _presence_rows(table, TEST)
    there, scores = rows["there"].to_numpy(), rows["score"].to_numpy()
    raw = Calibration(1.0, 0.0, calibration.question)
    records = []
    for name, used in (("as the model says it", raw), ("calibrated", calibration)):
        values = np.array([used.probability(score) for score in scores])
        records.append(
            {
                "presence": name,
                "auc": roc_area(scores, there),
                "brier": brier_score(values, there),
                "ece": calibration_error(values, there),
                "yes": float((values[there] >= 0.5).mean()),
                "no": float((values[~there] < 0.5).mean()),
                "n": len(rows),
            }
        )
    return pd.DataFrame(records)


def _presence_rows(table: pd.DataFrame, split: str) -> pd.DataFrame:
    return table[(table["split"] == split) & (table["method"] == "steering")]
