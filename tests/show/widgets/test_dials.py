"""The dials: as the settings have them, what they say as a choice, and which sound is chosen, without a browser."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from tinies import STEERED, taking_any_text

from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.show.widgets.dials import Dials, SoundDials
from steer_utils.show.widgets.exploration import Choice
from steer_utils.show.widgets.intake import Sound, made_scene
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Event
from steer_utils.sound.spans import Interval

OURS = replace(STEERED, blocks=(0, 2))
SCENE = (Event("siren", Interval(0.2, 1.0)), Event("bell", Interval(1.4, 1.9)))


class Turned:
    """The dials of a tiny model, and how often they said that something had changed."""

    def __init__(self, one: AudioLM, settings: Settings = OURS) -> None:
        self.count = 0
        self.dials = Dials(one, settings, self._said)

    def _said(self) -> None:
        self.count += 1

    def choice(self) -> Choice:
        return Choice(**self.dials.values())


@pytest.mark.parametrize("settings", [OURS, PAPER, replace(OURS, blocks=(-1, 0), strength=-0.5, read="share")])
def test_they_begin_as_the_settings_are(one_model: AudioLM, settings: Settings) -> None:
    turned = Turned(one_model, settings)
    turned.dials.offer(SCENE)
    chosen = Choice.of(settings, "siren", seconds=0.8)
    wanted = replace(chosen, contrast_question=settings.contrast_question)
    assert turned.choice().fitted(one_model) == wanted.fitted(one_model)
    assert turned.count == 0  # nothing was turned yet


def test_reset_undoes_every_dial(one_model: AudioLM) -> None:
    turned = Turned(one_model)
    dials, before = turned.dials, turned.choice()
    changes: dict[str, Any] = {
        "width": 2.0,
        "positive": "Mind the {event}.",
        "negative": "Hear it all.",
        "contrast": "Is it loud?",
        "question": "Describe the sound.",
        "strength": -1.0,
        "blocks": (1, 1),
        "positions": "text",
        "keep_norm": False,
        "read": "share",
        "read_from": ("after",),
    }
    for count, (name, value) in enumerate(changes.items(), start=1):
        getattr(dials, name).value = value
        assert turned.count == count, name
    changed = turned.choice()
    assert (changed.seconds, changed.blocks, changed.positions, changed.read_blocks) == (2.0, (1,), "text", None)
    assert changed.instructions[0].startswith("Mind the") and changed.strength == -1.0 and not changed.keep_norm
    dials.reset()
    assert turned.choice() == before and turned.count == len(changes)


def test_a_block_range_replaces_blocks_that_are_none(one_model: AudioLM) -> None:
    turned = Turned(one_model)
    assert turned.choice().blocks == (0, 2)
    turned.dials.blocks.value = (1, 2)
    assert turned.choice().blocks == (1, 2)


def test_read_outs(one_model: AudioLM) -> None:
    turned = Turned(one_model)
    labels = [label for label, _ in turned.dials.read_from.options]
    assert labels[:3] == ["blocks 2-3 (the settings')", "the blocks after the first steered", "2 chosen heads"]
    assert len(labels) == 3 + one_model.num_blocks
    turned.dials.read_from.value = ("heads", ((1, 2), (3, 0)))
    assert (turned.choice().read_heads, turned.choice().read_blocks) == (((1, 2), (3, 0)), None)
    turned.dials.read_from.value = ("blocks", (3,))
    assert turned.choice().read_blocks == (3,)


def test_a_pocket_model_offers_what_it_knows_the_scene_first(one_model: AudioLM) -> None:
    turned = Turned(one_model)
    assert turned.choice().query == "dog bark"
    turned.dials.offer((*SCENE, Event("cow", Interval(2.0, 2.5))))
    assert [value for _, value in turned.dials.query.options] == ["siren", "bell", "dog bark"]
    assert turned.choice().query == "siren" and turned.choice().seconds == pytest.approx(0.8)
    turned.dials.query.value = "bell"
    turned.dials.offer(SCENE[1:])  # another scene that has it, too
    assert turned.choice().query == "bell"
    turned.dials.offer(())
    assert turned.choice().query == "bell" and turned.choice().seconds is None
    turned.dials.ask("dog bark")
    assert turned.choice().query == "dog bark" and turned.count == 1


def test_other_models_take_any_text(one_model: AudioLM) -> None:
    turned = Turned(taking_any_text(one_model))
    assert turned.dials.values()["query"] == ""
    turned.dials.offer(SCENE)
    assert turned.choice().query == "siren" and turned.dials.query.options == ("siren", "bell")
    turned.dials.query.value = "a man who laughs"
    turned.dials.offer(())
    assert turned.choice().query == "a man who laughs"


# -- which sound ---------------------------------------------------------------------------------------------------


class Chosen:
    """Sound dials, and what they delivered."""

    def __init__(self, one: AudioLM, first: Sound | None = None, *, scenes: bool = True) -> None:
        self.maker = SceneMaker(["dog bark", "bell", "siren"], seconds=4.0) if scenes else None
        self.heard: list[Sound] = []
        self.errors: list[str] = []
        self.dials = SoundDials(
            one,
            self.maker,
            first,
            index=2,
            seed=5,
            heard=self.heard.append,
            failed=lambda error: self.errors.append(str(error)),
        )

    def upload(self, content: bytes, name: str = "street.wav") -> None:
        upload = self.dials.upload  # as from the browser
        upload.set_state({"content": memoryview(content), "name": name, "take": upload.take + 1})


def as_wav(samples: np.ndarray) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16_000, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def test_scenes_by_number_and_seed(one_model: AudioLM) -> None:
    chosen = Chosen(one_model)
    assert chosen.maker is not None
    np.testing.assert_array_equal(chosen.dials.scene().samples, chosen.maker.scene(2, 5).samples)
    chosen.dials.index.value = 3
    chosen.dials.seed.value = 6
    assert [sound.title for sound in chosen.heard] == ["scene 3 (seed 5)", "scene 3 (seed 6)"]
    chosen.dials.index.value = -4  # the control keeps it within bounds
    assert chosen.heard[-1].title == "scene 0 (seed 6)" and chosen.errors == []
    with pytest.raises(ValueError, match="no scenes can be made"):
        Chosen(one_model, made_scene(chosen.maker, 0, 0), scenes=False).dials.scene()


def test_only_what_belongs_to_the_kind_is_seen(one_model: AudioLM) -> None:
    dials = Chosen(one_model).dials
    parts = (dials.index, dials.seed, dials.upload, dials.recorder)
    for kind, seen in (("file", [dials.upload]), ("microphone", [dials.recorder]), ("scene", [*parts[:2]])):
        dials.kind.value = kind
        assert [part for part in parts if part.layout.display != "none"] == seen


def test_a_file_is_heard_or_its_error_told(one_model: AudioLM, samples: np.ndarray) -> None:
    chosen = Chosen(one_model)
    chosen.dials.kind.value = "file"
    chosen.upload(as_wav(samples))
    assert chosen.heard[-1].title == "street.wav"
    np.testing.assert_array_equal(chosen.heard[-1].samples, samples)
    chosen.upload(as_wav(np.full(16_000, np.nan, np.float32)), "bad.wav")
    chosen.upload(b"no sound", "<b>none.wav")
    assert len(chosen.heard) == 1
    assert "'bad.wav' has 16000 samples that are NaN" in chosen.errors[0]
    assert "cannot decode '<b>none.wav'" in chosen.errors[1]


def test_a_recording_is_heard_or_its_error_told(one_model: AudioLM, samples: np.ndarray) -> None:
    chosen = Chosen(one_model)
    chosen.dials.kind.value = "microphone"
    recorder = chosen.dials.recorder
    recorder.set_state({"pcm": memoryview(samples.astype("<f4").tobytes()), "rate": 16_000, "take": 1})
    np.testing.assert_array_equal(chosen.heard[-1].samples, samples)
    recorder.set_state({"pcm": np.zeros(16_000, "<f4").tobytes(), "rate": 16_000, "take": 2})
    assert len(chosen.heard) == 1 and "the recording is silent" in chosen.errors[0]
    assert recorder.longest == one_model.window_seconds


def test_back_to_what_was_given(one_model: AudioLM) -> None:
    first = made_scene(SceneMaker(["bell", "siren", "dog bark"], seconds=4.0), 0, 0)
    chosen = Chosen(one_model, first)
    assert chosen.dials.kind.value == "given"
    chosen.dials.kind.value = "scene"
    chosen.dials.kind.value = "given"
    assert [sound.title for sound in chosen.heard] == ["scene 2 (seed 5)", first.title] and chosen.heard[-1] is first
