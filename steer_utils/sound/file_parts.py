"""What a sound file is taken for: pieces of it, parts that are each a whole file to libsndfile, and holes between them.

`containers` and `mp3` find them, `decoding` decodes them.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import soundfile

CANNOT_DECODE = (soundfile.LibsndfileError, RuntimeError, OSError, TypeError)
UNKNOWN_LENGTH = 1 << 62  # frames from which libsndfile's count means "not known"


class AudioError(ValueError):
    """The sound cannot be used; the message says what was found and what to pass instead."""


# -- pieces and parts ------------------------------------------------------------------------------------------------
class Pieces(io.RawIOBase):
    """Bytes and stretches (start, stop) of a file, one after the other, as one file that can be read and sought in."""

    def __init__(self, file: BinaryIO, pieces: list[bytes | tuple[int, int]]) -> None:
        self._file, self._pieces, self._place = file, pieces, 0
        lengths = [len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces]
        self._edges = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: int(self._edges[-1])}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills all of `buffer` unless the end comes first: libsndfile takes less for the end."""
        filled = 0
        while filled < len(buffer) and self._place < self._edges[-1]:
            index = int(np.searchsorted(self._edges, self._place, side="right")) - 1
            piece, inside = self._pieces[index], self._place - int(self._edges[index])
            wanted = min(len(buffer) - filled, int(self._edges[index + 1]) - self._place)
            if isinstance(piece, bytes):
                data = piece[inside : inside + wanted]
            else:
                self._file.seek(piece[0] + inside)
                data = self._file.read(wanted)
            if not data:  # the file became shorter while it was read
                break
            buffer[filled : filled + len(data)] = data
            filled, self._place = filled + len(data), self._place + len(data)
        return filled


class _Forward(soundfile.SoundFile):
    """Read from start to end. soundfile seeks after each read where it can, which decoders of MP3 and FLAC do badly."""

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class Part:
    """A stretch of a file that libsndfile can decode on its own.

    gap     frames of silence before it, for what was lost; a function where decoding has to tell
    frames  how many it has, where decoding must be held to that
    block   frames to decode at a time
    resume  for a decoder that fails: the part behind the failure, given how many frames came before it
    """

    stream: Pieces
    gap: int | Callable[[], int] = 0
    frames: int | None = None
    block: int = 4096
    resume: Callable[[int], Part | None] | None = None

    def opened(self, label: str) -> soundfile.SoundFile:
        """Ready to be read from its start. Raises AudioError for what libsndfile cannot decode."""
        try:
            self.stream.seek(0)
            return _Forward(self.stream)
        except CANNOT_DECODE as error:
            # TypeError: soundfile takes a file without a header (.raw) only with a rate
            reason = getattr(error, "error_string", str(error))
            name = label.removeprefix("the file ")
            raise AudioError(f"cannot decode {name} ({reason}); pass a WAV, FLAC, OGG or MP3 file") from error

    def count(self) -> int:
        """Frames that can be decoded of it."""
        with self.opened("a part of it") as file:
            total, block = 0, np.empty((self.block, file.channels), np.float32)
            try:
                while read := len(file.read(out=block)):
                    total += read
            except soundfile.LibsndfileError:
                pass
            return total


@dataclass
class Walk:
    """What a walk through a file found: its parts, and what is wrong with it, in words that follow the file's name.

    `announced`: frames that the header promises, where libsndfile is not shown it. `share`: what the header promises,
    as a multiple of what is there.
    """

    parts: list[Part]
    faults: list[str] = field(default_factory=list)
    announced: int = 0
    share: float = 1.0


def positions(stream: BinaryIO, pattern: bytes, start: int, size: int) -> Iterator[int]:
    """Where a pattern of at most 64 bytes (a regular expression) begins in a file, from `start` on."""
    expression, overlap, seen = re.compile(pattern, re.DOTALL), 64, -1
    while start < size:
        stream.seek(start)
        data = stream.read(2**20)
        for match in expression.finditer(data):
            if start + match.start() > seen:
                seen = start + match.start()
                yield seen
        if len(data) <= overlap:
            return
        start += len(data) - overlap


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ranges, those joined that follow each other without a gap."""
    joined = ranges[:1]
    for start, stop in ranges[1:]:
        if start == joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def title_length(head: bytes) -> int:
    """Bytes of what may stand between frames and is none: titles in ID3 (1 and 2) and APE; 0 for anything else."""
    if head[:3] == b"ID3" and len(head) >= 10:
        length = 0
        for byte in head[6:10]:
            length = length << 7 | byte & 0x7F
        return 10 + length + (10 if head[5] & 0x10 else 0)
    if head[:3] == b"TAG":
        return 128
    return 32 + int.from_bytes(head[12:16], "little") if head[:8] == b"APETAGEX" else 0
