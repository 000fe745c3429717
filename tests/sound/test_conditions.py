"""Named conditions: what their names say holds for every seed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.sound.conditions import CONDITIONS, PLAIN, Condition, condition_named
from steer_utils.sound.scenemaker import SoundBank, three_event_maker
from steer_utils.sound.scenes import Scene
from steer_utils.sound.sounds import SOUNDS

NAMES = tuple(SOUNDS)[:9]
BANK = SoundBank(per=2, seed=0, seconds=5.5)


def scene_of(condition: Condition, longest: float, index: int, seed: int) -> Scene:
    plain = three_event_maker(NAMES, longest)
    maker = condition.maker(plain)
    maker.bank = BANK  # many scenes: cut, not made anew
    return maker.scene(index, seed)


@pytest.mark.parametrize("name", CONDITIONS)
@settings(max_examples=8, deadline=None)
@given(index=st.integers(0, 300), seed=st.integers(0, 10**6), longest=st.sampled_from([4.0, 8.0, 30.0]))
def test_scenes_are_what_their_condition_says(name: str, index: int, seed: int, longest: float) -> None:
    condition = CONDITIONS[name]
    scene, plain = scene_of(condition, longest, index, seed), three_event_maker(NAMES, longest)
    assert len(scene.events) == condition.events
    assert scene.duration == pytest.approx(condition.seconds or plain.seconds[1], abs=1e-3)
    spans = [event.span for event in scene.events]
    assert all(0 <= span.start < span.end <= scene.duration + 1e-9 for span in spans)
    apart = [later.start - earlier.end for earlier, later in itertools.pairwise(spans)]
    assert all(gap < 0 if condition.overlap else gap >= plain.min_gap - 1e-3 for gap in apart)
    if condition.events == 1:
        assert sum(span.duration for span in spans) < 0.1 * scene.duration
    assert len(set(scene.names)) == condition.events - condition.twice
    assert all((event.loudness is None) == (condition.bed_db is not None) for event in scene.events)


@pytest.mark.parametrize("name", CONDITIONS)
def test_one_seed_one_scene(name: str) -> None:
    one, other = (scene_of(CONDITIONS[name], 8.0, 3, 7) for _ in range(2))
    assert one.events == other.events and (one.samples == other.samples).all()
    assert scene_of(CONDITIONS[name], 8.0, 3, 8).events != one.events


def test_plain_scenes_are_the_benchmarks_own() -> None:
    plain = three_event_maker(NAMES, 8.0)
    scene = CONDITIONS[PLAIN].maker(plain).scene(1, 7)
    assert scene.events == plain.scene(1, 7).events and (scene.samples == plain.scene(1, 7).samples).all()


def test_other_names_and_impossible_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="'loud'; pass one of plain, bed 10 dB"):
        condition_named("loud")
    with pytest.raises(ValueError, match="distinct"):
        CONDITIONS["6 brief events"].maker(three_event_maker(NAMES[:5], 8.0))
