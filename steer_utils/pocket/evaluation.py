"""What a pocket model gets right: answers of every kind, on scenes and recordings it has never met."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.pocket.text import FOCUS, KINDS, NEUTRAL, Turn, description, turn
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene
from steer_utils.sound.sounds import SOUNDS
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
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Accuracy with its 95 % interval for each kind of question, on three-event scenes, columns kind, right, low,
    high, n. Procedural scenes are synthesised anew (no bank); `clips` must hold recordings not trained on."""
    known = checkpoint.events or ()
    names = [name for name in (SOUNDS if clips is None else clips.categories) if name in known]
    maker = SceneMaker(names, clips=clips, seconds=checkpoint.window_seconds)
    answered: list[Answered] = []
    for index in progress(range(scenes)):
        scene = maker.scene(index, seed)
        rng = np.random.default_rng([seed, index, 3])
        asked = [(kind, turn(kind, scene, known, rng)) for kind in KINDS if kind != "focus"]
        turns = [focused(scene, rng), *(made for kind, made in asked if made.kind == kind)]  # no pitch of a recording
        answers = Hearing(checkpoint, scene.samples).answers([Row(each.instruction) for each in turns])
        answered += [
            Answered(index, each.kind, each.instruction, each.answer, answer)
            for each, answer in zip(turns, answers, strict=True)
        ]
    return accuracies(answered)


def focused(scene: Scene, rng: np.random.Generator) -> Turn:
    """A focus instruction and a neutral question about a random event; the answer describes that event."""
    event = scene.events[int(rng.integers(len(scene.events)))]
    focus, neutral = FOCUS[int(rng.integers(len(FOCUS)))], NEUTRAL[int(rng.integers(len(NEUTRAL)))]
    return Turn("focused", f"{focus.format(x=event.name)} {neutral}", description(event))


def accuracies(answered: list[Answered]) -> pd.DataFrame:
    """One row a kind, in the order of LABELS; "events" scores each listed event by its place in the order."""
    scored: dict[str, list[tuple[int, float]]] = {}
    for each in answered:
        scored.setdefault(each.kind, []).append((each.scene, float(each.right)))
        if each.kind == "listing":
            said, true = each.answer.split(", "), each.expected.split(", ")
            said += [""] * (len(true) - len(said))
            scored.setdefault("events", []).extend(
                (each.scene, float(a == b)) for a, b in zip(said, true, strict=False)
            )
    rows = []
    for kind, label in LABELS.items():
        if kind in scored:
            scene_numbers, values = (np.array(column) for column in zip(*scored[kind], strict=True))
            estimate = cluster_mean(values, scene_numbers)
            rows.append({"kind": kind, "question": label, "right": estimate.mean, "low": estimate.low,
                         "high": estimate.high, "n": estimate.n})  # fmt: skip
    return pd.DataFrame(rows)
