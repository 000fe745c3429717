"""Swaps: whose vector steered which answer, what counts as speaking of an event, and summaries with known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tinies import FIVE, knowing_five

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.steering import Injection
from steer_utils.methods.settings import PAPER
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval
from steer_utils.study.benchmark import SceneSet, scene_set
from steer_utils.study.causality import SWAPS, _spoken, swap_summary, swap_table

OWN = replace(PAPER, question="How many sounds are there?", blocks=(0, 1), strength=3.0, chosen_on={"events": []})
ASKED = "What do you hear?"


@pytest.fixture
def lm(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return knowing_five(tiny_models["qwen2_audio"])


@pytest.fixture
def scenes(lm: AudioLM) -> SceneSet:
    return scene_set(lm, OWN, count=2, seed=4)


@pytest.mark.parametrize("steer_answer", [False, True])
def test_each_answer_is_the_one_of_its_vector(lm: AudioLM, scenes: SceneSet, steer_answer: bool) -> None:
    table = swap_table(lm, scenes, OWN, question=ASKED, steer_answer=steer_answer, max_new_tokens=4)
    assert len(table) == 2 * 3 * 5 and list(dict.fromkeys(table["condition"])) == list(SWAPS)
    scene = scenes.maker.scene(0, 4)
    hearing = Hearing(lm, scene.samples)
    said = table[table["scene"] == 0].set_index(["event", "condition"])["answer"]
    steered = {}
    for event in scene.names:
        vector = hearing.contrast(f"Focus on the {event}.", OWN.negative, prompt=ASKED).select((0, 1))
        if steer_answer:
            steered[event] = hearing.answer(ASKED, steer=vector, strength=3.0, max_new_tokens=4)
        else:  # the slot of the last prompt token, counted without padding
            last = len(lm.tokens(ASKED).head) + hearing.span.count - 1 + len(lm.tokens(ASKED).tail) - 1
            injection = Injection(vector, 3.0, [last])
            steered[event] = hearing.answer(ASKED, steer=injection, max_new_tokens=4)
            read = hearing.read(ASKED, steer=injection).logits
            np.testing.assert_allclose(read, hearing.read(ASKED, steer=vector, strength=3.0).logits, atol=1e-4)
        assert said[event, "prompting"] == hearing.answer(f"Focus on the {event}. {ASKED}", max_new_tokens=4)
    for event, following in zip(scene.names, (*scene.names[1:], scene.names[0]), strict=True):
        assert said[event, "steering"] == steered[event]
        assert said[event, "swapped"] == steered[following] == said[following, "steering"]
        assert said[event, "unsteered"] == hearing.answer(ASKED, max_new_tokens=4)
    assert len({*steered.values(), said.iloc[0]}) > 1  # the vectors do something


def test_a_scene_of_one_event_has_nothing_to_swap_with(lm: AudioLM) -> None:
    maker = SceneMaker(FIVE, seconds=4.0, events=(1, 1))
    table = swap_table(lm, SceneSet(maker, 1, 0), OWN, max_new_tokens=2)
    assert list(table["condition"]) == [name for name in SWAPS if name != "swapped"]
    assert set(swap_summary(table)["against"]) == {"", "unsteered"}


def test_runs_resume_and_are_told_apart(lm: AudioLM, scenes: SceneSet, tmp_path: Path) -> None:
    resume_file = tmp_path / "run"
    whole = swap_table(lm, scenes, OWN, max_new_tokens=2, resume_file=resume_file)
    facts, first, _ = resume_file.read_text().splitlines(keepends=True)
    resume_file.write_text(facts + first.replace('"slot": "first"', '"slot": "elsewhere"'))
    resumed = swap_table(lm, scenes, OWN, max_new_tokens=2, resume_file=resume_file)
    assert set(resumed.loc[resumed["scene"] == 0, "slot"]) == {"elsewhere", "middle", "last"}
    pd.testing.assert_frame_equal(resumed[resumed["scene"] == 1], whole[whole["scene"] == 1], check_exact=True)
    assert "elsewhere" not in set(swap_table(lm, scenes, OWN, max_new_tokens=3, resume_file=resume_file)["slot"])


# What counts -----------------------------------------------------------------------------------------------------


def events(*loudness: str | None) -> list[Event]:
    named = zip(("bird", "bell", "rain"), loudness, strict=True)
    return [Event(name, Interval(place, place + 1), None, loud) for place, (name, loud) in enumerate(named)]


@pytest.mark.parametrize(
    ("answer", "slot", "expected"),
    [
        ("bird, bell, rain", 0, (True, False, True, False)),
        ("bird, bell, rain", 1, (True, False, False, False)),
        ("quiet high bell", 1, (True, True, True, True)),
        ("loud quiet bell", 1, (True, True, True, False)),
        ("loud bells, rain", 1, (True, False, True, False)),
        ("rain", 1, (False, False, False, False)),
    ],
)
def test_speaking_of_an_event(answer: str, slot: int, expected: tuple[bool, ...]) -> None:
    assert tuple(_spoken(answer, slot, events("loud", "quiet", "loud")).values()) == expected


def test_loudness_tells_only_where_it_differs() -> None:
    two_loud = events("loud", "loud", "quiet")
    assert [_spoken("loud", slot, two_loud)["loudness"] for slot in range(3)] == [None, True, False]
    assert _spoken("loud", 0, events(None, "quiet", "loud"))["loudness"] is None
    assert _spoken("loud bird", 0, events("loud", "loud", "loud")[:1])["loudness"] is None


def known(scenes: int = 12) -> pd.DataFrame:
    """Steering names the first event of each scene alone, a swapped vector never does; unsteered answers name all."""
    rows = []
    for scene in range(scenes):
        for place, event in enumerate(("bell", "rain")):
            for condition in SWAPS:
                alone = condition == "prompting" or (condition == "steering" and place == 0)
                rows.append({"scene": scene, "event": event, "condition": condition, "named": condition != "swapped",
                             "only": alone, "first": alone, "loudness": alone if scene % 2 else None})  # fmt: skip
    return pd.DataFrame(rows)


def test_summary_of_known_answers() -> None:
    rows = swap_summary(known().sample(frac=1, random_state=0))
    rows = rows.set_index(["measure", "condition", "against"]).sort_index()
    assert rows.loc[("only", "steering", ""), "mean"] == 0.5 and rows.loc[("only", "prompting", ""), "mean"] == 1.0
    gap = rows.loc[("only", "steering", "swapped")]
    assert [gap["mean"], gap["low"], gap["high"]] == [0.5] * 3 and gap["p"] == pytest.approx(2 / 2**12)
    assert rows.loc[("named", "steering", "unsteered"), ["mean", "p"]].to_list() == [0.0, 1.0]
    assert rows.loc[("named", "random vector", "swapped"), "mean"] == 1.0
    assert set(rows.loc["named", "n"]) == {24} and set(rows.loc["loudness", "n"]) == {12}
    assert set(rows.loc["loudness", "scenes"]) == {6}
    assert not {("only", "unsteered", "swapped"), ("only", "swapped", "unsteered")} & set(rows.index)
    silent = known().assign(loudness=None)
    assert "loudness" not in set(swap_summary(silent)["measure"])
    with pytest.raises(ValueError, match="no rows to sum up"):
        swap_summary(known(0))
