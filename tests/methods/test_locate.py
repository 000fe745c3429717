"""locate: one call, checked before the model runs; long audio is heard in windows and the interval shifted back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from watched_work import noting

import steer_utils
from steer_utils.lm import hearing as hearings
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.run import run
from steer_utils.methods import locate as locating
from steer_utils.methods.asking import presence_probability
from steer_utils.methods.base import Query
from steer_utils.methods.locate import Located, NoTimeError, UnknownEventError, known_event, locate, locate_many
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.table import METHODS
from steer_utils.sound.audio import AudioError, AudioWarning, read_recording
from steer_utils.sound.spans import Interval, best_segment

RATE = 16_000


def noise(seconds: float, seed: int = 0, level: float = 0.01) -> np.ndarray:
    return (level * np.random.default_rng(seed).normal(size=round(seconds * RATE))).astype(np.float32)


# One window ------------------------------------------------------------------------------------------------------


def test_locate_is_the_method_and_the_segment(lm: AudioLM, samples: np.ndarray) -> None:
    settings = replace(PAPER, read="share", blocks=(0,))
    located = locate(lm, samples, "dog bark", sampling_rate=RATE, settings=settings)
    hearing = lm.hear(samples, sampling_rate=RATE)
    found = METHODS["steering"].find(hearing, Query("dog bark", 2.0), settings)
    assert found.curve is not None and located.curve is not None
    np.testing.assert_array_equal(located.curve, found.curve)
    interval, mean = best_segment(found.curve, hearing.span)
    assert (located.interval, located.score) == (interval, pytest.approx(mean * 50))
    assert located.presence == presence_probability(hearing, "dog bark", settings)
    assert (located.event, located.method, located.model) == ("dog bark", "steering", lm.name)
    assert (located.windows, located.window, located.duration) == (1, Interval(0.0, 2.0), 2.0)
    np.testing.assert_array_equal(located.samples, samples)


def test_a_width_makes_it_the_window_of_the_method(one_model: AudioLM, samples: np.ndarray) -> None:
    located = locate(one_model, samples, "dog bark", sampling_rate=RATE, seconds=0.6)
    found = METHODS["steering"].find(one_model.hear(samples, sampling_rate=RATE), Query("dog bark", 0.6), PAPER)
    assert (located.interval, located.score) == (found.interval, pytest.approx(found.score * 50))
    assert locate(one_model, samples, "bell", sampling_rate=RATE, seconds=99.0).interval == Interval(0.0, 2.0)


def test_the_loudest_burst(one_model: AudioLM) -> None:
    samples = noise(3.0)
    samples[RATE : 2 * RATE] *= 20
    located = locate(one_model, samples, "bell", sampling_rate=RATE, method="loudest")
    assert (located.interval.start, located.interval.end) == pytest.approx((1.0, 2.0), abs=0.1)
    assert 2.4 < located.score < 3.1  # times the even share: all of it in about a third of the time


def test_methods_without_a_curve_take_two_seconds(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    located = locate(one_model, noise(3.0), "bell", sampling_rate=RATE, method="random")
    assert located.curve is None and located.interval.duration == pytest.approx(2.0)
    short = locate(one_model, noise(0.51), "bell", sampling_rate=RATE, method="random")
    assert short.interval == Interval(0.0, 0.51)  # its last audio token ends after the audio does
    monkeypatch.setattr(Hearing, "answers", lambda *_: ["a bell"])
    with pytest.raises(ValueError, match="names no time: 'a bell'; try another method"):
        locate(one_model, noise(1.0), "bell", sampling_rate=RATE, method="asking")


@pytest.mark.parametrize("seconds", [0.1, 0.13, 0.3, 1.03, 3.99, 4.0])
def test_audio_of_any_length_up_to_the_window(one_model: AudioLM, seconds: float) -> None:
    located = locate(one_model, noise(seconds), "bell", sampling_rate=RATE)
    assert located.windows == 1
    assert 0.0 <= located.interval.start < located.interval.end <= located.duration == pytest.approx(seconds, abs=1e-4)


def test_a_file_at_another_rate_in_stereo(one_model: AudioLM, tmp_path: Path) -> None:
    samples = np.stack([noise(2 * 44_100 / RATE, 1), noise(2 * 44_100 / RATE, 2)], axis=1)
    soundfile.write(tmp_path / "street.wav", samples, 44_100)
    located = steer_utils.locate(one_model, str(tmp_path / "street.wav"), "Dog  Bark")
    assert (located.event, located.sampling_rate, len(located.samples)) == ("dog bark", RATE, 2 * RATE)


def test_settings_beside_the_model_are_used(model_folder: Path, samples: np.ndarray) -> None:
    lm = steer_utils.load(model_folder)
    path = model_folder / "settings.json"
    own = Settings(strength=3.0, blocks=(1,), read="share", read_blocks=(3,))
    try:
        own.save(path)
        with_file = locate(lm, samples, "bell", sampling_rate=RATE)
    finally:
        path.unlink()
    given = locate(lm, samples, "bell", sampling_rate=RATE, settings=own)
    papers = locate(lm, samples, "bell", sampling_rate=RATE)
    assert with_file.curve is not None and given.curve is not None and papers.curve is not None
    np.testing.assert_array_equal(with_file.curve, given.curve)
    assert not np.allclose(with_file.curve, papers.curve)


def test_what_is_wrong_with_the_audio_is_warned_of_and_kept(one_model: AudioLM, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(3.0, level=0.1), RATE)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.warns(AudioWarning, match="is cut short"):
        located = locate(one_model, tmp_path / "a.flac", "bell", method="loudest")
    assert "is cut short" in located.warnings[0] and located.as_dict()["warnings"] == list(located.warnings)
    recording = read_recording(tmp_path / "a.flac", target_rate=44_100)
    again = locate(one_model, recording, "bell", method="loudest")  # known already: no second warning
    assert again.warnings == located.warnings and again.duration == pytest.approx(located.duration, abs=1e-3)
    assert locate(one_model, noise(1.0), "bell", sampling_rate=RATE, method="loudest").as_dict()["warnings"] == []


# Long audio ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surest", [0, 1, 2, 3])
def test_long_audio_is_heard_in_windows_and_the_interval_shifted(
    one_model: AudioLM, monkeypatch: pytest.MonkeyPatch, surest: int
) -> None:
    samples = noise(10.0)  # 2.5 windows of 4 s, hop 2 s: windows start at 0, 2, 4 and 6 s
    burst = round((2 * surest + 1.5) * RATE)
    samples[burst : burst + RATE] *= 20
    heard: list[np.ndarray] = []

    def sure(hearings: Sequence[Hearing], events: Sequence[str], settings: Settings) -> list[list[float]]:
        heard.extend(hearing.samples for hearing in hearings)
        return [[2.0 if number == surest else -2.0] for number in range(len(hearings))]

    monkeypatch.setattr(locating, "presence_log_odds", sure)
    located = locate(one_model, samples, "bell", sampling_rate=RATE, method="loudest")
    assert [len(window) for window in heard] == [4 * RATE] * 4
    for start, window in zip((0, 2, 4, 6), heard, strict=True):
        np.testing.assert_array_equal(window, samples[start * RATE : (start + 4) * RATE])
    assert (located.windows, located.as_dict()["windows"]) == (4, 4)
    assert located.window == Interval(2.0 * surest, 2.0 * surest + 4.0)
    assert (located.interval.start, located.interval.end) == pytest.approx((burst / RATE, burst / RATE + 1), abs=0.1)
    assert (located.presence, located.duration) == (pytest.approx(0.8808, abs=1e-4), 10.0)
    assert located.curve is not None and located.curve.shape == (100,)


def test_long_audio_with_the_models_own_presence(one_model: AudioLM) -> None:
    samples, seen = noise(10.0, level=0.1), list[float]()
    located = locate(one_model, samples, "siren", sampling_rate=RATE, progress=noting(seen))
    assert seen == [0.0, 2.0, 4.0, 6.0]
    windows = [Hearing(one_model, samples[int(start * RATE) : int((start + 4) * RATE)]) for start in seen]
    probabilities = [presence_probability(window, "siren", PAPER) for window in windows]
    assert located.window.start == seen[int(np.argmax(probabilities))]
    assert located.presence == pytest.approx(max(probabilities), abs=1e-6)
    alone = locate(one_model, samples[int(located.window.start * RATE) :][: 4 * RATE], "siren", sampling_rate=RATE)
    assert located.interval.start == pytest.approx(alone.interval.start + located.window.start)
    assert located.interval.end == pytest.approx(alone.interval.end + located.window.start)


def test_silent_windows_are_passed_over(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.zeros(10 * RATE, np.float32)
    samples[9 * RATE :] = noise(1.0)
    heard: list[np.ndarray] = []

    def unsure(hearings: Sequence[Hearing], *_: object) -> list[list[float]]:
        heard.extend(hearing.samples for hearing in hearings)
        return [[0.0]] * len(hearings)

    monkeypatch.setattr(locating, "presence_log_odds", unsure)
    located = locate(one_model, samples, "bell", sampling_rate=RATE)
    assert len(heard) == 1
    assert (located.window, located.windows) == (Interval(6.0, 10.0), 4)


# Many audios -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, None])
def test_many_audios_are_located_as_one_by_one(one_model: AudioLM, batch: int | None) -> None:
    """Audio of one window and of several, in batches that end within one."""
    audios = [noise(1.0, 1), noise(9.0, 2, 0.1), noise(2.5, 3), noise(5.0, 4, 0.1)]
    several = list(locate_many(one_model, audios, "bell", sampling_rate=RATE, seconds=0.6, batch=batch))
    assert [audio is given for (audio, _), given in zip(several, audios, strict=True)] == [True] * 4
    for (_, located), samples in zip(several, audios, strict=True):
        alone = locate(one_model, samples, "bell", sampling_rate=RATE, seconds=0.6)
        assert (located.interval, located.window, located.windows) == (alone.interval, alone.window, alone.windows)
        assert located.curve is not None and alone.curve is not None
        np.testing.assert_allclose(located.curve, alone.curve, atol=1e-5)
        assert (located.presence, located.duration) == (pytest.approx(alone.presence, abs=1e-5), alone.duration)
        np.testing.assert_array_equal(located.samples, samples)


@pytest.mark.parametrize(("batch", "calls"), [(1, 9), (None, 3)])
def test_what_is_asked_of_several_audios_shares_calls(
    one_model: AudioLM, monkeypatch: pytest.MonkeyPatch, batch: int | None, calls: int
) -> None:
    """Is it there, the contrast, the steered question: three calls an audio, or of all."""
    ran: list[int] = []
    audios = [noise(1.0, 1), noise(2.5, 3), noise(2.0, 4)]
    monkeypatch.setattr(hearings, "run", lambda *given: ran.append(1) or run(*given))
    found = list(locate_many(one_model, audios, "bell", sampling_rate=RATE, batch=batch))
    assert (len(found), len(ran)) == (3, calls)


def test_many_audios_are_read_as_they_are_asked_for(one_model: AudioLM) -> None:
    asked: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            asked.append(1)
            yield noise(0.3)

    several = locate_many(one_model, endless(), "bell", sampling_rate=RATE, method="loudest", batch=2)
    assert not asked
    for number in range(4):
        next(several)
        assert len(asked) == 2 * (number // 2 + 1)


def test_an_audio_that_cannot_be_located_in_is_left_out_or_raised(
    one_model: AudioLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hearing, "answers", lambda self, rows: ["at 0.5 s" if self.duration < 1 else "a bell"])
    audios = [noise(0.5), np.zeros(RATE), noise(1.5), noise(0.7)]
    reasons: list[tuple[int, str]] = []
    options: dict[str, Any] = {"sampling_rate": RATE, "method": "asking", "batch": 3}

    def left_out(audio: np.ndarray, error: ValueError) -> None:
        (place,) = [place for place, given in enumerate(audios) if given is audio]
        reasons.append((place, f"{type(error).__name__}: {error}"))

    several = list(locate_many(one_model, audios, "bell", left_out=left_out, **options))
    assert [located.duration for _, located in several] == [0.5, 0.7]
    assert [place for place, _ in reasons] == [1, 2]
    assert "AudioError: the array is silent" in reasons[0][1] and "NoTimeError" in reasons[1][1]
    one_by_one = locate_many(one_model, audios, "bell", **options)
    assert next(one_by_one)[1].duration == 0.5
    with pytest.raises(AudioError, match="silent"):
        next(one_by_one)
    with pytest.raises(NoTimeError, match="names no time"):
        list(locate_many(one_model, audios[2:], "bell", **options))


@pytest.mark.usefixtures("never_heard")
def test_many_audios_with_a_wrong_task_are_refused_at_once(one_model: AudioLM) -> None:
    for audios, options, error, message in (
        ("street.wav", {}, TypeError, "audios is one str; pass a list"),
        ([], {"event": "cat"}, UnknownEventError, "It knows"),
        ([], {"method": "stearing"}, ValueError, "unknown method"),
        ([], {"batch": 0}, ValueError, "batch is 0"),
        ([], {"seconds": -1.0}, ValueError, "positive width"),
    ):
        arguments: dict[str, Any] = {"event": "bell", **options}
        with pytest.raises(error, match=message):
            locate_many(one_model, audios, **arguments)  # type: ignore[type-var]


# What is refused, before the model runs -----------------------------------------------------------------------------


@pytest.fixture
def never_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearing anything fails the test."""

    def fail(*_: object) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr(hearings, "encode_many", fail)


