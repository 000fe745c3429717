"""Held-out questions for a mini model: every kind about every event of a scene, so that the middle one counts too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from steer_utils.pocket.text import (
    AFTER,
    BEFORE,
    COUNT,
    DESCRIBE,
    LOUDNESS,
    NEUTRAL,
    NUMBERS,
    ORDER,
    ORDINALS,
    PITCH,
    PLACE,
    PRESENCE,
    Turn,
    description,
    place,
)
from steer_utils.sound.scenes import Scene

SLOTS = ("first", "middle", "last")


@dataclass(frozen=True)
class Asked:
    """A question, and the slot of the event that it is about ("" for questions about the whole scene)."""

    turn: Turn
    slot: str


def questions_about(scene: Scene, events: Sequence[str], rng: np.random.Generator) -> list[Asked]:
    """Every kind of question about a scene of three events, in one of its wordings; presence asks after the three, and
    after three of `events` that are not there."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    names = list(scene.names)
    absent = rng.permutation([name for name in events if name not in names])[: len(names)]
    asked = [
        Asked(Turn("listing", pick(NEUTRAL), ", ".join(names)), ""),
        Asked(Turn("count", pick(COUNT), NUMBERS[len(names) - 1]), ""),
        *(Asked(Turn("presence", pick(PRESENCE).format(x=name), "no"), "") for name in absent),
    ]
    for index, (event, slot) in enumerate(zip(scene.events, SLOTS, strict=True)):
        about = {
            "describe": (DESCRIBE, description(event)),
            "presence": (PRESENCE, "yes"),
            "place": (PLACE, place(event, scene.duration)),
            "after": (AFTER, [*names, "nothing"][index + 1]),
            "before": (BEFORE, ["nothing", *names][index]),
        }
        if event.pitch:
            about["pitch"] = PITCH, event.pitch
        if event.loudness:
            about["loudness"] = LOUDNESS, event.loudness
        asked += [
            Asked(Turn(kind, pick(words).format(x=event.name), answer), slot) for kind, (words, answer) in about.items()
        ]
        asked.append(Asked(Turn("order", pick(ORDER).format(n=ORDINALS[index]), event.name), slot))
    return asked


def shares_right(asked: Sequence[Sequence[Asked]], right: Sequence[Sequence[bool]]) -> pd.DataFrame:
    """Columns kind, slot ("" for all), right, n: exact answers by kind, and by the slot of the event asked about.

    Presence has two more kinds, its yes and its no questions alone.
    """
    rows = [
        (each.turn, each.slot, hit)
        for scene, hits in zip(asked, right, strict=True)
        for each, hit in zip(scene, hits, strict=True)
    ]
    table = pd.DataFrame(
        [(turn.kind, slot, float(hit)) for turn, slot, hit in rows]
        + [(f"presence, {turn.answer}", "", float(hit)) for turn, _, hit in rows if turn.kind == "presence"],
        columns=["kind", "slot", "right"],
    )
    slots = table[table["slot"] != ""].groupby(["kind", "slot"], sort=False)["right"].agg(["mean", "count"])
    whole = table.groupby("kind", sort=False)["right"].agg(["mean", "count"])
    whole.index = pd.MultiIndex.from_tuples([(kind, "") for kind in whole.index], names=["kind", "slot"])
    return pd.concat([whole, slots]).rename(columns={"mean": "right", "count": "n"}).reset_index()
