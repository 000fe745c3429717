"""Procedural sound events: fourteen kinds a person can name by ear, each with a low and a high register.

Every kind is one small function `(n, pitch, rng) -> (n,) float64` at 16 kHz; `pitch` runs from 0 (low register) to
1 (high register), from the building blocks in `synthesis`: onset times (`steady`, `groups`), a wavetable for harmonic
tones (`tone`), a resonant band (`band`). `synthesise` adds what is common: fades, exact peak level, float32.

    samples = synthesise("dog bark", seconds=1.5, pitch="low", rng=7)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from steer_utils.sound.synthesis import RATE, band, faded, groups, hits, register_hz, seconds_of, steady, tone, wander

PITCHES = ("low", "high")
MAX_SECONDS = 60.0

Synthesis = Callable[[int, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class SoundClass:
    """One kind of sound: its name as people say it, the function that makes it, and how it is made."""

    name: str
    synthesise: Synthesis
    summary: str


def synthesise(
    name: str,
    *,
    seconds: float,
    pitch: str = "high",
    level_db: float = -1.0,
    rng: np.random.Generator | int = 0,
) -> np.ndarray:
    """One event of `seconds` seconds: float32 (n,) at 16 kHz whose peak is exactly `level_db` dBFS.

    `pitch` is "low" or "high". The same seed gives the same samples; a Generator is advanced.
    Raises ValueError for an unknown name or pitch, a duration outside 0.05-60 s, or a level above 0 dBFS.
    """
    kind = _kind(name)
    if pitch not in PITCHES:
        raise ValueError(f'pitch is {pitch!r}; pass "low" or "high"')
    if not 0.05 <= seconds <= MAX_SECONDS:
        raise ValueError(f"seconds is {seconds}; pass a duration between 0.05 and {MAX_SECONDS:g} s")
    if not -120.0 <= level_db <= 0.0:
        raise ValueError(f"level_db is {level_db}; pass a peak level between -120 and 0 dBFS")
    generator = np.random.default_rng(rng)
    n = round(seconds * RATE)
    samples = kind.synthesise(n, float(PITCHES.index(pitch)), generator)
    samples = faded(samples, generator.uniform(0.01, 0.03), RATE)
    peak = float(np.abs(samples).max())
    return (samples * (10 ** (level_db / 20) / peak)).astype(np.float32)


def _kind(name: str) -> SoundClass:
    if name in SOUNDS:
        return SOUNDS[name]
    close = difflib.get_close_matches(str(name), SOUNDS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"no procedural sound is called {name!r}{hint} Known: {', '.join(SOUNDS)}")


# The fourteen kinds ---------------------------------------------------------------------------------------------


def _siren(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    centre = register_hz(480, pitch, rng)
    sweeps = rng.uniform(0.8, 1.7)
    depth = rng.uniform(0.38, 0.52)  # octaves either way
    wave = np.sin(2 * np.pi * (sweeps * seconds_of(n) + rng.random()))
    return tone(centre * 2 ** (depth * wave), [1, 0.55, 0.45, 0.25, 0.18, 0.1, 0.06], rng)


def _bell(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    strike_hz = register_hz(430, pitch, rng)
    ring = rng.uniform(0.55, 0.9)  # decay of the slowest partial, seconds
    length = min(n, int(2.2 * ring * RATE))
    t = seconds_of(length)
    one = np.zeros(length)
    ratios = (0.5, 1.0, 1.19, 1.5, 2.0, 2.74, 3.76, 5.4)  # frequencies of the partials, relative to the strike note
    weights = (0.5, 1.0, 0.7, 0.35, 0.8, 0.45, 0.3, 0.2)
    decays = (1.0, 0.8, 0.65, 0.5, 0.45, 0.3, 0.2, 0.12)  # relative to the slowest
    for ratio, weight, decay in zip(ratios, weights, decays, strict=True):
        if ratio * strike_hz < 7600:
            m = min(length, int(6 * decay * ring * RATE))
            wave = np.sin(2 * np.pi * ratio * strike_hz * rng.uniform(0.995, 1.005) * t[:m])
            one[:m] += weight * rng.uniform(0.7, 1.3) * np.exp(-t[:m] / (decay * ring)) * wave
    levels = rng.uniform(0.7, 1.0, 64)
    return hits(n, steady(n, rng.uniform(0.5, 0.95), 0.05, rng), lambda i: one * levels[i % 64])


def _dog_bark(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    voice = register_hz(200, pitch, rng)
    throat = (520 * 1.7**pitch * rng.uniform(0.9, 1.1), 1350 * 1.6**pitch * rng.uniform(0.9, 1.1))
    length = rng.uniform(0.14, 0.22) * 1.15 ** (1 - 2 * pitch)
    weights = 1 / np.arange(1, 25) ** 0.6

    def bark(_: int) -> np.ndarray:
        m = int(length * rng.uniform(0.85, 1.15) * RATE)
        u = np.arange(m) / m
        hz = voice * np.interp(u, [0, 0.25, 1], [0.8, rng.uniform(1.2, 1.45), 0.6])  # up fast, then falling
        rough = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(45, 70) * u * length)
        source = tone(hz, weights) * rough + 0.7 * rng.standard_normal(m)
        shaped = band(source, throat[0], 2.0) + 0.6 * band(source, throat[1], 2.5) + 0.06 * source
        return shaped * np.minimum(u / 0.06, 1) * np.maximum(1 - u, 0) ** 1.3 * rng.uniform(0.6, 1.0)

    return hits(n, groups(n, (1, 3), rng.uniform(0.26, 0.34), rng.uniform(0.42, 0.5), 0.08, rng), bark)


def _bird(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    centre = register_hz(2050, pitch, rng)
    shapes = ((0.85, 1.2, 1.2), (1.25, 1.0, 0.8), (0.85, 1.25, 0.85), (1.2, 0.85, 1.15))
    song = [(shapes[rng.integers(4)], rng.uniform(0.05, 0.13), rng.uniform(0.94, 1.06)) for _ in range(3)]

    def chirp(i: int) -> np.ndarray:
        shape, seconds, offset = song[(i // 2) % 3]
        m = int(seconds * rng.uniform(0.9, 1.1) * RATE)
        u = np.arange(m) / m
        hz = centre * offset * np.interp(u, [0, 0.5, 1], shape)
        return np.sin(2 * np.pi * np.cumsum(hz / RATE)) * np.sin(np.pi * u) ** 1.2 * rng.uniform(0.55, 1.0)

    return hits(n, groups(n, (3, 6), rng.uniform(0.12, 0.17), rng.uniform(0.25, 0.38), 0.15, rng), chirp)


def _knock(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    panel = register_hz(170, pitch, rng)
    decay = rng.uniform(0.016, 0.026)
    m = int(0.16 * RATE)
    t = seconds_of(m)
    modes = sum(
        a * np.sin(2 * np.pi * panel * ratio * rng.uniform(0.97, 1.03) * t) * np.exp(-t / (decay * d))
        for ratio, a, d in ((1.0, 1.0, 1.4), (2.27, 0.6, 0.9), (3.6, 0.35, 0.6), (5.1, 0.2, 0.4))
    )
    click = np.exp(-t / 0.0025)

    def thump(_: int) -> np.ndarray:
        tick = band(rng.standard_normal(m) * click, panel * 5, 0.8)
        return (modes + 0.5 * tick) * rng.uniform(0.65, 1.0)

    return hits(n, groups(n, (3, 3), rng.uniform(0.14, 0.19), rng.uniform(0.36, 0.44), 0.07, rng), thump)


def _clap(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    centre = register_hz(950, pitch, rng)
    m = int(0.12 * RATE)
    t = seconds_of(m)

    def clap(_: int) -> np.ndarray:
        shape = np.zeros(m)
        for start in rng.uniform(0, 0.018, 3):  # the hands meet a few times within 18 ms, then the room answers
            shape += np.where(t >= start, np.exp(-np.maximum(t - start, 0) / 0.004), 0.0)
        shape += 0.35 * np.where(t >= 0.018, np.exp(-np.maximum(t - 0.018, 0) / 0.022), 0.0)
        noise = rng.standard_normal(m) * shape
        hands = centre * rng.uniform(0.93, 1.07)
        return (band(band(noise, hands, 1.1), hands, 1.1) + 0.1 * noise) * rng.uniform(0.5, 1.0)

    return hits(n, groups(n, (2, 5), rng.uniform(0.17, 0.25), rng.uniform(0.3, 0.4), 0.3, rng), clap)


def _engine(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    firing = register_hz(44, pitch, rng)
    revs = 1 + 0.10 * wander(n, 1.5, rng) + 0.01 * wander(n, 12, rng)
    k = np.arange(1, 161)
    uneven = np.where(k % 2 == 0, 1.0, rng.uniform(0.3, 0.6))  # odd harmonics of half the firing rate: cylinders differ
    weights = uneven * rng.uniform(0.6, 1.4, 160) / (1 + (k * firing / 2 / (420 * 2.0**pitch)) ** 1.6)
    buzz = tone(firing / 2 * revs, weights)
    hiss = band(rng.standard_normal(n), 900 * 2.0**pitch, 0.7)
    return buzz / np.abs(buzz).max() + 0.05 * hiss


def _rain(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    centre = register_hz(1500, pitch, rng)
    drops = np.zeros(n)
    count = max(1, int(rng.uniform(90, 260) * n / RATE))
    np.add.at(drops, rng.integers(0, n, count), rng.choice([-1.0, 1.0], count) * rng.exponential(9.0, count))
    hiss = rng.standard_normal(n) * (1 + 0.15 * wander(n, 4, rng))
    return band(band(hiss, centre, 0.8), centre, 0.8) + band(drops, centre * 1.2, 2.2)


def _alarm(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    beep = register_hz(880, pitch, rng)
    beeps_a_second = rng.uniform(4.5, 8.0)
    count = int(rng.integers(3, 6))  # beeps, then one beat of rest
    beat = beeps_a_second * seconds_of(n)
    on = (beat % 1.0 < 0.55) & (beat.astype(np.int64) % (count + 1) < count)
    gate = lfilter([0.05], [1, -0.95], on.astype(float))  # 1 ms edges: sharp without a click
    return tone(np.full(n, beep), [1, 0.1, 0.6, 0.05, 0.4, 0.05, 0.25], rng) * gate


def _whistle(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    centre = register_hz(900, pitch, rng)
    count = int(n / RATE / 0.28) + 2
    notes = rng.choice([0.80, 0.89, 1.0, 1.06, 1.19, 1.26], count)
    tune = np.repeat(notes, (rng.uniform(0.28, 0.55, count) * RATE).astype(np.int64))[:n]
    glide = lfilter([0.0025], [1, -0.9975], tune - tune[0]) + tune[0]  # 25 ms slides between the notes
    vibrato = 1 + 0.012 * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * seconds_of(n))
    hz = centre * glide * vibrato
    breath = band(rng.standard_normal(n), centre * 1.1, 3.0)
    swell = 0.8 + 0.2 * wander(n, 4, rng)
    return np.sin(2 * np.pi * np.cumsum(hz / RATE)) * swell + 0.04 * breath


def _helicopter(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    centre = register_hz(190, pitch, rng)
    chops = rng.uniform(9.5, 12.0) * 1.4**pitch  # blades a second
    beat = (np.cumsum(chops * (1 + 0.03 * wander(n, 2, rng)) / RATE) + rng.random()) % 1.0
    noise = rng.standard_normal(n)
    body = band(band(noise, centre, 0.8), centre, 0.8) + 0.08 * band(noise, centre * 5, 0.6)
    return body * (np.exp(-beat * 5.5) * np.minimum(beat / 0.06, 1) + 0.03)


def _laughter(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    voice = register_hz(145, pitch, rng)
    throat = 1.3**pitch * np.array(((780, 1250, 2700), (560, 1850, 2600), (480, 900, 2500))[rng.integers(3)])
    weights = 1 / np.arange(1, 40)
    m = int(rng.uniform(0.15, 0.18) * RATE)
    u = np.arange(m) / m
    breath = np.exp(-(((u - 0.12) / 0.10) ** 2))  # the h ...
    vowel = np.clip((u - 0.15) / 0.12, 0, 1) * np.clip((1 - u) / 0.35, 0, 1)  # ... and the a
    run = int(rng.integers(4, 7))

    def ha(i: int) -> np.ndarray:
        fall = (1.18 - 0.32 * (i % run) / run) * rng.uniform(0.96, 1.04)  # each run of ha-ha falls in pitch
        source = tone(voice * fall * np.interp(u, [0, 0.3, 1], [0.95, 1.06, 0.86]), weights) * vowel
        source = source + 0.5 * rng.standard_normal(m) * (breath + 0.08 * vowel)
        first, second, third = throat
        shaped = band(source, first, 5) + 0.8 * band(source, second, 7) + 0.5 * band(source, third, 8)
        return shaped * (1.0 - 0.4 * (i % run) / run) * rng.uniform(0.85, 1.0)

    onsets = groups(n, (run, run), rng.uniform(0.18, 0.23), rng.uniform(0.34, 0.42), 0.06, rng)
    return hits(n, onsets, ha)


def _cricket(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    carrier = register_hz(2750, pitch, rng)
    chirps = rng.uniform(2.6, 4.2)  # a second
    pulses = int(rng.integers(3, 5))
    slots = pulses * rng.uniform(1.5, 1.9)  # pulses take that share of the chirp's period; the rest is a rest
    beat = (np.cumsum(chirps * (1 + 0.04 * wander(n, 3, rng)) / RATE) + rng.uniform(-0.03, 0.0)) % 1.0 * slots
    inside = np.sin(np.pi * np.minimum((beat % 1.0) / 0.7, 1.0)) ** 2
    envelope = np.where(beat < pulses, inside * (0.6 + 0.4 * np.minimum(beat / pulses * 2, 1)), 0.0)
    return np.sin(2 * np.pi * carrier * seconds_of(n) + 0.4 * np.sin(2 * np.pi * beat)) * envelope


def _drum(n: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    skin = register_hz(90, pitch, rng)
    decay = rng.uniform(0.09, 0.15)
    m = int(0.5 * RATE)
    t = seconds_of(m)
    bend = 1 + rng.uniform(0.7, 1.1) * np.exp(-t / 0.035)  # a struck skin is tighter for a moment: the pitch drops
    cycles = np.cumsum(skin * bend / RATE)
    hit = 0.25 * band(rng.standard_normal(m) * np.exp(-t / 0.004), 1800, 0.8)  # the stick
    for ratio, weight, d in ((1.0, 1.0, 1.0), (1.59, 0.45, 0.6), (2.14, 0.3, 0.45), (2.65, 0.2, 0.3)):
        hit += weight * np.sin(2 * np.pi * ratio * cycles) * np.exp(-t / (decay * d))
    accents = rng.choice([0.55, 0.75, 1.0], 4)
    accents[0] = 1.0
    return hits(n, steady(n, rng.uniform(0.22, 0.38), 0.02, rng), lambda i: hit * accents[i % 4])


_KINDS = (
    SoundClass("siren", _siren, "a rich tone that wails up and down about once a second"),
    SoundClass("bell", _bell, "strikes with eight inharmonic, slowly fading partials"),
    SoundClass("dog bark", _dog_bark, "rough voiced bursts, pitch up then down, through two throat resonances"),
    SoundClass("bird", _bird, "a song of short pure sweeps between 1.6 and 6 kHz"),
    SoundClass("knock", _knock, "thuds on a wooden panel in threes, gone within 60 ms"),
    SoundClass("clap", _clap, "bright noise bursts in irregular groups"),
    SoundClass("engine", _engine, "a continuous buzz with harmonics of the firing rate, revs drifting"),
    SoundClass("rain", _rain, "steady hiss with hundreds of drops"),
    SoundClass("alarm", _alarm, "three to five hard-edged electronic beeps, one beat of rest"),
    SoundClass("whistle", _whistle, "one pure tone with breath that slides through a tune"),
    SoundClass("helicopter", _helicopter, "low noise chopped by blades ten to sixteen times a second"),
    SoundClass("laughter", _laughter, "runs of voiced ha-ha that fall in pitch, a breath before each"),
    SoundClass("cricket", _cricket, "one very high carrier in chirps of three or four pulses"),
    SoundClass("drum", _drum, "a low skin whose pitch drops after each stroke, in a steady rhythm"),
)
SOUNDS: dict[str, SoundClass] = {kind.name: kind for kind in _KINDS}
