"""Misses: the worst first, on what they landed, and scenes that are made again or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from pictures import assert_good
from tinies import FIVE

from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER
from steer_utils.show.widgets.misses import MissGallery, alt_text_misses, misses, misses_figure, scenes_of
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.spans import Interval
from steer_utils.study.benchmark import SceneSet, run_benchmark, scene_set
from steer_utils.study.report import read_table, write_table

METHODS = ("steering", "asking", "random", "loudest")
OURS = replace(PAPER, blocks=(0, 1), strength=4.0)


@pytest.fixture(scope="module")
def table(five: AudioLM) -> pd.DataFrame:
    """Six scenes of a run, as the benchmark makes it."""
    return run_benchmark(five, scene_set(five, OURS, count=6, seed=2), OURS, methods=METHODS)


def test_the_worst_come_first(table: pd.DataFrame) -> None:
    for method in METHODS:
        worst, rows = misses(table, method), table[table["method"] == method]
        assert len(worst) == int((rows["overlap"] < 0.5).sum()) > 0
        overlaps = [miss.overlap for miss in worst]
        assert overlaps == sorted(overlaps) and max(overlaps) < 0.5
        for miss in worst:
            row = rows[(rows["scene"] == miss.scene) & (rows["event"] == miss.event)].iloc[0]
            assert miss.truth == Interval(row["truth_start"], row["truth_end"]) and miss.overlap == row["overlap"]
            assert (miss.found is None) == bool(row["failed"]) and miss.event in dict(miss.events)
    assert len(misses(table, "steering", below=1.0)) >= len(misses(table, "steering", below=0.1))


def test_of_equal_overlaps_no_time_and_then_the_farthest(table: pd.DataFrame) -> None:
    worst = [miss for miss in misses(table, "random") if miss.overlap == 0]
    gaps = [abs(miss.found.center - miss.truth.center) for miss in worst if miss.found is not None]
    assert gaps == sorted(gaps, reverse=True) and len(gaps) > 1
    assert all(miss.found is None and "names no time" in miss.described() for miss in misses(table, "asking")[:1])


def test_where_a_window_landed(table: pd.DataFrame) -> None:
    for miss in misses(table, "random", below=1.0):
        assert miss.found is not None
        shared = {name: miss.found.intersection(span) for name, span in miss.events if name != miss.event}
        best = max(shared.values())
        assert miss.landed == "" if best == 0 else shared[miss.landed] == best
        place = f"on the {miss.landed}" if miss.landed else "on no other event"
        assert place in miss.described() and str(miss.found) in miss.described() and str(miss.truth) in miss.described()
    assert {bool(miss.landed) for miss in misses(table, "random", below=1.0)} == {True, False}


def test_harder_scenes_are_made_again(five: AudioLM) -> None:
    settings = replace(PAPER, blocks=(0, 1), chosen_on={"events": []})
    chosen = scene_set(five, settings, count=2, seed=3, condition="overlapping")
    again = scenes_of(run_benchmark(five, chosen, settings, methods=["random"]), five)
    assert again.condition == "overlapping" and again.maker.scene(1, 3).events == chosen.maker.scene(1, 3).events


def test_scenes_are_made_again(five: AudioLM, table: pd.DataFrame, tmp_path: Path) -> None:
    scenes = scenes_of(table, five)
    for miss in misses(table, "steering"):
        scene = miss.remade(scenes)
        assert scene.event(miss.event).span == miss.truth
        shown = miss.listening(scene)
        assert shown.located == miss.found and shown.truth == miss.truth and shown.title.startswith(miss.event)
        assert miss.curve is not None
        np.testing.assert_allclose(shown.curve(), miss.curve, atol=1e-7)
    write_table(table, tmp_path / "run.parquet")
    again = read_table(tmp_path / "run.parquet")
    assert [repr(miss) for miss in misses(again, "asking")] == [repr(miss) for miss in misses(table, "asking")]
    asked = misses(again, "asking")[0]
    assert asked.curve is None and asked.listening(asked.remade(scenes_of(again, five))).curves == {}


def with_attrs(table: pd.DataFrame, **changed: Any) -> pd.DataFrame:
    other = table.copy()
    other.attrs = {**table.attrs, **changed}
    return other


def test_a_table_of_another_kind_is_refused(table: pd.DataFrame) -> None:
    bare = table.copy()
    bare.attrs = {}
    for wrong, says in (
        (bare, "attrs do not say which scenes"),
        (with_attrs(table.drop(columns=["curve", "others"])), "lacks others, curve"),
        (with_attrs(table, analysis="shift"), "one of `analyse shift`"),
    ):
        with pytest.raises(ValueError, match=says):
            misses(wrong)
    with pytest.raises(ValueError, match="no method 'mavs'; it has: asking, loudest, random, steering"):
        misses(table, "mavs")
    with pytest.raises(ValueError, match=r"below is 1\.2"):
        misses(table, below=1.2)


def test_scenes_that_cannot_be_made_again_are_refused(five: AudioLM, table: pd.DataFrame, tmp_path: Path) -> None:
    facts = table.attrs["scenes"]
    recorded = with_attrs(table, scenes={**facts, "sounds": "20 recordings"})
    with pytest.raises(ValueError, match=r"made of 20 recordings; pass them as clips=ClipBank.read"):
        scenes_of(recorded, five)
    bank = clip_bank(tmp_path)
    with pytest.raises(ValueError, match="made of procedural sounds; pass no clips"):
        scenes_of(table, five, clips=bank)
    with pytest.raises(ValueError, match=r"cannot be made again with tiny: .*sounds was '20 recordings', now '5 rec"):
        scenes_of(recorded, five, clips=bank)
    with pytest.raises(ValueError, match=r"seconds was \[9.0, 9.0\], now \[4.0, 4.0\]"):
        scenes_of(with_attrs(table, scenes={**facts, "seconds": [9.0, 9.0]}), five)
    worst = misses(table, "random")[0]
    other = SceneSet(SceneMaker(FIVE, seconds=4.0, min_gap=0.05), 6, 2)
    with pytest.raises(ValueError, match=rf"scene {worst.scene} holds .* in the table, but .* when it is made again"):
        worst.remade(other)
    assert worst.remade(SceneSet(SceneMaker(FIVE, seconds=4.0), 6, 2)).names  # the same maker, made by hand


def clip_bank(folder: Path) -> ClipBank:
    rows = ["filename,category"]
    for place, name in enumerate(FIVE):
        tone = 0.5 * np.sin(2 * np.pi * 200 * (place + 1) * np.arange(32_000) / 16_000)
        soundfile.write(folder / f"{place}.wav", tone, 16_000)
        rows.append(f"{place}.wav,{name}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return ClipBank.read(folder)


def test_a_run_on_recordings_is_made_again_with_them(five: AudioLM, tmp_path: Path) -> None:
    bank = clip_bank(tmp_path)
    table = run_benchmark(five, scene_set(five, OURS, count=2, seed=0, clips=bank), OURS, methods=["random"])
    worst = misses(table, "random", below=1.0)
    scenes = scenes_of(table, five, clips=ClipBank.read(tmp_path))
    assert all(miss.remade(scenes).event(miss.event).source.endswith(".wav") for miss in worst)


def test_the_figure_and_its_words(five: AudioLM, table: pd.DataFrame) -> None:
    worst, scenes = misses(table, "asking")[:1] + misses(table, "random")[:2], scenes_of(table, five)
    assert_good(lambda: misses_figure(worst, scenes))
    words = alt_text_misses(worst)
    assert all(miss.described() in words for miss in worst) and words.startswith("Spectrograms of 3 misses.")
    with pytest.raises(ValueError, match="no misses to draw"):
        misses_figure([], scenes)


@pytest.fixture(scope="module")
def gallery_table(five: AudioLM) -> pd.DataFrame:
    return run_benchmark(five, scene_set(five, OURS, count=4, seed=1), OURS, methods=["steering", "asking", "random"])


@pytest.fixture
def make(closed: Callable[[Any], Any]) -> Callable[..., MissGallery]:
    return lambda *args, **options: closed(MissGallery(*args, **options))


def test_forth_and_back(five: AudioLM, gallery_table: pd.DataFrame, make: Callable[..., MissGallery]) -> None:
    gallery = make(five, gallery_table, method="random")
    worst = misses(gallery_table, "random")
    assert len(worst) > 2 and [repr(miss) for miss in gallery.misses] == [repr(miss) for miss in worst]
    assert gallery.previous.disabled and not gallery.next.disabled
    for place, miss in enumerate(worst):
        assert gallery.player.located == miss.found and gallery.player.listening.truth == miss.truth
        assert gallery.status.text == f"{place + 1} of {len(worst)}: {miss.described()}"
        gallery.next.click()
    assert gallery.next.disabled and gallery.miss is gallery.misses[-1]
    gallery.previous.click()
    assert gallery.miss is gallery.misses[-2] and not gallery.next.disabled
    gallery.choice.value = 0
    assert gallery.miss is gallery.misses[0]


def test_another_method(five: AudioLM, gallery_table: pd.DataFrame, make: Callable[..., MissGallery]) -> None:
    gallery = make(five, gallery_table)
    assert [value for _, value in gallery.method.options] == ["steering", "asking", "random"]
    gallery.next.click()
    gallery.method.value = "asking"
    assert gallery.miss is gallery.misses[0] and gallery.miss.method == "asking"
    assert "names no time" in gallery.status.text and gallery.player.located is None
    assert gallery.caption().startswith("asking when (direct prompting): 12 of 12 windows")


def test_nothing_missed(five: AudioLM, gallery_table: pd.DataFrame, make: Callable[..., MissGallery]) -> None:
    best = gallery_table.copy()
    best.loc[best["method"] == "steering", "overlap"] = 1.0
    best.attrs = gallery_table.attrs
    gallery = make(five, best)
    assert gallery.miss is None and gallery.player.layout.display == "none"
    assert gallery.status.text == "steering (ours): 0 of 12 windows cover less than 50 %"
    gallery.next.click()
    assert len(gallery.twin().axes) == 0 and "0 of 12" in gallery.alt_text()
    gallery.method.value = "random"
    assert gallery.player.layout.display is None and gallery.miss is not None
    gallery.method.value = "steering"
    assert gallery.miss is None and gallery.player.layout.display == "none"


def test_what_cannot_be_shown_is_refused_at_once(
    five: AudioLM, gallery_table: pd.DataFrame, make: Callable[..., MissGallery]
) -> None:
    with pytest.raises(ValueError, match="no method 'mavs'"):
        make(five, gallery_table, method="mavs")
    other = SceneSet(SceneMaker(FIVE, seconds=4.0, min_gap=0.05), 4, 1)
    with pytest.raises(ValueError, match="when it is made again"):
        make(five, gallery_table, method="random", scenes=other)
    gallery = make(five, gallery_table, method="random", scenes=SceneSet(SceneMaker(FIVE, seconds=4.0), 4, 1))
    gallery.scenes = other
    shown = gallery.player.listening
    gallery.next.click()
    assert 'role="alert"' in gallery.status.line.value and gallery.player.listening is shown


def test_its_twin_is_the_worst_few(
    five: AudioLM, gallery_table: pd.DataFrame, make: Callable[..., MissGallery], displayed: list[tuple[dict, Any]]
) -> None:
    gallery = make(five, gallery_table, method="random")
    gallery._ipython_display_()
    shown = [data for data, _ in displayed]
    assert "image/png" in shown[0] and shown[0]["text/plain"].startswith("Static twin. Spectrograms of 4 misses")
    assert gallery.caption() in shown[1]["text/plain"] and shown[2]["text/plain"] == repr(gallery)
    assert len(gallery.twin().axes) == 4
