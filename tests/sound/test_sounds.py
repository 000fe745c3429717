"""Procedural sounds: exact levels and lengths, determinism, no holes, registers apart, kinds apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.sound.measures import frame_rms, mel_spectrogram
from steer_utils.sound.sounds import PITCHES, RATE, SOUNDS, SoundClass, synthesise

ALL = [(name, pitch) for name in SOUNDS for pitch in PITCHES]


def longest_silence(samples: np.ndarray) -> float:
    """Longest stretch (s) of 10 ms frames 40 dB below the loudest one, edges included."""
    rms = frame_rms(samples, RATE // 100)
    sounding = np.flatnonzero(rms > rms.max() * 0.01)
    return float((np.diff(np.concatenate([[-1], sounding, [len(rms)]])) - 1).max()) * 0.01


def centre_octave(samples: np.ndarray) -> float:
    """Energy-weighted mean of log2(frequency)."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    heard = hz > 30
    return float((power[heard] * np.log2(hz[heard])).sum() / power[heard].sum())


def fundamental(samples: np.ndarray, low: float, high: float) -> float:
    """Median over the loud frames of the cepstrum's peak between two bounds, Hz (blind to resonances)."""
    size = 2 * int(2.2 * RATE / low)
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 4]
    energy = (frames**2).sum(1)
    spectra = np.abs(np.fft.rfft(frames[energy > 0.3 * energy.max()] * np.hanning(size), 4 * size, axis=1))
    cepstra = np.fft.irfft(np.log(spectra + 1e-3 * spectra.max()), axis=1)
    lags = np.arange(int(RATE / high), int(RATE / low))
    return float(np.median(RATE / lags[cepstra[:, lags].argmax(1)]))


def fingerprint(samples: np.ndarray) -> np.ndarray:
    """What a listener could tell kinds apart by: spectrum, its spread in time, and rhythm (modulation spectrum)."""
    mel = np.maximum(mel_spectrogram(samples, RATE, bands=40), -60) / 60
    rhythm = np.abs(np.fft.rfft(mel - mel.mean(1, keepdims=True), 512, axis=1)).mean(0)[1:160].reshape(-1, 3).mean(1)
    return np.concatenate([mel.mean(1), 2 * mel.std(1), rhythm / 40])


def test_there_are_at_least_the_promised_kinds() -> None:
    promised = "siren,bell,dog bark,bird,knock,clap,engine,rain,alarm,whistle,helicopter,laughter,cricket,drum"
    assert ",".join(SOUNDS) == promised
    for name, kind in SOUNDS.items():
        assert isinstance(kind, SoundClass)
        assert kind.name == name
        assert len(kind.summary) > 20


@pytest.mark.parametrize(("name", "pitch"), ALL)
def test_length_peak_type_and_no_hole(name: str, pitch: str) -> None:
    for seed, (seconds, level) in enumerate(itertools.product((0.5, 1.3, 2.6), (-1.0, -14.0))):
        samples = synthesise(name, seconds=seconds, pitch=pitch, level_db=level, rng=seed)
        assert samples.shape == (round(seconds * RATE),)
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() == pytest.approx(10 ** (level / 20), rel=1e-5)
        assert longest_silence(samples) <= 0.45
        assert abs(samples[0]) < 0.05 * np.abs(samples).max()  # faded, thus no click at the edges
        assert abs(samples[-1]) < 0.05 * np.abs(samples).max()


@pytest.mark.parametrize("name", SOUNDS)
def test_seed_decides_everything(name: str) -> None:
    first = synthesise(name, seconds=1.0, rng=3)
    assert np.array_equal(first, synthesise(name, seconds=1.0, rng=3))
    assert np.array_equal(first, synthesise(name, seconds=1.0, rng=np.random.default_rng(3)))
    assert not np.array_equal(first, synthesise(name, seconds=1.0, rng=4))
    generator = np.random.default_rng(3)
    assert not np.array_equal(*(synthesise(name, seconds=1.0, rng=generator) for _ in range(2)))


