"""Scenes: saved and loaded whole, drawn with readable labels, played."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from steer_utils.sound.scenemaker import SceneMaker, SoundBank
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.sounds import RATE, SOUNDS
from steer_utils.sound.spans import Interval


@pytest.fixture(scope="module")
def maker() -> SceneMaker:
    return SceneMaker(tuple(SOUNDS), bank=SoundBank(per=3, seed=0, seconds=2.4))


def test_save_and_load_round_trip(maker: SceneMaker, tmp_path: Path) -> None:
    scene = maker.scene(3, seed=2)
    wav = scene.save(tmp_path / "deep" / "street.v1")
    assert wav == tmp_path / "deep" / "street.v1.wav"
    assert sorted(path.name for path in wav.parent.iterdir()) == ["street.v1.json", "street.v1.wav"]
    for path in (wav, wav.with_suffix(".json"), tmp_path / "deep" / "street.v1"):
        loaded = Scene.load(path)
        assert loaded.events == scene.events
        assert (loaded.rate, loaded.seed, loaded.index) == (RATE, 2, 3)
        assert np.abs(loaded.samples - scene.samples).max() <= 1.01 / 32768
    assert soundfile.info(wav).subtype == "PCM_16"
    assert json.loads(wav.with_suffix(".json").read_text())["events"][0]["name"] == scene.names[0]


def test_failed_save_leaves_nothing_and_keeps_the_old(maker: SceneMaker, tmp_path: Path) -> None:
    scene = maker.make(0)
    scene.save(tmp_path / "a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = Scene(np.array(["no", "sound"]), RATE, scene.events)
    with pytest.raises((TypeError, ValueError)):
        broken.save(tmp_path / "a")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"events": [{"name": "bell"}], "rate": 16000}', "nonsense"])
def test_broken_or_missing_scene_files_are_refused(maker: SceneMaker, tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="there is no"):
        Scene.load(tmp_path / "none")
    maker.make(0).save(tmp_path / "a")
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="does not describe"):
        Scene.load(tmp_path / "a")


def test_event_by_name(maker: SceneMaker) -> None:
    scene = maker.make_with(["siren", "bell", "rain"], 0)
    assert scene.event("bell") is scene.events[1]
    with pytest.raises(ValueError, match="it has: siren, bell, rain"):
        scene.event("drum")


@pytest.mark.parametrize("width", [3.0, 8.0])
def test_drawn_labels_do_not_overlap(width: float) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    events = tuple(Event(name, Interval(i * 0.5, i * 0.5 + 0.4)) for i, name in enumerate(["helicopter"] * 8))
    figure, ax = pyplot.subplots(figsize=(width, 3), layout="constrained")
    samples = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32) * 0.1
    assert Scene(samples, RATE, events).draw(ax) is ax
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert [text.get_text() for text in ax.texts] == ["helicopter"] * 8
    assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))
    assert not any(box.overlaps(ax.get_window_extent()) for box in boxes)
    pyplot.close(figure)


def test_draw_makes_its_own_axes_and_play_gives_a_player(maker: SceneMaker) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    scene = maker.make(0)
    ax = scene.draw()
    assert ax.get_xlim() == (0.0, 8.0)
    pyplot.close(ax.figure)
    pytest.importorskip("IPython")
    assert scene.play().data[:4] == b"RIFF"
