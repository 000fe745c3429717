"""Choosing settings: every candidate on the same scenes, the best one wins, and it reads as a test run reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watched_work import noting, stopping

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods import tuning
from steer_utils.methods.base import Query
from steer_utils.methods.controls import unsteered
from steer_utils.methods.prompting import contrast_prompting, prompting, prompting_best
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.steering import steering, steering_heads
from steer_utils.methods.tuning import (
    Candidate,
    Tuned,
    block_sets,
    choose_vector_question,
    runs_of_blocks,
    select_heads,
    tune,
    tuning_hours,
)
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.spans import best_window

NAMES = ("dog bark", "bell", "siren")
START = Settings(ask="When is the {event}?", presence="Do you hear the {event}?")
STRENGTHS = (1.0, 6.0)
QUESTIONS = ("Name the sounds.", "How loud is it?")


@pytest.fixture(scope="module")
def tuned(one_model: AudioLM) -> Tuned:
    start = replace(START, read_heads=((3, 0),))
    return tune(one_model, NAMES, start=start, scenes=2, strengths=STRENGTHS, prompt_questions=QUESTIONS)


def overlaps(lm: AudioLM, method: Any, chosen: Settings) -> float:
    """Mean overlap of a method on the development scenes, as a benchmark measures it."""
    found = []
    for index in range(2):
        scene = SceneMaker(NAMES, seconds=lm.window_seconds).scene(index, 1000)
        hearing = Hearing(lm, scene.samples)
        for event in scene.events:
            interval = method(hearing, Query(event.name, event.span.duration), chosen).interval
            found.append(interval.covers(event.span))
    return float(np.mean(found))


def no_work(*_: Any) -> None:
    raise AssertionError("refused before any work")


def test_block_sets_of_eight_blocks() -> None:
    sets = block_sets(8)
    assert sets[:7] == [(block,) for block in range(7)]
    assert sets[7:] == [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 6, 7)]


@pytest.mark.parametrize("count", range(2, 12))
def test_every_block_set_leaves_a_block_to_read_and_counts_once(count: int) -> None:
    sets = block_sets(count)
    assert len(set(sets)) == len(sets)
    assert all(0 <= min(blocks) < count - 1 and max(blocks) < count for blocks in sets)
    assert tuple(range(count)) in sets


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_runs_of_blocks_are_all_neighbours(count: int) -> None:
    runs = runs_of_blocks(count)
    assert len(set(runs)) == len(runs) == count * (count + 1) // 2
    assert all(run == tuple(range(run[0], run[-1] + 1)) and 0 <= run[0] <= run[-1] < count for run in runs)


def test_every_candidate_is_tried_and_the_best_is_chosen(tuned: Tuned) -> None:
    expected = {
        Candidate(strength, blocks, keep, read, run)
        for strength, blocks, keep, read in product(STRENGTHS, block_sets(4), (True, False), ("share", "difference"))
        for run in runs_of_blocks(4)
        if run[0] > min(blocks)  # others cannot have changed
    }
    assert set(tuned.overlaps) == expected
    assert all(0 <= overlap <= 1 for overlap in tuned.overlaps.values())
    assert len(set(tuned.overlaps.values())) > 5  # the candidates do differ
    chosen = tuned.settings
    best = Candidate(chosen.strength, chosen.blocks or (), chosen.keep_norm, chosen.read, chosen.read_blocks or ())
    assert tuned.overlaps[best] == max(tuned.overlaps.values())


def test_a_test_run_with_the_chosen_settings_finds_the_same(tuned: Tuned, one_model: AudioLM) -> None:
    assert overlaps(one_model, steering, tuned.settings) == pytest.approx(max(tuned.overlaps.values()), abs=1e-6)
    for read in ("share", "difference"):
        candidate, reached = next(each for each in tuned.overlaps.items() if each[0].read == read and each[1] > 0)
        trial = replace(START, **{name: getattr(candidate, name) for name in Candidate.__dataclass_fields__})
        assert overlaps(one_model, steering, trial) == pytest.approx(reached, abs=1e-6)
    assert overlaps(one_model, prompting, tuned.settings) == pytest.approx(
        tuned.settings.chosen_on["prompting"], abs=1e-4
    )


def test_the_baselines_are_given_their_best_blocks_too(tuned: Tuned, one_model: AudioLM) -> None:
    for method, name, label in ((prompting, "prompt_blocks", "prompting"), (unsteered, "peak_blocks", "unsteered")):
        reached = {
            run: overlaps(one_model, method, replace(tuned.settings, **{name: run})) for run in runs_of_blocks(4)
        }
        assert len(set(reached.values())) > 1
        assert reached[getattr(tuned.settings, name)] == pytest.approx(max(reached.values()), abs=1e-6)
        assert tuned.settings.chosen_on[label] == pytest.approx(max(reached.values()), abs=1e-4)


def test_prompting_gets_the_question_that_serves_it_best(tuned: Tuned, one_model: AudioLM) -> None:
    reached = {
        (question, run): overlaps(
            one_model, prompting_best, replace(START, prompt_question=question, prompt_best_blocks=run)
        )
        for question in (START.question, *QUESTIONS)
        for run in runs_of_blocks(4)
    }
    chosen = (tuned.settings.prompt_question, tuned.settings.prompt_best_blocks)
    assert reached[chosen] == pytest.approx(max(reached.values()), abs=1e-6)
    assert tuned.settings.chosen_on["prompting_best"] == pytest.approx(max(reached.values()), abs=1e-4)


def test_the_difference_of_both_prompts_gets_its_own_question_and_blocks(tuned: Tuned, one_model: AudioLM) -> None:
    reached = {
        (question, run): overlaps(
            one_model,
            contrast_prompting,
            replace(START, prompt_difference_question=question, prompt_difference_blocks=run),
        )
        for question in (START.question, *QUESTIONS)
        for run in runs_of_blocks(4)
        if run != (0,)  # both prompts end in one token: block 0 sees no difference but rounding
    }
    chosen = (tuned.settings.prompt_difference_question, tuned.settings.prompt_difference_blocks)
    assert reached[chosen] == pytest.approx(max(reached.values()), abs=1e-3)  # type: ignore[index]
    assert tuned.settings.chosen_on["prompting_difference"] == pytest.approx(max(reached.values()), abs=1e-3)


def test_the_question_of_the_vector_is_the_one_that_tuning_gets_furthest_with(
    one_model: AudioLM, tmp_path: Path
) -> None:
    kept = tmp_path / "sums.safetensors"
    chosen, reached = choose_vector_question(
        one_model, NAMES, START, QUESTIONS, scenes=1, strengths=(1.0,), resume_file=kept
    )
    assert {path.name for path in tmp_path.iterdir()} == {f"sums.{n}.safetensors" for n in range(len(QUESTIONS))}
    assert set(reached) == set(QUESTIONS)
    assert reached[str(chosen.vector_question)] == max(reached.values())
    for question, overlap in reached.items():
        alone = tune(
            one_model, NAMES, start=replace(START, vector_question=question), scenes=1, strengths=(1.0,)
        ).overlaps
        assert overlap == pytest.approx(max(alone.values()), abs=1e-4)
    with pytest.raises(ValueError, match="no questions"):
        choose_vector_question(one_model, NAMES, START, ())


def test_what_was_chosen_on_is_written_down(tuned: Tuned) -> None:
    chosen_on = tuned.settings.chosen_on
    assert tuned.settings.development_events == NAMES
    assert (chosen_on["scenes"], chosen_on["seed"], chosen_on["candidates"]) == (2, 1000, len(tuned.overlaps))
    assert chosen_on["overlap"] == pytest.approx(max(tuned.overlaps.values()), abs=1e-4)
    assert (tuned.settings.ask, tuned.settings.positive) == (START.ask, PAPER.positive)  # the words are kept


def test_norm_ratios_are_the_mean_over_the_contrasts(tuned: Tuned, one_model: AudioLM) -> None:
    ratios = []
    for index in range(2):
        scene = SceneMaker(NAMES, seconds=one_model.window_seconds).scene(index, 1000)
        for name in scene.names:
            vector = Hearing(one_model, scene.samples).contrast(
                START.positive.format(event=name), START.negative, prompt=START.question
            )
            ratios.append(vector.norm_ratio().numpy())
    assert tuned.norm_ratio == pytest.approx(np.mean(ratios, axis=0), rel=1e-4)


def test_tuning_again_gives_the_same(tuned: Tuned, one_model: AudioLM) -> None:
    counted: list[int] = []
    options: dict[str, Any] = {"strengths": STRENGTHS, "prompt_questions": QUESTIONS}
    again = tune(one_model, NAMES, start=START, scenes=2, progress=noting(counted), **options)
    assert counted == [0, 1]
    assert again.settings == tuned.settings
    assert again.overlaps == tuned.overlaps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenes": 0}, "scenes is 0"),
        ({"strengths": ()}, r"strengths \[\]"),
        ({"names": ("bell", "siren")}, "distinct"),
        ({"names": ("bell", "siren", "cow")}, "cow"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_any_work(
    options: dict[str, Any], message: str, one_model: AudioLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "Hearing", no_work)
    full = {"names": NAMES, "scenes": 1, **options}
    with pytest.raises(ValueError, match=message):
        tune(one_model, full.pop("names"), start=START, **full)


def test_rows_of_a_query_are_one_batch(one_model: AudioLM, rows_read: list[int]) -> None:
    tune(one_model, NAMES, start=START, scenes=1, strengths=(1.0,))
    candidates = len(block_sets(4)) * 2
    assert rows_read == [2, *([2, candidates + 1] * 3)]  # at first the plain question, alone and after p-


def test_a_killed_run_goes_on_and_chooses_the_same(one_model: AudioLM, tmp_path: Path) -> None:
    full: dict[str, Any] = {"start": START, "scenes": 2, "strengths": (2.0,), "resume_file": tmp_path / "a.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        tune(one_model, NAMES, progress=stopping(1), **full)
    heard: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        scenes: list[Any] = []
        patch.setattr(tuning, "Hearing", lambda lm, samples: scenes.append(samples) or Hearing(lm, samples))
        resumed = tune(one_model, NAMES, progress=noting(heard), **full)
    assert heard == [0, 1] and len(scenes) == 1
    whole = tune(one_model, NAMES, **{**full, "resume_file": None})
    assert resumed.settings == whole.settings and resumed.overlaps == whole.overlaps
    np.testing.assert_array_equal(resumed.norm_ratio, whole.norm_ratio)


@pytest.mark.parametrize("change", [{"seed": 7}, {"strengths": (3.0,)}, {"start": replace(START, question="What?")}])
def test_sums_of_another_run_are_not_gone_on_with(one_model: AudioLM, tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"not sums")
    one: dict[str, Any] = {"start": START, "scenes": 1, "strengths": (2.0,), "resume_file": path}
    tune(one_model, NAMES, **one)
    another = {**one, **change}
    assert (
        tune(one_model, NAMES, **another).overlaps
        == tune(one_model, NAMES, **{**another, "resume_file": None}).overlaps
    )


def test_sums_in_another_number_type_are_not_gone_on_with(
    one_model: AudioLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one: dict[str, Any] = {"start": START, "scenes": 1, "strengths": (2.0,), "resume_file": tmp_path / "a.safetensors"}
    tune(one_model, NAMES, **one)
    scenes: list[Any] = []
    monkeypatch.setattr(tuning, "Hearing", lambda lm, samples: scenes.append(samples) or Hearing(lm, samples))
    tune(one_model, NAMES, **one)
    assert not scenes
    monkeypatch.setattr(Checkpoint, "numbers", "bfloat16")
    tune(one_model, NAMES, **one)
    assert len(scenes) == 1


def test_rows_are_reduced_in_parts(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    full: dict[str, Any] = {"start": START, "scenes": 1, "strengths": (2.0,)}
    whole = tune(one_model, NAMES, **full)
    monkeypatch.setattr(Hearing, "maps_at_once", lambda self: 5)
    parts = tune(one_model, NAMES, **full)
    assert parts.overlaps.keys() == whole.overlaps.keys()
    assert list(parts.overlaps.values()) == pytest.approx(list(whole.overlaps.values()))


def test_hours_grow_with_scenes_and_strengths(one_model: AudioLM) -> None:
    hours, rows = tuning_hours(one_model, NAMES, scenes=1, strengths=(1.0,), questions=2)
    assert 0 < hours < 1 and rows == 3 * (2 * len(block_sets(4)) + 2 + 2)
    assert tuning_hours(one_model, NAMES, scenes=10, strengths=(1.0, 2.0), questions=2)[1] == 30 * (
        4 * len(block_sets(4)) + 4
    )


# Heads ---------------------------------------------------------------------------------------------------------------

STEERED = replace(START, strength=6.0, blocks=(1,), read_blocks=(2,), chosen_on={"events": ["knock"], "overlap": 0.5})


def overlaps_of_heads(lm: AudioLM, start: Settings, heads: Sequence[Sequence[tuple[int, int]]]) -> list[float]:
    """Mean overlap of each set of heads on the development scenes, each curve averaged by hand."""
    found = []
    for index in range(2):
        scene = SceneMaker(NAMES, seconds=lm.window_seconds).scene(index, 1000)
        hearing = Hearing(lm, scene.samples)
        for event in scene.events:
            vector = hearing.contrast(
                start.positive.format(event=event.name), start.negative, prompt=start.contrast_question
            ).select(start.blocks or ())
            share = hearing.read(start.question, steer=vector, strength=start.strength).attention.share
            if start.read == "difference":
                share = share - hearing.read(start.question).attention.share
            curves = [np.mean([share[block, head, 0].numpy() for block, head in each], axis=0) for each in heads]
            found.append(
                [best_window(curve, hearing.span, event.span.duration)[0].covers(event.span) for curve in curves]
            )
    return list(np.mean(found, axis=0))


@pytest.mark.parametrize("read", ["share", "difference"])
def test_the_heads_that_locate_best_are_chosen(one_model: AudioLM, read: Any) -> None:
    start = replace(STEERED, read=read)
    chosen = select_heads(one_model, NAMES, start, 2, count=(5, 1, 3))
    pairs = [(block, head) for block in (2, 3) for head in range(4)]  # after the steered block
    single = dict(zip(pairs, overlaps_of_heads(one_model, start, [[pair] for pair in pairs]), strict=True))
    assert len(set(single.values())) > 2
    ranking = tuple(sorted(pairs, key=lambda pair: -single[pair]))
    sets = [ranking[:count] for count in (1, 3, 5)]
    reached = dict(zip(sets, overlaps_of_heads(one_model, start, sets), strict=True))
    assert chosen.read_heads in sets
    best = max(reached.values())
    assert reached[chosen.read_heads] == pytest.approx(best, abs=1e-6)
    assert overlaps(one_model, steering_heads, chosen) == pytest.approx(best, abs=1e-6)  # as a benchmark measures it
    heads = {"scenes": 2, "seed": 1000, "candidates": 8, "overlap": pytest.approx(best, abs=1e-4)}
    assert chosen.chosen_on["heads"] == heads


def test_only_the_heads_change_and_their_classes_are_kept_out_of_tests(one_model: AudioLM, tmp_path: Any) -> None:
    chosen = select_heads(one_model, NAMES, STEERED, 1)
    assert replace(chosen, read_heads=None, chosen_on=STEERED.chosen_on) == STEERED
    assert chosen.development_events == ("knock", *NAMES)
    assert chosen.chosen_on["overlap"] == 0.5
    chosen.save(tmp_path / "settings.json")
    assert Settings.load(tmp_path / "settings.json") == chosen
    assert select_heads(one_model, NAMES, chosen, 1) == chosen  # what was chosen before has no say


def test_tuning_forgets_heads_chosen_for_other_blocks(tuned: Tuned) -> None:
    assert tuned.settings.read_heads is None  # it started with some


@pytest.mark.parametrize(
    ("settings_", "options", "message"),
    [
        (STEERED, {"scenes": 0}, "scenes is 0"),
        (STEERED, {"count": ()}, r"count \[\]"),
        (STEERED, {"count": (0, 1)}, "at least one and at most"),
        (STEERED, {"count": (9,)}, "8 heads lie after the first steered block"),
        (replace(STEERED, blocks=(-1,)), {}, "0 heads lie after the first steered block"),
        (STEERED, {"names": ("bell", "siren")}, "distinct"),
    ],
)
def test_heads_that_cannot_be_chosen_are_refused_before_any_work(
    settings_: Settings, options: dict[str, Any], message: str, one_model: AudioLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "Hearing", no_work)
    with pytest.raises(ValueError, match=message):
        select_heads(one_model, **{"names": NAMES, "settings": settings_, "scenes": 1, **options})
