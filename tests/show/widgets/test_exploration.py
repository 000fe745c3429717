"""Exploring: the default is the method itself, strength 0 is the plain model, and what choices share is run once."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from steer_utils.lm.checkpoints import alone
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Query
from steer_utils.methods.locate import UnknownEventError
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.table import METHODS
from steer_utils.show.widgets.choices import Choice
from steer_utils.show.widgets.exploration import ExplorerSession, explore
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval, best_segment
from steer_utils.study.statistics import random_overlap

OURS = replace(
    PAPER, question="How many sounds are there?", vector_question="Is it high or low?", strength=4.0, blocks=(0, 1),
    read_blocks=(2, 3), read_heads=((1, 2), (3, 0)),
)  # fmt: skip
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
    with pytest.raises(ValueError, match="names block 9"):
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


def test_the_lock_is_one_for_a_model(tiny_models: dict[str, AudioLM]) -> None:
    one, other = tiny_models.values()
    assert alone(one) is alone(one) and alone(one) is not alone(other)


def test_why_nothing_moved(hearing: Hearing) -> None:
    early = explore(hearing, replace(Choice.of(OURS, "dog bark"), blocks=(2,), read_blocks=(0, 1)), events=[])
    assert early.flat and "from block 2 on is seen by later blocks only, and block 1 is read" in early.described()
    # Words steered at the output of block 2 change what the last token takes from them in block 3, not where it looks.
    late = Choice("dog bark", question="Is there a dog bark?", positions="event", blocks=(2,), strength=4.0)
    assert explore(hearing, late).flat and "its own state was not steered" in explore(hearing, late).described()
    still = explore(hearing, replace(Choice.of(OURS, "dog bark"), strength=0.0))
    assert still.described().endswith("no interval: nothing moved")
