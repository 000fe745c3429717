"""Downloads through pooch: `fetch("esc50", "data")` gives the folder to pass to its loader.

pooch downloads to a temporary file, verifies it, and only then gives it its name. The archive is looked at before it is
unpacked, beside its place, and moved there once it is whole. Nothing here runs unless `fetch` is called.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

from steer_utils.sound.datasets import find_dataset
from steer_utils.sound.files import write_whole

TIMEOUT = 30  # seconds without an answer


class DownloadError(ValueError):
    """The file could not be had, is not the one expected, or must not be unpacked; the message says what to do."""


def fetch(name: str, folder: str | os.PathLike[str], *, keep_archive: bool = False, quiet: bool | None = None) -> Path:
    """Download a data set into `folder`, verify and unpack it; the unpacked folder, at once if it is there already.

    Where no checksum is published, the sha256 of the first download is printed, kept in <archive>.sha256 and demanded
    from then on. An archive that already lies in `folder` is verified and used. `quiet` True: no notes, no bar; None:
    the bar on terminals only. Raises ValueError for an unknown data set, one that is not downloaded here, and without
    pooch; DownloadError if the download fails, is another file than expected, or must not be unpacked.
    """
    dataset, folder = find_dataset(name), Path(folder)
    remote = dataset.remote
    if remote is None:
        raise ValueError(f"{dataset.title} is not downloaded by this library: {dataset.obtain} ({dataset.homepage})")
    target = folder / remote.root
    if target.is_dir():
        return target
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file; pass a folder to download {dataset.title} into")
    try:
        import pooch
    except ImportError as error:
        raise ValueError("downloads need pooch: pip install 'steer-utils[data]'") from error
    _note(str(dataset), quiet)
    record = folder / f"{remote.filename}.sha256"
    recorded = record.read_text(encoding="utf-8").split() if record.is_file() else []
    checksum = remote.checksum or next(iter(recorded), None)
    archive = folder / remote.filename
    show_bar = sys.stderr.isatty() if quiet is None else not quiet
    downloader = pooch.HTTPDownloader(progressbar=show_bar, timeout=TIMEOUT)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # `fetch` prints its own notes
    try:
        pooch.retrieve(remote.url, checksum, fname=archive.name, path=folder, downloader=downloader)
    except ValueError as error:  # another checksum: pooch has removed what it got
        raise DownloadError(
            f"{archive.name} is not the file expected: {error}. If its makers changed it and you trust it, remove "
            f"{record.name}, or get it and unpack it yourself"
        ) from error
    except OSError as error:  # also the errors of requests
        raise DownloadError(f"{remote.url} cannot be downloaded ({error}); try later, or get it by hand") from error
    finally:
        logger.setLevel(level)
    _unpack(archive, target)
    if checksum is None:
        digest = pooch.file_hash(str(archive))
        write_whole(record, f"{digest}  {archive.name}\n")
        _note(f"no checksum of {archive.name} is published; its sha256 is {digest}, kept in {record.name}", quiet)
    if not keep_archive:
        archive.unlink()
    return target


def _unpack(archive: Path, target: Path) -> None:
    """The folder `target` out of the zip that holds it, whole or not at all."""
    import pooch

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        try:
            with zipfile.ZipFile(archive) as opened:
                names = opened.namelist()
            if outside := [name for name in names if _leads_out(name)]:
                raise DownloadError(f"{outside[0]!r} in {archive.name} leads out of the folder; nothing was unpacked")
            pooch.Unzip(extract_dir=os.path.abspath(scratch))(str(archive), "download", None)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError) as error:
            raise DownloadError(
                f"{archive.name} cannot be unpacked: it is no zip, damaged, or too large for the disk ({error}); "
                "remove it to download it again"
            ) from error
        if not (Path(scratch) / target.name).is_dir():
            raise DownloadError(f"{archive.name} does not hold the folder {target.name!r}")
        (Path(scratch) / target.name).rename(target)


def _leads_out(name: str) -> bool:
    path = PureWindowsPath(name)  # its rules cover those of other systems: / and \\ separate, drives are absolute
    return bool(path.anchor) or ".." in path.parts


def _note(text: str, quiet: bool | None) -> None:
    if quiet is not True:
        print(text, file=sys.stderr)
