"""Making scenes: `SceneMaker` draws events, gaps, levels and noise from a seed; `SoundBank` makes the making fast.

maker = SceneMaker(["siren", "dog bark", "bell", "rain"], seconds=8.0)
scene = maker.make(7)
for scene in maker.balanced(200, seed=0): ...      # every name equally often in every slot
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.signal import lfilter

from steer_utils.sound.measures import rms
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.sounds import PITCHES, SOUNDS, synthesise
from steer_utils.sound.spans import Interval
from steer_utils.sound.synthesis import RATE, faded, wander

LOUDNESS = {"loud": (-3.0, 0.0), "quiet": (-16.0, -12.0)}  # range of an event's peak, dBFS
NOISE_CUTOFF = (400.0, 6000.0)  # Hz
BED_LEVEL = -32.0  # of a background bed, dBFS RMS: sparse sounds at its level have peaks 25 dB above it
BED_SWELL = 3.0  # dB by which a bed rises and falls
PAPER_SECONDS = 17.0  # three clips of 5 s, two gaps of 1 s: a random 5 s window then covers 27.8 %


class SoundBank:
    """Procedural sounds made ahead: `per` variants of each (name, pitch), made when first asked for, cut at random.

    Four times faster than synthesis; for training. The variants depend on `seed` only, not on the order of use.
    """

    def __init__(self, per: int = 40, seed: int = 0, seconds: float = 2.6) -> None:
        if per < 1:
            raise ValueError(f"per is {per}; pass at least 1 variant of each sound")
        self.per, self.seed, self.seconds = per, seed, seconds
        self._by_kind: dict[tuple[str, str], np.ndarray] = {}

    def take(self, name: str, pitch: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
        """A random cut of a random variant: float32 (n,), peak 1, edges faded; ValueError if longer than the bank's."""
        if seconds > self.seconds:
            raise ValueError(f"the bank's sounds last {self.seconds} s, {seconds} s were asked for")
        variants = self._variants(name, pitch)
        n = round(seconds * RATE)
        start = rng.integers(variants.shape[1] - n + 1)
        whole = variants[rng.integers(self.per)]
        cut = whole[start : start + n].astype(np.float32)
        if np.abs(cut).max() < 0.05 * 32767:  # a short cut can fall between two strokes; every sound starts with one
            cut = whole[:n].astype(np.float32)
        cut = faded(cut, rng.uniform(0.01, 0.03), RATE)
        return cut / np.abs(cut).max()

    def _variants(self, name: str, pitch: str) -> np.ndarray:
        if (name, pitch) not in self._by_kind:
            rng = np.random.default_rng([self.seed, zlib.crc32(f"{name}/{pitch}".encode())])
            sounds = [synthesise(name, seconds=self.seconds, pitch=pitch, rng=rng) for _ in range(self.per)]
            self._by_kind[name, pitch] = np.round(np.stack(sounds) * 32767).astype(np.int16)
        return self._by_kind[name, pitch]


