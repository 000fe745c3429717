"""Downloads that resume and are verified: `fetch("esc50", "data")` gives the folder to pass to its loader.

Checksums and the way into place are pooch's. Its downloaders start a broken download over (they send no Range request),
and these archives are 0.6 and several GB: so it gets ours, which goes on. Nothing here runs unless `fetch` is called.
"""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from steer_utils.sound.archives import unpack
from steer_utils.sound.datasets import find_dataset

TIMEOUT = 30.0  # seconds without a byte
TRIES = 5  # as long as each one brings something
_CHUNK = 1 << 18
_REMEDY = "downloads need pooch: pip install 'steer-utils[data]'"


class DownloadError(ValueError):
    """The file could not be had, or is not the one expected; the message says what to do."""


class _Cut(Exception):
    """The connection ended before the file did."""


def fetch(
    name: str, folder: str | os.PathLike[str], *, keep_archive: bool = False, quiet: bool | None = None
) -> Path:
    """Download a data set into `folder`, verify and unpack it; the unpacked folder, at once if it is there already.

    A broken download goes on where it stopped, also in a later call, if the server can (GitHub, which serves ESC-50,
    cannot: there it starts over). Without a published checksum, the sha256 of the first download is said, kept in
    <archive>.sha256 and demanded from then on. `quiet` True: no notes, no bar; None: the bar on terminals only.
    Raises ValueError for an unknown data set and for one that is not downloaded here, DownloadError if the download
    fails or is another file than expected, ArchiveError for an archive that must not be unpacked (see `archives`).
    """
    dataset = find_dataset(name)
    remote, folder = dataset.remote, Path(folder)
    if remote is None:
        raise ValueError(f"{dataset.title} is not downloaded by this library: {dataset.obtain} ({dataset.homepage})")
    target = folder / remote.root
    if target.is_dir():
        return target
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file; pass a folder to download {dataset.title} into")
    folder.mkdir(parents=True, exist_ok=True)
    _note(str(dataset), quiet)
    archive = folder / remote.filename
    record = folder / f"{remote.filename}.sha256"
    checksum = remote.checksum or _recorded(record)
    if archive.is_file():
        verify(archive, checksum)
    else:
        download(remote.url, archive, checksum=checksum, limit=remote.packed_limit, quiet=quiet)
    if checksum is None:
        digest = _digest(archive, "sha256")
        record.write_text(f"{digest}  {archive.name}\n", encoding="utf-8")
        _note(f"no checksum of {archive.name} is published; its sha256 is {digest}, kept in {record.name}", quiet)
    unpack(archive, target, limit=remote.unpacked_limit, quiet=quiet)
    if not keep_archive:
        archive.unlink()
    return target


def download(url: str, target: Path, *, limit: int, checksum: str | None = None, quiet: bool | None = None) -> None:
    """Download one file to `target`, which appears only when it is whole and verified.

    What has come so far lies in <target>.part. `checksum` is "sha256:..." or "md5:..." (md5 finds damage, not
    forgery); without one, a part is continued only if the server's ETag says that the file is still the same.
    Raises DownloadError; a part is kept after a broken connection, and removed if it is not the file expected.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url!r} is no web address; pass one with https://")
    pooch = _pooch()
    part = target.with_name(f"{target.name}.part")

    def resumed(url: str, output_file: str, _: object) -> None:
        """A downloader as pooch wants it: the file at `output_file`, whole."""
        _whole(url, part, limit, checksum is not None, quiet)
        os.replace(part, output_file)
        _forget(part)

    try:
        with _pooch_quiet():
            pooch.retrieve(url, known_hash=checksum, fname=target.name, path=target.parent, downloader=resumed)
    except DownloadError:
        raise
    except ValueError as error:  # another sum: pooch has removed the file
        said = f"{target.name} is not the file expected, and was removed; {_advice(target.name)}. {error}"
        raise DownloadError(said) from error


def _whole(url: str, part: Path, limit: int, verified: bool, quiet: bool | None) -> None:
    """All of the file in `part`, by as many connections as it takes while each brings something."""
    for attempt in range(1, TRIES + 1):
        before = _size(part)
        try:
            return _pull(url, part, limit, verified, quiet)
        except _Cut as cut:
            if attempt == TRIES or _size(part) <= before:
                raise DownloadError(
                    f"the connection to {url} broke ({cut}) after {_size(part):,} bytes; run it again to go on"
                ) from cut


def verify(path: Path, checksum: str | None) -> None:
    """Raises DownloadError if the file has not this checksum ("sha256:..." or "md5:..."); None demands nothing."""
    if checksum is None:
        return
    kind, _, expected = checksum.partition(":")
    found = _digest(path, kind)
    if found != expected.lower():
        name = path.name.removesuffix(".part")
        raise DownloadError(
            f"{name} is not the file expected: its {kind} is {found}, not {expected}. Remove it to download it again; "
            f"{_advice(name)}"
        )


def _advice(name: str) -> str:
    return f"if its makers changed it and you trust it, remove {name}.sha256, or get it and unpack it yourself"


def _digest(path: Path, kind: str) -> str:
    return str(_pooch().file_hash(path, alg=kind))


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise ValueError(_REMEDY) from error
    return pooch


@contextmanager
def _pooch_quiet() -> Iterator[None]:
    """Without pooch's own notes on stderr: `fetch` says what there is to say."""
    logger = _pooch().get_logger()
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _recorded(record: Path) -> str | None:
    """The checksum kept at the first download, as `sha256sum` writes it."""
    words = record.read_text(encoding="utf-8").split() if record.is_file() else []
    return f"sha256:{words[0]}" if words else None


