"""Here every family counts: its classes are what this room is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tinies import shared

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.models import AudioLM


@pytest.fixture(scope="session")
def tiny_models() -> Iterator[dict[str, AudioLM]]:
    """Tiny models, by family."""
    yield from shared(FAMILIES)


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def lm(request: pytest.FixtureRequest, tiny_models: dict[str, AudioLM]) -> AudioLM:
    """Each tiny model in turn."""
    return tiny_models[request.param]


@pytest.fixture
def encoded(lm: AudioLM) -> Iterator[list[int]]:
    """A list that grows with each audio that is encoded."""
    calls: list[int] = []
    handle = lm.family.audio_tower(lm.model).register_forward_hook(lambda *_: calls.append(1))
    yield calls
    handle.remove()