def test_numpy_global_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    for name in SOUNDS:
        synthesise(name, seconds=0.5)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("name", [name for name in SOUNDS if name not in ("engine", "laughter")])
def test_registers_are_apart_by_their_spectrum(name: str) -> None:
    low, high = ([centre_octave(synthesise(name, seconds=2.0, pitch=p, rng=s)) for s in range(12)] for p in PITCHES)
    assert min(high) - max(low) > 0.3
    assert 0.7 < np.mean(high) - np.mean(low) < 1.4


@pytest.mark.parametrize(("name", "bounds"), [("engine", (15.0, 75.0)), ("laughter", (90.0, 480.0))])
def test_registers_of_buzzes_and_voices_are_apart_by_their_fundamental(name: str, bounds: tuple[float, float]) -> None:
    # their energy sits in fixed resonances, so the fundamental is what one hears as pitch
    low, high = (
        [fundamental(synthesise(name, seconds=2.0, pitch=p, rng=s), *bounds) for s in range(12)] for p in PITCHES
    )
    assert np.mean(np.log2(high)) - np.mean(np.log2(low)) == pytest.approx(1.2, abs=0.1)
    assert min(high) > 1.6 * max(low)


def test_kinds_are_told_apart_by_their_nearest_neighbour() -> None:
    prints = np.array([fingerprint(synthesise(name, seconds=2.0, pitch=p, rng=s)) for name, p in ALL for s in range(6)])
    names = np.array([name for name, _ in ALL for _ in range(6)])
    distance = ((prints[:, None] - prints[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    assert (names[distance.argmin(1)] == names).mean() >= 0.98


def test_rhythms_are_what_the_names_say() -> None:
    def beats(name: str, low: float, high: float) -> float:
        """Share of the loudness curve's modulation energy (above 1 Hz) between two rates."""
        curves = [frame_rms(synthesise(name, seconds=2.6, rng=s), 80) for s in range(6)]
        power = np.mean([np.abs(np.fft.rfft(c - c.mean(), 4096)) ** 2 for c in curves], axis=0)
        rate = np.fft.rfftfreq(4096, 80 / RATE)
        return float(power[(rate > low) & (rate < high)].sum() / power[(rate > 1) & (rate < 60)].sum())

    assert beats("helicopter", 9, 18) > 0.5 > 5 * beats("engine", 9, 18)
    assert beats("cricket", 8, 40) > 0.6 > 1.5 * beats("whistle", 8, 40)


@pytest.mark.parametrize("name", ["dog", "syren", "", "Dog Bark"])
def test_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="helicopter"):
        synthesise(name, seconds=1.0)


def test_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean 'siren'"):
        synthesise("syren", seconds=1.0)


@pytest.mark.parametrize("pitch", ["High", "mid", "", None])
def test_unknown_pitch_is_refused(pitch: str) -> None:
    with pytest.raises(ValueError, match="pitch"):
        synthesise("bell", seconds=1.0, pitch=pitch)


@given(st.one_of(st.floats(max_value=0.049), st.floats(min_value=60.01), st.just(float("nan"))))
def test_impossible_durations_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        synthesise("bell", seconds=seconds)


@given(st.one_of(st.floats(min_value=1e-6), st.just(float("nan")), st.just(float("-inf"))))
def test_impossible_levels_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level_db"):
        synthesise("bell", seconds=1.0, level_db=level)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL), st.floats(0.05, 4.0), st.integers(0, 2**32 - 1))
def test_any_duration_and_seed_gives_a_sound(kind: tuple[str, str], seconds: float, seed: int) -> None:
    samples = synthesise(kind[0], seconds=seconds, pitch=kind[1], level_db=0.0, rng=seed)
    assert samples.shape == (round(seconds * RATE),)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() == pytest.approx(1.0, rel=1e-5)


def test_long_sounds_go_on_to_the_end() -> None:
    for name in SOUNDS:
        assert longest_silence(synthesise(name, seconds=40.0, rng=1)) <= 0.45
