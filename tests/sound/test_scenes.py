"""Scenes: saved and loaded whole, and played."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from steer_utils.sound.scenemaker import SceneMaker, SoundBank
from steer_utils.sound.scenes import Scene
from steer_utils.sound.sounds import RATE, SOUNDS


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


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_disk_that_is_full_is_an_os_error_with_the_name(maker: SceneMaker, tmp_path: Path) -> None:
    import resource

    scene, limits = maker.make(0), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            scene.save(tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(tmp_path / "a.wav") and not list(tmp_path.iterdir())


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


def test_play_gives_a_player(maker: SceneMaker) -> None:
    pytest.importorskip("IPython")
    assert maker.make(0).play().data[:4] == b"RIFF"
