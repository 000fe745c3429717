"""Methods: each against the readings it is made of, and the answers that count as a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.steering import Injection
from steer_utils.methods.asking import parse_time
from steer_utils.methods.base import Localisation, Query
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.table import METHODS, STANDARD, method_named
from steer_utils.sound.spans import Interval, best_window
from steer_utils.study.statistics import random_overlap

QUERY = Query("dog bark", 0.5, seed=4)
OWN = Settings(
    positive="Listen for the {event}.",
    negative="Attend to the whole audio.",
    question="What do you hear?",
    strength=2.0,
    blocks=(0, 1),
    keep_norm=False,
    read="share",
    read_blocks=(2,),
    prompt_blocks=(1, 3),
    prompt_question="Name the sounds.",
    prompt_best_blocks=(2,),
    peak_blocks=(0,),
)
WINDOW_METHODS = ("steering", "steering-paper", "prompting", "prompting-best", "unsteered", "loudest")


def find(name: str, hearing: Hearing, settings: Settings, query: Query = QUERY) -> Localisation:
    return METHODS[name].find(hearing, query, settings)


def curve_of(found: Localisation) -> np.ndarray:
    assert found.curve is not None
    return found.curve


def steered(hearing: Hearing, settings: Settings) -> np.ndarray:
    """The steered share by the public objects, one step a line."""
    positive = settings.positive.format(event="dog bark")
    vector = hearing.contrast(positive, settings.negative, prompt=settings.vector_question or settings.question)
    vector = vector.select(settings.steered_blocks(hearing.checkpoint.num_blocks))
    injection = Injection(vector, settings.strength)
    reading = hearing.read(settings.question, steer=injection, keep_norm=settings.keep_norm)
    return reading.attention.curve(settings.read_blocks)


# Attention methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [OWN, replace(OWN, keep_norm=True, blocks=None, read_blocks=None, strength=-1.0)])
def test_steering_reads_the_steered_share(hearing: Hearing, settings: Settings) -> None:
    np.testing.assert_allclose(curve_of(find("steering", hearing, settings)), steered(hearing, settings), atol=1e-6)


def test_steering_reads_the_difference(hearing: Hearing) -> None:
    settings = replace(OWN, read="difference")
    base = hearing.read(OWN.question).attention.curve(OWN.read_blocks)
    found = curve_of(find("steering", hearing, settings))
    np.testing.assert_allclose(found, steered(hearing, settings) - base, atol=1e-6)
    assert abs(found.sum()) < 1e-5 and np.abs(found).max() > 1e-4


def test_steering_at_strength_zero_is_the_unsteered_share(hearing: Hearing) -> None:
    settings = replace(OWN, strength=0.0, read_blocks=(2, 3), peak_blocks=(2, 3))
    none, base = find("steering", hearing, settings), find("unsteered", hearing, settings)
    np.testing.assert_allclose(curve_of(none), curve_of(base), atol=1e-6)
    assert none.interval == base.interval
    difference = find("steering", hearing, replace(settings, read="difference"))
    assert np.abs(curve_of(difference)).max() < 1e-6


def test_steering_depends_on_the_query_and_its_strength(hearing: Hearing) -> None:
    bark = curve_of(find("steering", hearing, OWN))
    for other in (
        find("steering", hearing, OWN, Query("bell", 0.5)),
        find("steering", hearing, replace(OWN, strength=-2.0)),
        find("steering", hearing, replace(OWN, keep_norm=True)),
    ):
        assert np.abs(curve_of(other) - bark).max() > 1e-4


def test_the_papers_method_does_not_depend_on_a_models_settings(hearing: Hearing) -> None:
    declared = find("steering", hearing, PAPER)
    for settings in (OWN, PAPER, replace(OWN, ask="When is the {event}?")):
        found = find("steering-paper", hearing, settings)
        assert found.interval == declared.interval
        np.testing.assert_array_equal(curve_of(found), curve_of(declared))


def test_prompting_and_the_peak_read_their_own_blocks_and_instructions(hearing: Hearing) -> None:
    focus = hearing.read("Listen for the dog bark. What do you hear?").attention
    plain = hearing.read("What do you hear?").attention
    np.testing.assert_allclose(curve_of(find("prompting", hearing, OWN)), focus.curve([1, 3]), atol=1e-6)
    np.testing.assert_allclose(curve_of(find("unsteered", hearing, OWN)), plain.curve([0]), atol=1e-6)
    every = replace(OWN, prompt_blocks=None, peak_blocks=None)
    np.testing.assert_allclose(curve_of(find("prompting", hearing, every)), focus.curve(), atol=1e-6)
    np.testing.assert_allclose(curve_of(find("unsteered", hearing, every)), plain.curve(), atol=1e-6)
    assert np.abs(focus.curve([1, 3]) - focus.curve()).max() > 1e-4
    other = hearing.read("Listen for the dog bark. Name the sounds.").attention
    np.testing.assert_allclose(curve_of(find("prompting-best", hearing, OWN)), other.curve([2]), atol=1e-6)
    assert find("unsteered", hearing, OWN, Query("bell", 0.5)).interval == find("unsteered", hearing, OWN).interval


@pytest.mark.parametrize("name", WINDOW_METHODS)
def test_the_window_is_the_best_of_the_curve(hearing: Hearing, name: str) -> None:
    found = find(name, hearing, OWN)
    assert curve_of(found).shape == (hearing.span.count,)
    assert (found.interval, found.score) == best_window(curve_of(found), hearing.span, QUERY.seconds)
    if name in ("prompting", "prompting-best", "unsteered", "loudest"):
        assert curve_of(found).sum() == pytest.approx(1.0, abs=1e-5)  # shares


# Methods without the model's attention ------------------------------------------------------------------------------


def test_loudest_finds_a_burst(tiny_models: dict[str, AudioLM]) -> None:
    samples = 0.01 * np.random.default_rng(0).normal(size=3 * 16_000)
    samples[24_000:32_000] *= 50
    hearing = tiny_models["qwen2_audio"].hear(samples, sampling_rate=16_000)
    found = find("loudest", hearing, OWN)
    assert found.interval is not None
    assert (found.interval.start, found.interval.end) == pytest.approx((1.5, 2.0), abs=0.05)


def test_random_is_decided_by_its_seed_and_uniform(tiny_models: dict[str, AudioLM], samples: np.ndarray) -> None:
    hearing = tiny_models["qwen2_audio"].hear(samples, sampling_rate=16_000)
    windows = [find("random", hearing, OWN, Query("bell", 0.48, seed)).interval for seed in range(1000)]
    again = [find("random", hearing, PAPER, Query("siren", 0.48, seed)).interval for seed in range(10)]
    assert windows[:10] == again
    starts = {round(window.start / 0.04) for window in windows if window}
    assert starts == set(range(50 - 12 + 1))
    truth = Interval(0.8, 1.28)
    mean = np.mean([window.covers(truth) for window in windows if window])
    assert mean == pytest.approx(random_overlap(truth, hearing.span, 0.48), abs=0.03)


def test_random_and_loudest_do_not_ask_the_model(
    tiny_models: dict[str, AudioLM], samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing = tiny_models["qwen2_audio"].hear(samples, sampling_rate=16_000)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked")

    for name in ("read", "read_rows", "answer", "answers", "contrast"):
        monkeypatch.setattr(Hearing, name, fail)
    assert find("random", hearing, OWN).interval and find("loudest", hearing, OWN).interval
    with pytest.raises(AssertionError, match="asked"):
        find("unsteered", hearing, OWN)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("From 1.0 to 1.4 seconds.", Interval(0.95, 1.45)),  # centred, as wide as the event
        ("at 0 s", Interval(0.0, 0.5)),
        ("2.0 seconds", Interval(1.5, 2.0)),  # moved to stay inside
        ("end", Interval(2 - 1 / 3 - 0.25, 2 - 1 / 3 + 0.25)),
        ("a dog barks", None),
    ],
)
def test_asking_centres_the_window_on_the_answer(
    tiny_models: dict[str, AudioLM], samples: np.ndarray, monkeypatch: pytest.MonkeyPatch,
    answer: str, expected: Interval | None,
) -> None:  # fmt: skip
    hearing = tiny_models["qwen2_audio"].hear(samples, sampling_rate=16_000)
    asked: list[str] = []
    monkeypatch.setattr(Hearing, "answer", lambda self, instruction: asked.append(instruction) or answer)
    found = find("asking", hearing, replace(OWN, ask="When is the {event}?"))
    assert asked == ["When is the dog bark?"]
    assert found.answer == answer and found.curve is None
    if expected is None:
        assert found.interval is None
    else:
        assert found.interval is not None
        assert (found.interval.start, found.interval.end) == pytest.approx((expected.start, expected.end))


def test_asking_a_real_model_gives_its_answer(hearing: Hearing) -> None:
    found = find("asking", hearing, OWN)
    assert found.answer == hearing.answer(OWN.ask.format(event="dog bark")) != ""


def test_names_of_methods() -> None:
    assert set(METHODS) > {*WINDOW_METHODS, "asking", "random", "position"}
    assert tuple(METHODS)[: len(STANDARD)] == STANDARD
    assert all(method_named(name) is method and method.name == name for name, method in METHODS.items())
    with pytest.raises(ValueError, match="unknown method 'stearing'; pass one of steering, steering-heads, steering-p"):
        method_named("stearing")


# Answers that name a time -------------------------------------------------------------------------------------------

ACCEPTED = {
    "from 2.0 to 4.5 seconds": (2.0, 4.5),
    "The dog bark happens from 0 to 8.0 seconds.": (0.0, 8.0),
    "Between 2 and 4 s": (2.0, 4.0),
    "2-4": (2.0, 4.0),
    "2.0s – 4.5s.": (2.0, 4.5),
    "[2.0, 4.5]": (2.0, 4.5),
    "It lasts from 2 until 4.": (2.0, 4.0),
    "from 6 to 8.3 sec": (6.0, 8.0),  # models round; cut at the end of the audio
    "It starts at 2 s and ends at 4 s.": (2.0, 4.0),
    "The start is 2.0 seconds and the end is 4.5 seconds.": (2.0, 4.5),
    "at 3 s": (2.98, 3.02),
    "3.5 Seconds": (3.48, 3.52),
    "Around 0 s": (0.0, 0.02),
    "start": (0.0, 8 / 3),
    "At the beginning.": (0.0, 8 / 3),
    "in the Middle": (8 / 3, 16 / 3),
    "at the end, the very end": (16 / 3, 8.0),
}
REFUSED = (
    "", "a dog barks", "3", "at 3", "from 4 to 2 s", "from 2 to 2 s", "from 6 to 9 seconds", "at 8.5 s",
    "at 4 s and at 2 s",
    "2 to 3 barks", "5 to 7 %", "3 sirens", "3rd", "from -1 to 2 s", "0:02 to 0:04", "at 12:03 s", "2,5 s", "1.2.3 s",
    "it lasts 3 seconds", "for 3 s", "3 seconds long", "from 1 to 2 s and from 4 to 5 s", "1 s, 2 s, 3 s",
    "at 1 s, at 2 s, at 3 s",
    "start or end", "from the start to the end", "not at the end", "it does not happen", "never", "weekend", "restart",
    "9" * 400 + " s", "from 1 to " + "9" * 400,
)  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), ACCEPTED.items())
def test_answers_that_name_a_time(answer: str, expected: tuple[float, float]) -> None:
    time = parse_time(answer, 8.0)
    assert time is not None
    assert (time.start, time.end) == pytest.approx(expected)


@pytest.mark.parametrize("answer", REFUSED)
def test_answers_that_name_none(answer: str) -> None:
    assert parse_time(answer, 8.0) is None


@given(st.text(alphabet="0123456789.,:-– stoandecifrmh", max_size=40), st.floats(0.1, 60))
def test_any_answer_gives_a_time_in_the_audio_or_none(answer: str, duration: float) -> None:
    time = parse_time(answer, duration)
    assert time is None or (0.0 <= time.start <= duration and time.end <= duration + 0.02 + 1e-9)


@given(st.integers(0, 790), st.integers(1, 400))
def test_a_range_is_read_as_written(start: int, length: int) -> None:
    end = min(800, start + length)
    time = parse_time(f"from {start / 100} to {end / 100} seconds", 8.0)
    assert time is not None and (time.start, time.end) == (start / 100, end / 100)
