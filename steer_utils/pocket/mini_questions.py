"""Held-out questions for a mini model: every kind about every event of a scene, so that the middle one counts too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from steer_utils.pocket.text import ABOUT_ONE, COUNT, NEUTRAL, NUMBERS, PRESENCE, Turn, about_one, pick
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

    names = list(scene.names)
    absent = rng.permutation([name for name in events if name not in names])[: len(names)]
    asked = [
        Asked(Turn("listing", pick(NEUTRAL, rng), ", ".join(names)), ""),
        Asked(Turn("count", pick(COUNT, rng), NUMBERS[len(names) - 1]), ""),
        *(Asked(Turn("presence", pick(PRESENCE, rng).format(x=name), "no"), "") for name in absent),
    ]
    for index, slot in zip(range(len(names)), SLOTS, strict=True):
        pairs = ((kind, about_one(kind, scene, index, rng)) for kind in ABOUT_ONE)
        asked += [Asked(Turn(kind, *pair), slot) for kind, pair in pairs if pair]
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