class SceneMaker:
    """Makes scenes of distinct events in random gaps on faint noise; every choice follows from the seed.

    What makes scenes harder (`conditions` has names for it): `bed_db`, `overlap` and `twice`.

    names           what may sound: procedural (`sounds.SOUNDS`) or a category of `clips`
    clips           recordings; a name that is both is a recording with probability `recordings`
    seconds         duration of a scene, or a range (low, high) drawn a scene
    events          smallest and largest number of events
    event_seconds   range of an event's duration (a recording may be shorter than drawn)
    min_gap         least silence between two events, seconds
    noise_db        range of the noise's level, dBFS RMS
    augment         vary recordings (training)
    bank            a SoundBank to cut procedural sounds from, instead of making each anew
    bed_db          level of each event over a background bed of noise, both as RMS over the event's span, dB; None: no
                    bed. The bed takes the place of the faint noise, and levels that of loud and quiet.
    overlap         share of the shorter of two neighbours in which both sound; up to a half, so that never three do.
                    Above 0 there are no gaps: the events are a chain
    twice           one name of the scene sounds twice, in slots that take turns
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        clips: ClipBank | None = None,
        seconds: float | tuple[float, float] = 8.0,
        events: tuple[int, int] = (3, 3),
        event_seconds: tuple[float, float] = (1.2, 2.4),
        min_gap: float = 0.15,
        noise_db: tuple[float, float] = (-55.0, -36.0),
        recordings: float = 1.0,
        augment: bool = False,
        bank: SoundBank | None = None,
        bed_db: float | None = None,
        overlap: float = 0.0,
        twice: bool = False,
    ) -> None:
        self.names = tuple(names)
        self.clips, self.bank = clips, bank
        self.seconds = (float(seconds), float(seconds)) if isinstance(seconds, (int, float)) else seconds
        self.events, self.event_seconds, self.noise_db = events, event_seconds, noise_db
        self.min_gap, self.recordings, self.augment = min_gap, recordings, augment
        self.bed_db, self.overlap, self.twice = bed_db, overlap, twice
        self._check()

    def _check(self) -> None:
        recorded = self.clips.categories if self.clips is not None else ()
        unknown = [name for name in self.names if name not in SOUNDS and name not in recorded]
        if unknown:
            known = ", ".join(dict.fromkeys((*SOUNDS, *recorded)))
            raise ValueError(f"cannot make {', '.join(map(repr, unknown))}; known: {known}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names has a name twice: {', '.join(self.names)}")
        for label in ("seconds", "events", "event_seconds", "noise_db"):
            pair = getattr(self, label)
            if len(pair) != 2 or not np.isfinite(pair).all() or pair[0] > pair[1]:
                raise ValueError(f"{label} is {pair}; pass (low, high) with low <= high")
        low, high = self.events
        if not 1 <= low <= high <= len(self.names):
            raise ValueError(f"events is {self.events} with {len(self.names)} names; names in a scene are distinct")
        if self.event_seconds[0] < 0.1 or self.min_gap < 0:
            raise ValueError(f"event_seconds {self.event_seconds} must start at 0.1 s, min_gap {self.min_gap} at 0")
        if not 0.0 <= self.recordings <= 1.0:
            raise ValueError(f"recordings is {self.recordings}; pass a probability")
        if self.bed_db is not None and not -60.0 <= self.bed_db <= 20.0:
            raise ValueError(f"bed_db is {self.bed_db}; pass a level over the bed between -60 and 20 dB, or None")
        if not 0.0 <= self.overlap <= 0.5:
            raise ValueError(f"overlap is {self.overlap}; pass a share of the shorter event, 0 to 0.5")
        if self.twice and low < 2:
            raise ValueError(f"events is {self.events}; a name that sounds twice needs at least two")
        self._check_fit(high)
        if self.bank is not None and self.bank.seconds < self.event_seconds[1]:
            raise ValueError(f"the bank's sounds last {self.bank.seconds} s, events up to {self.event_seconds[1]} s")

    def _check_fit(self, count: int) -> None:
        need = count * self.event_seconds[0] + (count - 1) * self.min_gap
        if need > self.seconds[0] + 1e-9:
            raise ValueError(
                f"{count} events of {self.event_seconds[0]} s or more with gaps of {self.min_gap} s need {need:.2f} s, "
                f"the scene lasts {self.seconds[0]} s; make the scene longer or the events fewer or shorter"
            )

    def make(self, rng: np.random.Generator | int) -> Scene:
        """A scene of randomly drawn names; an int seed is kept in the scene."""
        generator = np.random.default_rng(rng)
        count = int(generator.integers(self.events[0], self.events[1] + 1))
        names = tuple(self.names[i] for i in generator.permutation(len(self.names))[:count])
        if self.twice:
            names = _repeated(names, int(generator.integers(count * (count - 1) // 2)))
        return self._scene(names, generator, _seed(rng), None)

    def make_with(self, names: Sequence[str], rng: np.random.Generator | int) -> Scene:
        """A scene of exactly these names, in this order of time."""
        unknown = [name for name in names if name not in self.names]
        if unknown or not names or (len(set(names)) != len(names) and not self.twice):
            raise ValueError(f"pass distinct names out of {', '.join(self.names)}; got {list(names)}")
        self._check_fit(len(names))
        return self._scene(names, np.random.default_rng(rng), _seed(rng), None)

    def names_of(self, index: int, seed: int) -> tuple[str, ...]:
        """Names of scene `index` in the balanced design.

        A block of len(names) scenes is a shuffled cyclic design: slot s of row j holds name j + offset_s, offsets
        distinct. So in a whole block every name is once in every slot, and no scene holds a name twice. With `twice`
        one of its names then takes another's slot.
        """
        size = len(self.names)
        block, row = divmod(index, size)
        rng = np.random.default_rng([seed, block])
        order, rows, offsets = rng.permutation(size), rng.permutation(size), rng.permutation(size)
        count = int(rng.integers(self.events[0], self.events[1] + 1))  # one count a block keeps the balance exact
        names = tuple(self.names[order[(rows[row] + offset) % size]] for offset in offsets[:count])
        return _repeated(names, index) if self.twice else names

    def scene(self, index: int, seed: int) -> Scene:
        """Scene `index` of the balanced design, made alone: it depends on (seed, index) only."""
        if index < 0 or seed < 0:
            raise ValueError(f"index {index} and seed {seed} must not be negative")
        return self._scene(self.names_of(index, seed), np.random.default_rng([seed, index, 1]), seed, index)

    def balanced(self, count: int, seed: int) -> Iterator[Scene]:
        """`count` scenes in which every name is equally often in every slot (to one, where it cannot divide)."""
        for index in range(count):
            yield self.scene(index, seed)

    def _scene(self, names: Sequence[str], rng: np.random.Generator, seed: int | None, index: int | None) -> Scene:
        n = round(rng.uniform(*self.seconds) * RATE)
        durations = self._durations(len(names), n / RATE, rng)
        sounds = [self._sound(name, seconds, rng) for name, seconds in zip(names, durations, strict=True)]
        track = self._noise(n, rng) if self.bed_db is None else self._bed(n, rng)
        bed = track.copy()
        lengths = [len(samples) for samples, *_ in sounds]
        gaps = [0] + [self._gap(*pair) for pair in itertools.pairwise(lengths)]  # least one before each event
        slack = max(0, n - sum(lengths) - sum(gaps))
        shares = rng.dirichlet(np.ones(len(sounds) + 1))
        if self.overlap:  # a chain: all that is left lies before and after it
            shares = np.array([shares[0] / (shares[0] + shares[-1]), *[0.0] * len(sounds)])
        events, position = [], 0
        for i, (name, (samples, pitch, source)) in enumerate(zip(names, sounds, strict=True)):
            position += int(shares[i] * slack) + gaps[i]
            position = min(position, n - len(samples))  # rounding may cost a sample
            loudness: str | None = ("loud", "quiet")[rng.integers(2)]
            gain = np.float32(10 ** (rng.uniform(*LOUDNESS[str(loudness)]) / 20))
            place = slice(position, position + len(samples))
            if self.bed_db is not None:
                loudness, gain = None, np.float32(10 ** (self.bed_db / 20) * rms(bed[place]) / rms(samples))
            track[place] += gain * samples
            events.append(
                Event(name, Interval(position / RATE, (position + len(samples)) / RATE), pitch, loudness, source)
            )
            position += len(samples)
        if self.overlap or self.bed_db is not None:
            track /= max(1.0, float(np.abs(track).max()))  # a clipped sum would be another sound
        np.clip(track, -1.0, 1.0, out=track)
        return Scene(track, RATE, tuple(events), seed, index)

    def _gap(self, length: int, following: int) -> int:
        """Least number of samples between two neighbours of so many; negative where both sound at once."""
        return -int(self.overlap * min(length, following)) if self.overlap else round(self.min_gap * RATE)

    def _bed(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A background (n,): noise of a random colour that rises and falls a few times a second, at BED_LEVEL."""
        bed = self._noise(n, rng) * 10 ** (BED_SWELL * wander(n, 2.0, rng) / 20)
        return (bed * (10 ** (BED_LEVEL / 20) / rms(bed))).astype(np.float32)

    def _durations(self, count: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
        """Event durations, shortened towards the least one where they would not fit the scene."""
        least = self.event_seconds[0]
        drawn = rng.uniform(*self.event_seconds, count)
        room = seconds - (count - 1) * self.min_gap - 1e-3
        excess = drawn - least
        if drawn.sum() > room:
            drawn = least + excess * max(0.0, (room - count * least) / excess.sum()) if excess.sum() > 0 else drawn
        return drawn

    def _sound(self, name: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, str | None, str]:
        """(samples with peak 1, pitch, source) of one event."""
        recorded = self.clips is not None and name in self.clips.categories
        chance = rng.random()
        if recorded and self.clips is not None and (name not in SOUNDS or chance < self.recordings):
            samples, clip = self.clips.draw(name, seconds, rng, self.augment)
            return samples, None, clip.path.name
        pitch = PITCHES[rng.integers(2)]
        if self.bank is not None:
            return self.bank.take(name, pitch, seconds, rng), pitch, "procedural"
        return synthesise(name, seconds=seconds, pitch=pitch, level_db=0.0, rng=rng), pitch, "procedural"

    def _noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Low-passed noise (n,) of a random colour and level."""
        pole = np.exp(-2 * np.pi * rng.uniform(*NOISE_CUTOFF) / RATE)
        white = rng.random(n, dtype=np.float32) - np.float32(0.5)
        noise = lfilter(np.array([1 - pole], dtype=np.float32), np.array([1, -pole], dtype=np.float32), white)
        level = 10 ** (rng.uniform(*self.noise_db) / 20)
        return noise * np.float32(level / np.sqrt(np.mean(noise * noise)))


def three_event_maker(names: Sequence[str], longest: float, clips: ClipBank | None = None) -> SceneMaker:
    """Scenes of three events for a model that hears `longest` seconds in one go: in the paper's form, 17 s with clips
    of 5 s and gaps of 1 s, where that fits, else as long as the model hears. Raises ValueError for under three names.
    """
    if longest >= PAPER_SECONDS:
        return SceneMaker(names, clips=clips, seconds=PAPER_SECONDS, event_seconds=(5.0, 5.0), min_gap=1.0)
    return SceneMaker(names, clips=clips, seconds=longest)


def _repeated(names: tuple[str, ...], turn: int) -> tuple[str, ...]:
    """The names with one of them in two slots; all pairs of slots take turns."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    first, second = pairs[turn % len(pairs)]
    return (*names[:second], names[first], *names[second + 1 :])


def _seed(rng: np.random.Generator | int) -> int | None:
    return None if isinstance(rng, np.random.Generator) else int(rng)
