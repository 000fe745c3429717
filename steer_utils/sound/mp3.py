"""MP3: frames one after the other, and a first one that may count them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import BinaryIO

from steer_utils.sound.file_parts import Part, Pieces, Walk, joined, positions, title_length

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
def frame_at(head: bytes) -> _Frame | None:
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


def walk_mp3(stream: BinaryIO, size: int) -> Walk | None:
    """One part for each file that was joined, and for each stretch between two holes. None for what is no MP3.

    Each part begins with a tag that counts its frames: without one, libsndfile guesses their number. What is no frame,
    and no title or the like, is a hole; its length follows from the tag's count, else from its bytes.
    """
    runs, broken = _runs(stream, size)
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
        result.parts.append(Part(Pieces(stream, [_tag(first, whole), *first.ranges])))
        for run, gap in zip(later, gaps, strict=True):
            pieces = Pieces(stream, [_tag(run, whole=False), *run.ranges])
            result.parts.append(Part(pieces, gap=gap * first.first.samples + _MP3_DELAY))
    if broken and not result.faults and not (whole and first.announced):
        result.faults.append(f"is cut short or damaged at its end: its last {broken} bytes are no whole frame of MP3")
    return result


def _runs(stream: BinaryIO, size: int) -> tuple[list[_Run], int]:
    """The runs of a file, and how many bytes at its end are neither a frame nor a title."""
    runs: list[_Run] = []
    place = missing = 0
    while place < size:
        stream.seek(place)
        head = stream.read(48)
        frame = frame_at(head[:4])
        goes_on = frame is not None and bool(runs) and not missing and frame.form == runs[-1].first.form
        if frame is None or not (goes_on or _follows(stream, place, frame, size)):
            if skipped := title_length(head):
                place += skipped
                continue
            candidates = positions(stream, rb"\xff[\xe0-\xff]", place + 1, size)
            later = next((found for found in candidates if _begins(stream, found, size)), size)
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
            run.ranges = joined([*run.ranges[:-1], *joined([*run.ranges[-1:], (place, place + frame.length)])])
        place += frame.length
    return [run for run in runs if run.frames], missing


def _begins(stream: BinaryIO, place: int, size: int) -> bool:
    stream.seek(place)
    frame = frame_at(stream.read(4))
    return frame is not None and _follows(stream, place, frame, size)


def _follows(stream: BinaryIO, place: int, frame: _Frame, size: int) -> bool:
    """Whether a frame is followed by another of its form, a title, or the end: four bytes alone may be chance."""
    stream.seek(place + frame.length)
    head = stream.read(48)
    following = frame_at(head[:4])
    return (
        place + frame.length == size
        or bool(title_length(head))
        or (following is not None and following.form == frame.form)
    )


def _read_tag(run: _Run, tag: bytes) -> None:
    if tag[36:40] == b"VBRI":
        run.announced = int.from_bytes(tag[50:54])
    elif tag[run.first.counts + 7] & 1:
        run.tag, run.announced = tag, int.from_bytes(tag[run.first.counts + 8 : run.first.counts + 12])


def _tag(run: _Run, whole: bool) -> bytes:
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
        frame = frame_at(head)
        assert frame is not None
        tag = bytearray(head + bytes(frame.length - 4))
        tag[place : place + 8] = b"Xing\0\0\0\1"
    tag[place + 8 : place + 12] = run.frames.to_bytes(4)
    return bytes(tag)
