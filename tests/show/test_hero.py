"""The animation of the README: a scene chosen by rule, strengths that were read, and files that hold what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.show import hero
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.spans import AudioSpan, Interval
from steer_utils.study.benchmark import scene_set

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 1_500_000  # bytes
STEERED: Settings = replace(PAPER, blocks=(0,), read_blocks=(1,), strength=2.0)


def drawn_by_hand() -> hero.Hero:
    """Two seconds with two sounds; attention moves from the second half to the sound that is sought."""
    scene = Scene(
        (0.1 * np.random.default_rng(0).normal(size=32_000)).astype(np.float32),
        16_000,
        (Event("bell", Interval(0.2, 0.8)), Event("engine", Interval(1.2, 1.8))),
    )
    even, bell, engine = np.ones(50), np.ones(50), np.ones(50)
    bell[5:20], engine[30:45] = 3.0, 4.0
    bell, engine = bell / bell.mean(), engine / engine.mean()
    parts = [
        hero.HeroPart(event, np.linspace(0, 2, 3), np.stack([even, (even + curve) / 2, curve]), event.span)
        for event, curve in zip(scene.events, (bell, engine), strict=True)
    ]
    return hero.Hero("a model", scene, AudioSpan(5, 50), 0.8, tuple(parts))


@pytest.mark.parametrize("overlaps, chosen", [((0.9, 0.1, 0.5), 2), ((0.3, 0.9, 0.3, 0.8), 0), ((0.2, 0.4), 0)])
def test_the_scene_is_the_median_one(
    one_model: AudioLM, monkeypatch: pytest.MonkeyPatch, overlaps: tuple[float, ...], chosen: int
) -> None:
    table = pd.DataFrame({"scene": range(len(overlaps)), "overlap": overlaps})
    monkeypatch.setattr(hero, "run_benchmark", lambda *args, **named: table)
    monkeypatch.setattr(hero, "SCENES", len(overlaps))
    monkeypatch.setattr(hero, "scene_set", lambda *args, **named: scene_set(one_model, STEERED, count=4, seed=1))
    heard, overlap = hero.typical_scene(one_model, STEERED)
    assert overlap == overlaps[chosen]
    expected = scene_set(one_model, STEERED, count=4, seed=1).heard(one_model, chosen)
    np.testing.assert_array_equal(heard.scene.samples, expected.scene.samples)


def test_every_strength_is_read(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hero, "SCENES", 1)
    monkeypatch.setattr(hero, "model_settings", lambda lm: STEERED)
    read = hero.read_hero(one_model)
    hearing = one_model.hear(read.scene.samples, sampling_rate=read.scene.rate)
    plain = hearing.read(STEERED.question).attention.curve((1,))
    assert [part.event for part in read.parts] == [read.scene.events[0], read.scene.events[-1]]
    for part in read.parts:
        assert part.strengths[0] == 0 and part.strengths[-1] == 2 and (np.diff(part.strengths) > 0).all()
        np.testing.assert_allclose(part.attention[0], plain * len(plain), atol=1e-5)
        np.testing.assert_allclose(part.attention.mean(axis=1), 1, atol=1e-5)
        assert np.abs(part.attention[-1] - part.attention[0]).max() > 1e-4


def test_the_files_hold_the_animation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(hero, "FRAMES_A_SECOND", 2)
    whole = drawn_by_hand()
    frames = list(hero.hero_frames(whole))
    assert len(frames) == 2 * (2 + 2 * hero.LEAD) and not np.array_equal(frames[1], frames[-1])
    webp, webm, vtt, caption, still = hero.write_hero(whole, tmp_path)
    with Image.open(webp) as picture:
        assert picture.n_frames > 3 and picture.size == frames[0].shape[1::-1]  # type: ignore[attr-defined]
    with Image.open(still) as picture:  # the last frame of the first query's part, whose window is drawn
        shown = np.asarray(picture.convert("RGB"), dtype=float)
    apart = [np.abs(shown - frame).mean() for frame in frames]
    assert int(np.argmin(apart)) == len(frames) // 2 - 1
    with av.open(str(webm)) as film:
        assert {stream.type for stream in film.streams} == {"audio", "video"}
        assert film.duration / av.time_base == pytest.approx(whole.seconds, abs=0.6)
        sound = np.concatenate([frame.to_ndarray() for frame in film.decode(audio=0)], axis=-1)
    assert np.abs(sound[..., : 48_000 // 2]).max() < 1e-3 < np.abs(sound[..., 72_000:96_000]).max()  # silence first
    assert vtt.read_text(encoding="utf-8").startswith("WEBVTT\n\n00:01.200 --> 00:01.800\n[bell]\n")
    assert "median overlap, 80.0 %" in caption.read_text(encoding="utf-8")
    assert "to the bell from 30 to 56 percent" in whole.alt()


def test_without_pyav_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hero, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"steer-utils\[video\]"):
        hero.write_hero(drawn_by_hand(), tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        hero.check_hero(tmp_path / "nowhere")


def test_the_committed_animation_is_small_and_its_caption_is_told() -> None:
    assert (ROOT / "figures" / "hero.webp").stat().st_size < LARGEST
    caption = (ROOT / "figures" / "hero.md").read_text(encoding="utf-8")
    assert " ".join(caption.split()) in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
