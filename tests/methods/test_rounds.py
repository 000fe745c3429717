"""Tests for rounds: methods that share their model calls find what each finds alone."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest

from steer_utils.lm.hearing import Hearing, read_together
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.methods import rounds as module
from steer_utils.methods.base import Localisation, Query, find_in_each, find_together, localise
from steer_utils.methods.prompting import prompting
from steer_utils.methods.rounds import Answer, InRounds, Read, Steps, in_rounds, together
from steer_utils.methods.settings import Settings
from steer_utils.methods.steering import steering
from steer_utils.methods.table import METHODS
from tests.localising import OWN

QUERIES = [Query("bell", 0.5, seed=1, others=("dog bark",)), Query("dog bark", 0.7, seed=2, others=("bell",))]
SHARED = [method for method in METHODS.values() if isinstance(method.find, InRounds) and not method.needs]


@in_rounds
def attended(hearing: Hearing, text: str, rounds: int) -> Steps[list[str]]:
    """Reads `text` so many times, one after the other, and answers it."""
    texts = []
    for _ in range(rounds):
        (reading,) = yield [Read(hearing, Row(text))]
        texts.append(reading.instruction)
    (answer,) = yield [Answer(hearing, Row(text))]
    return [*texts, answer]


@pytest.fixture
def calls(one_hearing: Hearing) -> Iterator[list[tuple[str, int]]]:
    """Each call of the model's readings and answers: which, and of how many rows."""
    seen: list[tuple[str, int]] = []
    read, answers = Hearing.read_rows, Hearing.answers

    def reading(self: Hearing, rows: list[Row], **options: str) -> object:
        seen.append(("read", len(rows)))
        return read(self, rows, **options)  # type: ignore[arg-type]

    def answering(self: Hearing, rows: list[Row], **options: int) -> object:
        seen.append(("answer", len(rows)))
        return answers(self, rows, **options)

    with patch.object(Hearing, "read_rows", reading), patch.object(Hearing, "answers", answering):
        yield seen


def test_most_methods_of_the_table_share_their_calls() -> None:
    assert {method.name for method in SHARED} >= {"steering", "prompting", "mavs", "random-vector", "asking"}


def test_together_every_method_finds_what_it_finds_alone(one_hearing: Hearing) -> None:
    finders = [METHODS[method.name].find for method in METHODS.values() if method.find and not method.needs]
    shared = find_together(one_hearing, finders, QUERIES, OWN)  # type: ignore[arg-type]
    for query, localisations in zip(QUERIES, shared, strict=True):
        for finder, together_found in zip(finders, localisations, strict=True):
            alone = finder(one_hearing, query, OWN)  # type: ignore[misc]
            assert together_found.interval == alone.interval
            assert together_found.answer == alone.answer
            if alone.curve is not None:
                np.testing.assert_allclose(together_found.curve, alone.curve, atol=1e-6)


def test_a_round_is_one_call_and_tasks_may_need_different_numbers_of_them(
    one_hearing: Hearing, calls: list[tuple[str, int]]
) -> None:
    results = together([attended.steps(one_hearing, "Describe the sound.", rounds) for rounds in (1, 3, 2)])
    assert [len(result) for result in results] == [2, 4, 3]
    assert calls == [("read", 3), ("answer", 1), ("read", 2), ("read", 1), ("answer", 1), ("answer", 1)]


def test_tasks_about_several_audios_are_joined_in_one_call(
    one_model: AudioLM, samples: np.ndarray, calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []

    def counted(asked: list[tuple[Hearing, list[Row]]]) -> object:
        sizes.append([len(rows) for _, rows in asked])
        return read_together(asked)

    monkeypatch.setattr(module, "read_together", counted)
    hearings = [one_model.hear(samples[:count], sampling_rate=16_000) for count in (32_000, 20_000)]
    asked = [(hearings[0], QUERIES), (hearings[1], QUERIES[:1])]
    joined = find_in_each(asked, [prompting, steering], OWN)
    assert sizes == [[6, 3], [2, 1]] and not calls  # the contrast's three with the plain question; the steered rows
    assert [len(answers) for answers in joined] == [2, 1]
    for (hearing, queries), answers in zip(asked, joined, strict=True):
        for alone, found in zip(find_together(hearing, [prompting, steering], queries, OWN), answers, strict=True):
            for one, other in zip(alone, found, strict=True):
                assert one.interval == other.interval and one.curve is not None and other.curve is not None
                np.testing.assert_allclose(one.curve, other.curve, atol=1e-5)
    assert len(sizes) == 2 and calls
    assert find_in_each([], [prompting], OWN) == [] and find_in_each([(hearings[0], [])], [prompting], OWN) == [[]]


def test_all_methods_take_few_calls(one_hearing: Hearing, calls: list[tuple[str, int]]) -> None:
    finders = [method.find for method in SHARED]
    find_together(one_hearing, finders, QUERIES, OWN)  # type: ignore[arg-type]
    kinds = [kind for kind, _ in calls]
    # Two rounds; and a call behind each other prefix: silence, audio keys scaled in one block and in all, other audio.
    assert (kinds.count("answer"), kinds.count("read") <= 2 + 4) == (1, True)


def test_an_error_in_one_task_is_raised_and_the_others_are_closed(one_hearing: Hearing) -> None:
    closed = []

    def waiting() -> Steps[None]:
        try:
            yield [Read(one_hearing, Row("Describe the sound."))]
            yield [Read(one_hearing, Row("Describe the sound."))]
        finally:
            closed.append(True)

    def failing() -> Steps[None]:
        yield [Read(one_hearing, Row("Describe the sound."))]
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        together([waiting(), failing()])
    assert closed


def test_a_plain_function_may_stand_beside_those_in_rounds(one_hearing: Hearing) -> None:
    def first(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
        return localise(np.arange(hearing.span.count, 0.0, -1.0), hearing, query)

    steering = METHODS["steering"].find
    ((plain, steered),) = find_together(one_hearing, [first, steering], QUERIES[:1], OWN)  # type: ignore[list-item]
    assert plain.interval is not None and plain.interval.start == 0.0
    assert steered.curve is not None
