"""What is in a sound file: each kind walked before it is decoded, and taken for parts that libsndfile reads rightly.

libsndfile believes a file's header: it stops where the header says, and closes up what is damaged, so that all that
follows comes too early. `walk` counts what is there, and makes of a file one or several `Part`s, each a whole file to
libsndfile, with the length of the holes between them.

In this order below: a stream made of pieces of a file, parts, the walk, and how it is done in each kind of file: Ogg,
FLAC, MP3, and chunks (WAV, AIFF).
"""

from __future__ import annotations

import io
import itertools
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import BinaryIO, cast

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


# -- the walk ---------------------------------------------------------------------------------------------------------
def walk(stream: BinaryIO, label: str) -> Walk:
    """The parts of a sound file. Raises AudioError for what cannot be decoded; `label` is what it calls the file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(48)
    if before := _title_length(head):  # of any kind: libsndfile would count it as sound of a WAV
        stream = cast(BinaryIO, Pieces(stream, [(before, size)]))
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        head = stream.read(48)
    found: Walk | None = None
    if head[:4] == b"OggS":
        found = _walk_ogg(stream, size)
    elif head[:4] == b"fLaC":
        found = _walk_flac(stream, size)
    elif head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM") and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        found = _walk_chunks(stream, size, label)
    elif _mp3_frame(head[:4]):
        found = _walk_mp3(stream, size)
    if found is not None and found.parts:
        return found
    whole = Part(Pieces(stream, [(0, size)]))
    with whole.opened(label) as file:
        found = _walk_mp3(stream, size) if file.format == "MP3" else None  # one with something before its first frame
        sizes = re.findall(r": (\d+) \(should be (\d+)\)", file.extra_info)  # in libsndfile's log: written, and real
    return found or Walk([whole], share=max((int(written) / max(1, int(real)) for written, real in sizes), default=1.0))


def _positions(stream: BinaryIO, pattern: bytes, start: int, size: int) -> Iterator[int]:
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


# -- Ogg: pages with a checksum, a number and the time at their end ----------------------------------------------------
_MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_CONTINUED, _FIRST, _LAST = 1, 2, 4  # flags of a page
_OGG_CODECS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")


@dataclass(frozen=True)
class _Page:
    start: int
    stop: int
    flags: int
    granule: int  # frames of the stream up to the end of the page, -1 if no packet ends in it
    stream: int
    number: int
    body: bytes  # how it begins


def _walk_ogg(stream: BinaryIO, size: int) -> Walk | None:
    """One part for each stream of a chain, and for each stretch between two holes.

    Behind a hole the granule position says what time it is. Pages of other streams beside the sound are left out.
    """
    links: list[list[_Page]] = []
    for page in _ogg_pages(stream, size):
        if not links or (page.flags & _FIRST and not links[-1][-1].flags & _FIRST):
            links.append([])
        links[-1].append(page)
    result = Walk([])
    for index, link in enumerate(links):
        firsts = [page for page in link if page.flags & _FIRST]
        sound = next((page for page in firsts if page.body.startswith(_OGG_CODECS)), None)
        if sound is None:
            continue
        if {page.stream for page in link} - {page.stream for page in firsts}:
            result.faults.append("holds sound whose beginning is missing; it is left out")
        pages = [page for page in link if page.stream == sound.stream]
        result.parts += _ogg_parts(stream, pages)
        if not pages[-1].flags & _LAST:
            where = "is cut short" if index == len(links) - 1 else "was cut short before it was joined to another"
            result.faults.append(f"{where}: its last page is missing")
    return result if result.parts else None


def _ogg_parts(stream: BinaryIO, pages: list[_Page]) -> Iterator[Part]:
    stretches = [[pages[0]]]
    for before, page in pairwise(pages):
        if page.number != before.number + 1:
            stretches.append([])
        stretches[-1].append(page)
    head = [page for page in itertools.takewhile(lambda page: page.granule == 0, stretches[0])]
    end = -1
    for number, stretch in enumerate(stretches):
        here = max((page.granule for page in stretch), default=-1)
        if number and here <= 0:
            continue  # no packet ends in it
        ranges = _joined([(page.start, page.stop) for page in ([*head, *stretch] if number else stretch)])
        part = Part(Pieces(stream, list(ranges)))
        yield replace(part, gap=_ogg_gap(part, here - end, pages[0].body)) if number and end >= 0 else part
        end = here


def _ogg_gap(part: Part, granules: int, head: bytes) -> Callable[[], int]:
    """What is missing before `part`: what should be there since the last page before it, less what it holds.

    `head`: how the stream begins. Opus counts at 48 kHz, and skips some samples wherever decoding begins.
    """
    opus = head.startswith(b"OpusHead")
    skipped = int.from_bytes(head[10:12], "little") if opus else 0

    def gap() -> int:
        with part.opened("a part of it") as file:
            scale = file.samplerate / 48_000 if opus else 1.0
        return max(0, round((granules - skipped) * scale) - part.count())

    return gap


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ranges, those joined that follow each other without a gap."""
    joined = ranges[:1]
    for start, stop in ranges[1:]:
        if start == joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _ogg_pages(stream: BinaryIO, size: int) -> Iterator[_Page]:
    """The pages whose checksum is right."""
    place = 0
    while place < size:
        page = _ogg_page(stream, place)
        if page is not None:
            yield page
            place = page.stop
        else:
            place = next(_positions(stream, b"OggS", place + 1, size), size)


