"""Questions and answers: true to the scene, in known words, informative from the first token, free of times."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.pocket.architecture import FAMILIES, Size, build_processor
from steer_utils.pocket.evaluation import LABELS, focused
from steer_utils.pocket.recipe import EVENTS
from steer_utils.pocket.text import (
    FOCUS,
    KINDS,
    NUMBERS,
    ORDINALS,
    PLACES,
    Turn,
    TurnMix,
    ask,
    description,
    place,
    turn,
)
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.spans import Interval

QUALITIES = {"loud", "quiet", "high", "low"}


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """One to four events, one after the other; what is not known of them is None, as in softer or recorded scenes."""
    names = draw(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=4, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, 800), min_size=2 * len(names), max_size=2 * len(names), unique=True)))
    pitches, levels = st.sampled_from((None, "low", "high")), st.sampled_from((None, "loud", "quiet"))
    events = [
        Event(name, Interval(cuts[2 * i] / 100, cuts[2 * i + 1] / 100), draw(pitches), draw(levels))
        for i, name in enumerate(names)
    ]
    return Scene(np.broadcast_to(np.float32(0), (8 * 16_000,)), 16_000, tuple(events))


def many(facts_only: Any, count: int) -> list[tuple[Scene, Turn]]:
    """Turns about three-event scenes whose facts are all known, as most of the training sees them."""
    rng = np.random.default_rng(0)
    asked = []
    for _ in range(count):
        names = [EVENTS[i] for i in rng.permutation(len(EVENTS))[:3]]
        events = [
            Event(
                name,
                Interval(2.5 * i, 2.5 * i + 1.5),
                ("low", "high")[rng.integers(2)],
                ("loud", "quiet")[rng.integers(2)],
            )
            for i, name in enumerate(names)
        ]
        scene = facts_only(events)
        asked.append((scene, ask(scene, EVENTS, rng, TurnMix())))
    return asked


def named(instruction: str) -> list[str]:
    return [name for name in EVENTS if re.search(rf"\b{name}\b", instruction)]


def right_answer(scene: Scene, asked: Turn) -> str:
    """What is true, read off the question's words: another way to the answer than the one that made it."""
    text = asked.instruction
    if asked.kind == "listing":
        return ", ".join(scene.names)
    if asked.kind == "count":
        return NUMBERS[len(scene.events) - 1]
    if asked.kind == "order":
        (number,) = [i for i, word in enumerate(ORDINALS) if word in text.split() or f"{word}?" in text.split()]
        return scene.events[number].name
    (name,) = named(text)
    if asked.kind == "presence":
        return "yes" if name in scene.names else "no"
    event, index = scene.event(name), scene.names.index(name)
    padded = ("nothing", *scene.names, "nothing")
    if asked.kind in ("after", "before"):
        return padded[index + 2] if asked.kind == "after" else padded[index]
    if asked.kind == "place":
        middle = (event.span.start + event.span.end) / 2
        return "start" if middle < 8 / 3 else "middle" if middle < 16 / 3 else "end"
    if "high or low" in text or "Is the pitch" in text:
        return str(event.pitch)
    if re.search(r"loud or quiet|[Hh]ow loud", text):
        return str(event.loudness)
    return " ".join(word for word in (event.loudness, event.pitch, event.name) if word)


@settings(max_examples=150, deadline=None)
@given(scenes(), st.sampled_from(KINDS), st.integers(0, 2**31))
def test_every_answer_is_true(scene: Scene, kind: str, seed: int) -> None:
    asked = turn(kind, scene, EVENTS, np.random.default_rng(seed))
    assert asked.answer == right_answer(scene, asked)
    assert asked.answer and "None" not in asked.answer
    if asked.kind != kind:  # a scene that cannot answer is asked for a listing instead
        assert asked.kind == "listing"
        assert kind in ("pitch", "loudness") and not any(getattr(event, kind) for event in scene.events)


@settings(max_examples=100, deadline=None)
@given(scenes(), st.integers(0, 2**31))
def test_the_questions_of_the_evaluation_are_true_too(scene: Scene, seed: int) -> None:
    asked = focused(scene, np.random.default_rng(seed))
    (name,) = named(asked.instruction)
    assert asked.answer == description(scene.event(name))
    assert set(LABELS) - {"events", "focused"} == set(KINDS) - {"focus"}


@settings(max_examples=150, deadline=None)
@given(scenes(), st.sampled_from(KINDS), st.integers(0, 2**31))
def test_no_braces_no_digits_no_seconds(scene: Scene, kind: str, seed: int) -> None:
    asked = turn(kind, scene, EVENTS, np.random.default_rng(seed))
    both = f"{asked.instruction} {asked.answer}".lower()
    assert not re.search(r"[{}\d]|\bseconds\b", both)
    assert "second" not in asked.answer
    if asked.kind != "order":
        assert "second" not in both


