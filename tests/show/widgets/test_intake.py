"""Intake: bytes of a browser become the samples of the file, or the very error that the file would give."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given as drawn
from hypothesis import settings as how
from hypothesis import strategies as st

import steer_utils
from steer_utils.lm.models import AudioLM
from steer_utils.show.widgets import intake
from steer_utils.show.widgets.intake import Sound, given, made_scene, recorded, scene_sound, uploaded
from steer_utils.sound.audio import AudioError, read_audio
from steer_utils.sound.scenemaker import SceneMaker

RATE = 16_000


def as_file(samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def noise(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    made = 0.1 * np.random.default_rng(0).normal(size=(round(seconds * rate), channels))
    return (made if channels > 1 else made[:, 0]).astype(np.float32)


def with_nan() -> np.ndarray:
    samples = noise(1)
    samples[[5, 7]] = np.nan
    return samples


def said(error: AudioError) -> str:
    """The error without the decoder's own words in brackets, which differ for a file and a stream."""
    return re.sub(r"(cannot decode '.*?') \(.*\);", r"\1;", str(error))


@pytest.mark.parametrize(("kind", "rate", "channels"), [("WAV", 16_000, 1), ("FLAC", 44_100, 2), ("OGG", 22_050, 1)])
def test_an_upload_is_the_file(one_model: AudioLM, tmp_path: Path, kind: str, rate: int, channels: int) -> None:
    content = as_file(noise(1.5, rate, channels), rate, kind)
    path = tmp_path / f"street.{kind.lower()}"
    path.write_bytes(content)
    sound = uploaded(memoryview(content), path.name, one_model)
    np.testing.assert_array_equal(sound.samples, read_audio(path))
    assert (sound.rate, sound.title, sound.duration) == (RATE, path.name, pytest.approx(1.5, abs=0.01))
    assert sound.code.startswith(f"hearing = lm.hear('{path.name}')")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nothing.wav", b""),
        ("text.mp3", b"<html>not a sound</html>" * 50),
        ("cut.wav", as_file(noise(1))[:30]),
        ("header.wav", as_file(np.zeros(0, np.float32))),
        ("short.wav", as_file(noise(0.05))),
        ("silent.wav", as_file(np.zeros(RATE, np.float32))),
        ("loud.wav", as_file(np.round(32767 * noise(1)), subtype="FLOAT")),
        ("nan.wav", as_file(with_nan(), subtype="FLOAT")),
    ],
)
def test_a_bad_upload_gives_the_error_of_the_file(
    one_model: AudioLM, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError) as of_file:
        read_audio(path)
    with pytest.raises(AudioError) as of_upload:
        uploaded(content, name, one_model)
    assert said(of_upload.value) == said(of_file.value).replace(str(path), name)
    assert list(tmp_path.iterdir()) == [path]  # nothing was written


def test_a_long_upload_is_refused_before_decoding(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = as_file(np.zeros(300 * RATE, np.int16), kind="FLAC")
    assert len(hours) < 100_000
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(AudioError, match=r"'hours.flac' is 300.0 s long.* at most 4 s .* steer_utils.locate"):
        uploaded(hours, "hours.flac", one_model)


def test_a_large_upload_is_refused(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_BYTES", 2**20)
    with pytest.raises(AudioError, match=r"'big.wav' has 1.5 MiB; a browser can hand over 1 MiB: cut it"):
        uploaded(bytes(3 * 2**19), "big.wav", one_model)


def test_only_the_name_of_the_file_is_kept(one_model: AudioLM) -> None:
    sound = uploaded(as_file(noise(1)), "../../etc/<b>x.wav", one_model)
    assert sound.title == "<b>x.wav"


def test_a_recording_is_its_samples(one_model: AudioLM) -> None:
    samples = noise(1, 48_000)
    sound = recorded(samples.astype("<f4").tobytes(), 48_000, one_model)
    np.testing.assert_array_equal(sound.samples, read_audio(samples, sampling_rate=48_000))
    assert sound.title == "your recording" and sound.events == ()


@pytest.mark.parametrize(
    ("content", "rate", "says"),
    [
        (b"", RATE, "the recording is empty"),
        (b"12345", RATE, "5 bytes, which are no 32-bit samples"),
        (with_nan().tobytes(), RATE, "the recording has 2 samples that are NaN or infinite"),
        (np.zeros(RATE, "<f4").tobytes(), RATE, "the recording is silent"),
        (noise(0.05).tobytes(), RATE, "the recording lasts 0.050 s; at least 0.1 s"),
        (noise(4.5).tobytes(), RATE, "the recording is 4.5 s long, but tiny-.* at most 4 s"),
        (noise(1).tobytes(), 0, "sampling_rate is 0"),
    ],
)
def test_a_bad_recording(one_model: AudioLM, content: bytes, rate: int, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        recorded(content, rate, one_model)


@how(max_examples=60, deadline=None)
@drawn(st.binary(max_size=400), st.sampled_from([0, 8000, 16_000, 44_100, 10**7]))
def test_any_bytes_are_sound_or_an_error_of_ours(one_model: AudioLM, content: bytes, rate: int) -> None:
    for take in (lambda: uploaded(content, "x.wav", one_model), lambda: recorded(content, rate, one_model)):
        try:
            sound = take()
        except AudioError:
            continue
        assert sound.samples.dtype == np.float32 and np.isfinite(sound.samples).all()


def test_what_is_given_is_what_a_model_hears(one_model: AudioLM, tmp_path: Path) -> None:
    path = tmp_path / "street.wav"
    path.write_bytes(as_file(noise(1, 8000), 8000))
    np.testing.assert_array_equal(given(path, None, one_model).samples, one_model.hear(path).samples)
    array = given(noise(1, 8000), 8000, one_model)
    np.testing.assert_array_equal(array.samples, one_model.hear(noise(1, 8000), sampling_rate=8000).samples)
    assert array.code == "hearing = lm.hear(samples, sampling_rate=8000)"
    with pytest.raises(AudioError, match="there is no file"):
        given(tmp_path / "none.wav", None, one_model)
    with pytest.raises(AudioError, match="pass sampling_rate"):
        given(noise(1), None, one_model)
    with pytest.raises(AudioError, match=r"5.0 s long.*at most 4 s"):
        given(noise(5), RATE, one_model)


def test_the_code_of_a_scene_makes_it_again(one_model: AudioLM) -> None:
    maker = SceneMaker(["dog bark", "bell", "siren"], seconds=4.0, min_gap=0.1, event_seconds=(0.8, 1.0))
    sound = made_scene(maker, 2, 5)
    names: dict[str, object] = {"su": steer_utils, "lm": one_model}
    exec(sound.code, names)
    hearing = names["hearing"]
    np.testing.assert_array_equal(hearing.samples, sound.samples)  # type: ignore[attr-defined]
    assert sound.events == maker.scene(2, 5).events and sound.title == "scene 2 (seed 5)"
    with pytest.raises(ValueError, match="must not be negative"):
        made_scene(maker, -1, 0)


def test_a_scene_of_ones_own_and_its_hearing(one_model: AudioLM) -> None:
    scene = SceneMaker(["dog bark", "bell"], seconds=3.0, events=(2, 2)).make(0)
    sound = scene_sound(scene)
    assert sound.events == scene.events and "scene.samples" in sound.code
    np.testing.assert_array_equal(sound.heard(one_model).samples, scene.samples)
    with pytest.raises(AudioError, match=r"5\.0 s long"):
        Sound(noise(5), RATE, "long", "").heard(one_model)
