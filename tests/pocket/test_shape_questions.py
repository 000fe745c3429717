"""Questions about pictures: answers follow from the picture, in words that the model knows, and none is a place."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from steer_utils.pocket.shape_questions import KINDS, WEIGHTS, turn, words
from steer_utils.pocket.shapes import NAMES, NEVER_TRAINED, make_picture, picture_of
from steer_utils.pocket.text import TurnMix

PICTURE = picture_of(["red circle", "red triangle", "blue cross"], 3)


def test_every_word_is_known_and_none_is_a_place() -> None:
    known, rng = set(words()), np.random.default_rng(0)
    for _ in range(300):
        asked = turn(TurnMix(0.05, WEIGHTS).kind(rng), make_picture(rng, NAMES, int(rng.integers(1, 5))), rng)
        said = set(re.findall(r"\w+|[^\w\s]+", f"{asked.instruction} {asked.answer}".lower()))
        assert said <= known, said - known
    assert not known & {"top", "bottom", "above", "below", "middle", "centre", "corner", "upper", "lower"}


def test_kinds_come_as_often_as_they_weigh() -> None:
    rng = np.random.default_rng(1)
    mix = TurnMix(0.05, {"describe": 0.75, "count": 0.25})
    counts = Counter(turn(mix.kind(rng), PICTURE, rng).kind for _ in range(2000))
    assert abs(counts["focus"] - 100) < 40 and abs(counts["count"] - 475) < 75


def test_answers_are_those_of_the_picture() -> None:
    rng, things = np.random.default_rng(2), {thing.name: thing for thing in PICTURE.things}
    order = [thing.name for thing in PICTURE.things]
    presence = Counter()
    for kind in KINDS:
        for _ in range(40):
            asked = turn(kind, PICTURE, rng)
            named = [name for name in NAMES if name in asked.instruction]
            if asked.kind == "listing":
                assert asked.answer == ", ".join(order)
            elif kind in ("describe", "focus"):
                thing = things[named[0]]
                whole = f"{thing.size} {thing.texture} {thing.name}"
                assert asked.answer == whole or asked.answer in (thing.size, thing.texture)
            elif kind in ("texture", "size"):
                assert asked.answer == getattr(things[named[0]], kind)
            elif kind in ("right", "left"):
                place = order.index(named[0]) + (1 if kind == "right" else -1)
                assert asked.answer == (order[place] if 0 <= place < 3 else "nothing")
            elif kind == "order":
                assert asked.answer == order[["first", "second", "third"].index(asked.instruction.split()[3])]
            elif kind == "count":
                assert asked.answer == "three"
            elif kind == "presence":
                presence[asked.answer] += 1
                assert (named[0] in order) == (asked.answer == "yes") and named[0] not in NEVER_TRAINED
            elif kind == "shape":  # only the blue one is the only one of its colour
                assert (asked.instruction, asked.answer) == ("Which shape is blue?", "cross")
            elif kind == "colour":
                assert asked.answer == things[f"{asked.answer} {asked.instruction.split()[-1][:-1]}"].colour
    assert min(presence["yes"], presence["no"]) > 8
