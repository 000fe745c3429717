"""Exploring: the default is the method itself, strength 0 is the plain model, and what choices share is run once."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tinies import STEERED as OURS

import steer_utils
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Query
from steer_utils.methods.locate import UnknownEventError
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.table import METHODS
from steer_utils.show.widgets.exploration import Choice, ExplorerSession, code_of, explore, worded
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval, best_segment
from steer_utils.study.statistics import random_overlap

TRUTH = Interval(0.4, 1.2)


@pytest.mark.parametrize("settings", [PAPER, OURS, replace(OURS, read="share", keep_norm=False)])
def test_the_default_choice_is_the_method(hearing: Hearing, settings: Settings) -> None:
    seen = explore(hearing, Choice.of(settings, "dog bark", seconds=0.8))
    found = METHODS["steering"].find(hearing, Query("dog bark", 0.8), settings)
    assert found.curve is not None
    np.testing.assert_allclose(seen.curve, found.curve, atol=1e-7)
    assert seen.interval == found.interval and seen.score == pytest.approx(found.score, abs=1e-7)


def test_per_head_selection_is_its_method(hearing: Hearing) -> None:
    seen = explore(hearing, Choice.of(OURS, "dog bark", seconds=0.8, per_head=True))
    found = METHODS["steering-heads"].find(hearing, Query("dog bark", 0.8), OURS)
    assert found.curve is not None
    np.testing.assert_allclose(seen.curve, found.curve, atol=1e-7)
    assert seen.interval == found.interval


def test_strength_0_is_the_plain_model_exactly(hearing: Hearing) -> None:
    for positions in ("last", "audio"):
        seen = explore(hearing, Choice("dog bark", strength=0.0, positions=positions))
        plain = hearing.read(PAPER.question).attention
        assert torch.equal(seen.steered.share, seen.base.share) and torch.equal(seen.steered.mass, seen.base.mass)
        assert torch.equal(seen.base.share, plain.share)
        assert seen.answer_steered == seen.answer_plain == hearing.answer(PAPER.question)
        assert not seen.curve.any() and seen.flat and "nothing moved" in seen.described()


def test_steering_moves_something(hearing: Hearing) -> None:
    """Or the tests above would hold of a session that never steers."""
    seen = explore(hearing, Choice.of(OURS, "dog bark"))
    assert float((seen.steered.share - seen.base.share).abs().max()) > 1e-4 and not seen.flat
    interval, _ = best_segment(seen.curve, hearing.span)
    assert seen.interval == interval


def test_answers_are_those_of_the_hearing(hearing: Hearing) -> None:
    choice = Choice.of(OURS, "dog bark")
    seen = explore(hearing, choice)
    vector = hearing.contrast(*choice.instructions, prompt="Is it high or low?").select((0, 1))
    assert seen.answer_plain == hearing.answer(OURS.question)
    assert seen.answer_steered == hearing.answer(OURS.question, steer=vector, strength=4.0)


@pytest.mark.parametrize("positions", ["text", "all", "audio", (2, 3)])
def test_positions_reach_the_model(hearing: Hearing, positions: Any) -> None:
    seen = explore(hearing, Choice.of(OURS, "dog bark"))
    other = explore(hearing, replace(Choice.of(OURS, "dog bark"), positions=positions))
    assert not torch.equal(seen.steered.share, other.steered.share)
    assert torch.allclose(seen.base.share, other.base.share, atol=1e-5)


def test_the_words_of_the_event_must_be_in_the_question(hearing: Hearing) -> None:
    choice = Choice("dog bark", question="Is there a dog bark?", positions="event", blocks=(0, 1), strength=4.0)
    assert not explore(hearing, choice).flat
    with pytest.raises(ValueError, match="does not name the event 'dog bark'"):
        explore(hearing, Choice("dog bark", positions="event"))


class Counting:
    """Counts the rows that a hearing reads and answers."""

    def __init__(self, hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[int] = []
        self.answered: list[int] = []
        read, answers = hearing.read_rows, hearing.answers

        def counted_read(rows: list[Row], **options: Any) -> Any:
            self.read.append(len(rows))
            return read(rows, **options)

        def counted_answers(rows: list[Row], **options: Any) -> Any:
            self.answered.append(len(rows))
            return answers(rows, **options)

        monkeypatch.setattr(hearing, "read_rows", counted_read)
        monkeypatch.setattr(hearing, "answers", counted_answers)


def test_what_choices_share_is_run_once(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    exploring, counts = ExplorerSession(hearing), Counting(hearing, monkeypatch)
    choice = Choice.of(OURS, "dog bark")
    first = exploring.explore(choice)
    assert (counts.read, counts.answered) == ([2, 2], [2])  # the contrast, the reading; both answers
    for changed in ({"strength": 1.0}, {"blocks": (1, 2)}, {"positions": "text"}, {"keep_norm": False}):
        counts.read.clear(), counts.answered.clear()
        exploring.explore(replace(choice, **changed))  # type: ignore[arg-type]
        assert (counts.read, counts.answered) == ([2], [1])
    again = exploring.explore(choice)
    assert again.interval == first.interval and np.allclose(again.curve, first.curve, atol=1e-7)
    counts.read.clear()
    exploring.explore(replace(choice, query="bell"), answer=False)
    assert counts.read == [2, 2]


def test_the_truth_of_a_known_event(hearing: Hearing) -> None:
    exploring = ExplorerSession(hearing, [Event("bell", Interval(1.4, 1.9)), Event("dog bark", TRUTH)])
    seen = exploring.explore(Choice.of(OURS, "Dog bark", seconds=TRUTH.duration))
    assert seen.truth == TRUTH and seen.overlap == seen.interval.covers(TRUTH)
    assert seen.chance == random_overlap(TRUTH, hearing.span, TRUTH.duration)
    assert f"true {TRUTH}" in seen.described() and "by chance" in seen.described()
    unknown = exploring.explore(Choice.of(OURS, "siren"))
    assert (unknown.truth, unknown.overlap, unknown.chance) == (None, None, None)


def test_what_the_player_gets(hearing: Hearing) -> None:
    exploring = ExplorerSession(hearing, [Event("dog bark", TRUTH)])
    seen = exploring.explore(Choice.of(OURS, "dog bark", per_head=True, seconds=0.8))
    shown = exploring.listening(seen)
    assert shown.located == seen.interval and shown.truth == TRUTH and shown.events == (("dog bark", TRUTH),)
    np.testing.assert_allclose(shown.curve(), seen.curve, atol=1e-6)
    assert list(shown.answers.values()) == [seen.answer_plain, seen.answer_steered]
    flat = exploring.explore(Choice.of(replace(OURS, strength=0.0), "dog bark"))
    assert exploring.listening(flat).located is None


def test_nothing_runs_before_the_choice_is_checked(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counting(hearing, monkeypatch)
    exploring = ExplorerSession(hearing)
    with pytest.raises(UnknownEventError):
        exploring.explore(Choice("purple"))
    with pytest.raises(ValueError, match="blocks has 9, but the model has blocks 0 to 3"):
        exploring.explore(Choice("dog bark", blocks=(9,)))
    assert counts.read == counts.answered == []


def test_two_threads_do_not_steer_each_other(lm: AudioLM, samples: np.ndarray, other_samples: np.ndarray) -> None:
    sessions = [ExplorerSession(lm.hear(each, sampling_rate=16_000)) for each in (samples, other_samples)]
    choices = [Choice.of(OURS, "dog bark"), replace(Choice.of(OURS, "bell"), blocks=(2,), strength=-2.0)]
    alone_seen = [each.explore(choice) for each, choice in zip(sessions, choices, strict=True)]
    seen: dict[int, list[np.ndarray]] = {0: [], 1: []}
    errors: list[Exception] = []

    def many(index: int) -> None:
        try:
            for _ in range(4):
                seen[index].append(sessions[index].explore(choices[index]).curve)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=many, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    for index in (0, 1):
        assert len(seen[index]) == 4
        for curve in seen[index]:
            np.testing.assert_allclose(curve, alone_seen[index].curve, atol=1e-6)


def test_why_nothing_moved(hearing: Hearing) -> None:
    early = explore(hearing, replace(Choice.of(OURS, "dog bark"), blocks=(2,), read_blocks=(0, 1)), events=[])
    assert early.flat and "from block 2 on is seen by later blocks only, and block 1 is read" in early.described()
    # Words steered at the output of block 2 change what the last token takes from them in block 3, not where it looks.
    late = Choice("dog bark", question="Is there a dog bark?", positions="event", blocks=(2,), strength=4.0)
    assert explore(hearing, late).flat and "its own state was not steered" in explore(hearing, late).described()
    still = explore(hearing, replace(Choice.of(OURS, "dog bark"), strength=0.0))
    assert still.described().endswith("no interval: nothing moved")


HEADS = replace(PAPER, read_heads=((1, 0), (2, 3)), vector_question="Is it high or low?", strength=3.0)


def test_the_choice_of_settings_holds_them() -> None:
    choice = Choice.of(HEADS, "dog bark", seconds=1.5)
    assert choice.instructions == ("Focus on the dog bark.", "Listen to the whole audio.")
    assert (choice.question, choice.asked_of_contrast, choice.strength) == (PAPER.question, "Is it high or low?", 3.0)
    assert (choice.blocks, choice.read_heads, choice.seconds) == (None, None, 1.5)
    assert Choice.of(HEADS, "dog bark", per_head=True).read_heads == ((1, 0), (2, 3))
    assert Choice.of(PAPER, "dog bark").asked_of_contrast == PAPER.question


def test_any_pair_of_instructions() -> None:
    pair = Choice("dog bark", positive="Mind the high sounds.", negative="Mind the {event}.")
    assert pair.instructions == ("Mind the high sounds.", "Mind the dog bark.")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"query": "  "}, "query is empty"),
        ({"positive": ""}, "positive is ''; pass an instruction"),
        ({"negative": " "}, "negative is ' '; pass an instruction"),
        ({"positive": "Focus on {sound}."}, r"positive may hold \{event\} and no other braces"),
        ({"negative": "Listen {"}, r"negative may hold \{event\} and no other braces"),
        ({"positive": "Focus on {event.missing}."}, "no other braces"),
        ({"positive": "Hear the dog bark.", "negative": "Hear the {event}."}, "their difference is nothing"),
        ({"question": ""}, "question is ''"),
        ({"contrast_question": " "}, "contrast_question is empty"),
        ({"strength": float("nan")}, "strength is nan; pass a finite number"),
        ({"strength": "2"}, "strength is '2'; pass a number"),
        ({"blocks": ()}, "blocks is"),
        ({"blocks": 3}, "blocks is 3"),
        ({"read": "both"}, "read is 'both'"),
        ({"read_heads": ((1,),)}, "read_heads is"),
        ({"positions": "first"}, "unknown positions 'first'"),
        ({"positions": [-1]}, "slots must be whole numbers"),
        ({"keep_norm": 1}, "keep_norm is 1"),
        ({"seconds": 0.0}, "seconds is 0.0; pass a positive width"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"seconds": "2 s"}, "seconds is '2 s'"),
    ],
)
def test_each_mistake_has_its_message(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(Choice("dog bark"), **changed)


def test_heads_that_were_never_chosen() -> None:
    with pytest.raises(ValueError, match="name no heads"):
        Choice.of(PAPER, "dog bark", per_head=True)


@given(st.text(max_size=30), st.text(min_size=1, max_size=12))
def test_an_instruction_is_text_or_an_error_of_ours(template: str, query: str) -> None:
    try:
        said = worded("positive", template, query)
    except ValueError as error:
        assert str(error).startswith("positive ")
    else:
        assert template.strip() and ("{" in template or "}" in template or said == template.strip())


# -- against a model -----------------------------------------------------------------------------------------------


def test_blocks_by_number_and_the_event_by_its_name(lm: AudioLM) -> None:
    assert Choice("Dog  bark").fitted(lm).query == "dog bark"
    assert Choice("dog bark").fitted(lm).blocks == (2, 3)
    assert Choice("dog bark", blocks=(-3, 0)).fitted(lm).blocks == (0, 1)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"blocks": (4,)}, "blocks has 4, but the model has blocks 0 to 3"),
        ({"read_blocks": (1, -5)}, "read_blocks has -5"),
        ({"read_heads": ((4, 0),)}, "read_heads has 4, but the model has blocks 0 to 3"),
        ({"read_heads": ((0, 4),)}, "read_heads has 4, but the model has heads 0 to 3"),
        ({"blocks": (3,)}, "steering block 3, the last, changes no attention"),
        ({"blocks": (-1,)}, "steering block 3, the last"),
        ({"question": "What is <|AUDIO|> <sound>?"}, "a special token"),
    ],
)
def test_what_the_model_does_not_have(lm: AudioLM, changed: dict[str, Any], says: str) -> None:
    if "question" in changed:
        changed = {"question": f"What is {lm.processor.audio_token}?"}
    with pytest.raises(ValueError, match=says):
        replace(Choice("dog bark"), **changed).fitted(lm)


def test_a_sound_that_a_pocket_model_does_not_know(lm: AudioLM) -> None:
    with pytest.raises(UnknownEventError, match="Did you mean 'siren'"):
        Choice("sirens").fitted(lm)


def test_the_last_block_is_steered_where_the_read_blocks_are_named(lm: AudioLM) -> None:
    assert Choice("dog bark", blocks=(3,), read_blocks=(1,)).fitted(lm).blocks == (3,)


# -- as code -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"blocks": (0, 2), "strength": -3.5, "seconds": 0.7, "read_blocks": (1, 3)},
        {"read": "share", "read_heads": ((1, 2), (3, 0)), "seconds": 0.4, "keep_norm": False},
        {"positions": "event", "blocks": (0, 1), "question": "Is there a dog bark?", "contrast_question": "Is it low?"},
        {"positions": (3, 5), "positive": 'It\'s "loud".', "strength": 0.0},
    ],
)
def test_the_code_gives_the_same_interval(
    lm: AudioLM, samples: np.ndarray, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = replace(Choice("dog bark", strength=4.0), **changed)
    seen = explore(lm.hear(samples, sampling_rate=16_000), choice)
    monkeypatch.setattr(steer_utils, "load", lambda name: {lm.name: lm}[name])
    names: dict[str, Any] = {"samples": samples}
    exec(code_of(choice, lm.name, "hearing = lm.hear(samples, sampling_rate=16_000)"), names)
    assert names["interval"] == seen.interval
    assert names["answer"] == seen.answer_steered
    np.testing.assert_allclose(names["curve"], seen.curve, atol=1e-6)
