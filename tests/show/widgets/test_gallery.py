"""The gallery without a browser: forth and back, another method, and nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from tinies import FIVE, knowing_five

from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER
from steer_utils.show.widgets.misses import misses
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.study.benchmark import SceneSet, run_benchmark, scene_set

pytest.importorskip("ipywidgets", reason="pip install 'steer-utils[course]'")
pytest.importorskip("anywidget", reason="pip install 'steer-utils[course]'")

from steer_utils.show.widgets.gallery import MissGallery

OURS = replace(PAPER, blocks=(0, 1), strength=4.0)


@pytest.fixture(scope="module")
def five(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return knowing_five(tiny_models["qwen2_audio"])


@pytest.fixture(scope="module")
def table(five: AudioLM) -> pd.DataFrame:
    return run_benchmark(five, scene_set(five, OURS, count=4, seed=1), OURS, methods=["steering", "asking", "random"])


@pytest.fixture
def make() -> Iterator[Callable[..., MissGallery]]:
    made: list[MissGallery] = []

    def one(*args: Any, **options: Any) -> MissGallery:
        made.append(MissGallery(*args, **options))
        return made[-1]

    yield one
    for gallery in made:
        gallery.close()


def test_forth_and_back(five: AudioLM, table: pd.DataFrame, make: Callable[..., MissGallery]) -> None:
    gallery = make(five, table, method="random")
    worst = misses(table, "random")
    assert len(worst) > 2 and [repr(miss) for miss in gallery.misses] == [repr(miss) for miss in worst]
    assert gallery.previous.disabled and not gallery.next.disabled
    for place, miss in enumerate(worst):
        assert gallery.player.located == miss.found and gallery.player.listening.truth == miss.truth
        assert gallery.status.text == f"{place + 1} of {len(worst)}: {miss.described()}"
        gallery.next.click()
    assert gallery.next.disabled and gallery.miss is gallery.misses[-1]
    gallery.previous.click()
    assert gallery.miss is gallery.misses[-2] and not gallery.next.disabled
    gallery.choice.value = 0
    assert gallery.miss is gallery.misses[0]


def test_another_method(five: AudioLM, table: pd.DataFrame, make: Callable[..., MissGallery]) -> None:
    gallery = make(five, table)
    assert [value for _, value in gallery.method.options] == ["steering", "asking", "random"]
    gallery.next.click()
    gallery.method.value = "asking"
    assert gallery.miss is gallery.misses[0] and gallery.miss.method == "asking"
    assert "names no time" in gallery.status.text and gallery.player.located is None
    assert gallery.caption().startswith("asking when (direct prompting): 12 of 12 windows")


def test_nothing_missed(five: AudioLM, table: pd.DataFrame, make: Callable[..., MissGallery]) -> None:
    best = table.copy()
    best.loc[best["method"] == "steering", "overlap"] = 1.0
    best.attrs = table.attrs
    gallery = make(five, best)
    assert gallery.miss is None and gallery.player.layout.display == "none"
    assert gallery.status.text == "steering (ours): 0 of 12 windows cover less than 50 %"
    gallery.next.click()
    assert len(gallery.twin().axes) == 0 and "0 of 12" in gallery.alt_text()
    gallery.method.value = "random"
    assert gallery.player.layout.display is None and gallery.miss is not None
    gallery.method.value = "steering"
    assert gallery.miss is None and gallery.player.layout.display == "none"


def test_what_cannot_be_shown_is_refused_at_once(
    five: AudioLM, table: pd.DataFrame, make: Callable[..., MissGallery]
) -> None:
    with pytest.raises(ValueError, match="no method 'mavs'"):
        make(five, table, method="mavs")
    other = SceneSet(SceneMaker(FIVE, seconds=4.0, min_gap=0.05), 4, 1)
    with pytest.raises(ValueError, match="when it is made again"):
        make(five, table, method="random", scenes=other)
    gallery = make(five, table, method="random", scenes=SceneSet(SceneMaker(FIVE, seconds=4.0), 4, 1))
    gallery.scenes = other
    shown = gallery.player.listening
    gallery.next.click()
    assert 'role="alert"' in gallery.status.line.value and gallery.player.listening is shown


def test_its_twin_is_the_worst_few(
    five: AudioLM, table: pd.DataFrame, make: Callable[..., MissGallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    gallery = make(five, table, method="random")
    gallery._ipython_display_()
    assert "image/png" in shown[0] and shown[0]["text/plain"].startswith("Static twin. Spectrograms of 4 misses")
    assert gallery.caption() in shown[1]["text/plain"] and shown[2]["text/plain"] == repr(gallery)
    assert len(gallery.twin().axes) == 4
