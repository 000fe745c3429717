"""The explorer without a browser: dials are turned by setting `.value`, and what is shown is read back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tinies import FIVE, taking_any_text
from tinies import STEERED as OURS

import steer_utils
from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query
from steer_utils.methods.locate import UnknownEventError
from steer_utils.methods.table import METHODS
from steer_utils.show.widgets.exploration import Choice, explore
from steer_utils.show.widgets.explorer import SteeringExplorer
from steer_utils.sound.audio import AudioError
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker

RATE = 16_000


@pytest.fixture
def make(closed: Callable[[Any], Any]) -> Callable[..., SteeringExplorer]:
    """Makes explorers that are closed at the end."""
    return lambda *args, **options: closed(SteeringExplorer(*args, **{"settings": OURS, **options}))


def lines(explorer: SteeringExplorer) -> str:
    return unescape(explorer._said.value)


def test_it_begins_with_the_method_on_a_scene(five: AudioLM, make: Callable[..., SteeringExplorer]) -> None:
    explorer = make(five, index=2, seed=3)
    scene = SceneMaker(FIVE, seconds=4.0).scene(2, 3)
    event = scene.events[0]
    found = METHODS["steering"].find(
        five.hear(scene.samples, sampling_rate=RATE), Query(event.name, event.span.duration), OURS
    )
    assert explorer.seen.interval == found.interval == explorer.player.located
    assert explorer.seen.truth == event.span and explorer.player.listening.truth == event.span
    assert str(found.interval) in lines(explorer) and "took" in explorer.status.text
    assert f"asked plainly: {explorer.seen.answer_plain}" in lines(explorer)
    assert "scene 2 (seed 3)" in repr(explorer)


def test_each_dial_reaches_the_result(five: AudioLM, make: Callable[..., SteeringExplorer]) -> None:
    explorer = make(five)
    changes: dict[str, Any] = {
        "strength": -2.0,
        "blocks": (1, 1),
        "positions": "text",
        "keep_norm": False,
        "read": "share",
        "read_from": ("heads", ((1, 2), (3, 0))),
        "width": 0.5,
        "question": "Describe the sound.",
        "positive": "Mind the {event}.",
        "negative": "Hear everything.",
        "contrast": "How loud is it?",
    }
    events = explorer.session.events
    for name, value in changes.items():
        getattr(explorer.dials, name).value = value
        assert explorer.wait(20)
        wanted = explore(explorer.session.hearing, Choice(**explorer.dials.values()), events=events)
        assert explorer.seen.choice == wanted.choice, name
        np.testing.assert_allclose(explorer.seen.curve, wanted.curve, atol=1e-6)
        assert explorer.player.located == wanted.interval
        assert "Error" not in explorer.status.text and explorer.status.text.startswith("took")
    assert explorer.seen.choice.blocks == (1,) and explorer.seen.choice.strength == -2.0
    assert explorer.player.curve == "steered"  # the player draws what is read
    explorer._reset()
    assert explorer.wait(20) and explorer.seen.choice == Choice.of(
        OURS, explorer.seen.choice.query, seconds=explorer.seen.choice.seconds
    ).fitted(five)
    assert explorer.player.curve == "steered minus plain"


def test_a_new_query_and_a_new_scene(five: AudioLM, make: Callable[..., SteeringExplorer]) -> None:
    explorer = make(five)
    second = explorer.session.events[1].name
    explorer.dials.query.value = second
    assert explorer.wait(20) and explorer.seen.choice.query == second == explorer.player.listening.title
    before = explorer.session
    explorer.sounds.index.value = 1
    assert explorer.wait(20) and explorer.session is not before
    names = [event.name for event in explorer.session.events]
    assert explorer.seen.choice.query in names and explorer.seen.truth is not None
    assert [name for name, _ in explorer.player.listening.events] == names


def test_a_mistake_is_said_and_the_last_good_answer_stays(five: AudioLM, make: Callable[..., SteeringExplorer]) -> None:
    explorer = make(five)
    good, shown = explorer.seen, explorer.player.listening
    for name, value, says in (
        ("positive", "Focus on {x}.", "no other braces"),
        ("negative", "", "negative is ''"),
        ("positions", "event", "does not name the event"),
        ("question", five.processor.audio_token, "a special token"),
    ):
        getattr(explorer.dials, name).value = value
        assert explorer.wait(20)
        assert says in explorer.status.text and 'role="alert"' in explorer.status.line.value
        assert explorer.seen is good and explorer.player.listening is shown and explorer._busy.value == ""
        explorer.dials.reset()
    explorer._submit()
    assert explorer.wait(20) and explorer.status.text.startswith("took")
    assert 'role="status"' in explorer.status.line.value


def test_a_bad_upload_is_said_and_nothing_is_lost(five: AudioLM, make: Callable[..., SteeringExplorer]) -> None:
    explorer = make(five)
    good = explorer.seen
    explorer.sounds.kind.value = "microphone"
    explorer.sounds.recorder.set_state({"pcm": b"\0" * 64_000, "rate": RATE, "take": 1})
    assert "the recording is silent" in explorer.status.text and explorer.seen is good
    explorer.dials.strength.value = 1.0  # goes on with the scene
    assert explorer.wait(20) and explorer.seen.choice.strength == 1.0 and explorer.seen.truth == good.truth


def test_a_moving_slider_queues_nothing(
    five: AudioLM, make: Callable[..., SteeringExplorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = make(five)
    gate, begun, strengths = threading.Event(), threading.Event(), []
    whole = explorer.session.explore

    def slow(choice: Choice, **options: Any) -> Any:
        strengths.append(choice.strength)
        begun.set()
        assert gate.wait(10)
        return whole(choice, **options)

    monkeypatch.setattr(explorer.session, "explore", slow)
    explorer.dials.strength.value = 0.2
    assert begun.wait(10) and "working" in explorer._busy.value
    for value in (0.4, 0.6, 0.8, 1.0, 1.2):
        explorer.dials.strength.value = value
    gate.set()
    assert explorer.wait(20)
    assert strengths == [0.2, 1.2] and explorer.seen.choice.strength == 1.2 and explorer._busy.value == ""


def test_the_code_gives_the_same_interval(
    five: AudioLM, make: Callable[..., SteeringExplorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = make(five, index=1)
    explorer.dials.strength.value = -3.0
    explorer.dials.blocks.value = (0, 2)
    assert explorer.wait(20)
    monkeypatch.setattr(steer_utils, "load", lambda name: {five.name: five}[name])
    names: dict[str, Any] = {}
    exec(explorer.code, names)
    assert names["interval"] == explorer.seen.interval and names["answer"] == explorer.seen.answer_steered
    button = explorer.box.children[2].children[1]
    assert explorer._code.value == "" and button.description == "Show the code"
    button.click()
    assert "hearing.contrast(" in explorer._code.value and button.description == "Hide the code"
    explorer.dials.strength.value = 2.0
    assert explorer.wait(20) and "strength=2.0" in explorer._code.value
    button.click()
    assert explorer._code.value == ""


def test_what_can_be_passed(
    five: AudioLM, make: Callable[..., SteeringExplorer], samples: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "<b>street.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    scene = SceneMaker(["bell", "siren"], seconds=3.0, events=(2, 2)).make(0)
    for explorer in (
        make(five, path, query="bell"),
        make(five, samples, sampling_rate=RATE, query="bell"),
        make(five, scene, query="bell"),
    ):
        assert explorer.seen.choice.query == "bell" and explorer.sounds.kind.value == "given"
        explorer.sounds.kind.value = "scene"
        assert explorer.wait(20) and explorer.seen.truth is not None
        explorer.sounds.kind.value = "given"
        assert explorer.wait(20) and explorer._answer.sound is not None
    with pytest.raises(AudioError, match="there is no file"):
        make(five, tmp_path / "none.wav")
    with pytest.raises(UnknownEventError, match="does not know 'purple'"):
        make(five, samples, sampling_rate=RATE, query="purple")
    with pytest.raises(ValueError, match="blocks has 7"):
        make(five, settings=replace(OURS, blocks=(7,)))


def test_scenes_of_recordings(five: AudioLM, make: Callable[..., SteeringExplorer], tmp_path: Path) -> None:
    rows = ["filename,category"]
    for place, name in enumerate(five.events or ()):
        tone = 0.5 * np.sin(2 * np.pi * 200 * (place + 1) * np.arange(2 * RATE) / RATE)
        soundfile.write(tmp_path / f"{place}.wav", tone, RATE)
        rows.append(f"{place}.wav,{name}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    explorer = make(five, ClipBank.read(tmp_path))
    assert {event.source for event in explorer.session.events} <= {f"{place}.wav" for place in range(5)}
    assert "clips=clips" in explorer.code


def test_a_model_that_takes_any_text(tiny_models: dict[str, AudioLM], make: Callable[..., SteeringExplorer]) -> None:
    """As a checkpoint of the hub does: the same code."""
    free = taking_any_text(tiny_models["audioflamingo3"])
    explorer = make(free)
    assert explorer.seen.choice.query == explorer.session.events[0].name
    explorer.dials.query.value = "a man who laughs <script>"
    assert explorer.wait(20) and explorer.seen.choice.query == "a man who laughs <script>"
    with pytest.raises(ValueError, match="say what is sought"):
        make(free, np.random.default_rng(0).normal(size=RATE).astype(np.float32), sampling_rate=RATE)


def test_text_is_never_markup(five: AudioLM, make: Callable[..., SteeringExplorer]) -> None:
    explorer = make(five)
    explorer._complain(ValueError("<img src=x onerror=alert(1)>"))
    assert "<img" not in explorer.status.line.value and "&lt;img" in explorer.status.line.value
    explorer._answer = replace(explorer._answer, seen=replace(explorer.seen, answer_plain="<b>one</b>"))
    explorer._show(None, explorer._answer)  # type: ignore[arg-type]
    assert "<b>" not in explorer._said.value and "&lt;b&gt;one" in explorer._said.value


def test_the_twin_comes_before_the_widget(
    five: AudioLM, make: Callable[..., SteeringExplorer], displayed: list[tuple[dict[str, Any], Any]]
) -> None:
    explorer = make(five)
    explorer._ipython_display_()
    picture, words, widget = (data for data, _ in displayed)
    assert "image/png" in picture and picture["text/plain"].startswith("Static twin. Spectrogram")
    assert words["text/plain"].startswith(f"Static twin. {explorer.seen.choice.query}: located")
    assert widget["text/plain"] == repr(explorer) and "application/vnd.jupyter.widget-view+json" in widget
