"""What a pocket model gets right: answers of every kind, on scenes and recordings it has never met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing, Shown
from steer_utils.lm.plan import Row
from steer_utils.methods.settings import taught_events
from steer_utils.pocket.text import FOCUS, KINDS, NEUTRAL, Turn, description, pick, turn
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study.resume import Progress, Record, resumable_rows
from steer_utils.study.statistics import cluster_mean

LABELS = {
    "listing": "listing, all events in order",
    "events": "listing, each event (right class, right place in the order)",
    "focused": "focused description, exact",
    "describe": "description by name, exact",
    "pitch": "attribute: pitch",
    "loudness": "attribute: loudness",
    "count": "counting",
    "presence": "presence (yes and no balanced)",
    "after": "what comes after",
    "before": "what comes before",
    "order": "first, second, third",
    "place": "start, middle, end",
}


@dataclass(frozen=True)
class Answered:
    """One question of the evaluation: what was asked, expected and answered."""

    scene: int
    kind: str
    instruction: str
    expected: str
    answer: str

    @property
    def right(self) -> bool:
        return self.answer == self.expected


def evaluate(
    checkpoint: Checkpoint,
    *,
    clips: ClipBank | None = None,
    scenes: int = 200,
    seed: int = 500,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """Accuracy with its 95 % interval for each kind of question, on three-event scenes, columns kind, right, low,
    high, n. Procedural scenes are synthesised anew (no bank); `clips` must hold recordings not trained on.

    `resume_file`: finished scenes are kept there, and a killed run goes on from it (see `resumable_rows`).
    """
    known = taught_events(checkpoint)
    clips = None if clips is None else clips.named_as(known)
    names = [name for name in (SOUNDS if clips is None else clips.categories) if name in known]
    maker = SceneMaker(names, clips=clips, seconds=checkpoint.window_seconds)

    def rows_of(index: int) -> list[Record]:
        scene = maker.scene(index, seed)
        rng = np.random.default_rng([seed, index, 3])
        by_kind = [(kind, turn(kind, scene, known, rng)) for kind in KINDS if kind != "focus"]
        turns = [
            focused(scene, rng),
            *(asked for kind, asked in by_kind if asked.kind == kind),
        ]  # a recording: no pitch
        return [asdict(row) for row in answers_to(turns, Hearing(checkpoint, scene.samples), index)]

    identity = {
        "analysis": "answers",
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "classes": names,
        "recordings": None if clips is None else sorted(clip.path.name for clip in clips.clips),
        "seed": seed,
    }
    rows = resumable_rows(scenes, rows_of, identity, resume_file=resume_file, progress=progress)
    return accuracies([Answered(**row) for row in rows])


def answers_to(turns: Sequence[Turn], shown: Shown, scene: int) -> list[Answered]:
    """What the model answers to `turns` about the scene (or picture) of that number."""
    answers = shown.answers([Row(turn.instruction) for turn in turns])
    return [
        Answered(scene, turn.kind, turn.instruction, turn.answer, answer)
        for turn, answer in zip(turns, answers, strict=True)
    ]


def focused(scene: Scene, rng: np.random.Generator) -> Turn:
    """A focus instruction and a neutral question about a random event; the answer describes that event."""
    event = scene.events[int(rng.integers(len(scene.events)))]
    return Turn("focused", f"{pick(FOCUS, rng).format(x=event.name)} {pick(NEUTRAL, rng)}", description(event))


def accuracies(answered: list[Answered], labels: Mapping[str, str] = LABELS) -> pd.DataFrame:
    """One row a kind, in the order of `labels`; "events" scores each listed event by its place in the order."""
    scores: dict[str, list[tuple[int, float]]] = {}
    for question in answered:
        scores.setdefault(question.kind, []).append((question.scene, float(question.right)))
        if question.kind == "listing":
            names, true_names = question.answer.split(", "), question.expected.split(", ")
            names += [""] * (len(true_names) - len(names))
            scores.setdefault("events", []).extend(
                (question.scene, float(name == true)) for name, true in zip(names, true_names, strict=False)
            )
    rows = []
    for kind, label in labels.items():
        if kind in scores:
            scene_numbers, values = (np.array(column) for column in zip(*scores[kind], strict=True))
            estimate = cluster_mean(values, scene_numbers)
            interval = {"right": estimate.mean, "low": estimate.low, "high": estimate.high, "n": estimate.n}
            rows.append({"kind": kind, "question": label, **interval})
    return pd.DataFrame(rows)
