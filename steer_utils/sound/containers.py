"""What is in a sound file: each kind walked before it is decoded, and taken for parts that libsndfile reads rightly.

libsndfile believes a file's header: it stops where the header says, and closes up what is damaged, so that all that
follows comes too early. `walk` counts what is there, and makes of a file one or several `Part`s, each a whole file to
libsndfile, with the length of the holes between them.

In this order below: the walk, and how it is done in each kind of file: Ogg, FLAC, and chunks (WAV, AIFF). MP3 has a
file of its own, `mp3`; what a walk finds, `file_parts`.
"""

from __future__ import annotations

import itertools
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import BinaryIO, cast

from soundfile import SoundFile

from steer_utils.sound.file_parts import UNKNOWN_LENGTH, AudioError, Part, Pieces, Walk, joined, positions, title_length
from steer_utils.sound.mp3 import frame_at, walk_mp3


# -- the walk ---------------------------------------------------------------------------------------------------------
def walk(stream: BinaryIO, label: str) -> Walk:
    """The parts of a sound file. Raises AudioError for what cannot be decoded; `label` is what it calls the file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(48)
    if before := title_length(head):  # of any kind: libsndfile would count it as sound of a WAV
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
    elif frame_at(head[:4]):
        found = walk_mp3(stream, size)
    if found is not None and found.parts:
        return found
    whole = Part(Pieces(stream, [(0, size)]))
    with whole.opened(label) as file:
        found = walk_mp3(stream, size) if file.format == "MP3" else None  # one with something before its first frame
        return found or _walk_other(stream, size, label, file, whole)


#: Formats in which libsndfile compares the length that the header says with the file's; in others it cannot.
_COMPARED = ("AU", "CAF", "HTK", "SVX", "W64", "WAV")
_WIDTHS = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "ULAW": 1,
    "ALAW": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}
_BESIDE = 8192  # bytes of a file that may well be no sound


def _walk_other(stream: BinaryIO, size: int, label: str, file: SoundFile, whole: Part) -> Walk:
    """A file that is decoded as it is. Raises AudioError for a header that announces nothing, with sound behind it."""
    sizes = [(int(w), int(r)) for w, r in re.findall(r": (\d+) \(should be (\d+)\)", file.extra_info)]  # written, real
    result = Walk([whole], share=max((written / max(1, real) for written, real in sizes), default=1.0))
    if file.format == "NIST":
        stream.seek(0)
        count = re.search(rb"sample_count -i (\d+)", stream.read(1024))
        result.announced = int(count[1]) if count else 0
    elif file.format not in _COMPARED:
        result.faults.append(f"is in the format {file.format}, in which it cannot be seen whether sound is missing")
    beside = size - file.frames * file.channels * _WIDTHS.get(file.subtype, size)
    if beside > _BESIDE and not file.frames:
        raise AudioError(f"{label} has an unfinished header: it announces no sound, and {beside} bytes follow it")
    if beside > _BESIDE:
        result.faults.append(
            f"holds {beside} bytes beside the sound that it announces; if they are sound, it is not heard"
        )
    elif any(written < real for written, real in sizes) or 0 < result.announced < file.frames:
        result.faults.append("is longer than its header announces; all is heard")
    return result


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

    Behind a hole the granule position says what time it is. Pages of other streams beside the sound are left out, and
    those that come twice, or too late.
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
        pages = [sound]
        for page in link:
            if page.stream == sound.stream and page.number > pages[-1].number:
                pages.append(page)
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
        ranges = joined([(page.start, page.stop) for page in ([*head, *stretch] if number else stretch)])
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


def _ogg_pages(stream: BinaryIO, size: int) -> Iterator[_Page]:
    """The pages whose checksum is right."""
    place = 0
    while place < size:
        page = _ogg_page(stream, place)
        if page is not None:
            yield page
            place = page.stop
        else:
            place = next(positions(stream, b"OggS", place + 1, size), size)


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
    starts = list(positions(stream, rb"fLaC[\0\x80]\0\0\x22", 0, size))
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
        for place in positions(stream, rb"\xff[\xf8\xf9]", start + _FLAC_HEAD, stop):
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
    return len(head) < 8 or bool(title_length(head)) or next(positions(stream, rb"[^\0]", place, size), None) is None


def _repaired(stream: BinaryIO, magic: bytes, order: str, start: int, size: int) -> bytes:
    """The head of a WAV or AIFF up to its samples at `start`, which last to the end of the file."""
    stream.seek(0)
    head = bytearray(stream.read(start))
    if magic == b"RF64":
        head[:4] = b"RIFF"  # a length of 4 GiB or more is then taken for "to the end"
    struct.pack_into(f"{order}I", head, 4, min(size - 8, 0xFFFFFFFF))
    struct.pack_into(f"{order}I", head, start - 4, min(size - start, 0xFFFFFFFF))
    return bytes(head)
