"""Files are decoded to their real end: what is longer is heard, what is lost is said, and times stay right."""

from __future__ import annotations

import io
import os
import struct
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steer_utils.sound import decoding as decoder
from steer_utils.sound.audio import AudioError
from steer_utils.sound.decoding import Decoding, check_sounds, open_sound, sound_files

RATE = 16_000
WHITE = 0.2 * np.random.default_rng(0).normal(size=8 * RATE)
NOISE = np.convolve(WHITE, np.ones(8) / 8, mode="same").astype(np.float32)  # codecs keep what is low
KINDS = {
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", None),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None),
}


def encoded(kind: str, samples: np.ndarray = NOISE, rate: int = RATE, **options: object) -> bytes:
    file = io.BytesIO()
    form, subtype = KINDS[kind]
    soundfile.write(file, samples, rate, format=form, subtype=subtype, **options)
    return file.getvalue()


WHOLE = {kind: encoded(kind) for kind in KINDS}
#: What libsndfile makes of them, to which all else is compared: codecs change the sound.
SOUND = {kind: soundfile.read(io.BytesIO(content), dtype="float32")[0] for kind, content in WHOLE.items()}


def decode(content: bytes) -> tuple[np.ndarray, list[str]]:
    """Mono samples, and what was said."""
    decoding = Decoding(io.BytesIO(content), "it")
    samples = np.concatenate([np.zeros((0, decoding.channels), np.float32), *decoding.blocks()])
    return samples.mean(axis=1), decoding.warnings


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two sounds at lag 0; 0 for other lengths."""
    return float(np.corrcoef(one, other)[0, 1]) if len(one) == len(other) else 0.0


def test_the_codecs_keep_the_sound() -> None:
    assert all(alike(sound, NOISE) > 0.95 for sound in SOUND.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_decoded_without_a_word(kind: str) -> None:
    samples, said = decode(WHOLE[kind])
    assert said == [] and alike(samples, SOUND[kind]) > 0.999


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("behind", [bytes(5000), b"TAG" + bytes(125)])
def test_padding_and_titles_are_no_sound(kind: str, behind: bytes) -> None:
    before = b"ID3\4\0\0\0\0\0\x40" + b"title" + bytes(59)
    samples, said = decode(before + WHOLE[kind] + behind)
    assert said == [] and alike(samples, SOUND[kind]) > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_joined_files_are_decoded_whole(kind: str) -> None:
    samples, said = decode(WHOLE[kind] * 3)
    assert said == [] and alike(samples, np.tile(SOUND[kind], 3)) > 0.999


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.95])
def test_half_a_download_is_said_to_be_cut_short(kind: str, share: float) -> None:
    content = WHOLE[kind]
    samples, said = decode(content[: round(share * len(content))])
    assert len(said) == 1 and "is cut short" in said[0]
    assert (share - 0.25) * 8 < len(samples) / RATE < 8 and alike(
        samples[:-1000], SOUND[kind][: len(samples) - 1000]
    ) > 0.98


@pytest.mark.parametrize("form", ["W64", "AU", "NIST", "CAF", "VOC", "PVF"])
def test_of_other_formats_what_is_cut_short_or_joined_is_said(form: str) -> None:
    """Or refused, or, where the format does not tell, it is said that nobody can know."""
    file = io.BytesIO()
    soundfile.write(file, NOISE, RATE, format=form, subtype="PCM_16")
    whole = file.getvalue()
    samples, said = decode(whole)
    assert len(samples) == len(NOISE) and ([] if form in ("W64", "AU", "NIST", "CAF") else ["cannot be seen"]) == [
        part for line in said for part in ["cannot be seen"] if part in line
    ]
    for content in (whole[: 4 * RATE * 2], whole * 2):
        try:
            _, said = decode(content)
        except AudioError:
            continue
        assert said, (form, len(content))


def test_a_header_that_announces_no_sound_is_refused_by_that_cause() -> None:
    file = io.BytesIO()
    soundfile.write(file, NOISE, RATE, format="AU", subtype="PCM_16")
    content = file.getvalue()
    with pytest.raises(AudioError, match="unfinished header"):
        decode(content[:8] + bytes(4) + content[12:])
    half = content[:8] + struct.pack(">I", 4 * RATE * 2) + content[12:]
    assert "beside the sound" in decode(half)[1][0]


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_pages_that_come_twice_or_too_late_move_nothing(kind: str) -> None:
    starts = [at for at in range(len(WHOLE[kind])) if WHOLE[kind][at : at + 5] == b"OggS\0"]
    pages = [WHOLE[kind][start:stop] for start, stop in pairwise([*starts, len(WHOLE[kind])])]
    middle = len(pages) // 2
    twice, said = decode(b"".join([*pages[:middle], pages[middle], *pages[middle:]]))
    assert said == [] and alike(twice, SOUND[kind]) > 0.999
    late, said = decode(b"".join([*pages[:middle], pages[middle + 1], pages[middle], *pages[middle + 2 :]]))
    assert len(said) == 1 and "are lost" in said[0] and abs(len(late) - len(NOISE)) < 0.05 * RATE


def bare_mp3(**options: object) -> bytes:
    """An MP3 without its first frame, which counts the others."""
    content = encoded("mp3", **options)
    second = next(at for at in range(100, 5000) if content[at : at + 2] == content[:2])
    assert b"Xing" in content[:second] or b"Info" in content[:second]
    return content[second:]


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_an_mp3_that_does_not_count_its_frames_is_heard_whole(level: float) -> None:
    quiet = np.concatenate([NOISE, 1e-3 * NOISE, NOISE, 1e-3 * NOISE])  # of variable rate: sizes mislead
    content = bare_mp3(samples=quiet, bitrate_mode="VARIABLE", compression_level=level)
    for copies in (1, 2):
        samples, said = decode(content * copies)
        assert said == [] and abs(len(samples) / RATE - 32 * copies) < 0.15
    halves = [decode(content[: len(content) // 2 + more])[1] for more in (0, 9)]  # one may end where a frame does
    assert any("no whole frame of MP3" in said[0] for said in halves if said)


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("how", ["overwritten", "removed"])
@settings(max_examples=5, deadline=None)
@given(place=st.floats(0.2, 0.6), size=st.integers(400, 4000), filler=st.sampled_from([0, 0x55, 0xFF]))
def test_behind_a_hole_times_are_right(kind: str, how: str, place: float, size: int, filler: int) -> None:
    content = WHOLE[kind]
    start = round(place * len(content))
    stop = start + size
    middle = bytes([filler]) * size if how == "overwritten" else b""
    try:
        samples, said = decode(content[:start] + middle + content[stop:])
    except AudioError:
        return
    if not said:  # only what lies in a frame of an MP3 goes unnoticed, and moves nothing
        assert kind == "mp3" and len(samples) == len(NOISE)
    assert abs(len(samples) - len(NOISE)) < 0.1 * RATE
    end = slice(7 * RATE, 7 * RATE + RATE // 2)
    assert alike(samples[end], SOUND[kind][end]) > 0.9, said


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    place=st.floats(0, 1),
    size=st.integers(1, 3000),
    filler=st.binary(max_size=3000),
)
@example(kind="opus", place=0.75, size=149, filler=b"")  # what follows the hole cannot be opened
def test_any_damage_is_said_or_refused_or_harmless(kind: str, place: float, size: int, filler: bytes) -> None:
    content = WHOLE[kind]
    start = round(place * len(content))
    try:
        samples, said = decode(content[:start] + filler + content[start + size :])
    except AudioError as error:
        assert str(error).startswith(("cannot decode it", "cannot decode a part of it", "it "))
        return
    moved = len(filler) - len(content[start : start + size])
    if not said and moved and kind in ("flac", "ogg", "opus"):
        assert alike(samples, SOUND[kind]) > 0.98


def test_a_hole_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = WHOLE["flac"]
    monkeypatch.setattr(decoder, "LONGEST_HOLE", 0.01)
    with pytest.raises(AudioError, match=r"it is damaged at .* are lost; cut it there"):
        decode(content[:60_000] + content[70_000:])


def test_parts_of_another_form_are_refused() -> None:
    for kind in ("ogg", "mp3", "wav", "flac"):
        with pytest.raises(AudioError, match=r"changes from 16000 Hz and 1 channel\(s\) to 16000 Hz and 2 at 8\.00 s"):
            decode(WHOLE[kind] + encoded(kind, np.stack([NOISE, NOISE], axis=1)))


# Headers ---------------------------------------------------------------------------------------------------------


def with_lengths(kind: str, chunk: int, file: int | None = None) -> bytes:
    content, order = bytearray(WHOLE[kind]), ">" if kind == "aiff" else "<"
    struct.pack_into(f"{order}I", content, content.index(b"SSND" if kind == "aiff" else b"data") + 4, chunk)
    if file is not None:
        struct.pack_into(f"{order}I", content, 4, file)
    return bytes(content)


@pytest.mark.parametrize("kind", ["wav", "aiff", "rf64"])
@pytest.mark.parametrize("length", [0, 8, 4000])
@pytest.mark.parametrize("file", [None, 0])
def test_a_header_that_a_recorder_left_unfinished(kind: str, length: int, file: int | None) -> None:
    samples, said = decode(with_lengths(kind, length, file))
    assert len(said) == 1 and "unfinished header" in said[0] and f"{length} bytes of samples" in said[0]
    assert alike(samples, NOISE) > 0.98


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x80000000, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF - 44])
def test_a_wav_that_was_streamed(length: int) -> None:
    samples, said = decode(with_lengths("wav", length, length))
    assert said == [] and alike(samples, NOISE) > 0.98


def test_chunks_behind_the_samples_are_no_sound() -> None:
    notes = b"LIST" + struct.pack("<I", 4000) + b"INFO" + bytes(3996)
    samples, said = decode(WHOLE["wav"] + notes)
    assert said == [] and len(samples) == len(NOISE)


def test_an_empty_wav_stays_empty() -> None:
    header = encoded("wav", np.zeros(0, np.float32))
    assert len(decode(header + b"LIST" + struct.pack("<I", 8) + b"INFOsome")[0]) == 0


def test_two_chunks_of_samples_are_refused() -> None:
    content = WHOLE["wav"]
    with pytest.raises(AudioError, match=r"it has 2 chunks of samples \(256000 bytes and 2000 bytes\)"):
        decode(content + b"data" + struct.pack("<I", 2000) + bytes(2000))


def test_flac_without_a_length() -> None:
    content = bytearray(WHOLE["flac"])
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    samples, said = decode(bytes(content))
    assert said == [] and alike(samples, NOISE) > 0.98


def test_other_streams_beside_the_sound_in_an_ogg_are_left_out() -> None:
    """A page of another stream before and behind each page: what a video or captions would be."""
    from steer_utils.sound import containers

    stream = io.BytesIO(WHOLE["ogg"])
    pages, mixed = list(containers._ogg_pages(stream, len(WHOLE["ogg"]))), b""
    for number, page in enumerate(pages):
        other = bytearray(b"OggS\0" + struct.pack("<BqIIIB", 0 if number else 2, number, 77, number, 0, 1) + b"\3abc")
        struct.pack_into("<I", other, 22, containers._ogg_checksum(bytes(other)))
        mixed += WHOLE["ogg"][page.start : page.stop] + bytes(other)
    samples, said = decode(mixed)
    assert said == [] and alike(samples, SOUND["ogg"]) > 0.999


# Where files come from -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_a_pipe_is_read_to_its_end(tmp_path: Path, kind: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(WHOLE[kind],))
    writer.start()
    with open_sound(pipe) as stream:
        samples = np.concatenate(list(Decoding(stream, "it").blocks()))
    writer.join()
    assert alike(samples[:, 0], SOUND[kind]) > 0.98


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no such device")
def test_devices_are_refused() -> None:
    with pytest.raises(AudioError, match="is a device"), open_sound(Path("/dev/zero")):
        pass


def test_a_file_that_shrinks_while_it_is_read_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WHOLE["wav"])
    with path.open("r+b") as stream:
        decoding = Decoding(stream, "it")
        stream.truncate(100_000)
        assert sum(map(len, decoding.blocks())) <= 8 * RATE


def test_sounds_are_there_inside_and_decodable(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones(100) * 0.1, 8000)
    soundfile.write(tmp_path / "none.wav", np.ones(0), 8000)
    (tmp_path / "b.wav").write_bytes(b"")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "crashed.wav").write_bytes(with_lengths("wav", 0))
    check_sounds(tmp_path, ["a.wav", "./a.wav", "crashed.wav"], "t")
    for names, message in (
        (["a.wav", "b.wav", "none.wav"], r"2 of the 3 sound files of t cannot be decoded in .*: b\.wav, none\.wav$"),
        (["a.wav", "x.wav", ""], r"2 of the 3 sound files of t are not in .*: x\.wav, \(no name\)$"),
        (["folder.wav"], "1 of the 1"),
        (["../a.wav"], "leads out"),
        ([str(tmp_path.parent / "a.wav")], "leads out"),
    ):
        with pytest.raises(ValueError, match=message):
            check_sounds(tmp_path, names, "t")


def test_the_sounds_of_a_folder_are_told_by_their_headers(tmp_path: Path) -> None:
    """Whatever their names end in; hidden ones, such as macOS writes beside each file, are passed over."""
    for name in ("b.WAV", "a.flac", ".c.wav"):
        soundfile.write(tmp_path / name, np.zeros(100), 16_000, format="FLAC" if "flac" in name else "WAV")
    (tmp_path / "notes.wav").write_text("not a sound")
    (tmp_path / "folder.wav").mkdir()
    assert [path.name for path in sound_files(tmp_path)] == ["a.flac", "b.WAV"]
    for name in ("b.WAV", "a.flac"):
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"holds no sound file; it holds: \.c\.wav, folder\.wav, notes\.wav"):
        sound_files(tmp_path)


@pytest.mark.parametrize(
    "head", [b"fLaC", b"OggS", b"RIFF....WAVE", b"RF64....WAVE", b"FORM....AIFF", b"\xff\xfb\x90\x00", b"ID3"]
)
@pytest.mark.parametrize("rest", [b"", b"\0" * 60], ids=["alone", "zeros"])
def test_a_signature_with_nothing_behind_it_is_refused_in_one_line(head: bytes, rest: bytes) -> None:
    with pytest.raises(AudioError, match=r"^cannot decode it") as refused:
        Decoding(io.BytesIO(head + rest), "it")
    assert "\n" not in str(refused.value)
