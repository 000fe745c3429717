"""Harder scenes: what is asked, how it is scored by hand-made oracles, and that windows are `locate`'s own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tinies import FIVE, knowing_five

from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query
from steer_utils.methods.locate import locate
from steer_utils.methods.settings import Settings
from steer_utils.sound.conditions import CONDITIONS, PLAIN
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.spans import AudioSpan, Interval
from steer_utils.study import harder_scenes
from steer_utils.study.benchmark import SceneSet, run_benchmark, scene_set
from steer_utils.study.harder_scenes import (
    FOUND,
    MAIN,
    YES_OR_NO,
    Asked,
    asked_in,
    harder_summary,
    harder_table,
    limits,
)
from steer_utils.study.statistics import random_overlap

SETTINGS = Settings(blocks=(0, 1), strength=3.0, chosen_on={"events": []})
SOME = ("steering", "loudest", "asking")


@pytest.fixture(scope="module")
def lm(one_model: AudioLM) -> AudioLM:
    return knowing_five(one_model)


@pytest.fixture(scope="module")
def scenes(lm: AudioLM) -> SceneSet:
    return scene_set(lm, SETTINGS, count=2, seed=3)


@pytest.fixture(scope="module")
def table(lm: AudioLM, scenes: SceneSet) -> pd.DataFrame:
    return harder_table(lm, scenes, SETTINGS, conditions=[PLAIN, "twice", "20 s", "under 10 %"], methods=SOME)


def scene(*events: tuple[str, float, float]) -> Scene:
    made = tuple(Event(name, Interval(start, end)) for name, start, end in events)
    return Scene(np.zeros(16_000 * 8, dtype=np.float32), 16_000, made, 0, 0)


# What is asked ---------------------------------------------------------------------------------------------------


def test_each_sound_is_asked_for_once_and_one_that_is_not_there() -> None:
    asked = asked_in(scene(("bell", 1, 2), ("rain", 3, 5)), ("bell", "rain", "siren"), seed=4)
    assert [(one.query.event, one.slot, len(one.truths)) for one in asked] == [
        ("bell", "first", 1),
        ("rain", "last", 1),
        ("siren", "none", 0),
    ]
    assert [one.query.seconds for one in asked] == [1.0, 2.0, 1.5]  # of the absent one: the mean of the others
    assert asked_in(scene(("bell", 1, 2)), ("bell",), seed=4)[0].truths == (Interval(1, 2),)


def test_of_a_doubled_class_only_that_is_asked_for_with_the_mean_width() -> None:
    asked = asked_in(scene(("bell", 1, 2), ("rain", 3, 5), ("bell", 6, 7.5)), ("bell", "rain", "siren"), seed=4)
    assert [one.query.event for one in asked] == ["bell", "siren"]
    assert asked[0].truths == (Interval(1, 2), Interval(6, 7.5)) and asked[0].query.seconds == 1.25


# How it is scored ------------------------------------------------------------------------------------------------

ONE = Asked(Query("bell", 2.0), "first", (Interval(3, 5),))
TWO = Asked(Query("bell", 1.0), "both", (Interval(1, 2), Interval(4, 5)))


@pytest.mark.parametrize(
    ("window", "overlap", "which"),
    [
        (Interval(1.0, 2.0), 1.0, "first"),
        (Interval(4.4, 5.4), 0.6, "second"),
        (Interval(4.6, 5.6), 0.4, "neither"),
        (Interval(2.5, 3.5), 0.0, "neither"),
        (Interval(1.5, 4.5), 1.0, "first"),
        (None, 0.0, "neither"),
    ],
)
def test_of_two_events_one_is_found_when_half_of_it_is_covered(
    window: Interval | None, overlap: float, which: str
) -> None:
    assert TWO.overlap(window) == pytest.approx(overlap) and TWO.which(window) == which


def test_overlap_of_one_event_is_the_papers() -> None:
    for window in (Interval(3, 5), Interval(4, 6), Interval(0, 2)):
        assert ONE.overlap(window) == pytest.approx(window.covers(Interval(3, 5)))
    assert ONE.overlap(None) == ONE.iou(None) == 0.0


def test_chance_is_the_mean_over_all_windows() -> None:
    span = AudioSpan(0, 200, 0.04)
    assert ONE.chance(span) == pytest.approx(random_overlap(Interval(3, 5), span, 2.0))
    windows = [span.interval(first, first + 25) for first in range(200 - 25 + 1)]
    assert TWO.chance(span) == pytest.approx(np.mean([TWO.overlap(window) for window in windows]))


# The table -------------------------------------------------------------------------------------------------------


def test_plain_scenes_are_scored_as_the_benchmark_scores_them(
    table: pd.DataFrame, lm: AudioLM, scenes: SceneSet
) -> None:
    ours = table[table["condition"].eq(PLAIN) & table["there"] & table["method"].ne(YES_OR_NO)]
    theirs = run_benchmark(lm, scenes, SETTINGS, methods=SOME)
    both = ours.merge(theirs, on=["scene", "event", "method"], suffixes=("", "_benchmark"))
    assert len(both) == len(theirs) == len(ours)
    for column in ("overlap", "iou", "chance"):
        assert both[column].to_numpy() == pytest.approx(both[f"{column}_benchmark"].to_numpy())


def test_long_audio_is_heard_as_locate_hears_it(table: pd.DataFrame, lm: AudioLM, scenes: SceneSet) -> None:
    assert lm.window_seconds < 20.0
    scene = CONDITIONS["20 s"].maker(scenes.maker).scene(1, scenes.seed)
    rows = table[table["condition"].eq("20 s") & table["scene"].eq(1) & table["method"].eq("steering")]
    for row in rows[rows["there"]].to_dict("records"):
        truth = scene.event(row["event"]).span
        located = locate(
            lm, scene.samples, row["event"], seconds=truth.duration, sampling_rate=scene.rate, settings=SETTINGS
        )
        assert row["overlap"] == pytest.approx(located.interval.covers(truth), abs=1e-6)
        assert row["score"] == pytest.approx(located.score, abs=1e-4)
        assert row["heard"] == pytest.approx(located.window.covers(truth))
        free = locate(lm, scene.samples, row["event"], sampling_rate=scene.rate, settings=SETTINGS)
        assert row["free_iou"] == pytest.approx(free.interval.iou(truth), abs=1e-6)
    assert rows["there"].sum() == 3 and (~rows["there"]).sum() == 1


def test_sounds_that_are_not_there_have_a_score_and_no_place(table: pd.DataFrame) -> None:
    absent = table[~table["there"]]
    assert absent[["overlap", "iou", "free_iou", "chance", "heard"]].isna().all(axis=None)
    assert np.isfinite(table["score"]).all()
    assert set(table.loc[table["which"].notna(), "condition"]) == {"twice"}


def test_what_cannot_be_made_or_found_is_refused_or_left_out(
    lm: AudioLM, scenes: SceneSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(scenes, maker=SceneMaker(FIVE[:3], seconds=4.0), count=1)
    monkeypatch.setattr(harder_scenes, "CONDITIONS", {name: CONDITIONS[name] for name in (PLAIN, "4 brief events")})
    assert harder_table(lm, few, SETTINGS, methods=("loudest",)).attrs["left_out"] == ["4 brief events"]
    with pytest.raises(ValueError, match="6 brief events: the names in a scene are distinct, and there are 3"):
        harder_table(lm, few, SETTINGS, conditions=["6 brief events"])
    with pytest.raises(ValueError, match="no scenes called 'loud'"):
        harder_table(lm, scenes, SETTINGS, conditions=["loud"])
    with pytest.raises(ValueError, match="no conditions"):
        harder_table(lm, scenes, SETTINGS, conditions=[])
    with pytest.raises(ValueError, match="unknown method 'magic'"):
        harder_table(lm, scenes, SETTINGS, methods=("magic",))
    served = harder_table(lm, few, SETTINGS, conditions=[PLAIN], methods=("loudest", "steering-heads"))
    assert served.attrs["methods"] == ["loudest"]  # no heads were chosen


# The summary -----------------------------------------------------------------------------------------------------


def hand_made() -> pd.DataFrame:
    rows = []
    for index in range(4):
        for method, overlap, score in ((MAIN, 0.8, 2.0 + index), ("loudest", 0.5, 1.0), (YES_OR_NO, None, 3.0)):
            placed = {"overlap": overlap, "iou": 0.5, "free_iou": 0.25, "chance": 0.2, "heard": 1.0}
            names = {"condition": "twice", "scene": index, "method": method, "slot": "both"}
            rows.append({**names, "event": "bell", "there": True, "score": score, "which": FOUND[index % 2], **placed})
            absent = dict.fromkeys(placed)
            low = 1.0 if method == MAIN else score - 1.0 if method == YES_OR_NO else 1.0
            rows.append({**names, "event": "rain", "there": False, "score": low, "which": None, **absent})
    return pd.DataFrame(rows).astype(dict.fromkeys(("overlap", "iou", "free_iou", "chance", "heard"), float))


def test_the_summary_of_a_hand_made_table() -> None:
    summary = harder_summary(hand_made()).set_index("method")
    assert list(summary.index) == ["steering", "loudest", YES_OR_NO]
    ours, loudest, asked = (summary.loc[name] for name in summary.index)
    assert (ours["overlap"], ours["chance"], ours["n"], ours["scenes"]) == (0.8, 0.2, 4, 4)
    assert loudest["more"] == pytest.approx(0.3) and np.isnan(ours["more"]) and np.isnan(asked["overlap"])
    assert ours["area"] == 1.0 and loudest["area"] == 0.5 and asked["area"] == 1.0
    assert (ours["first"], ours["second"], ours["neither"]) == (0.5, 0.5, 0.0)
    with pytest.raises(ValueError, match="empty"):
        harder_summary(hand_made().iloc[:0])


def test_limits_are_told_and_none_is_made_up(table: pd.DataFrame) -> None:
    told = " ".join(limits(harder_summary(table)))
    for word in ("Of plain scenes steering finds", "width", "not there", "twice"):
        assert word in told
    assert "Of plain scenes" not in " ".join(limits(harder_summary(hand_made())))  # there were none
    json.dumps(told)
