"""A folder of recordings with one table, and a bank that cuts events from them.

The folder holds sound files (at any depth) and one csv with the columns filename and category, and optionally fold,
active_start_s and active_end_s (the span in which the sound is really there). ESC-50's layout fits as it is.

    bank = ClipBank.read("recordings").subset(folds=[1, 2, 3])
    samples = bank.take("dog bark", 1.5, rng)
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from steer_utils.sound.audio import AudioError, read_audio
from steer_utils.sound.files import cell_seconds, check_inside, read_rows, readable_name, whole_number
from steer_utils.sound.measures import active_span
from steer_utils.sound.spans import Interval
from steer_utils.sound.synthesis import faded

RATE = 16_000
LOOP_BELOW = 0.6  # a clip shorter than this share of what is asked is repeated
LOOP_GAP = (0.05, 0.15)  # seconds of silence between repeats
SPEED = (0.85, 1.18)
PAST_END = 0.05  # seconds by which an active span may pass the end: tables are rounded

#: ESC-10's classes under the names that the pocket models were trained with, where ESC-50 calls them otherwise.
NAMES = {
    "dog": "dog bark",
    "crying baby": "baby cry",
    "crackling fire": "fire crackling",
    "sneezing": "person sneeze",
}
#: The same for all sounds that a pocket model knows.
ALIASES = NAMES | {
    "chirping birds": "bird",
    "church bells": "bell",
    "clapping": "clap",
    "clock alarm": "alarm",
    "door knock": "knock",
    "door wood knock": "knock",
    "laughing": "laughter",
}


@dataclass(frozen=True)
class Clip:
    """One recording. `active` is its sounding span in seconds; None means: measure it when the file is decoded."""

    path: Path
    category: str
    fold: int | None = None
    active: Interval | None = None


def read_clips(folder: str | os.PathLike[str], *, table: str | None = None) -> list[Clip]:
    """The clips that the folder's one csv names, in the table's order; `table` names the csv if there are several.

    Files are looked up by their path from the folder, else by their name anywhere in it; backslashes, another case and
    another form of the same letters (NFD) are understood. Underscores in categories become spaces, and one that comes
    in several cases is one. Raises ValueError for no csv or several, missing columns, bad values, missing or ambiguous
    files (with their count), file names that lead out of the folder, and a file that stands there for two things.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{str(root)!r} is not a folder; pass a folder with recordings and one csv")
    source = _table_path(root, table)
    rows = read_rows(source, ("filename", "category"))
    by_name: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        by_name.setdefault(_letters(path.name), []).append(path)
    paths = [_find(root, row["filename"], by_name) for _, row in rows]
    missing = [row["filename"] for (_, row), path in zip(rows, paths, strict=True) if path is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(rows)} recordings in {source.name} are not in the folder: {', '.join(missing[:3])}"
        )
    found = [(where, clip_of(path, row, where)) for path, (where, row) in zip(paths, rows, strict=True) if path]
    check_rows_agree(found)
    spelled: dict[str, str] = {}
    clips = [replace(clip, category=spelled.setdefault(clip.category.casefold(), clip.category)) for _, clip in found]
    return list(dict.fromkeys(clips))


def category_name(label: str) -> str:
    """A category as people say it: underscores become spaces."""
    return " ".join(unicodedata.normalize("NFC", label).replace("_", " ").split())


def known_name(category: str, names: Iterable[str]) -> str | None:
    """The one of `names` that a category means: in any case, with hyphens, in the plural, by its name in ESC-50; or
    None."""

    def form(name: str) -> str:
        return name.casefold().replace("-", " ").removesuffix("s")

    known = {form(name): name for name in names}
    aliases = {form(alias): form(name) for alias, name in ALIASES.items()}
    wanted = form(category)
    return known.get(wanted, known.get(aliases.get(wanted, "")))


def _letters(name: str) -> str:
    """What two spellings of a file name share: macOS parts an accent from its letter, Windows knows no case, and a name
    on Linux may be in Latin-1."""
    return unicodedata.normalize("NFC", readable_name(name)).casefold()


def _table_path(root: Path, table: str | None) -> Path:
    if table is not None:
        path = root / table
        check_inside(root, table)
        if not path.is_file():
            raise ValueError(f"there is no table {table!r} in {str(root)!r}")
        return path
    files = (path for path in root.rglob("*") if path.suffix.lower() == ".csv" and path.is_file())
    tables = sorted(path for path in files if not path.name.startswith("."))  # macOS adds ._esc50.csv
    if len(tables) != 1:
        names = ", ".join(str(path.relative_to(root)) for path in tables[:4]) or "none"
        raise ValueError(f"{str(root)!r} should hold exactly one csv, found {len(tables)} ({names}); pass table=...")
    return tables[0]


