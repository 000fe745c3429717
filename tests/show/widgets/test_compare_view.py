"""The compare view without a browser: what is picked is what the player has, and the table is text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tinies import knowing_five

from steer_utils.lm.models import AudioLM
from steer_utils.methods.locate import UnknownEventError
from steer_utils.methods.settings import PAPER
from steer_utils.show.widgets.comparison import comparison_figure
from steer_utils.show.widgets.intake import scene_sound
from steer_utils.sound.audio import AudioError
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene

pytest.importorskip("ipywidgets", reason="pip install 'steer-utils[course]'")
pytest.importorskip("anywidget", reason="pip install 'steer-utils[course]'")

from steer_utils.show.widgets.compare_view import CompareView

OURS = replace(PAPER, strength=4.0, blocks=(0, 1), read_blocks=(2, 3))
METHODS = ("steering", "asking", "loudest")


@pytest.fixture
def five(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return knowing_five(tiny_models["qwen2_audio"])


@pytest.fixture
def scene(five: AudioLM) -> Scene:
    return SceneMaker(five.events or (), seconds=4.0).scene(1, 0)


@pytest.fixture
def make() -> Iterator[Callable[..., CompareView]]:
    made: list[CompareView] = []

    def one(*args: Any, **options: Any) -> CompareView:
        made.append(CompareView(*args, **{"settings": OURS, "methods": METHODS, **options}))
        return made[-1]

    yield one
    for view in made:
        view.close()


def test_what_is_picked_is_what_is_shown(five: AudioLM, scene: Scene, make: Callable[..., CompareView]) -> None:
    view = make(five, scene)
    assert [value for _, value in view.method.options] == list(METHODS)
    for name in METHODS:
        view.method.value = name
        assert view.player.located == view.compared.row(name).found.interval
        assert view.player.listening.title == f"{scene.names[0]}, {view.compared.row(name).label}"
        assert view.compared.row(name).label in view._table.value
    assert f"truly at {scene.events[0].span}" in view._table.value and view.status.text.startswith("took")


def test_another_query_is_compared_and_the_method_stays(
    five: AudioLM, scene: Scene, make: Callable[..., CompareView]
) -> None:
    view = make(five, scene_sound(scene))
    view.method.value = "loudest"
    view.query.value = scene.names[2]
    assert view.wait(20) and view.compared.query.event == scene.names[2]
    assert view.compared.query.others == scene.names[:2] and view.compared.truth == scene.events[2].span
    assert view.compared.query.seconds == scene.events[2].span.duration
    assert view.method.value == "loudest" and view.player.listening.truth == scene.events[2].span
    assert view._busy.value == "" and scene.names[2] in view._table.value


def test_without_a_truth(five: AudioLM, samples: np.ndarray, make: Callable[..., CompareView]) -> None:
    view = make(five, samples, sampling_rate=16_000, query="Bell", seconds=0.6)
    assert view.compared.query.event == "bell" and view.compared.query.seconds == 0.6 and "–" in view._table.value
    assert make(five, samples, sampling_rate=16_000, query="bell").compared.query.seconds == 2.0
    with pytest.raises(ValueError, match="say what is sought"):
        make(five, samples, sampling_rate=16_000)
    with pytest.raises(UnknownEventError, match="does not know 'purple'"):
        make(five, samples, sampling_rate=16_000, query="purple")
    with pytest.raises(AudioError, match="pass sampling_rate"):
        make(five, samples, query="bell")


def test_its_twin_is_the_figure(
    five: AudioLM, scene: Scene, make: Callable[..., CompareView], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    view = make(five, scene)
    view._ipython_display_()
    assert shown[0]["text/plain"] == f"Static twin. {view.alt_text()}" and "image/png" in shown[0]
    assert f"3 methods look for the {scene.names[0]}" in shown[1]["text/plain"] and "3 methods" in repr(view)
    assert view.twin().axes[0].get_xlim() == comparison_figure(view.compared).axes[0].get_xlim()
