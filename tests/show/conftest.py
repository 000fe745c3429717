"""What the tests of figures and widgets share: a model with scenes, what reaches a notebook, panels that are closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from tinies import knowing_five

from steer_utils.lm.models import AudioLM

P = TypeVar("P")


@pytest.fixture(scope="session")
def five(one_model: AudioLM) -> AudioLM:
    """A tiny model that knows enough sounds for scenes, and takes 4 s."""
    return knowing_five(one_model)


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """What IPython is given to display, in order: data by type, and metadata."""
    shown: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw=True, metadata=None: shown.append((data, metadata)))
    return shown


@pytest.fixture
def closed() -> Iterator[Callable[[P], P]]:
    """`closed(panel)` is the panel, which is closed when the test ends."""
    panels: list[Any] = []

    def kept(panel: P) -> P:
        panels.append(panel)
        return panel

    yield kept
    for panel in panels:
        panel.close()
