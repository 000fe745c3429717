"""Archives are unpacked whole into their folder, or refused with nothing written."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.sound import archives
from steer_utils.sound.archives import ArchiveError, unpack

FILES = {"set/meta/table.csv": b"filename,category\n", "set/audio/a.wav": bytes(range(256)) * 40, "set/empty": b""}


def make_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


MAKERS = {"zip": make_zip, "tar.gz": make_tar}
Maker = Callable[[Path, Mapping[str, bytes]], Path]
kinds = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder to unpack in."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def refused(archive: Path, place: Path, message: str, limit: int = 10**6) -> None:
    before = everything_in(place.parent)
    with pytest.raises(ArchiveError, match=message):
        unpack(archive, place / "set", limit=limit, quiet=True)
    assert os.listdir(place) == []
    assert everything_in(place.parent) == before


@kinds
def test_an_archive_is_unpacked_as_it_was_packed(place: Path, make: Maker) -> None:
    archive = make(place.parent / "a", {**FILES, "elsewhere.txt": b"beside the folder"})
    unpack(archive, place / "set", limit=10**6, quiet=True)
    assert everything_in(place) == FILES
    assert os.listdir(place) == ["set"]
    plain = place / "plain"
    plain.mkdir()
    assert (place / "set").stat().st_mode == plain.stat().st_mode  # others may read it, not only its owner


def test_folders_of_archives_may_be_listed_or_not(place: Path) -> None:
    archive = place.parent / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for name in (".", "./set", "./set/audio"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o000
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("./set/audio/a.wav"))
    unpack(archive, place / "set", limit=0, quiet=True)
    assert everything_in(place) == {"set/audio/a.wav": b""}


def test_a_tar_that_ends_in_a_zip_is_a_tar(place: Path) -> None:
    inner = make_zip(place.parent / "inner", {"set/x": b"from the zip"}).read_bytes()
    archive = place.parent / "a.tar"
    with tarfile.open(archive, "w") as tar:
        info = tarfile.TarInfo("set/inner.zip")
        info.size = len(inner)
        tar.addfile(info, io.BytesIO(inner))
    unpack(archive, place / "set", limit=10**6, quiet=True)
    assert everything_in(place) == {"set/inner.zip": inner}


@kinds
@pytest.mark.parametrize(
    "name",
    ["../out.txt", "set/../../out.txt", "/tmp/steer_utils_out.txt", "..\\out.txt", "C:\\out.txt", "C:out.txt",
     "\\\\host\\share\\out.txt", "set/.."],
)  # fmt: skip
def test_members_that_lead_out_are_refused_before_anything_is_written(place: Path, make: Maker, name: str) -> None:
    refused(make(place.parent / "a", {**FILES, name: b"x"}), place, "leads out of the folder")
    assert not Path("/tmp/steer_utils_out.txt").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_tar_links_and_devices_are_refused(place: Path, kind: bytes) -> None:
    archive = place.parent / "a.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("set/first"))
        info = tarfile.TarInfo("set/link")
        info.type, info.linkname = kind, "first"
        tar.addfile(info)
    refused(archive, place, "'set/link' is a link or a device")


def test_zip_links_and_encrypted_members_are_refused(place: Path) -> None:
    archive = place.parent / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        info = zipfile.ZipInfo("set/link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        made.writestr(info, "/etc/passwd")
    refused(archive, place, "'set/link' is a link or a device")
    content = bytearray(make_zip(archive, FILES).read_bytes())
    at = content.index(b"PK\x01\x02") + 8  # the flags in the first entry of the directory
    content[at : at + 2] = struct.pack("<H", 1)
    archive.write_bytes(content)
    refused(archive, place, "encrypted")


@kinds
def test_the_total_size_is_limited(place: Path, make: Maker) -> None:
    archive = make(place.parent / "a", {f"set/{index}": bytes(1000) for index in range(5)})
    refused(archive, place, "more than 4,999 bytes", limit=4999)
    unpack(archive, place / "set", limit=5000, quiet=True)


@kinds
def test_a_full_disk_is_said_before_writing(place: Path, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    refused(make(place.parent / "a", FILES), place, "has 100 left")


@kinds
def test_another_root_and_an_existing_target(place: Path, make: Maker) -> None:
    archive = make(place.parent / "a", {"other/x": b"", "more/x": b""})
    refused(archive, place, "holds more, other, not the folder 'set'")
    refused(make(place.parent / "d", {"set": b"a file"}), place, "holds nothing, not the folder")
    refused(make(place.parent / "b", {}), place, "holds nothing|no zip or tar")
    (place / "set").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        unpack(make(place.parent / "c", FILES), place / "set", limit=10**6)
    assert os.listdir(place / "set") == []


@kinds
def test_damage_leaves_nothing_behind(place: Path, make: Maker) -> None:
    noise = {"set/a": os.urandom(20_000), "set/b": os.urandom(20_000)}
    archive = make(place.parent / "a", noise)
    content = archive.read_bytes()
    for broken in (content[: len(content) // 2], content[:300] + bytes(200) + content[500:], b"", b"no archive"):
        archive.write_bytes(broken)
        refused(archive, place, "no zip or tar that can be read, or it is damaged")


def test_a_tar_that_goes_on_after_its_end_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_TAIL", 1 << 15)
    archive = make_tar(place.parent / "a.tar.gz", FILES)
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()) + bytes(1 << 16)))
    refused(archive, place, "goes on long after its end")


@kinds
def test_one_name_for_a_file_and_a_folder(place: Path, make: Maker) -> None:
    refused(make(place.parent / "a", {"set/x": b"1", "set/x/y": b"2"}), place, "damaged")


parts = st.sampled_from(["set", "a", "..", ".", "", "C:", "\\", "x\\..", "~", " "])


@settings(max_examples=40, deadline=None)
@given(names=st.lists(st.lists(parts, min_size=1, max_size=4).map("/".join), min_size=1, max_size=4), tar=st.booleans())
def test_whatever_the_names_nothing_is_written_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], tar: bool
) -> None:
    base = tmp_path_factory.mktemp("base")
    place = base / "in" / "place"
    place.mkdir(parents=True)
    files = {name: b"x" for name in names if name and not name.endswith("/")}
    archive = MAKERS["tar.gz" if tar else "zip"](base / "archive", {"set/ok": b"x", **files})
    try:
        unpack(archive, place / "set", limit=1000, quiet=True)
        assert (place / "set" / "ok").is_file()
    except ArchiveError:
        assert os.listdir(place) == []
    assert set(os.listdir(place)) <= {"set"}
    assert os.listdir(base / "in") == ["place"] and sorted(os.listdir(base)) == ["archive", "in"]
