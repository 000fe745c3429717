"""Sound files decoded to their real end, a block at a time.

What is longer than its header says is read; what is missing or damaged is said in `Decoding.warnings`, and a hole of
known length becomes silence, so that times stay right (see `containers`).

    with open_sound(Path("street.mp3")) as stream:
        decoding = Decoding(stream, "the file 'street.mp3'")
        for block in decoding.blocks(): ...     # float32 (frames, channels) at decoding.rate
        decoding.warnings                       # what was found on the way
"""

from __future__ import annotations

import io
import stat
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from steer_utils.sound.containers import walk
from steer_utils.sound.file_parts import CANNOT_DECODE, UNKNOWN_LENGTH, AudioError, Part
from steer_utils.sound.files import check_inside, readable_name

BLOCK = 0.8  # seconds that are decoded at a time
LONGEST_HOLE = 3600  # seconds; a larger one is a broken count
TOLERANCE = 0.06  # seconds that a decoder may give less than announced: two frames of MP3


@contextmanager
def open_sound(path: Path) -> Iterator[BinaryIO]:
    """A sound file, opened for `Decoding`; what comes through a pipe is copied to a temporary file first.

    Raises AudioError for a folder, a device, and a file that is missing or may not be read.
    """
    if path.is_dir():
        raise AudioError(f"{readable_name(path)!r} is a folder; pass one sound file")
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            with path.open("rb") as file:
                yield file
        elif stat.S_ISFIFO(kind):
            with path.open("rb") as pipe, tempfile.TemporaryFile() as copy:
                _copy(pipe, copy, f"the pipe {readable_name(path)!r}")
                yield copy
        else:
            raise AudioError(f"{readable_name(path)!r} is a device; pass a sound file or a pipe")
    except FileNotFoundError as error:
        raise AudioError(f"there is no file {readable_name(path)!r}") from error
    except OSError as error:
        raise AudioError(f"cannot read {readable_name(path)!r} ({error.strerror})") from error


def _copy(pipe: BinaryIO, copy: BinaryIO, label: str) -> None:
    """All that comes through a pipe, if its first mebibyte is sound: one that never ends would fill the disk."""
    start = pipe.read(2**20)
    Decoding(io.BytesIO(start), label)
    copy.write(start)
    while block := pipe.read(2**20):
        copy.write(block)