@pytest.mark.parametrize(
    ("samples", "options", "error", "message"),
    [
        (np.zeros(RATE), {}, AudioError, "silent"),
        (np.full(RATE, np.nan), {}, AudioError, "NaN"),
        (np.zeros(0), {}, AudioError, "empty"),
        (noise(0.05), {}, AudioError, "at least 0.1 s"),
        (noise(1.0), {"sampling_rate": None}, AudioError, "sampling_rate"),
        (noise(1.0), {"event": "cat"}, UnknownEventError, "It knows: dog bark, bell, siren"),
        (noise(1.0), {"event": " "}, UnknownEventError, "the event is empty"),
        (noise(1.0), {"method": "stearing"}, ValueError, "unknown method 'stearing'; pass one of steering"),
        (noise(1.0), {"method": "position"}, ValueError, "needs the curves of other scenes"),
        (noise(1.0), {"method": "swapped"}, ValueError, "needs a query that names the other events"),
        (noise(1.0), {"method": "steering-heads"}, ValueError, "needs settings with read_heads"),
        (noise(1.0), {"seconds": 0.0}, ValueError, "positive width"),
        (noise(1.0), {"seconds": float("nan")}, ValueError, "positive width"),
    ],
)
@pytest.mark.usefixtures("never_heard")
def test_refused_before_the_model_runs(
    one_model: AudioLM, samples: np.ndarray, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"event": "bell", "sampling_rate": RATE, **options}
    with pytest.raises(error, match=message):
        locate(one_model, samples, **arguments)


