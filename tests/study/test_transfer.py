"""Vectors from elsewhere on the same scenes: each maker's own reading, and summaries with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tinies import tiny

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query, steered_curve
from steer_utils.methods.settings import PAPER
from steer_utils.methods.table import METHODS
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study.alignment import align, carried, shared_states
from steer_utils.study.benchmark import SceneSet, query_in
from steer_utils.study.transfer import (
    Carrier,
    VectorSource,
    own_vector,
    random_vector,
    silent_vector,
    swapped_vector,
    vector_summary,
    vector_table,
)

NAMES = tuple(SOUNDS)[:4]
OWN = replace(PAPER, blocks=(0, 1), strength=3.0, vector_question="How loud is it?")


@pytest.fixture(scope="module")
def models() -> tuple[AudioLM, AudioLM]:
    return tiny("qwen2_audio"), tiny("audioflamingo3")


@pytest.fixture(scope="module")
def scenes() -> SceneSet:
    return SceneSet(SceneMaker(NAMES, seconds=4.0, event_seconds=(0.6, 1.0)), 2, 5)


@pytest.fixture(scope="module")
def carrier(models: tuple[AudioLM, AudioLM], scenes: SceneSet) -> Carrier:
    audios = [scene.samples for scene in scenes.maker.balanced(4, seed=9)]
    prompts = [OWN.focus(name, OWN.contrast_question) for name in NAMES]
    states = [shared_states(lm, audios, prompts, f"{OWN.negative} {OWN.contrast_question}") for lm in models]
    return Carrier(VectorSource(models[0], OWN), [[align(*states, block) for block in OWN.blocks or ()]])


@pytest.mark.parametrize("read", ["difference", "share"])
def test_each_row_is_what_its_vector_finds(
    models: tuple[AudioLM, AudioLM], scenes: SceneSet, carrier: Carrier, read: str
) -> None:
    settings = replace(OWN, read=read)
    lm = models[1]
    makers = {
        "own": own_vector(OWN),
        "silent": silent_vector(OWN),
        "random": random_vector(OWN),
        "swapped": swapped_vector(OWN),
        "carried": carrier,
        "other": replace(carrier, swapped=True),
    }
    table = vector_table(lm, scenes, settings, makers)
    assert table.attrs["makers"] == list(makers)
    assert len(table) == 2 * 3 * len(makers) and list(table["vector"][: len(makers)]) == list(makers)
    for index in range(1 if read == "share" else 2):
        scene = scenes.maker.scene(index, scenes.seed)
        hearing = Hearing(lm, scene.samples)
        source = models[0].hear(scene.samples, sampling_rate=16_000)
        for slot, event in enumerate(scene.events):
            query = query_in(scene, slot, scenes.seed)
            rows = table[table["scene"].eq(index) & table["event"].eq(event.name)].set_index("vector")
            for name, method in (("own", "steering"), ("random", "random-vector"), ("swapped", "swapped")):
                find = METHODS[method].find
                assert find is not None
                found = find(hearing, query, settings).interval
                assert found is not None and rows.loc[name, "overlap"] == pytest.approx(found.covers(event.span))
            vector = source.contrast(f"Focus on the {event.name}.", OWN.negative, prompt="How loud is it?")
            moved = carried(vector, carrier.maps[0], lm)
            curve = steered_curve(hearing, moved, settings)
            expected = hearing.span.tokens(event.span)
            assert np.isfinite(curve[expected]).all()
            assert torch.allclose(carrier(hearing, query).directions, moved.directions, atol=1e-3)
            assert rows.loc["own", "cosine"] == pytest.approx(1.0) and 0 < rows.loc["own", "chance"] < 1


def test_silence_holds_the_words_alone(models: tuple[AudioLM, AudioLM], scenes: SceneSet) -> None:
    lm = models[0]
    query = Query("bell", 1.0)
    made = [silent_vector(OWN)(Hearing(lm, scenes.maker.scene(i, 1).samples), query) for i in range(2)]
    assert made[0].allclose(made[1], 1e-4)
    assert not made[0].allclose(own_vector(OWN)(Hearing(lm, scenes.maker.scene(0, 1).samples), query), 1e-3)


def test_a_query_takes_one_of_several_maps(models: tuple[AudioLM, AudioLM], scenes: SceneSet, carrier: Carrier) -> None:
    hearing = Hearing(models[1], scenes.maker.scene(0, 5).samples)
    other = [replace(each, linear=replace(each.linear, weights=-each.linear.weights)) for each in carrier.maps[0]]
    two = replace(carrier, maps=[carrier.maps[0], other])
    even, odd = (two(hearing, Query("bell", 1.0, seed)) for seed in (4, 7))
    assert even.allclose(-odd)


def test_other_audio_other_rates_other_events(models: tuple[AudioLM, AudioLM], scenes: SceneSet) -> None:
    source = VectorSource(models[0], OWN)
    first, second = (Hearing(models[1], scenes.maker.scene(index, 5).samples) for index in range(2))
    one = source.vector(first, "bell")
    assert source.vector(first, "bell") is one and not source.vector(second, "bell").allclose(one)
    assert source.vector(first, "bell").allclose(one, 1e-4)
    with pytest.raises(ValueError, match="names no other event"):
        swapped_vector(OWN)(first, Query("bell", 1.0))
    with pytest.raises(ValueError, match="no makers"):
        vector_table(models[1], scenes, OWN, {})


def test_summary_of_known_overlaps() -> None:
    rows = [
        {
            "scene": scene,
            "slot": "first",
            "event": event,
            "vector": vector,
            "overlap": overlap,
            "chance": 0.25,
            "cosine": 0.5,
        }
        for scene in range(12)
        for event in ("bell", "rain")
        for vector, overlap in (("own", 0.9), ("carried", 0.7), ("shuffled", 0.3))
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)
    found = vector_summary(table, against="shuffled").set_index("vector")
    assert set(found["n"]) == {24} and set(found["cosine"]) == {0.5} and set(found["chance"]) == {0.25}
    assert found.loc["carried", ["overlap", "more", "more_low", "more_high"]].to_list() == pytest.approx(
        [0.7, 0.4, 0.4, 0.4]
    )
    assert found.loc["carried", "p"] == pytest.approx(2 / 2**12) and np.isnan(found.loc["shuffled", "more"])
    with pytest.raises(ValueError, match="against is 'none'"):
        vector_summary(table, against="none")
    with pytest.raises(ValueError, match="no rows"):
        vector_summary(table.iloc[:0], against="own")