def _find(root: Path, name: str, by_name: dict[str, list[Path]]) -> Path | None:
    if not name:
        return None
    for written in dict.fromkeys((name, name.replace("\\", "/"))):
        check_inside(root, written)
        if (root / written).is_file():
            return root / written
        ending = "/" + _letters(Path(written).as_posix())
        matches = [path for path in by_name.get(_letters(Path(written).name), []) if path.is_file()]
        matches = [path for path in matches if _letters(path.as_posix()).endswith(ending)]
        exact = [path for path in matches if path.name == Path(written).name]
        matches = exact or matches
        if len(matches) > 1:
            raise ValueError(f"{len(matches)} files are called {name!r}; give the path from the folder in the table")
        if matches:
            check_inside(root, str(matches[0].relative_to(root)))
            return matches[0]
    return None


def clip_of(path: Path, row: dict[str, str], where: str) -> Clip:
    """The clip at `path` by its row in a table. Raises ValueError, which begins with `where`, for a bad value."""
    category = category_name(row["category"])
    if not category:
        raise ValueError(f"{where} has an empty category")
    for column in ("filename", "category"):
        if any(mark in row[column] for mark in '"\r\n'):
            raise ValueError(f"{where}: {row[column][:40]!r} holds a quote or a line break; is a quote left open?")
    fold, start, end = (row.get(name, "") for name in ("fold", "active_start_s", "active_end_s"))
    number = whole_number(f"{where}, fold", fold) if fold else None
    if not start and not end:
        return Clip(path, category, number)
    span = [cell_seconds(f"{where}, active span", cell) for cell in (start, end)]
    try:
        active = Interval(*span)
        if active.start < 0:
            raise ValueError("active_start_s is negative")
    except ValueError as error:
        raise ValueError(f"{where}: {error} (active span {start!r} to {end!r})") from error
    return Clip(path, category, number, active)


def check_rows_agree(clips: Iterable[tuple[str, Clip]]) -> None:
    """Raises ValueError, naming the later of the rows, where two say of one file that it is of two folds, or of two
    categories at the same time."""
    by_file: dict[Path, list[Clip]] = {}
    for where, clip in clips:
        for other in by_file.setdefault(clip.path.resolve(), []):
            if other.fold != clip.fold:
                raise ValueError(f"{where}: {clip.path.name} is in fold {clip.fold}, and in fold {other.fold} above")
            apart = other.active and clip.active and not other.active.intersection(clip.active)
            if not apart and other.category.casefold() != clip.category.casefold():
                raise ValueError(f"{where}: {clip.path.name} is {clip.category!r}, and {other.category!r} above")
        by_file[clip.path.resolve()].append(clip)


