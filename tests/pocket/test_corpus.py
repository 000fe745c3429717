"""Training material: labels where the sounds are, the same scene from any worker, states as the full model has them."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from steer_utils.lm.models import AudioLM
from steer_utils.pocket import corpus
from steer_utils.pocket.corpus import (
    UNKNOWN,
    SceneFeatures,
    SceneSource,
    audio_tokens,
    frames,
    made_ahead,
    silent,
    softer,
    spare_workers,
    tower_states,
)
from steer_utils.pocket.recipe import EVENTS, RECORDED_EVENTS, Recipe
from steer_utils.sound.measures import frame_rms
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.sounds import RATE
from steer_utils.sound.spans import AudioSpan, Interval


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipBank:
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    lines = ["filename,category,fold"]
    for name in RECORDED_EVENTS[3:8]:
        file = f"{name.replace(' ', '_')}.wav"
        soundfile.write(folder / file, 0.1 * rng.standard_normal(3 * RATE), RATE)
        lines.append(f"{file},{name.replace(' ', '_')},1")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return ClipBank.read(folder)


def equal(first: Scene, second: Scene) -> bool:
    return first.events == second.events and np.array_equal(first.samples, second.samples)


# Scenes ------------------------------------------------------------------------------------------------------------


def test_a_scene_depends_on_its_number_only(source: SceneSource, recipes: dict[str, Recipe]) -> None:
    other = SceneSource(recipes["qwen2_audio"], None)
    backwards = {index: other.scene(index) for index in (9, 4, 0)}
    assert all(equal(source.scene(index), scene) for index, scene in backwards.items())
    assert not equal(source.scene(0), source.scene(1))
    another_seed = SceneSource(replace(recipes["qwen2_audio"], seed=2), None)
    assert not equal(source.scene(0), another_seed.scene(0))


def test_scenes_are_as_the_source_says(source: SceneSource) -> None:
    scenes = [source.scene(index) for index in range(150)]
    durations = np.array([scene.duration for scene in scenes])
    assert durations.min() >= 4 and durations.max() <= 8
    assert 0.6 < (durations > 7.99).mean() < 0.9  # three quarters are expected
    assert {len(scene.events) for scene in scenes} == {1, 2, 3, 4}
    unknown = np.mean([scene.events[0].loudness is None for scene in scenes])
    assert 0.15 < unknown < 0.36  # a quarter is played softer
    assert all(event.pitch for scene in scenes for event in scene.events)


def test_recordings_and_procedural_sounds_are_mixed(recipes: dict[str, Recipe], clips: ClipBank) -> None:
    recipe = replace(
        recipes["qwen2_audio"],
        events=tuple(sorted({*recipes["qwen2_audio"].events, *clips.categories})),
        recordings=0.6,
    )
    source = SceneSource(recipe, clips)
    kinds = [{event.source != "procedural" for event in source.scene(index).events} for index in range(150)]
    assert 0.28 < np.mean([kind == {False} for kind in kinds]) < 0.6
    assert np.mean([kind == {True} for kind in kinds]) > 0.28
    assert {True, False} in kinds


def test_softer_is_softer_by_so_many_decibels(source: SceneSource) -> None:
    scene = source.scene(2)
    before = scene.samples.copy()
    quiet = softer(scene, -12.0)
    assert quiet.samples.dtype == np.float32
    assert np.allclose(quiet.samples, before * 10 ** (-12 / 20), atol=1e-7)
    assert np.array_equal(scene.samples, before)
    assert [event.loudness for event in quiet.events] == [None] * len(scene.events)
    assert [(e.name, e.span, e.pitch) for e in quiet.events] == [(e.name, e.span, e.pitch) for e in scene.events]


def test_some_scenes_really_are_played_softer(source: SceneSource) -> None:
    loudest: dict[bool, list[float]] = {True: [], False: []}
    for index in range(60):
        scene = source.scene(index)
        loudest[scene.events[0].loudness is None].append(float(frame_rms(scene.samples, 320).max()))
    assert np.median(loudest[True]) < 0.5 * np.median(loudest[False])


def test_silent_keeps_the_facts_and_no_samples(source: SceneSource) -> None:
    scene = source.scene(3)
    quiet = silent(scene)
    assert (quiet.events, quiet.duration, quiet.rate) == (scene.events, scene.duration, scene.rate)
    assert quiet.samples.strides == (0,)
    assert silent(pickle.loads(pickle.dumps(quiet))).samples.strides == (0,)


# Features and labels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_from_any_worker(workers: int, source: SceneSource, fresh: tuple[Any, Any]) -> None:
    extractor = fresh[1].feature_extractor
    made = list(made_ahead(SceneFeatures(source, extractor, 5, 5), workers, 2))
    assert [len(batch) for batch in made] == [2, 2, 1]
    for index, (mel, length, scene) in enumerate(each for batch in made for each in batch):
        original = source.scene(5 + index)
        whole = extractor(original.samples, sampling_rate=RATE, return_attention_mask=True, return_tensors="np")
        assert mel.dtype == np.float16
        assert np.array_equal(mel, whole["input_features"][0].astype(np.float16))
        assert length == whole["attention_mask"].sum()
        assert scene.events == original.events
        assert scene.duration == original.duration


def test_labels_lie_where_the_sounds_are(source: SceneSource, recipes: dict[str, Recipe]) -> None:
    recipe = recipes["qwen2_audio"]
    scenes = [source.scene(index) for index in range(8)]
    mel = np.zeros((40, 800), np.float16)
    labels = frames([(mel, 100 * round(scene.duration), scene) for scene in scenes], recipe)
    assert labels.mel.shape == (8, 40, 800)
    assert labels.sounding.shape == (8, 200, len(recipe.events))
    centers = AudioSpan(0, 200).centers()
    for row, scene in enumerate(scenes):
        for token, center in enumerate(centers):
            now = [event for event in scene.events if event.span.start <= center < event.span.end]
            said = [recipe.events[i] for i in torch.nonzero(labels.sounding[row, token]).flatten()]
            assert said == [event.name for event in now]
            pitch = {"low": 0.0, "high": 1.0, None: UNKNOWN}[now[0].pitch] if now else UNKNOWN
            loudness = {"quiet": 0.0, "loud": 1.0, None: UNKNOWN}[now[0].loudness] if now else UNKNOWN
            assert (labels.pitch[row, token], labels.loudness[row, token]) == (pitch, loudness)


def test_what_is_not_known_is_not_labelled(facts_only: Any, recipes: dict[str, Recipe]) -> None:
    scene = facts_only([Event("bell", Interval(1.0, 2.0)), Event("rain", Interval(3.0, 4.0), "low", "quiet")])
    labels = frames([(np.zeros((40, 800), np.float16), 800, scene)], recipes["qwen2_audio"])
    assert labels.sounding.sum() == 50
    assert labels.pitch[0, 25:50].unique().tolist() == labels.loudness[0, 25:50].unique().tolist() == [UNKNOWN]
    assert labels.pitch[0, 75:100].unique().tolist() == labels.loudness[0, 75:100].unique().tolist() == [0.0]


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.234, 2.005, 3.999, 4.0])
def test_audio_tokens_are_as_many_as_the_model_makes(seconds: float, lm: AudioLM) -> None:
    samples = np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32) * 0.1
    made = lm.processor.feature_extractor(samples, sampling_rate=RATE, return_attention_mask=True, return_tensors="np")
    assert audio_tokens(int(made["attention_mask"].sum())) == lm.hear(samples, sampling_rate=RATE).span.count


@pytest.mark.parametrize("seconds", [1.3, 4.0])
def test_tower_states_are_what_the_full_model_hands_to_its_projector(seconds: float, lm: AudioLM) -> None:
    samples = np.random.default_rng(1).standard_normal(round(seconds * RATE)).astype(np.float32) * 0.1
    inputs = lm.family.inputs(lm.processor, lm.prompt("Describe the sound."), samples, RATE)
    seen: list[torch.Tensor] = []
    hook = lm.model.model.multi_modal_projector.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        with torch.inference_mode():
            lm.model(**inputs)
    finally:
        hook.remove()
    (expected,) = seen
    features = lm.processor.feature_extractor(
        samples, sampling_rate=RATE, return_attention_mask=True, return_tensors="pt"
    )
    length = features["attention_mask"].sum(1)
    with torch.inference_mode():
        states = tower_states(lm.model, features["input_features"], length)
    valid = audio_tokens(int(length))
    assert states.shape == (1, 100, 32)
    assert torch.allclose(states[0, :valid], expected.reshape(-1, 32)[:valid], atol=1e-5)
    assert states[0, :valid].std() > 0.1
    if seconds < 4:  # padding is kept out, also in a batch with a longer audio: its content does not matter
        noisy = features["input_features"].clone()
        noisy[..., int(length) + 2 :] += torch.randn(noisy[..., int(length) + 2 :].shape)
        with torch.inference_mode():
            beside = tower_states(lm.model, torch.cat([noisy, noisy]), torch.tensor([int(length), 400]))
        assert torch.allclose(beside[0, : valid - 1], states[0, : valid - 1], atol=1e-4)
        assert not torch.allclose(beside[1, : valid - 1], states[0, : valid - 1], atol=1e-2)


def test_the_events_of_the_recipe_are_all_known() -> None:
    assert set(RECORDED_EVENTS) <= set(EVENTS)
    assert list(EVENTS) == sorted(set(EVENTS))


@pytest.mark.parametrize(("cores", "workers"), [(1, 0), (2, 0), (3, 1), (64, 1)])
def test_on_two_cores_no_worker_takes_turns_with_the_step(
    cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "usable_cores", lambda: cores)
    assert spare_workers() == workers
