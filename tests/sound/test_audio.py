"""Sound is read safely or refused with its own clear error; what is too long is cut as asked."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tones import RATE, rms, sine

from steer_utils.sound import audio
from steer_utils.sound.audio import (
    AudioError,
    AudioWarning,
    WhenLonger,
    read_audio,
    read_recording,
    sliding_starts,
    stretches,
)

# Arrays ----------------------------------------------------------------------------------------------------------


def test_array_at_the_wanted_rate_is_unchanged() -> None:
    out = read_audio(sine(), sampling_rate=RATE)
    assert out.dtype == np.float32
    assert np.array_equal(out, sine().astype(np.float32))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_duration_and_frequency(rate: int) -> None:
    out = read_audio(sine(1.0, 440.0, rate), sampling_rate=rate)
    assert abs(len(out) - RATE) <= 1
    middle = slice(2000, 14000)
    assert np.abs(out[middle] - sine(1.0)[: len(out)][middle]).max() < 2e-3


def test_other_target_rate() -> None:
    assert abs(len(read_audio(sine(1.0), sampling_rate=RATE, target_rate=24_000)) - 24_000) <= 1


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8, np.uint16, np.int64])
def test_integers_are_scaled_by_their_range(dtype: type) -> None:
    info = np.iinfo(dtype)
    half = (float(info.max) - float(info.min) + 1) / 2
    middle = half if info.min == 0 else 0.0
    scaled = np.clip(np.round(sine() * half + middle), info.min, float(info.max) * (1 - 1e-15)).astype(dtype)
    assert np.abs(read_audio(scaled, sampling_rate=RATE) - sine()).max() < 2 / half + 1e-6


def test_channels_are_averaged() -> None:
    stereo = np.stack([sine(), 0.2 * sine(hz=900)], axis=1)
    assert np.allclose(read_audio(stereo, sampling_rate=RATE), stereo.mean(1), atol=1e-6)


def test_float64_and_noncontiguous_input() -> None:
    strided = np.repeat(sine(), 2)[::2]
    out = read_audio(strided, sampling_rate=RATE)
    assert out.flags["C_CONTIGUOUS"]
    assert np.array_equal(out, sine().astype(np.float32))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "empty"),
        (np.zeros((0, 2)), "empty"),
        (np.zeros(RATE), "silent"),
        (np.full(RATE, 128, np.uint8), "silent"),
        (np.full(RATE, 0.3), "silent"),
        (sine(0.09), "at least 0.1 s"),
        (np.array(0.5), r"shape \(\)"),
        (np.ones((4, 5, 6)), "shape"),
        (np.stack([sine(), sine()]), "transposed"),
        (np.ones(RATE, dtype=bool), "bool"),
        (sine() + 1j, "complex"),
        (np.array(["a"] * 2000), "<U1"),
        (np.full(RATE, 1e300), "infinite"),
        (
            np.round(32767 * sine()),
            r"samples as large as 16\d+, .* lie in \[-1, 1\]; divide them by 32768, if .* 16-bit",
        ),
        (np.round(100 * sine()), "divide them by 128, if they were 8-bit"),
        (8e6 * sine(), "divide them by 8388608, if they were 24-bit"),
        (1e12 * sine(), "divide them by their full scale"),
        (
            np.round(32767 * sine()).astype(np.int64),
            "holds int64, but none larger than 16.*, so pass it as int16 or int32",
        ),
    ],
)
def test_bad_arrays_are_refused(samples: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        read_audio(samples, sampling_rate=RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_sample_is_found_and_counted(bad: float) -> None:
    samples = sine()
    samples[[7, 4000]] = bad
    with pytest.raises(AudioError, match="2 samples"):
        read_audio(samples, sampling_rate=RATE)


@pytest.mark.parametrize("rate", [0, -16000, 999, 1_000_000, 16000.5, float("nan"), float("inf"), True, "16000"])
def test_bad_rates_are_refused(rate: int) -> None:
    with pytest.raises(AudioError, match="sampling_rate"):
        read_audio(sine(), sampling_rate=rate)
    with pytest.raises(AudioError, match="target_rate"):
        read_audio(sine(), sampling_rate=RATE, target_rate=rate)


def test_array_needs_its_rate() -> None:
    with pytest.raises(AudioError, match="pass sampling_rate"):
        read_audio(sine())


@pytest.mark.parametrize("source", [None, 3, [0.0, 0.1], b"RIFF"])
def test_other_types_are_refused(source: object) -> None:
    with pytest.raises(TypeError, match="path or a numpy array"):
        read_audio(source, sampling_rate=RATE)  # type: ignore[arg-type]


SHAPES = st.one_of(st.tuples(st.integers(0, 4000)), st.tuples(st.integers(0, 4000), st.integers(0, 3)))
ARRAYS = st.one_of(
    hnp.arrays(st.sampled_from([np.float64, np.float32, np.float16]), SHAPES, fill=st.just(0)),
    hnp.arrays(st.sampled_from([np.int16, np.uint8, np.int32]), SHAPES, fill=st.just(0)),
)


@settings(max_examples=80, deadline=None)
@given(ARRAYS, st.integers(-1, 60_000))
def test_any_array_is_either_sound_or_an_audio_error(samples: np.ndarray, rate: int) -> None:
    try:
        out = read_audio(samples, sampling_rate=rate)
    except AudioError as error:
        assert len(str(error)) > 20
        return
    assert out.dtype == np.float32
    assert out.ndim == 1
    assert np.isfinite(out).all()
    assert abs(len(out) - len(samples) / rate * RATE) <= 2


# Sound that a model would not hear --------------------------------------------------------------------------------


def bursts(seconds: float = 3.0, rate: int = RATE) -> np.ndarray:
    """Noise that comes and goes, peak 0.7."""
    times = np.arange(round(seconds * rate)) / rate
    made = np.random.default_rng(0).normal(size=len(times)) * np.where(np.sin(4 * times) > 0, 1, 0.01)
    return (0.7 * made / np.abs(made).max()).astype(np.float32)


@given(st.floats(-0.5, 0.5).filter(lambda offset: abs(offset) > 0.01))
@settings(max_examples=10, deadline=None)
def test_an_offset_is_taken_out(offset: float) -> None:
    recording = read_recording(bursts() + np.float32(offset), sampling_rate=RATE)
    assert np.abs(recording.samples - (bursts() - bursts().mean())).max() < 1e-5 and recording.warnings == ()


@given(st.floats(-100, -31))
@settings(max_examples=10, deadline=None)
def test_what_is_very_quiet_is_raised_and_said(decibels: float) -> None:
    gain = np.float32(10 ** (decibels / 20))
    recording = read_recording(gain * bursts(), sampling_rate=RATE)
    assert np.abs(recording.samples - bursts()).max() < 1e-3
    assert f"is very quiet (peak {decibels - 3.1:.0f}"[:-2] in recording.warnings[0]
    with pytest.warns(AudioWarning, match="heard .* dB louder"):
        read_audio(gain * bursts(), sampling_rate=RATE)


def test_quiet_sound_that_was_rounded_to_silence_gets_a_background() -> None:
    quiet = np.round(1e-3 * bursts() * 32768).astype(np.int16)
    recording = read_recording(quiet, sampling_rate=RATE)
    assert recording.warnings[0].endswith("dB louder, over a faint noise where it was silent")
    silent = recording.samples[np.convolve(quiet != 0, np.ones(800), mode="same") == 0]
    assert abs(20 * np.log10(rms(silent)) + 42) < 1 and 0.7 < np.abs(recording.samples).max() < 0.75


def test_what_is_too_loud_is_lowered_and_said() -> None:
    recording = read_recording(10 * bursts(), sampling_rate=RATE)
    assert np.abs(recording.samples - bursts()).max() < 1e-5
    assert recording.warnings == ("the array is too loud (peak 7.00); it is heard 20 dB softer",)


@pytest.mark.parametrize("gain", [0.05, 0.1, 1.0, 1.4, 2.0])
def test_usual_levels_are_left_alone(gain: float) -> None:
    samples = (gain * bursts()).astype(np.float32)
    recording = read_recording(samples, sampling_rate=RATE)
    np.testing.assert_array_equal(recording.samples, samples)
    assert recording.warnings == ()


@pytest.mark.parametrize("others", [[-0.99], [-0.95], [-0.95, 0.0], [-0.9, 0.1, 0.0]])
def test_of_channels_that_cancel_the_loudest_is_heard(tmp_path: Path, others: list[float]) -> None:
    channels = np.stack([*[share * bursts() for share in others], bursts()], axis=1)
    soundfile.write(tmp_path / "a.wav", channels, RATE, subtype="FLOAT")
    for recording in (read_recording(channels, sampling_rate=RATE), read_recording(tmp_path / "a.wav")):
        np.testing.assert_array_equal(recording.samples, bursts())
        assert f"channel {channels.shape[1]} of {channels.shape[1]}, the loudest" in recording.warnings[0]


def test_channels_that_cancel_at_one_time_only() -> None:
    left = bursts(6.0)
    right = np.where(np.arange(len(left)) < 3 * RATE, left, -left)
    recording = read_recording(np.stack([left, right], axis=1), sampling_rate=RATE)
    np.testing.assert_array_equal(recording.samples, left)
    assert 1.0 < float(recording.warnings[0].split(" for ")[1].split()[0]) < 2.0  # of 3 s, half of it silent


def test_channels_with_noise_of_their_own_cancel_too() -> None:
    """And of the channels that do, the loudest is heard, not one beside them."""
    noise = (0.03 * np.random.default_rng(1).normal(size=(3, len(bursts())))).astype(np.float32)
    opposite = np.stack([bursts() + noise[0], noise[1] - bursts()], axis=1)
    assert "cancel" in read_recording(opposite, sampling_rate=RATE).warnings[0]
    beside = np.stack([4 * noise[2], bursts(), -bursts()], axis=1)
    recording = read_recording(beside, sampling_rate=RATE)
    np.testing.assert_array_equal(recording.samples, bursts())


@pytest.mark.parametrize("offset", ["step", "ramp"])
def test_an_offset_that_changes_is_taken_out_and_said(offset: str) -> None:
    sound = 0.5 * bursts(6.0)
    line = np.linspace(-0.3, 0.3, len(sound), dtype=np.float32)
    recording = read_recording(sound + (0.3 * np.sign(line) if offset == "step" else line), sampling_rate=RATE)
    assert "offset that changes" in recording.warnings[0]
    middle = slice(round(2.9 * RATE), round(3.3 * RATE))  # the step itself is heard
    left = np.abs(recording.samples - sound)
    left[middle] = 0
    assert left.max() < 0.03


def test_what_is_quiet_but_for_a_click_is_said() -> None:
    samples = (1e-3 * bursts()).astype(np.float32)
    samples[round(1.5 * RATE)] = 0.8
    (warning,) = read_recording(samples, sampling_rate=RATE).warnings
    assert "very quiet" in warning and "click at 1.50 s" in warning


def test_usual_stereo_is_averaged() -> None:
    rng = np.random.default_rng(0)
    left, right = bursts(), bursts() * np.float32(0.5)
    apart = (0.2 * rng.normal(size=(2, len(left)))).astype(np.float32)
    for stereo in ([left, right], [left, 0 * left], list(apart), [left + apart[0], -0.5 * left + apart[1]]):
        recording = read_recording(np.stack(stereo, axis=1), sampling_rate=RATE)
        assert recording.warnings == () and np.allclose(recording.samples, np.mean(stereo, axis=0), atol=1e-3)


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_long_sound_lies_in_a_file(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    samples = bursts(5.0, rate) + np.float32(0.1)
    in_memory = read_audio(samples, sampling_rate=rate)
    monkeypatch.setattr(audio, "IN_MEMORY", 100_000)
    in_file = read_audio(samples, sampling_rate=rate)
    np.testing.assert_array_equal(in_file, in_memory)
    assert type(in_file) is np.ndarray and in_file.flags.writeable and isinstance(in_file.base, np.memmap)


# Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tolerance"), [("a.wav", 1e-4), ("a.flac", 1e-4), ("a.ogg", 0.1)])
def test_files_are_decoded_mixed_and_resampled(tmp_path: Path, name: str, tolerance: float) -> None:
    path = tmp_path / name
    soundfile.write(path, np.stack([sine(1.0, rate=44_100)] * 2, axis=1), 44_100)
    for source in (path, str(path)):
        out = read_audio(source)
        assert abs(len(out) - RATE) <= 1
        assert np.abs(out[2000:14000] - sine(1.0)[2000:14000]).max() < max(tolerance, 2e-3)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_names_in_latin_1(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    with pytest.raises(AudioError, match=r"there is no file '.*café\.wav'"):
        read_audio(path)
    path.write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"cannot decode '.*café\.wav'"):
        read_audio(path)
    with path.open("wb") as file:
        soundfile.write(file, 0.02 * sine(), RATE, format="WAV")
    recording = read_recording(path)
    assert len(recording.samples) == RATE // 2 and "café.wav" in recording.warnings[0]


def test_what_is_wrong_with_a_file_is_warned_of(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(2.0), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    with pytest.warns(AudioWarning, match=r"a\.wav' is cut short: it announces 2\.00 s, 1\.00 s are there"):
        samples = read_audio(tmp_path / "a.wav")
    assert read_recording(tmp_path / "a.wav").duration == len(samples) / RATE == pytest.approx(1.0, abs=0.01)


def test_a_files_own_rate_counts(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(rate=44_100), 44_100)
    assert len(read_audio(tmp_path / "a.wav", sampling_rate=44_100)) == RATE // 2
    with pytest.raises(AudioError, match="44100 Hz, not 16000"):
        read_audio(tmp_path / "a.wav", sampling_rate=RATE)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"hello, this is text\n" * 50, bytes(range(256)) * 20])
@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.mp3", "a.txt", "a", "a.raw"])
def test_what_is_no_sound_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError):
        read_audio(tmp_path / name)


def test_corrupt_and_truncated_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.flac", "a.ogg"):
        path = tmp_path / name
        soundfile.write(path, sine(2.0), RATE)
        whole = path.read_bytes()
        path.write_bytes(whole[:60])
        with pytest.raises(AudioError):
            read_audio(path)
        path.write_bytes(b"\x00" * 200 + whole[200:])
        with pytest.raises(AudioError):
            read_audio(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="folder"):
        read_audio(tmp_path)


def test_files_with_useless_sound_are_refused(tmp_path: Path) -> None:
    for samples, message in (
        (np.zeros(RATE), "silent"),
        (np.zeros(0), "empty"),
        (sine(0.05), "at least 0.1"),
        (np.where(np.arange(RATE) == 5, np.nan, 0.1), "NaN"),
    ):
        soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
        with pytest.raises(AudioError, match=message):
            read_audio(tmp_path / "a.wav")


# Longer than a model takes -------------------------------------------------------------------------------------------


@given(st.floats(0.1, 500), st.floats(0.5, 30), st.floats(0.1, 1.0))
def test_sliding_starts_cover_without_gap_or_overshoot(duration: float, window: float, share: float) -> None:
    hop = window * share
    starts = sliding_starts(duration, window, hop)
    assert starts[0] == 0.0
    assert starts[-1] + window >= duration - 1e-6
    assert len(starts) == 1 or starts[-1] + window == pytest.approx(duration, abs=1e-6)
    assert all(0 < later - earlier <= hop + 1e-6 for earlier, later in itertools.pairwise(starts))


@pytest.mark.parametrize(
    "arguments", [(0, 8, 4), (10, 0, 4), (10, 8, 0), (10, 8, 9), (float("nan"), 8, 4), (float("inf"), 8, 4)]
)
def test_sliding_starts_refuses_gaps(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="hop"):
        sliding_starts(*arguments)


def test_longer_audio_is_refused_slid_over_or_cut() -> None:
    count = 10 * RATE
    with pytest.raises(AudioError, match=r"the take is 10\.0 s long, but pocket takes at most 4 s in one go; cut it"):
        stretches(count, RATE, 4.0, "refuse", label="the take", listener="pocket")
    assert stretches(count, RATE, 4.0, "cut") == [(0.0, slice(0, 4 * RATE))]
    slid = [(start, slice(round(start * RATE), round((start + 4) * RATE))) for start in (0.0, 2.0, 4.0, 6.0)]
    assert stretches(count, RATE, 4.0, "slide") == slid


@pytest.mark.parametrize("when_longer", ["refuse", "slide", "cut"])
def test_audio_that_is_not_longer_is_heard_whole(when_longer: WhenLonger) -> None:
    ((start, part),) = stretches(4 * RATE, RATE, 4.0, when_longer)
    assert start == 0.0 and len(range(4 * RATE)[part]) == 4 * RATE