def _ogg_page(stream: BinaryIO, start: int) -> _Page | None:
    stream.seek(start)
    head = stream.read(27)
    if len(head) < 27 or head[:5] != b"OggS\0":
        return None
    lengths = stream.read(head[26])
    body = stream.read(sum(lengths))
    flags, granule, serial, number, checksum = struct.unpack_from("<BqIII", head, 5)
    whole = head[:22] + bytes(4) + head[26:] + lengths + body
    if len(whole) != 27 + head[26] + sum(lengths) or _ogg_checksum(whole) != checksum:
        return None
    return _Page(start, start + len(whole), flags, granule, serial, number, body[:12])


def _ogg_checksum(page: bytes) -> int:
    """zlib's CRC-32 with all bits mirrored, begun and ended without inversion."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


# -- FLAC: frames that carry their number ------------------------------------------------------------------------------
_FLAC_HEAD = 42  # bytes of the marker and the block STREAMINFO


def _walk_flac(stream: BinaryIO, size: int) -> Walk:
    """One part for each stream that begins in the file. The count of frames in its head is taken out, and compared."""
    starts = list(_positions(stream, rb"fLaC[\0\x80]\0\0\x22", 0, size))
    result = Walk([])
    for start, stop in pairwise([*starts, size]):
        stream.seek(start)
        head = stream.read(_FLAC_HEAD)
        if len(head) < _FLAC_HEAD:
            continue
        total = int.from_bytes(head[21:26]) & (1 << 36) - 1
        result.announced += total
        uncounted = head[:21] + bytes([head[21] & 0xF0]) + bytes(_FLAC_HEAD - 22)
        # Blocks of the size that it was coded in: a failing read then loses one frame, and none before it.
        part = Part(
            Pieces(stream, [uncounted, (start + _FLAC_HEAD, stop)]),
            frames=total or None,
            block=int.from_bytes(head[10:12]) or 4096,
        )
        result.parts.append(replace(part, resume=_flac_resume(stream, uncounted, part, 0, start, stop)))
    return result


def _flac_resume(
    stream: BinaryIO, head: bytes, part: Part, first: int, start: int, stop: int
) -> Callable[[int], Part | None]:
    """The part behind a frame that is damaged, found by the number in the head of the next one that is whole."""

    def resume(decoded: int) -> Part | None:
        for place in _positions(stream, rb"\xff[\xf8\xf9]", start + _FLAC_HEAD, stop):
            stream.seek(place)
            number = _flac_frame(stream.read(16), part.block)
            if number is None or not first + decoded < number < (part.frames or UNKNOWN_LENGTH):
                continue
            alone = head[:4] + b"\x80" + head[5:]  # no further blocks of metadata
            later = replace(part, stream=Pieces(stream, [alone, (place, stop)]), gap=number - first - decoded)
            later = replace(later, frames=part.frames and part.frames - number)
            return replace(later, resume=_flac_resume(stream, head, part, number, place - _FLAC_HEAD, stop))
        return None

    return resume


def _flac_frame(head: bytes, size: int) -> int | None:
    """The number of the first sample of a frame, from its head; None for bytes that are no such head.

    `size`: samples of a frame, in streams whose frames are counted and not their samples.
    """
    if len(head) < 16 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # the number is coded as in UTF-8, in up to 7 bytes
    length = max(1, ones)
    if ones == 1 or ones == 8 or any(byte >> 6 != 2 for byte in head[5 : 4 + length]):
        return None
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    end = 4 + length + {6: 1, 7: 2}.get(head[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    checksum = 0
    for byte in head[:end]:
        checksum ^= byte
        for _ in range(8):
            checksum = (checksum << 1 ^ 0x07 if checksum & 0x80 else checksum << 1) & 0xFF
    if checksum != head[end]:
        return None
    return number if head[1] & 1 else number * size


# -- MP3: frames one after the other, and a first one that may count them ----------------------------------------------
_MP3_DELAY = 529  # samples at the start of a part that libmpg123 takes for the decoder's delay, and skips
_KBITS = {  # by (MPEG 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True)
class _Frame:
    length: int  # bytes
    samples: int
    form: tuple[int, int, int]  # version, layer and rate, which stay the same in a stream
    counts: int  # where its tag would be that counts the frames


@lru_cache(maxsize=4096)
def _mp3_frame(head: bytes) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, bits, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3 or head[3] & 3 == 2:
        return None
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kbits, padding, one = _KBITS[version == 3, layer][bits - 1], head[2] >> 1 & 1, version == 3
    samples = 384 if layer == 1 else 576 if layer == 3 and not one else 1152
    length = (12_000 * kbits // hertz + padding) * 4 if layer == 1 else samples * 125 * kbits // hertz + padding
    mono = head[3] >> 6 == 3
    counts = 4 + ((17 if mono else 32) if one else (9 if mono else 17))
    return _Frame(length, samples, (version, layer, hertz), counts)


@dataclass
class _Run:
    """Frames of an MP3 that follow each other without a hole.

    tag        the frame that counts the others, if the run begins with one, and how many it counts
    missing    bytes before the run that are no frames; 0 where a file begins
    frames     how many there are, without the tag, in which stretches of the file
    """

    first: _Frame
    head: bytes
    missing: int
    tag: bytes = b""
    announced: int = 0
    frames: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def guess(self, missing: int) -> int:
        """How many frames so many bytes were, by the mean length."""
        return max(1, round(missing * self.frames / sum(stop - start for start, stop in self.ranges)))


def _walk_mp3(stream: BinaryIO, size: int) -> Walk | None:
    """One part for each file that was joined, and for each stretch between two holes. None for what is no MP3.

    Each part begins with a tag that counts its frames: without one, libsndfile guesses their number. What is no frame,
    and no title or the like, is a hole; its length follows from the tag's count, else from its bytes.
    """
    runs, broken = _mp3_runs(stream, size)
    if sum(run.frames for run in runs) < 2:
        return None
    result = Walk([])
    starts = [index for index, run in enumerate(runs) if not run.missing]
    for start, stop in pairwise([*starts, len(runs)]):
        first, later = runs[start], runs[start + 1 : stop]
        gaps = [first.guess(run.missing) for run in later]
        lost = first.announced - sum(run.frames for run in runs[start:stop])
        if len(gaps) == 1 and lost > 0 and (not broken or abs(lost - gaps[0]) <= 2):
            gaps = [lost]
        if first.announced and lost > sum(gaps) + 2:
            seconds = (count * first.first.samples / first.first.form[2] for count in (first.announced, lost))
            result.faults.append("is cut short: it announces {:.2f} s, of which {:.2f} s are missing".format(*seconds))
        whole = lost <= 0 and not later
        result.parts.append(Part(Pieces(stream, [_mp3_tag(first, whole), *first.ranges])))
        for run, gap in zip(later, gaps, strict=True):
            pieces = Pieces(stream, [_mp3_tag(run, whole=False), *run.ranges])
            result.parts.append(Part(pieces, gap=gap * first.first.samples + _MP3_DELAY))
    if broken and not result.faults and not (whole and first.announced):
        result.faults.append(f"is cut short or damaged at its end: its last {broken} bytes are no whole frame of MP3")
    return result


def _mp3_runs(stream: BinaryIO, size: int) -> tuple[list[_Run], int]:
    """The runs of a file, and how many bytes at its end are neither a frame nor a title."""
    runs: list[_Run] = []
    place = missing = 0
    while place < size:
        stream.seek(place)
        head = stream.read(48)
        frame = _mp3_frame(head[:4])
        goes_on = frame is not None and bool(runs) and not missing and frame.form == runs[-1].first.form
        if frame is None or not (goes_on or _mp3_follows(stream, place, frame, size)):
            if skipped := _title_length(head):
                place += skipped
                continue
            candidates = _positions(stream, rb"\xff[\xe0-\xff]", place + 1, size)
            later = next((found for found in candidates if _mp3_begins(stream, found, size)), size)
            missing, place = missing + later - place, later
            continue
        if place + frame.length > size:
            missing += size - place
            break
        mark = head[frame.counts : frame.counts + 4]
        tagged = mark in (b"Xing", b"Info") or head[36:40] == b"VBRI"
        if tagged or not runs or frame.form != runs[-1].first.form:
            runs.append(_Run(frame, head, 0))
        elif missing:
            runs.append(_Run(frame, head, missing))
        run, missing = runs[-1], 0
        if tagged:
            stream.seek(place)
            _read_tag(run, stream.read(frame.length))
        else:
            run.frames += 1
            run.ranges = _joined([*run.ranges[:-1], *_joined([*run.ranges[-1:], (place, place + frame.length)])])
        place += frame.length
    return [run for run in runs if run.frames], missing


def _mp3_begins(stream: BinaryIO, place: int, size: int) -> bool:
    stream.seek(place)
    frame = _mp3_frame(stream.read(4))
    return frame is not None and _mp3_follows(stream, place, frame, size)


def _mp3_follows(stream: BinaryIO, place: int, frame: _Frame, size: int) -> bool:
    """Whether a frame is followed by another of its form, a title, or the end: four bytes alone may be chance."""
    stream.seek(place + frame.length)
    head = stream.read(48)
    following = _mp3_frame(head[:4])
    return (
        place + frame.length == size
        or bool(_title_length(head))
        or (following is not None and following.form == frame.form)
    )


def _title_length(head: bytes) -> int:
    """Bytes of what may stand between frames and is none: titles in ID3 (1 and 2) and APE; 0 for anything else."""
    if head[:3] == b"ID3" and len(head) >= 10:
        length = 0
        for byte in head[6:10]:
            length = length << 7 | byte & 0x7F
        return 10 + length + (10 if head[5] & 0x10 else 0)
    if head[:3] == b"TAG":
        return 128
    return 32 + int.from_bytes(head[12:16], "little") if head[:8] == b"APETAGEX" else 0


def _read_tag(run: _Run, tag: bytes) -> None:
    if tag[36:40] == b"VBRI":
        run.announced = int.from_bytes(tag[50:54])
    elif tag[run.first.counts + 7] & 1:
        run.tag, run.announced = tag, int.from_bytes(tag[run.first.counts + 8 : run.first.counts + 12])


def _mp3_tag(run: _Run, whole: bool) -> bytes:
    """A frame that counts the frames of `run`: its own, corrected, or a new one."""
    place = run.first.counts
    if run.tag:
        tag = bytearray(run.tag)
        if tag[place + 7] & 2:  # libmpg123 complains of a wrong number of bytes
            length = len(tag) + sum(stop - start for start, stop in run.ranges)
            tag[place + 12 : place + 16] = (length & 0xFFFFFFFF).to_bytes(4)
        if not whole and len(tag) >= place + 144:  # what would be cut off at the end is not there
            tag[place + 142 : place + 144] = bytes([tag[place + 142] & 0xF0, 0])
    elif run.first.form[1] != 3:
        return b""  # only layer 3 has such tags; the others hardly ever vary their rate
    else:
        # Not protected by a checksum, of the highest rate, so that there is room.
        head = bytes([0xFF, run.head[1] | 1, 0xE0 | run.head[2] & 0x0C, run.head[3]])
        frame = _mp3_frame(head)
        assert frame is not None
        tag = bytearray(head + bytes(frame.length - 4))
        tag[place : place + 8] = b"Xing\0\0\0\1"
    tag[place + 8 : place + 12] = run.frames.to_bytes(4)
    return bytes(tag)


# -- WAV and AIFF: chunks with their length ----------------------------------------------------------------------------
_STREAMED = 2**16  # a length as near as this to 2 or 4 GiB was written before the length was known


def _walk_chunks(stream: BinaryIO, size: int, label: str) -> Walk:
    """One part for each file that was joined; its chunk of samples goes on to where another chunk begins.

    Raises AudioError for two chunks of samples in one file.
    """
    stream.seek(0)
    magic = stream.read(12)
    order, samples = (">", b"SSND") if magic[:4] == b"FORM" else (">" if magic[:4] == b"RIFX" else "<", b"data")
    place, sounds, long_size = 12, list[tuple[int, int]](), 0
    whole = Walk([Part(Pieces(stream, [(0, size)]))])
    while place + 8 <= size:
        stream.seek(place)
        head = stream.read(24)
        name, length = head[:4], struct.unpack_from(f"{order}I", head, 4)[0]
        if sounds and name == magic[:4] and head[8:12] == magic[8:]:
            rest = _walk_chunks(cast(BinaryIO, Pieces(stream, [(place, size)])), size - place, label)
            return replace(rest, parts=[Part(Pieces(stream, [(0, place)])), *rest.parts])
        if name == b"ds64":
            long_size = int.from_bytes(head[16:24], "little")
        if name == samples:
            length = long_size if length == 0xFFFFFFFF and long_size else length
            sounds.append((place + 8, length))
        elif not all(32 <= letter < 127 for letter in name) or (sounds and place + 8 + length > size):
            break
        place += 8 + length + length % 2
    if len(sounds) > 1:
        lengths = " and ".join(f"{length} bytes" for _, length in sounds)
        raise AudioError(f"{label} has {len(sounds)} chunks of samples ({lengths}); save it again with one")
    if not sounds:
        return whole
    start, length = sounds[0]
    if start + length > size:
        streamed = length >= 2**31 - _STREAMED and min(abs(length - 2**31), 2**32 - length) <= _STREAMED
        present = size - start
        return whole if streamed or not present else replace(whole, share=length / present)
    if place != start + length + length % 2 or _is_padding(stream, place, size):
        return whole
    faults = [
        "has an unfinished header, as a recorder leaves it that stops without warning: it announces "
        f"{length} bytes of samples, and {size - start} follow; all are read"
    ]
    return Walk([Part(Pieces(stream, [_repaired(stream, magic[:4], order, start, size), (start, size)]))], faults)


def _is_padding(stream: BinaryIO, place: int, size: int) -> bool:
    """Whether nothing but zeros, a title or a few bytes stand from `place` on."""
    stream.seek(place)
    head = stream.read(48)
    return len(head) < 8 or bool(_title_length(head)) or next(_positions(stream, rb"[^\0]", place, size), None) is None


def _repaired(stream: BinaryIO, magic: bytes, order: str, start: int, size: int) -> bytes:
    """The head of a WAV or AIFF up to its samples at `start`, which last to the end of the file."""
    stream.seek(0)
    head = bytearray(stream.read(start))
    if magic == b"RF64":
        head[:4] = b"RIFF"  # a length of 4 GiB or more is then taken for "to the end"
    struct.pack_into(f"{order}I", head, 4, min(size - 8, 0xFFFFFFFF))
    struct.pack_into(f"{order}I", head, start - 4, min(size - start, 0xFFFFFFFF))
    return bytes(head)