class Decoding:
    """A sound file being decoded: `rate`, `channels`, its `blocks`, and the `warnings` about what was found so far.

    `label`: what messages call it. Raises AudioError for what cannot be decoded.
    """

    def __init__(self, stream: BinaryIO, label: str) -> None:
        self._label, self._walk = label, walk(stream, label)
        self._found: list[str] = []  # by the last pass through the blocks, as what follows
        self._failure = ""
        self._frames = 0
        with self._walk.parts[0].opened(label) as first:
            self.rate, self.channels = int(first.samplerate), int(first.channels)
            #: Frames that the header announces; 0 where it does not say.
            self.announced = self._walk.announced or (int(first.frames) if first.frames < UNKNOWN_LENGTH else 0)

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the file, a sentence each; complete when all blocks were read."""
        return [f"{self._label} {fault}" for fault in [*self._walk.faults, *self._found]]

    def blocks(self) -> Iterator[np.ndarray]:
        """All sound of the file, float32 (frames, channels), about 0.8 s at a time. May be called again.

        Raises AudioError if the form of the sound changes on the way.
        """
        self._found, self._failure, self._frames = [], "", 0
        size, waiting, count = round(BLOCK * self.rate), [], 0
        for block in self._decoded():
            self._frames += len(block)
            waiting.append(block)
            count += len(block)
            if count >= size:
                yield np.concatenate(waiting)
                waiting, count = [], 0
        if waiting:
            yield np.concatenate(waiting)
        seconds = self._frames / self.rate
        announced = max(self.announced / self.rate, seconds * self._walk.share)
        if announced > seconds + TOLERANCE:
            self._found.append(f"is cut short: it announces {announced:.2f} s, {seconds:.2f} s are there")
        elif self._failure:
            self._found.append(self._failure)

    def _decoded(self) -> Iterator[np.ndarray]:
        for part in self._walk.parts:
            following: Part | None = part
            while following is not None:
                following = yield from self._part(following)

    def _part(self, part: Part) -> Generator[np.ndarray, None, Part | None]:
        """The blocks of one part; returns what can be decoded behind a place where the decoder fails."""
        gap = part.gap() if callable(part.gap) else part.gap
        if gap > 0:
            at = self._frames / self.rate
            lost = gap / self.rate
            if lost > LONGEST_HOLE:
                raise AudioError(f"{self._label} is damaged at {at:.2f} s: {lost / 3600:.1f} h are lost; cut it there")
            self._found.append(f"is damaged at {at:.2f} s: {lost:.2f} s are lost, and silence stands for them")
            for first in range(0, gap, self.rate):
                yield np.zeros((min(self.rate, gap - first), self.channels), np.float32)
        with part.opened(self._label) as file:
            if (file.samplerate, file.channels) != (self.rate, self.channels):
                raise AudioError(
                    f"{self._label} changes from {self.rate} Hz and {self.channels} channel(s) to {file.samplerate} Hz "
                    f"and {file.channels} at {self._frames / self.rate:.2f} s; convert its parts to one form and join "
                    "them again"
                )
            decoded = 0
            while True:
                block = np.full((part.block, self.channels), np.nan, np.float32)
                try:
                    block = block[: len(file.read(out=block))]
                except soundfile.LibsndfileError as error:
                    block = block[np.isfinite(block[:, 0])]  # NaN still stands where nothing was decoded
                    if decoded + len(block) == part.frames:  # what failed is junk behind the end
                        if len(block):
                            yield block
                        return None
                    following = part.resume(decoded) if part.resume else None
                    if following is None:
                        at = self._frames / self.rate
                        self._failure = f"cannot be decoded from {at:.2f} s on ({error.error_string})"
                    return following
                if not len(block):
                    return None
                decoded += len(block)
                yield block


def check_sounds(folder: Path, names: Sequence[str], table: str) -> None:
    """Raises ValueError unless each of `names` is a sound file in `folder`: how many are not, and the first three.

    Only headers are read (under a millisecond a file). `table` is what named the files.
    """
    for name in names:
        check_inside(folder, name)
    missing = [name for name in names if not (folder / name).is_file()]
    wrong = missing or [name for name in names if not _is_sound(folder / name)]
    if wrong:
        fault = "are not in" if missing else "cannot be decoded in"
        first = ", ".join(name or "(no name)" for name in wrong[:3])
        raise ValueError(f"{len(wrong)} of the {len(names)} sound files of {table} {fault} {str(folder)!r}: {first}")


#: Endings that say sound, also of kinds that are not decoded here.
ENDINGS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"),
    *(".m4a", ".aac", ".wma", ".amr", ".3gp"),
)


def sound_files(folder: Path, *, by_name_too: bool = False) -> list[Path]:
    """The sound files directly in `folder`, by name; hidden files are passed over. Only headers are read.

    `by_name_too`: also files that are called sound and cannot be decoded, for whoever says of each why. Raises
    ValueError for a folder that holds none, saying what it holds.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    sounds = [path for path in files if (by_name_too and path.suffix.lower() in ENDINGS) or _is_sound(path)]
    if not sounds:
        inside = ", ".join(readable_name(path.name) for path in sorted(folder.iterdir())[:6]) or "nothing"
        raise ValueError(f"the folder {readable_name(folder)!r} holds no sound file; it holds: {inside}")
    return sounds


def _is_sound(path: Path) -> bool:
    """Told by its header, unless that says that there is nothing."""
    try:
        with open_sound(path) as stream:
            try:
                if 0 < soundfile.info(stream).frames < UNKNOWN_LENGTH:
                    return True
            except CANNOT_DECODE:
                pass
            return next(Decoding(stream, path.name).blocks(), None) is not None
    except AudioError:
        return False
