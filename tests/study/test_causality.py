"""Occlusion and swap: each row against answers made by hand, summaries with known answers, resuming."""

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
from steer_utils.methods.asking import presence_probability
from steer_utils.methods.base import Localisation
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.table import METHODS
from steer_utils.sound.masking import occluded
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval
from steer_utils.study import causality
from steer_utils.study.benchmark import SceneSet, query_in, scene_set
from steer_utils.study.causality import (
    SWAPS,
    _spoken,
    mention,
    occlusion_summary,
    occlusion_table,
    swap_summary,
    swap_table,
)
from steer_utils.study.statistics import cluster_mean, sign_flip

# -- occlusion -------------------------------------------------------------------------------------------------------
OWN = replace(PAPER, blocks=(0, 1), chosen_on={"events": []})


@pytest.fixture
def lm(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return knowing_five(tiny_models["qwen2_audio"])


@pytest.fixture
def scenes(lm: AudioLM) -> SceneSet:
    return scene_set(lm, OWN, count=2, seed=4)


def test_rows_hold_what_is_said_of_the_audio_and_of_the_rest(lm: AudioLM) -> None:
    scenes = scene_set(lm, OWN, count=1, seed=4)
    table = occlusion_table(lm, scenes, OWN, method="loudest", max_new_tokens=3)
    assert {"method": "loudest", "fill": "noise", "max_new_tokens": 3}.items() <= table.attrs.items()  # told apart by
    assert len(table) == 9 and list(table["window"]) == ["found", "random", "true"] * 3
    scene = scenes.maker.scene(0, 4)
    hearing, event, query = Hearing(lm, scene.samples), scene.events[1], query_in(scene, 1, 4)
    found = METHODS["loudest"].find(hearing, query, OWN).interval
    assert found is not None
    own = table[table["event"] == event.name].set_index("window")
    assert set(own["slot"]) == {"middle"}
    assert own.loc["found", ["start", "end"]].to_list() == pytest.approx([found.start, min(found.end, scene.duration)])
    assert own.loc["true", ["start", "end"]].to_list() == [event.span.start, event.span.end]
    assert own.loc["true", "hit"] == 1.0 and own.loc["found", "hit"] == pytest.approx(found.covers(event.span))
    random = Interval(*own.loc["random", ["start", "end"]])
    room = max(found.start, scene.duration - found.end) >= found.duration
    assert random.duration == pytest.approx(own.loc["found", "end"] - own.loc["found", "start"])
    assert random.intersection(found) < 1e-9 or not room
    assert set(own["presence_before"]) == {presence_probability(hearing, event.name, OWN)}
    rest = Hearing(lm, occluded(scene.samples, scene.rate, event.span, seed=query.seed))
    assert own.loc["true", "presence_after"] == pytest.approx(presence_probability(rest, event.name, OWN), abs=1e-6)
    focused = f"Focus on the {event.name}. {OWN.question}"
    assert own.loc["true", "description_after"] == rest.answer(focused, max_new_tokens=3)
    assert own.loc["true", "listing_after"] == rest.answer(OWN.question, max_new_tokens=3)
    assert set(own["listing_before"]) == {hearing.answer(OWN.question, max_new_tokens=3)}
    for row in table.itertuples():
        assert row.changed == (row.description_before != row.description_after)
        assert row.listed_after == (mention(row.listing_after, row.event) is not None)


class Rigged:
    """A listener that hears the sound exactly where it is: presence is what is left of the event's energy."""

    def __init__(self, scenes: SceneSet) -> None:
        self.made = [scenes.maker.scene(index, scenes.seed) for index in range(scenes.count)]

    def __call__(self, hearing: Hearing, event: str, settings: Settings) -> float:
        scene = max(self.made, key=lambda each: np.mean(each.samples == hearing.samples))
        span = scene.event(event).span
        inside = slice(round(span.start * scene.rate), round(span.end * scene.rate))
        return float((hearing.samples[inside] ** 2).sum() / (scene.samples[inside] ** 2).sum())


def test_a_listener_that_hears_the_event_is_seen_to(
    lm: AudioLM, scenes: SceneSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causality, "presence_probability", Rigged(scenes))
    monkeypatch.setattr(Hearing, "answers", lambda self, rows, **_: ["a sound"] * len(rows))
    table = occlusion_table(lm, scenes, OWN, method="random")
    true = table[table["window"] == "true"]
    assert (true["presence_before"] == 1.0).all() and (true["presence_after"] < 0.2).all()  # noise and fades are left
    missed = table[table["hit"] == 0.0]
    assert len(missed) and (missed["presence_after"] == 1.0).all()


def test_nothing_drops_where_nothing_is_silenced(
    lm: AudioLM, scenes: SceneSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causality, "occluded", lambda samples, *_, **__: samples)
    table = occlusion_table(lm, scenes, OWN, method="random", max_new_tokens=2)
    rows = occlusion_summary(table).set_index(["measure", "window"])
    assert not rows["drop"].any() and not rows[["low", "high"]].any().any()
    assert rows.loc["presence", "p"].eq(1.0).all()


def test_a_query_in_which_nothing_is_found_has_no_rows(
    lm: AudioLM, scenes: SceneSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "asking", replace(METHODS["asking"], find=lambda *_: Localisation(None, 0.0)))
    table = occlusion_table(lm, scenes, OWN, method="asking")
    assert table.empty
    with pytest.raises(ValueError, match="no rows to sum up"):
        occlusion_summary(table)


def test_methods_and_fills_are_checked_before_any_work(lm: AudioLM, scenes: SceneSet, tmp_path: Path) -> None:
    resume_file = tmp_path / "run"
    with pytest.raises(ValueError, match="unknown method 'stearing'"):
        occlusion_table(lm, scenes, OWN, method="stearing", resume_file=resume_file)
    with pytest.raises(ValueError, match="'position' needs the curves of other scenes"):
        occlusion_table(lm, scenes, OWN, method="position", resume_file=resume_file)
    with pytest.raises(ValueError, match="pass one of noise, silence"):
        occlusion_table(lm, scenes, OWN, fill="music", resume_file=resume_file)  # type: ignore[arg-type]
    assert not resume_file.exists()


def test_summary_of_known_drops() -> None:
    """Found windows take 0.6 of presence on average, random ones 0.1; half of the found listings lose the event."""
    rng, rows = np.random.default_rng(0), []
    for scene in range(12):
        for place, event in enumerate(("bell", "rain")):
            noise = 0.02 * rng.normal()
            for window, drop in (("found", 0.6), ("random", 0.1), ("true", 0.8)):
                rows.append(
                    {
                        "scene": scene,
                        "event": event,
                        "window": window,
                        "presence_before": 0.9,
                        "presence_after": 0.9 - drop - noise,
                        "listed_before": True,
                        "listed_after": window == "random" or (window == "found" and place == 0),
                        "changed": window == "true",
                    }
                )
    table = pd.DataFrame(rows)
    found = occlusion_summary(table.sample(frac=1, random_state=0)).set_index(["measure", "window"])
    assert len(found) == 15 and set(found["n"]) == {24} and set(found["scenes"]) == {12}
    own = table[table["window"] == "found"]
    drops, scenes = (own["presence_before"] - own["presence_after"]).to_numpy(), own["scene"].to_numpy()
    expected = cluster_mean(drops, scenes)
    row = found.loc[("presence", "found")]
    assert [row["drop"], row["low"], row["high"]] == pytest.approx([expected.mean, expected.low, expected.high])
    assert row["p"] == pytest.approx(sign_flip(drops, 0 * drops, scenes))
    assert (row["before"], row["after"]) == pytest.approx((0.9, 0.9 - drops.mean()))
    gap = found.loc[("presence", "found - random")]
    assert [gap["drop"], gap["low"], gap["high"]] == pytest.approx([0.5] * 3) and gap["p"] < 0.001
    assert found.loc[("listed", "found"), "drop"] == 0.5 and found.loc[("listed", "random"), "drop"] == 0.0
    assert found.loc[("changed", "true"), "drop"] == 1.0 and np.isnan(found.loc[("changed", "true"), "p"])
    assert found.loc[("changed", "true - random"), "p"] < 0.001


# -- swap ------------------------------------------------------------------------------------------------------------
STEERED = replace(OWN, question="How many sounds are there?", strength=3.0)
ASKED = "What do you hear?"


@pytest.mark.parametrize("steer_answer", [False, True])
def test_each_answer_is_the_one_of_its_vector(lm: AudioLM, scenes: SceneSet, steer_answer: bool) -> None:
    table = swap_table(lm, scenes, STEERED, question=ASKED, steer_answer=steer_answer, max_new_tokens=4)
    assert {"steer_answer": steer_answer, "max_new_tokens": 4}.items() <= table.attrs.items()
    assert len(table) == 2 * 3 * 5 and list(dict.fromkeys(table["condition"])) == list(SWAPS)
    scene = scenes.maker.scene(0, 4)
    hearing = Hearing(lm, scene.samples)
    said = table[table["scene"] == 0].set_index(["event", "condition"])["answer"]
    steered = {}
    for event in scene.names:
        vector = hearing.contrast(f"Focus on the {event}.", STEERED.negative, prompt=ASKED).select((0, 1))
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
    table = swap_table(lm, SceneSet(maker, 1, 0), STEERED, max_new_tokens=2)
    assert list(table["condition"]) == [name for name in SWAPS if name != "swapped"]
    assert set(swap_summary(table)["against"]) == {"", "unsteered"}


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
                rows.append(
                    {
                        "scene": scene,
                        "event": event,
                        "condition": condition,
                        "named": condition != "swapped",
                        "only": alone,
                        "first": alone,
                        "loudness": alone if scene % 2 else None,
                    }
                )
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


# -- answers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answer", "event", "place"),
    [
        ("A dog is barking loudly.", "dog bark", 2),
        ("bird, bell, rain", "bell", 6),
        ("Rain and a bell", "rain", 0),
        ("a hot dog", "dog bark", None),
        ("a train", "rain", None),
        ("", "rain", None),
        ("c++ (loud)", "c++", 0),
        ("bark of a dog", "dog bark", 0),
    ],
)
def test_an_answer_names_an_event(answer: str, event: str, place: int | None) -> None:
    assert mention(answer, event) == place