def _pull(url: str, part: Path, limit: int, verified: bool, quiet: bool | None) -> None:
    """One connection: the rest of the file, or all of it. Raises _Cut if it ends early."""
    tag_file = part.with_name(f"{part.name}.etag")
    tag = tag_file.read_text(encoding="utf-8") if tag_file.is_file() else ""
    have = _size(part) if verified or tag else 0
    response = _opened(url, have, tag)
    if response is None:  # the part is the whole file already
        return
    with response:
        start = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        _check_room(total or start, limit, part, start)
        new_tag = response.headers.get("ETag", "")
        # a weak tag (W/...) does not promise equal bytes
        tag_file.write_text("" if new_tag.startswith("W/") else new_tag, encoding="utf-8")
        _copy(response, part, start, total, limit, quiet)
    if total is not None and _size(part) < total:
        raise _Cut(f"of {total:,}")


def _opened(url: str, have: int, tag: str) -> Any:
    """The server's answer to a request from byte `have` on; None if there is nothing after it."""
    request = urllib.request.Request(url, headers={"User-Agent": "steer-utils", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag:
            request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:
                whole = error.headers.get("Content-Range", "").endswith(f"/{have}")
                return None if whole else _opened(url, 0, "")
            raise DownloadError(f"{url} answers {error.code} {error.reason}; try later, or get it by hand") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(str(getattr(error, "reason", error))) from error
    if url.startswith("https://") and not response.geturl().startswith("https://"):
        response.close()
        raise DownloadError(f"{url} leads to {response.geturl()}, which is not encrypted; nothing was downloaded")
    if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        response.close()
        return _opened(url, 0, "")  # another range than asked for: of no use
    return response


def _check_room(total: int, limit: int, part: Path, start: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total > limit:
        _forget(part)
        raise DownloadError(f"the file has {total:,} bytes, more than the {limit:,} expected at most; nothing was kept")
    if total - start > free:
        raise DownloadError(f"{total - start:,} bytes are to come, but {str(part.parent)!r} has {free:,} left")


def _copy(response: Any, part: Path, start: int, total: int | None, limit: int, quiet: bool | None) -> None:
    label = part.name.removesuffix(".part")
    with (
        part.open("ab" if start else "wb") as sink,
        tqdm(total=total, initial=start, desc=label, unit="B", unit_scale=True, disable=quiet) as bar,
    ):
        while chunk := _chunk(response):
            sink.write(chunk)
            bar.update(len(chunk))
            if sink.tell() > limit:
                break
    if _size(part) > limit:
        _forget(part)
        raise DownloadError(f"the file has more than the {limit:,} bytes expected at most; nothing was kept")


def _chunk(response: Any) -> bytes:
    try:
        return bytes(response.read(_CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(str(error) or type(error).__name__) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.etag").unlink(missing_ok=True)


def _note(text: str, quiet: bool | None) -> None:
    if quiet is not True:
        print(text, file=sys.stderr)