def test_the_first_word_of_an_answer_says_something(facts_only: Any) -> None:
    starts = {name.split()[0] for name in EVENTS}
    fixed = {*QUALITIES, "yes", "no", "nothing", *NUMBERS, *PLACES}
    assert len(starts) == len(EVENTS)  # so one token tells the events of a scene apart
    assert not starts & fixed
    for scene, asked in many(facts_only, 2000):
        first = asked.answer.split()[0].rstrip(",")
        assert first in starts | fixed  # never an article
        if asked.kind in ("describe", "focus"):
            assert first in {event.loudness for event in scene.events} | {event.pitch for event in scene.events}
        if asked.kind in ("listing", "after", "before", "order"):
            assert first in {name.split()[0] for name in scene.names} | {"nothing"}


def test_descriptions_leave_out_what_is_not_known() -> None:
    span = Interval(0, 1)
    assert description(Event("dog bark", span, "high", "loud")) == "loud high dog bark"
    assert description(Event("dog bark", span, None, "quiet")) == "quiet dog bark"
    assert description(Event("dog bark", span, "low")) == "low dog bark"
    assert description(Event("dog bark", span)) == "dog bark"


@pytest.mark.parametrize(("start", "end", "said"), [(0, 1, "start"), (2.5, 3.1, "middle"), (7, 8, "end")])
def test_places_are_thirds_of_the_audio(start: float, end: float, said: str) -> None:
    assert place(Event("bell", Interval(start, end)), 8.0) == said


def test_presence_is_balanced_in_every_way(facts_only: Any) -> None:
    rng = np.random.default_rng(1)
    scene = facts_only([Event(name, Interval(i, i + 1)) for i, name in enumerate(("bell", "rain", "siren"))])
    turns = [turn("presence", scene, EVENTS, rng) for _ in range(4000)]
    answers = Counter(asked.answer for asked in turns)
    assert abs(answers["yes"] / 4000 - 0.5) < 0.03
    asked_about = Counter(named(asked.instruction)[0] for asked in turns)
    for name in scene.names:
        assert abs(asked_about[name] / answers["yes"] - 1 / 3) < 0.04
    absent = [count for name, count in asked_about.items() if name not in scene.names]
    assert len(absent) == len(EVENTS) - 3
    assert max(absent) < 2 * min(absent)


def test_presence_where_no_known_sound_is_absent(facts_only: Any) -> None:
    scene = facts_only([Event(name, Interval(i, i + 1)) for i, name in enumerate(("bell", "rain", "siren"))])
    rng = np.random.default_rng(0)
    assert {turn("presence", scene, scene.names, rng).answer for _ in range(20)} == {"yes"}


def test_shares_of_the_kinds_follow_the_mix(facts_only: Any) -> None:
    kinds = Counter(asked.kind for _, asked in many(facts_only, 8000))
    mix = TurnMix()
    assert abs(kinds["focus"] / 8000 - mix.focus) < 0.01
    total = sum(mix.weights.values())
    for kind, weight in mix.weights.items():
        assert abs(kinds[kind] / 8000 - (1 - mix.focus) * weight / total) < 0.016
    assert set(kinds) == set(KINDS)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_focus_turns(share: float, facts_only: Any) -> None:
    scene = facts_only([Event("bell", Interval(0, 1), "low", "loud")])
    rng = np.random.default_rng(0)
    focus = sum(ask(scene, EVENTS, rng, TurnMix(focus=share)).kind == "focus" for _ in range(1000))
    assert abs(focus / 1000 - share) < 0.05 if share == 0.5 else focus == 1000 * share


def test_other_turns_hold_no_focus_instruction(facts_only: Any) -> None:
    openings = tuple(text.split("{x}")[0] for text in FOCUS)
    whole = ("the whole audio", "the entire recording", "all of the audio", "the entire clip")
    for _, asked in many(facts_only, 2000):
        focus = asked.instruction.startswith(openings) and not any(words in asked.instruction for words in whole)
        assert focus == (asked.kind == "focus")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_is_in_the_vocabulary_and_reads_back(family: str, facts_only: Any) -> None:
    processor = build_processor(family, EVENTS, Size())
    tokenizer = processor.tokenizer
    unknown = tokenizer.unk_token_id
    assert tokenizer("xylophone").input_ids == [unknown]  # the check below can fail
    for scene, asked in many(facts_only, 1500):
        content = [{"type": "audio", "audio": ""}, {"type": "text", "text": asked.instruction}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        assert unknown not in tokenizer(prompt).input_ids, prompt
        answer = tokenizer(asked.answer).input_ids
        assert unknown not in answer
        assert tokenizer.decode(answer) == asked.answer
        assert len(answer) <= 32  # the longest answer that is generated
        assert set(scene.names) <= set(EVENTS)
