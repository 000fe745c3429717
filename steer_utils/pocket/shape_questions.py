"""What the pocket model that sees is asked in training, and what it answers: `text.py`, for pictures.

No answer speaks of pixels, and none of a place: left and right are told as an order ("first from the left", "right of
the red circle"), above and below never.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from steer_utils.pocket.shapes import NAMES, SIZES, TEXTURES, TRAINED, Picture, Thing
from steer_utils.pocket.text import NUMBERS, ORDINALS, Turn, beside, pick, words_of

FOCUS = "Focus on the {x}.|Focus only on the {x}.|Look at the {x}.|Look only at the {x}.|Pay attention to the {x}."
WHOLE = "Look at the whole picture.|Focus on the whole picture.|Pay attention to the entire picture."
NEUTRAL = "Describe the picture.|What do you see?|What is in the picture?|Which shapes are there?|Name the shapes."
COUNT = "How many shapes are there?|How many shapes do you see?|Count the shapes."
HERE = {"texture": "Is it plain or striped?", "size": "Is it small or large?|How large is it?"}


def description(thing: Thing) -> str:
    """ "large striped red circle"."""
    return f"{thing.size} {thing.texture} {thing.name}"


def _only(picture: Picture, thing: Thing, asked: str, told: str) -> str | None:
    """What is `told` of the thing, if no other has its `asked`; None if one has."""
    alike = [other for other in picture.things if getattr(other, asked) == getattr(thing, asked)]
    return getattr(thing, told) if len(alike) == 1 else None


#: Of each kind how often it is asked, in which words ({x}: a thing, {s}: its shape, {c}: its colour, {n}: its number
#: from the left), and the answer; None where the picture has none.
_KINDS: dict[str, tuple[float, str, Callable[[Picture, Thing], str | None]]] = {
    "listing": (0.16, NEUTRAL, lambda p, t: ", ".join(p.names)),
    "describe": (0.16, "Describe the {x}.|What is the {x} like?|How does the {x} look?", lambda p, t: description(t)),
    "texture": (0.12, "Is the {x} plain or striped?", lambda p, t: t.texture),
    "size": (0.12, "Is the {x} small or large?|How large is the {x}?", lambda p, t: t.size),
    "count": (0.04, COUNT, lambda p, t: NUMBERS[len(p.things) - 1]),
    "presence": (0.14, "Do you see the {x}?|Is the {x} in the picture?", lambda p, t: "yes"),
    "colour": (0.08, "Which colour is the {s}?", lambda p, t: _only(p, t, "shape", "colour")),
    "shape": (0.08, "Which shape is {c}?", lambda p, t: _only(p, t, "colour", "shape")),
    "right": (0.04, "What is right of the {x}?", lambda p, t: beside(p.names, p.things.index(t), +1)),
    "left": (0.04, "What is left of the {x}?", lambda p, t: beside(p.names, p.things.index(t), -1)),
    "order": (0.06, "Which shape is {n} from the left?", lambda p, t: t.name),
}
WEIGHTS: Mapping[str, float] = {kind: weight for kind, (weight, _, _) in _KINDS.items()}
KINDS = (*_KINDS, "focus")


def turn(kind: str, picture: Picture, rng: np.random.Generator) -> Turn:
    """A turn of the given kind about a random thing; a listing where the picture cannot answer that kind."""
    index = int(rng.integers(len(picture.things)))
    thing, roll = picture.things[index], rng.random()
    if kind == "focus":
        word = "texture" if roll < 0.2 else "size" if roll < 0.4 else ""
        question, answer = (HERE[word], getattr(thing, word)) if word else (NEUTRAL, description(thing))
        return Turn(kind, f"{_worded(FOCUS, rng).format(x=thing.name)} {_worded(question, rng)}", answer)
    _, words, answer_of = _KINDS[kind]
    name, told = thing.name, answer_of(picture, thing)
    if told is None:
        return turn("listing", picture, rng)
    if kind == "presence" and roll < 0.5:  # half of what is absent has the colour of one thing, the shape of another
        near = {f"{one.colour} {other.shape}" for one in picture.things for other in picture.things} & set(TRAINED)
        near, known = near - set(picture.names), set(TRAINED) - set(picture.names)
        name, told = pick(sorted(near if roll < 0.25 and near else known), rng), "no"
    whole = f"{_worded(WHOLE, rng)} " if kind in ("listing", "texture", "size") and roll < 0.3 else ""
    asked = _worded(words, rng).format(x=name, s=thing.shape, c=thing.colour, n=ORDINALS[index])
    return Turn(kind, whole + asked, told)


def _worded(words: str, rng: np.random.Generator) -> str:
    return pick(words.split("|"), rng)


def words() -> list[str]:
    """Every word and mark that a prompt or an answer can hold."""
    answers = (*NUMBERS, *ORDINALS, *NAMES, *TEXTURES, *SIZES, "user assistant : yes no nothing a an the , . ? !")
    return words_of([FOCUS, WHOLE, *HERE.values(), *(asked for _, asked, _ in _KINDS.values()), *answers])