class ClipBank:
    """Clips by category, decoded when first needed to 16 kHz mono, cut to their active span and kept in memory.

    Subsets share one memory of decoded sound (16-bit, about 32 kB a second).
    """

    def __init__(self, clips: Sequence[Clip], *, _decoded: dict[Clip, np.ndarray] | None = None) -> None:
        if not clips:
            raise ValueError("no clips: the bank would be empty; check the folds and categories asked for")
        self.clips: tuple[Clip, ...] = tuple(clips)
        self._decoded: dict[Clip, np.ndarray] = {} if _decoded is None else _decoded
        self._by_category: dict[str, list[Clip]] = {}
        for clip in self.clips:
            self._by_category.setdefault(clip.category, []).append(clip)

    @classmethod
    def read(cls, folder: str | os.PathLike[str], *, table: str | None = None) -> ClipBank:
        """The bank of all clips in a folder (see `read_clips`)."""
        return cls(read_clips(folder, table=table))

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, sorted."""
        return tuple(sorted(self._by_category))

    def subset(
        self,
        *,
        folds: Collection[int] | None = None,
        categories: Collection[str] | None = None,
        exclude_files: Collection[str] = (),
    ) -> ClipBank:
        """A bank with only these folds and categories and without the files named; ValueError if nothing is left."""
        unknown = sorted(set(categories or ()) - set(self._by_category))
        if unknown:
            raise ValueError(f"no recordings of {', '.join(unknown)}; there are: {', '.join(self.categories)}")
        kept = [
            clip
            for clip in self.clips
            if (folds is None or clip.fold in folds)
            and (categories is None or clip.category in categories)
            and clip.path.name not in exclude_files
        ]
        return ClipBank(kept, _decoded=self._decoded)

    def named_as(self, names: Collection[str]) -> ClipBank:
        """The same recordings, each category under the one of `names` that it means (see `known_name`), if any."""
        renamed = [replace(clip, category=known_name(clip.category, names) or clip.category) for clip in self.clips]
        return ClipBank(renamed, _decoded=self._decoded)

    def samples(self, clip: Clip) -> np.ndarray:
        """The active part of a clip, float32 (n,) at 16 kHz, peak 1. Raises AudioError for an unusable file."""
        if clip not in self._decoded:
            whole = read_audio(clip.path, target_rate=RATE)
            span = clip.active or active_span(whole, RATE)
            if span.end > len(whole) / RATE + PAST_END:
                raise AudioError(
                    f"{readable_name(clip.path.name)} lasts {len(whole) / RATE:.2f} s, but its active span ends at "
                    f"{span.end:.2f} s; correct active_end_s in the table"
                )
            part = whole[int(span.start * RATE) : round(span.end * RATE)]
            if len(part) < RATE // 50 or np.abs(part).max() < 1e-6:
                raise AudioError(
                    f"{readable_name(clip.path.name)}: nothing sounds in its active span {span.start}-{span.end} s"
                )
            self._decoded[clip] = np.round(part / np.abs(part).max() * 32767).astype(np.int16)
        return self._decoded[clip].astype(np.float32) / 32767

    def take(self, category: str, seconds: float, rng: np.random.Generator | int, augment: bool = False) -> np.ndarray:
        """An event of at most `seconds` seconds cut from a random recording: float32 (n,), peak 1, edges faded.

        A longer recording is cropped at random, not where it is nearly silent, and the crop's quiet edges are cut
        off, so that what is returned sounds from end to end. What is then at least 0.6 x `seconds` long is returned
        as it is, thus perhaps shorter than asked; what is shorter (a single bark) is repeated with gaps of 50-150 ms
        until `seconds` is filled. `augment` varies speed, tone, polarity, clipping and noise (for training).
        """
        return self.draw(category, seconds, rng, augment)[0]

    def draw(
        self, category: str, seconds: float, rng: np.random.Generator | int, augment: bool = False
    ) -> tuple[np.ndarray, Clip]:
        """What `take` returns, and the clip it was cut from."""
        if category not in self._by_category:
            raise ValueError(f"no recordings of {category!r}; there are: {', '.join(self.categories)}")
        if not 0.05 <= seconds <= 600:
            raise ValueError(f"seconds is {seconds}; pass a duration between 0.05 and 600 s")
        generator = np.random.default_rng(rng)
        choices = self._by_category[category]
        clip = choices[generator.integers(len(choices))]
        speed = generator.uniform(*SPEED) if augment else 1.0
        n = round(seconds * RATE)
        cut = _fitted(self.samples(clip), round(n * speed), generator)
        if augment:
            cut = _augmented(cut, speed, generator)[:n]
        cut = faded(cut, generator.uniform(0.01, 0.03), RATE)
        return cut / np.abs(cut).max(), clip


def _fitted(samples: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """A crop of at most n samples, or the whole, or repeats of it (see ClipBank.take)."""
    part = _crop(samples, n, rng) if len(samples) > n else samples
    if len(part) >= LOOP_BELOW * n:
        return part
    one = faded(part, 0.01, RATE)
    parts, total = [one], len(one)
    while total < n:
        gap = np.zeros(int(rng.uniform(*LOOP_GAP) * RATE), dtype=np.float32)
        parts += [gap, one]
        total += len(gap) + len(one)
    looped = np.concatenate(parts)[:n]
    # the cut may leave a gap at the end: the event would then end before its span does
    return looped[: np.flatnonzero(looped)[-1] + 1]


def _crop(samples: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n samples from a random place without their quiet edges; of a sparse recording the loudest of six places."""
    best, loudest = samples[:n], -1.0
    for _ in range(6):
        start = rng.integers(len(samples) - n + 1)
        crop = samples[start : start + n]
        peak = float(np.abs(crop).max())
        if peak > loudest:
            best, loudest = crop, peak
        if peak >= 0.2:
            break
    span = active_span(best, RATE)
    return best[round(span.start * RATE) : round(span.end * RATE)]


def _augmented(samples: np.ndarray, speed: float, rng: np.random.Generator) -> np.ndarray:
    """The same event as another microphone on another day would give it."""
    out = np.interp(np.arange(0, len(samples) - 1, speed), np.arange(len(samples)), samples).astype(np.float32)
    tilt = np.float32(rng.uniform(-0.4, 0.4))  # first-order: > 0 darker, < 0 brighter
    out = lfilter(np.array([1, tilt], dtype=np.float32), np.ones(1, dtype=np.float32), out) * rng.choice([-1, 1])
    out = (out / np.abs(out).max()).astype(np.float32)
    if rng.random() < 0.25:
        out = np.tanh(out * np.float32(rng.uniform(1.5, 4.0)))
    noise = np.float32(10 ** (rng.uniform(-60, -35) / 20))
    return out + noise * rng.standard_normal(len(out), dtype=np.float32)
