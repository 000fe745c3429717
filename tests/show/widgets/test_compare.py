"""Comparing methods: each is the method itself, mistakes come before any runs, and the figure says it in words too."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pictures import assert_good, drawn_texts

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query
from steer_utils.methods.locate import UnknownEventError
from steer_utils.methods.settings import PAPER
from steer_utils.methods.table import METHODS, label_of
from steer_utils.show.widgets.compare import COMPARED, CompareView, alt_text_comparison, compare, comparison_figure
from steer_utils.show.widgets.intake import scene_sound
from steer_utils.sound.audio import AudioError
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.spans import Interval
from steer_utils.study.statistics import random_overlap

OURS = replace(PAPER, strength=4.0, blocks=(0, 1), read_blocks=(2, 3), read_heads=((1, 2), (3, 0)))
EVENTS = (Event("bell", Interval(0.1, 0.6)), Event("dog bark", Interval(1.0, 1.8)))
QUERY = Query("dog bark", 0.8, seed=3, others=("bell",))


@pytest.fixture
def hearing(one_model: AudioLM, samples: np.ndarray) -> Hearing:
    return one_model.hear(samples, sampling_rate=16_000)


def test_each_row_is_the_method_itself(hearing: Hearing) -> None:
    compared = compare(hearing, QUERY, OURS, events=EVENTS)
    assert [row.method for row in compared.rows] == [name for name in METHODS if name in COMPARED]
    chance = random_overlap(EVENTS[1].span, hearing.span, 0.8)
    for row in compared.rows:
        find = METHODS[row.method].find
        assert find is not None
        found = find(hearing, QUERY, OURS)
        assert row.found.interval == found.interval and row.chance == chance and row.took > 0
        assert row.overlap == (0.0 if found.interval is None else found.interval.covers(EVENTS[1].span))
        assert row.label == label_of(row.method)
    assert compared.truth == EVENTS[1].span and compared.query == QUERY


def test_the_table(hearing: Hearing) -> None:
    table = compare(hearing, QUERY, OURS, methods=["asking", "steering", "loudest"], events=EVENTS).table()
    assert list(table["method"]) == ["steering", "asking", "loudest"]
    assert list(table) == ["method", "label", "start", "end", "overlap", "chance", "seconds", "answer"]
    assert (table["seconds"] > 0).all() and table["overlap"].between(0, 1).all()
    asked = table.iloc[1]
    assert math.isnan(asked["start"]) and asked["answer"]  # an untrained model names no time
    unknown = compare(hearing, QUERY, OURS, methods=["loudest"]).table()
    assert unknown["overlap"].isna().all() and unknown["chance"].isna().all()


@pytest.mark.parametrize(
    ("query", "settings", "methods", "says"),
    [
        (QUERY, OURS, ["steering", "magic"], "unknown method 'magic'"),
        (QUERY, OURS, [], "methods is empty"),
        (QUERY, OURS, ["loudest", "loudest"], "each name at most once"),
        (QUERY, OURS, ["position"], "needs the curves of other scenes"),
        (QUERY, PAPER, ["steering-heads"], "needs settings with read_heads"),
        (replace(QUERY, others=()), OURS, ["swapped"], "needs a query that names the other events"),
    ],
)
def test_mistakes_come_before_any_method_runs(
    hearing: Hearing, query: Query, settings: Any, methods: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "read_rows", lambda *_, **__: pytest.fail("a method ran"))
    with pytest.raises(ValueError, match=says):
        compare(hearing, query, settings, methods=methods, events=EVENTS)


def test_swapped_runs_where_there_are_others(hearing: Hearing) -> None:
    row = compare(hearing, QUERY, OURS, methods=["swapped"]).rows[0]
    assert row.found.interval == METHODS["swapped"].find(hearing, QUERY, OURS).interval  # type: ignore[misc]
    assert "steering-heads" not in [row.method for row in compare(hearing, QUERY, PAPER).rows]


def test_what_the_player_gets(hearing: Hearing) -> None:
    compared = compare(hearing, QUERY, OURS, methods=["steering", "asking", "random"], events=EVENTS)
    shown = compared.listening("steering")
    np.testing.assert_allclose(shown.curve(), compared.row("steering").found.curve, atol=1e-7)
    assert shown.located == compared.row("steering").found.interval and shown.truth == EVENTS[1].span
    asked = compared.listening("asking")
    assert asked.curves == {} and asked.located is None and list(asked.answers.values())
    assert compared.listening("random").located is not None
    with pytest.raises(ValueError, match="'loudest' was not compared; there are: steering, asking, random"):
        compared.row("loudest")


def test_the_figure_and_its_words(hearing: Hearing) -> None:
    compared = compare(hearing, QUERY, OURS, events=EVENTS)
    assert_good(lambda: comparison_figure(compared))
    drawn = [text for text, _ in drawn_texts(comparison_figure(compared))]
    words = alt_text_comparison(compared)
    for row in compared.rows:
        assert row.label in drawn and f"{row.label} {row.where()} (overlap {100 * row.overlap:.0f} %)" in words
    assert "dog bark, true" in drawn and "bell" in drawn and "no time" in drawn
    assert words.startswith("The dog bark in 2.0 s of sound, truly at 1.00-1.80 s, by method: ")
    unknown = compare(hearing, QUERY, OURS, methods=["steering", "random"])
    assert "overlap" not in alt_text_comparison(unknown)
    assert "overlap" not in [text for text, _ in drawn_texts(comparison_figure(unknown))]


# -- the view -----------------------------------------------------------------------------------------------------
VIEWED = replace(PAPER, strength=4.0, blocks=(0, 1), read_blocks=(2, 3))
PICKED = ("steering", "asking", "loudest")


@pytest.fixture
def scene(five: AudioLM) -> Scene:
    return SceneMaker(five.events or (), seconds=4.0).scene(1, 0)


@pytest.fixture
def make(closed: Callable[[Any], Any]) -> Callable[..., CompareView]:
    return lambda *args, **options: closed(CompareView(*args, **{"settings": VIEWED, "methods": PICKED, **options}))


def test_what_is_picked_is_what_is_shown(five: AudioLM, scene: Scene, make: Callable[..., CompareView]) -> None:
    view = make(five, scene)
    assert [value for _, value in view.method.options] == list(PICKED)
    for name in PICKED:
        view.method.value = name
        assert view.player.located == view.compared.row(name).found.interval
        assert view.player.listening.title == f"{scene.names[0]}, {view.compared.row(name).label}"
        assert view.compared.row(name).label in view._table.value
    assert f"truly at {scene.events[0].span}" in view._table.value and view.status.text.startswith("took")


def test_another_query_is_compared_and_the_method_stays(
    five: AudioLM, scene: Scene, make: Callable[..., CompareView]
) -> None:
    view = make(five, scene_sound(scene))
    view.method.value = "loudest"
    view.query.value = scene.names[2]
    assert view.wait(20) and view.compared.query.event == scene.names[2]
    assert view.compared.query.others == scene.names[:2] and view.compared.truth == scene.events[2].span
    assert view.compared.query.seconds == scene.events[2].span.duration
    assert view.method.value == "loudest" and view.player.listening.truth == scene.events[2].span
    assert view._busy.value == "" and scene.names[2] in view._table.value


def test_without_a_truth(five: AudioLM, samples: np.ndarray, make: Callable[..., CompareView]) -> None:
    view = make(five, samples, sampling_rate=16_000, query="Bell", seconds=0.6)
    assert view.compared.query.event == "bell" and view.compared.query.seconds == 0.6 and "–" in view._table.value
    assert make(five, samples, sampling_rate=16_000, query="bell").compared.query.seconds == 2.0
    with pytest.raises(ValueError, match="say what is sought"):
        make(five, samples, sampling_rate=16_000)
    with pytest.raises(UnknownEventError, match="does not know 'purple'"):
        make(five, samples, sampling_rate=16_000, query="purple")
    with pytest.raises(AudioError, match="pass sampling_rate"):
        make(five, samples, query="bell")


def test_its_twin_is_the_figure(
    five: AudioLM, scene: Scene, make: Callable[..., CompareView], displayed: list[tuple[dict[str, Any], Any]]
) -> None:
    view = make(five, scene)
    view._ipython_display_()
    shown = [data for data, _ in displayed]
    assert shown[0]["text/plain"] == f"Static twin. {view.alt_text()}" and "image/png" in shown[0]
    assert f"3 methods look for the {scene.names[0]}" in shown[1]["text/plain"] and "3 methods" in repr(view)
    assert view.twin().axes[0].get_xlim() == comparison_figure(view.compared).axes[0].get_xlim()
