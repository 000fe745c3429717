"""A recipe that is done in seconds: small models, few steps, few variants of each sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from minis import small_language_model

from steer_utils.pocket import assembly, corpus, mini_commands, mini_studies
from steer_utils.pocket.architecture import FAMILIES, Size, build
from steer_utils.pocket.assembly import CACHE_VARIABLE
from steer_utils.pocket.corpus import SceneSource
from steer_utils.pocket.mini_recipe import MINI_RECIPES, AdapterStage
from steer_utils.pocket.recipe import EncoderStage, LanguageStage, Recipe
from steer_utils.sound.scenemaker import SoundBank
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.sounds import RATE, SOUNDS

MINI = "mini-smollm2-audio"
SMALL = Size(
    seconds=8,
    mel_bins=40,
    encoder_width=32,
    encoder_blocks=1,
    encoder_heads=2,
    width=48,
    blocks=2,
    heads=4,
    key_value_heads=2,
    feed_forward=64,
)


@pytest.fixture(scope="session", autouse=True)
def two_variants_of_each_sound() -> Iterator[None]:
    """Forty take seconds to make; nothing here listens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "SoundBank", lambda per, seed: SoundBank(per=2, seed=seed))
        yield


@pytest.fixture(scope="session")
def recipes() -> dict[str, Recipe]:
    """By family."""
    return {
        family: Recipe(
            family=family,
            size=SMALL,
            events=tuple(sorted(SOUNDS)),
            recordings=0.0,
            encoder=EncoderStage(steps=5, batch=2, warm_up=2),
            language=LanguageStage(scenes=6, steps=5, batch=2, turns=3, warm_up=2),
        )
        for family in FAMILIES
    }


@pytest.fixture(params=FAMILIES)
def recipe(request: pytest.FixtureRequest, recipes: dict[str, Recipe]) -> Recipe:
    """Each family's in turn."""
    return recipes[request.param]


@pytest.fixture
def fresh(recipe: Recipe) -> tuple[Any, Any]:
    """The recipe's model as it starts, and its processor."""
    return build(recipe.family, recipe.events, size=recipe.size, seed=recipe.seed)


@pytest.fixture(scope="session")
def source(recipes: dict[str, Recipe]) -> SceneSource:
    """Procedural scenes; the same for both families."""
    return SceneSource(recipes["qwen2_audio"], None)


@pytest.fixture(scope="session")
def facts_only() -> Any:
    """`facts_only([Event(...), ...], seconds)`: a scene to ask about, without a sound in it."""

    def make(events: list[Event], seconds: float = 8.0) -> Scene:
        return Scene(np.broadcast_to(np.float32(0), (round(seconds * RATE),)), RATE, tuple(events))

    return make


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two steps from a small language model; the folder of the training."""
    stage = AdapterStage(scenes=6, steps=2, batch=2, turns=2, rank=2, warm_up=1, ridge_scenes=4)
    monkeypatch.setitem(MINI_RECIPES, MINI, replace(MINI_RECIPES[MINI], stage=stage))
    for module in (mini_commands, mini_studies, assembly):
        monkeypatch.setattr(module, "read_language_model", lambda name: small_language_model())
    made = mini_commands.HeldOutSource.__init__
    monkeypatch.setattr(mini_commands.HeldOutSource, "__init__", lambda self, recipe, count: made(self, recipe, 2))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path
