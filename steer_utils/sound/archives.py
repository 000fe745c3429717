"""Unpacking archives that others made, without trusting them.

A zip or tar may name members outside its folder, hold links and devices, or be far larger than it looks. All members
are looked at before the first byte is written; what is refused leaves nothing behind.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO

from tqdm import tqdm

_CHUNK = 1 << 20
_TAIL = 1 << 24  # bytes that may follow a tar's end: tars are filled up to whole records
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    FileExistsError, NotADirectoryError, IsADirectoryError,  # one name for a file and a folder
)  # fmt: skip


class ArchiveError(ValueError):
    """The archive is damaged, too large, or holds something that must not be unpacked."""


@dataclass(frozen=True)
class _Member:
    """A file or folder of an archive; `parts` is its path, `open` gives a file's bytes."""

    parts: tuple[str, ...]
    size: int
    folder: bool
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, target: Path, *, limit: int, quiet: bool | None = None) -> None:
    """Unpack a zip or tar (plain, gz, bz2, xz) to `target`, whole or not at all; its own folder has the same name.

    `limit` is in bytes, unpacked. `quiet` hides the progress bar; None shows it on terminals only.
    Raises ArchiveError, before anything is written, for members that lead out of the folder (absolute paths, "..",
    drives), links, devices, encrypted members, too many bytes for the limit or the disk, and another root folder;
    ValueError if `target` exists. A damaged archive is an ArchiveError too, perhaps only while it is unpacked.
    """
    if target.exists():
        raise ValueError(f"{str(target)!r} exists already; move it away to unpack again")
    try:
        # a tar may end in a zip, and then looks like one
        if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _write(_checked(_zip_members(opened), target, limit), target, quiet)
        else:
            with tarfile.open(archive, "r:*") as tar:
                _write(_checked(_tar_members(tar), target, limit), target, quiet)
    except _DAMAGE as error:
        raise ArchiveError(f"{archive.name} is no zip or tar that can be read, or it is damaged ({error})") from error


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 in archives made on Windows
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(f"{info.filename!r} is a link or a device; nothing was unpacked")
        if info.flag_bits & 0x1:
            raise ArchiveError(f"{info.filename!r} is encrypted; nothing was unpacked")
        yield _Member(_parts(info.filename), info.file_size, info.is_dir(), partial(archive.open, info))


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if not (info.isfile() or info.isdir()):
            raise ArchiveError(f"{info.name!r} is a link or a device; nothing was unpacked")
        yield _Member(_parts(info.name), info.size, info.isdir(), partial(_extracted, archive, info))
    # The checksum of a .gz or .xz stands at its end, which a tar's own end comes before: read on, or damage passes.
    rest = 0
    while archive.fileobj is not None and (chunk := archive.fileobj.read(_CHUNK)):
        rest += len(chunk)
        if rest > _TAIL:
            raise ArchiveError("the archive goes on long after its end; nothing was unpacked")


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(info)
    assert stream is not None  # _tar_members lets files and folders through only, and folders are not opened
    return stream


def _parts(name: str) -> tuple[str, ...]:
    """The path as its parts. Windows' rules cover those of other systems: / and \\ separate, drives are absolute."""
    path = PureWindowsPath(name)
    if path.anchor or ".." in path.parts or "\0" in name:
        raise ArchiveError(f"{name!r} leads out of the folder; nothing was unpacked")
    return path.parts


def _checked(members: Iterable[_Member], target: Path, limit: int) -> list[_Member]:
    """All members, once none of them is refused."""
    kept, total = [], 0
    for member in members:
        total += member.size
        if total > limit:  # said at once: listing what a small file claims to hold could itself take for ever
            raise ArchiveError(f"more than {limit:,} bytes would be unpacked; nothing was")
        kept.append(member)
    roots = sorted({member.parts[0] for member in kept if len(member.parts) > (0 if member.folder else 1)})
    if target.name not in roots:
        raise ArchiveError(f"the archive holds {', '.join(roots[:4]) or 'nothing'}, not the folder {target.name!r}")
    free = shutil.disk_usage(target.parent).free
    if total > free:
        raise ArchiveError(f"{total:,} bytes would be unpacked, but {str(target.parent)!r} has {free:,} left")
    return kept


def _write(members: Sequence[_Member], target: Path, quiet: bool | None) -> None:
    """Write into a folder beside `target`, and rename it once it is whole. Modes and owners are not taken over."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        total = sum(member.size for member in members)
        with tqdm(total=total, desc=target.name, unit="B", unit_scale=True, disable=quiet) as bar:
            for member in members:
                path = Path(scratch, *member.parts)
                if member.folder:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, path.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)
                bar.update(member.size)
        (Path(scratch) / target.name).rename(target)