@pytest.mark.usefixtures("never_heard")
def test_bad_files_are_refused_before_the_model_runs(one_model: AudioLM, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound")
    for name in ("text.wav", "missing.wav", "."):
        with pytest.raises(AudioError):
            locate(one_model, tmp_path / name, "bell")
    with pytest.raises(AssertionError, match="the model was run"):  # the fixture does what it says
        locate(one_model, noise(1.0), "bell", sampling_rate=RATE)


@pytest.mark.usefixtures("never_heard")
def test_text_that_no_prompt_can_hold(one_model: AudioLM) -> None:
    free = AudioLM(one_model.model, one_model.processor, one_model.family, "free")
    with pytest.raises(ValueError, match="a special token"):
        locate(free, noise(1.0), "bell <|AUDIO|>", sampling_rate=RATE)


def test_known_events(one_model: AudioLM) -> None:
    assert known_event(one_model, "  Dog\tBARK ") == "dog bark"
    with pytest.raises(
        UnknownEventError, match=r"does not know 'dog_brak'.*mean 'dog bark'.*dog bark, bell, siren.*any text"
    ):
        known_event(one_model, "dog_brak")
    with pytest.raises(UnknownEventError, match="does not know 'xylophone'") as caught:
        known_event(one_model, "xylophone")
    assert "Did you mean" not in str(caught.value)
    free = AudioLM(one_model.model, one_model.processor, one_model.family, "free")
    assert known_event(free, " a Street  organ {1} ") == "a Street organ {1}"
    titled = AudioLM(one_model.model, one_model.processor, one_model.family, "titled", events=("Dog Bark",))
    assert known_event(titled, "dog bark") == "Dog Bark"


# What is written of it ---------------------------------------------------------------------------------------------


def test_json_and_labels(one_model: AudioLM, samples: np.ndarray) -> None:
    located = locate(one_model, samples, "bell", sampling_rate=RATE)
    facts = json.loads(json.dumps(located.as_dict(), allow_nan=False))
    assert (facts["start"], facts["end"]) == pytest.approx((located.interval.start, located.interval.end), abs=5e-4)
    assert (facts["event"], facts["method"], facts["windows"]) == ("bell", "steering", 1)
    assert 0.0 <= facts["presence"] <= 1.0
    fixed = replace(located, interval=Interval(3.28, 5.28), event="dog bark")
    assert isinstance(fixed, Located)
    assert fixed.label_line() == "3.280000\t5.280000\tdog bark\n"
