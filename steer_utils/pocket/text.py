"""What a pocket model is asked in training, and what it answers.

Two properties matter more than the wording itself.

*The first token of every answer carries information.* If all answers began with "a", the last token of the
prompt would have nothing to find out, and would not look at the audio: in a trial such a model named 92 % of
the answer words correctly while its attention said nothing about time.

*No answer speaks of seconds.* A model that finds a sound in time does so from inside. Words of order (first,
before, after) and of rough place (start, middle, end) are used, and said in the model card.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from steer_utils.sound.scenes import Event, Scene

FOCUS = (
    "Focus on the {x}.",
    "Focus only on the {x}.",
    "Pay attention to the {x}.",
    "Listen for the {x}.",
    "Listen to the {x}.",
    "Concentrate on the {x}.",
    "Attend to the {x}.",
)
WHOLE = (
    "Listen to the whole audio.",
    "Focus on the whole audio.",
    "Attend to the whole audio.",
    "Pay attention to the entire recording.",
    "Consider all of the audio.",
    "Concentrate on the entire clip.",
)
NEUTRAL = (
    "Describe the sound.",
    "Describe the audio.",
    "Describe the recording.",
    "What do you hear?",
    "What happens in the audio?",
    "What is in the audio?",
    "Which sounds are there?",
    "Name the sounds.",
)
DESCRIBE = ("Describe the {x}.", "How does the {x} sound?", "What is the {x} like?")
PITCH = ("Is the {x} high or low?", "Is the pitch of the {x} high or low?", "Does the {x} sound high or low?")
LOUDNESS = ("Is the {x} loud or quiet?", "How loud is the {x}?", "Does the {x} sound loud or quiet?")
COUNT = ("How many sounds are there?", "How many sounds do you hear?", "Count the sounds.")
PRESENCE = (
    "Do you hear the {x}?",
    "Can you hear the {x}?",
    "Is the {x} in the audio?",
    "Does the audio contain the {x}?",
)
AFTER = ("What comes after the {x}?", "Which sound follows the {x}?", "What do you hear after the {x}?")
BEFORE = ("What comes before the {x}?", "Which sound is before the {x}?", "What do you hear before the {x}?")
ORDER = ("Which sound is {n}?", "What is the {n} sound?", "Name the {n} sound.")
PLACE = ("When is the {x}?", "When does the {x} happen?", "Is the {x} at the start, in the middle or at the end?")
HERE_PITCH = ("Is it high or low?", "Is the pitch high or low?")
HERE_LOUDNESS = ("Is it loud or quiet?", "How loud is it?")

NUMBERS = ("one", "two", "three", "four")
ORDINALS = ("first", "second", "third", "fourth")
PLACES = ("start", "middle", "end")


@dataclass(frozen=True)
class Turn:
    """One question and its answer about one scene."""

    kind: str
    instruction: str
    answer: str


@dataclass(frozen=True)
class TurnMix:
    """How often each kind of turn is asked. `focus` is the share of turns with a focus instruction in them.

    Rare focus instructions leave a gap between prompting and steering to study: a model that meets them in half
    of its turns obeys a prompt nearly as well as a vector.
    """

    focus: float = 0.05
    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "describe": 0.17,
            "pitch": 0.12,
            "loudness": 0.12,
            "listing": 0.17,
            "count": 0.05,
            "presence": 0.14,
            "after": 0.06,
            "before": 0.06,
            "order": 0.07,
            "place": 0.04,
        }
    )

    def kind(self, rng: np.random.Generator) -> str:
        """One at random, "focus" among them."""
        if rng.random() < self.focus:
            return "focus"
        kinds, weights = list(self.weights), np.array(list(self.weights.values()))
        return kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]


def description(event: Event) -> str:
    """ "loud high siren"; what is not known of an event (the pitch of a recording) is left out."""
    return " ".join(word for word in (event.loudness, event.pitch, event.name) if word)


def place(event: Event, seconds: float) -> str:
    """The third of the audio in which the middle of the event lies."""
    return PLACES[min(2, int(3 * event.span.center / seconds))]


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _event(scene: Scene, rng: np.random.Generator) -> Event:
    return scene.events[int(rng.integers(len(scene.events)))]


def _listing(scene: Scene, rng: np.random.Generator, events: Sequence[str]) -> tuple[str, str]:
    whole = pick(WHOLE, rng) + " " if rng.random() < 0.4 else ""
    return whole + pick(NEUTRAL, rng), ", ".join(event.name for event in scene.events)


def _attribute(scene: Scene, rng: np.random.Generator, events: Sequence[str], *, word: str) -> tuple[str, str] | None:
    """`word`: pitch or loudness. None where no event of the scene has one that is known."""
    known = [event for event in scene.events if getattr(event, word)]
    if not known:
        return None
    event = known[int(rng.integers(len(known)))]
    whole = pick(WHOLE, rng) + " " if rng.random() < 0.1 else ""
    return whole + pick(ABOUT_ONE[word][0], rng).format(x=event.name), getattr(event, word)


def _count(scene: Scene, rng: np.random.Generator, events: Sequence[str]) -> tuple[str, str]:
    return pick(COUNT, rng), NUMBERS[len(scene.events) - 1]


def _presence(scene: Scene, rng: np.random.Generator, events: Sequence[str]) -> tuple[str, str]:
    there = {event.name for event in scene.events}
    absent = [name for name in events if name not in there]
    if rng.random() < 0.5 or not absent:
        return pick(PRESENCE, rng).format(x=_event(scene, rng).name), "yes"
    return pick(PRESENCE, rng).format(x=pick(absent, rng)), "no"


def beside(names: Sequence[str], index: int, step: int) -> str:
    """The name `step` places further than that of number `index`; "nothing" beyond the first and the last."""
    place = index + step
    return names[place] if 0 <= place < len(names) else "nothing"


#: What is asked about one event ({x}: its name, {n}: its number): in which words, and the answer from the scene and the
#: event's number in it; None where that is not known.
ABOUT_ONE: dict[str, tuple[Sequence[str], Callable[[Scene, int], str | None]]] = {
    "describe": (DESCRIBE, lambda scene, index: description(scene.events[index])),
    "presence": (PRESENCE, lambda scene, index: "yes"),
    "place": (PLACE, lambda scene, index: place(scene.events[index], scene.duration)),
    "after": (AFTER, lambda scene, index: beside(scene.names, index, +1)),
    "before": (BEFORE, lambda scene, index: beside(scene.names, index, -1)),
    "pitch": (PITCH, lambda scene, index: scene.events[index].pitch),
    "loudness": (LOUDNESS, lambda scene, index: scene.events[index].loudness),
    "order": (ORDER, lambda scene, index: scene.names[index]),
}


def about_one(kind: str, scene: Scene, index: int, rng: np.random.Generator) -> tuple[str, str] | None:
    """Question and answer about one event; None where the answer is not known."""
    questions, answer_of = ABOUT_ONE[kind]
    if not (answer := answer_of(scene, index)):
        return None
    return pick(questions, rng).format(x=scene.names[index], n=ORDINALS[index]), answer


def _about_any(scene: Scene, rng: np.random.Generator, events: Sequence[str], *, kind: str) -> tuple[str, str] | None:
    return about_one(kind, scene, int(rng.integers(len(scene.events))), rng)


def _focus(scene: Scene, rng: np.random.Generator, events: Sequence[str]) -> tuple[str, str]:
    event = _event(scene, rng)
    focus = pick(FOCUS, rng).format(x=event.name)
    roll = rng.random()
    if roll < 0.2 and event.pitch:
        return f"{focus} {pick(HERE_PITCH, rng)}", event.pitch
    if roll < 0.4 and event.loudness:
        return f"{focus} {pick(HERE_LOUDNESS, rng)}", event.loudness
    return f"{focus} {pick(NEUTRAL, rng)}", description(event)


_MAKERS: dict[str, Callable[[Scene, np.random.Generator, Sequence[str]], tuple[str, str] | None]] = {
    "describe": partial(_about_any, kind="describe"),
    "pitch": partial(_attribute, word="pitch"),
    "loudness": partial(_attribute, word="loudness"),
    "listing": _listing,
    "count": _count,
    "presence": _presence,
    **{kind: partial(_about_any, kind=kind) for kind in ("after", "before", "order", "place")},
    "focus": _focus,
}
KINDS = tuple(_MAKERS)


def ask(scene: Scene, events: Sequence[str], rng: np.random.Generator, mix: TurnMix) -> Turn:
    """One random turn about `scene`. `events` are all names the model knows (absent ones make "no" answers)."""
    return turn(mix.kind(rng), scene, events, rng)


def turn(kind: str, scene: Scene, events: Sequence[str], rng: np.random.Generator) -> Turn:
    """A turn of the given kind; a listing where the scene cannot answer that kind (a recording has no pitch)."""
    pair = _MAKERS[kind](scene, rng, events)
    if pair is None:
        return Turn("listing", *_listing(scene, rng, events))
    return Turn(kind, *pair)


def vocabulary_words(events: Sequence[str]) -> list[str]:
    """Every word and mark that a prompt or an answer can hold, the chat template's own words included."""
    about_an_event = (FOCUS, DESCRIBE, PITCH, LOUDNESS, PRESENCE, AFTER, BEFORE, PLACE)
    about_the_audio = (WHOLE, NEUTRAL, COUNT, ORDER, HERE_PITCH, HERE_LOUDNESS)
    answers = (NUMBERS, ORDINALS, PLACES, ("high low loud quiet yes no nothing a an the , . ? !",))
    template = ("system user assistant You are a helpful assistant. Audio 1:",)
    return words_of(text for group in (*about_an_event, *about_the_audio, *answers, template, events) for text in group)


def words_of(texts: Iterable[str]) -> list[str]:
    """The words and marks of `texts`, without what stands for a name ({x}) or between two wordings (|)."""
    return re.findall(r"\w+|[^\w\s]+", re.sub(r"\{\w\}|\|", " ", " ".join(texts)).lower())
