"""Downloads from a server on this machine that cuts connections, changes its file, and says odd things."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pooch
import pytest

from steer_utils.sound import downloads
from steer_utils.sound.archives import ArchiveError
from steer_utils.sound.datasets import DATASETS, Remote
from steer_utils.sound.downloads import DownloadError, download, fetch, verify

BODY = os.urandom(3 * downloads._CHUNK + 1234)


@dataclass
class Server:
    """What it serves under any path, and what it was asked."""

    body: bytes = BODY
    etag: str = '"one"'
    ranges: bool = True
    length: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes after which a connection is cut, one by one
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    serving = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            span = self.headers.get("Range")
            serving.asked.append(span)
            if serving.status != 200:
                self.send_error(serving.status)
                return
            start = int(span.removeprefix("bytes=").rstrip("-")) if span and serving.ranges else 0
            if self.headers.get("If-Range", serving.etag) != serving.etag:
                start = 0
            if start >= len(serving.body) and start:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(serving.body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            rest = serving.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(serving.body) - 1}/{len(serving.body)}")
            if serving.length:
                self.send_header("Content-Length", str(len(rest)))
            if serving.etag:
                self.send_header("ETag", serving.etag)
            self.end_headers()
            self.wfile.write(rest[: serving.cut_after.pop(0)] if serving.cut_after else rest)

        def log_message(self, *args: object) -> None:
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.url = f"http://127.0.0.1:{made.server_address[1]}/set.zip"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield serving
    made.shutdown()
    thread.join()
    made.server_close()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def get(server: Server, folder: Path, checksum: str | None = None, limit: int = 10**7) -> Path:
    target = folder / "set.zip"
    download(server.url, target, limit=limit, checksum=checksum, quiet=True)
    return target


# One file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [None, sha256(BODY), f"md5:{hashlib.md5(BODY).hexdigest().upper()}"])
def test_a_file_arrives_whole_and_alone(server: Server, tmp_path: Path, checksum: str | None) -> None:
    assert get(server, tmp_path, checksum).read_bytes() == BODY
    assert os.listdir(tmp_path) == ["set.zip"]
    assert server.asked == [None]


def test_a_cut_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1000, downloads._CHUNK + 5]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.asked == [None, "bytes=1000-", f"bytes={1000 + downloads._CHUNK + 5}-"]
    assert os.listdir(tmp_path) == ["set.zip"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.cut_after = [5000, 0]  # the second connection brings nothing: that is the end of this call
    with pytest.raises(DownloadError, match=r"broke .* after 5,000 bytes; run it again to go on"):
        get(server, tmp_path)
    assert (tmp_path / "set.zip.part").read_bytes() == BODY[:5000]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.asked == [None, "bytes=5000-", "bytes=5000-"]


def test_a_connection_that_breaks_again_and_again_is_given_up(server: Server, tmp_path: Path) -> None:
    server.cut_after = [10] * 50
    with pytest.raises(DownloadError, match="after 50 bytes"):
        get(server, tmp_path)
    assert len(server.asked) == downloads.TRIES


def test_a_file_that_changed_meanwhile_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.cut_after = [5000, 0]
    with pytest.raises(DownloadError):
        get(server, tmp_path)
    server.body, server.etag = BODY[::-1], '"two"'
    assert get(server, tmp_path).read_bytes() == BODY[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_promise_of_equal_bytes_only_a_checksum_allows_to_go_on(
    server: Server, tmp_path: Path, etag: str
) -> None:
    server.etag = etag
    server.cut_after = [5000]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.asked == [None, None]
    (tmp_path / "set.zip").unlink()
    server.asked, server.cut_after = [], [5000]
    assert get(server, tmp_path, sha256(BODY)).read_bytes() == BODY
    assert server.asked == [None, "bytes=5000-"]


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut_after = False, [5000]
    assert get(server, tmp_path, sha256(BODY)).read_bytes() == BODY
    assert server.asked == [None, "bytes=5000-"]


@pytest.mark.parametrize(("extra", "asked"), [(b"", 1), (b"too much", 2)])
def test_a_part_that_is_complete_or_too_long(server: Server, tmp_path: Path, extra: bytes, asked: int) -> None:
    (tmp_path / "set.zip.part").write_bytes(BODY + extra)
    assert get(server, tmp_path, sha256(BODY)).read_bytes() == BODY
    assert len(server.asked) == asked


def test_a_wrong_checksum_is_refused_and_nothing_is_left(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"set.zip is not the file expected.*sha256:0{64} but got"):
        get(server, tmp_path, "sha256:" + "0" * 64)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_a_file_over_the_limit_is_refused_and_nothing_is_left(server: Server, tmp_path: Path, length: bool) -> None:
    server.length = length
    with pytest.raises(DownloadError, match="expected at most; nothing was kept"):
        get(server, tmp_path, limit=len(BODY) - 1)
    assert os.listdir(tmp_path) == []
    assert get(server, tmp_path, limit=len(BODY)).read_bytes() == BODY


def test_a_full_disk_is_said_before_writing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    with pytest.raises(DownloadError, match="has 100 left"):
        get(server, tmp_path)


def test_answers_that_are_no_file(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match="answers 404"):
        get(server, tmp_path)
    assert len(server.asked) == 1
    with pytest.raises(DownloadError, match=r"broke .* after 0 bytes"):
        download("http://127.0.0.1:9/set.zip", tmp_path / "x", limit=10)
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "set.zip"):
        with pytest.raises(ValueError, match="no web address"):
            download(url, tmp_path / "x", limit=10)
    assert os.listdir(tmp_path) == []


def test_verify(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"abc")
    verify(path, None)
    verify(path, "md5:900150983cd24fb0d6963f7d28e17f72")
    verify(path, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    with pytest.raises(DownloadError, match="md5 is 9001"):
        verify(path, "md5:900150983cd24fb0d6963f7d28e17f73")


# A data set ------------------------------------------------------------------------------------------------------


def packed(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


@pytest.fixture
def tiny(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A data set called "tiny": one file in a zip, no published checksum."""
    server.body = packed({"tiny-main/table.csv": b"filename\n"})
    remote = Remote(server.url, "tiny.zip", "tiny-main", packed_limit=10_000, unpacked_limit=10_000)
    monkeypatch.setitem(DATASETS, "tiny", replace(DATASETS["esc50"], name="tiny", title="Tiny", remote=remote))
    return server


def expect(monkeypatch: pytest.MonkeyPatch, checksum: str) -> None:
    dataset = DATASETS["tiny"]
    assert dataset.remote is not None
    monkeypatch.setitem(DATASETS, "tiny", replace(dataset, remote=replace(dataset.remote, checksum=checksum)))


def test_fetch_gives_the_unpacked_folder_and_says_licence_and_checksum(
    tiny: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fetch("tiny", tmp_path / "new" / "data")
    assert folder == tmp_path / "new" / "data" / "tiny-main"
    assert (folder / "table.csv").read_bytes() == b"filename\n"
    said = capsys.readouterr().err
    digest = hashlib.sha256(tiny.body).hexdigest()
    assert "CC BY-NC 3.0" in said and digest in said and "no checksum of tiny.zip is published" in said
    assert sorted(os.listdir(folder.parent)) == ["tiny-main", "tiny.zip.sha256"]
    assert (folder.parent / "tiny.zip.sha256").read_text() == f"{digest}  tiny.zip\n"
    assert fetch("tiny", tmp_path / "new" / "data", quiet=True) == folder
    assert len(tiny.asked) == 1
    assert capsys.readouterr().err == ""


def test_the_first_checksum_is_demanded_from_then_on(tiny: Server, tmp_path: Path) -> None:
    folder = fetch("tiny", tmp_path, quiet=True)
    for path in (folder / "table.csv", folder):
        path.unlink() if path.is_file() else path.rmdir()
    tiny.body = packed({"tiny-main/table.csv": b"changed\n"})
    with pytest.raises(DownloadError, match=r"remove tiny\.zip\.sha256"):
        fetch("tiny", tmp_path, quiet=True)
    assert os.listdir(tmp_path) == ["tiny.zip.sha256"]
    (tmp_path / "tiny.zip.sha256").unlink()
    assert (fetch("tiny", tmp_path, quiet=True) / "table.csv").read_bytes() == b"changed\n"


def test_a_published_checksum_is_demanded(tiny: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, sha256(b"another file"))
    with pytest.raises(DownloadError, match="not the file expected"):
        fetch("tiny", tmp_path, quiet=True)
    assert os.listdir(tmp_path) == []
    expect(monkeypatch, sha256(tiny.body))
    fetch("tiny", tmp_path, keep_archive=True, quiet=True)
    assert sorted(os.listdir(tmp_path)) == ["tiny-main", "tiny.zip"]


def test_an_archive_got_by_hand_is_verified_and_unpacked(
    tiny: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, sha256(tiny.body))
    (tmp_path / "tiny.zip").write_bytes(b"damaged")
    with pytest.raises(DownloadError, match="Remove it to download it again"):
        fetch("tiny", tmp_path, quiet=True)
    (tmp_path / "tiny.zip").write_bytes(tiny.body)
    assert (fetch("tiny", tmp_path, quiet=True) / "table.csv").is_file()
    assert tiny.asked == []


def test_an_archive_that_leads_out_is_refused(tiny: Server, tmp_path: Path) -> None:
    tiny.body = packed({"tiny-main/table.csv": b"filename\n", "../outside": b"x"})
    with pytest.raises(ArchiveError, match="leads out"):
        fetch("tiny", tmp_path / "data", quiet=True)
    assert os.listdir(tmp_path) == ["data"]
    assert not (tmp_path / "data" / "tiny-main").exists()


def test_what_is_not_downloaded_says_how_to_get_it(tmp_path: Path) -> None:
    for name in ("sakura", "mmau"):
        with pytest.raises(ValueError, match=r"not downloaded by this library: .*github\.com"):
            fetch(name, tmp_path)
    with pytest.raises(ValueError, match="no data set is called 'esc'"):
        fetch("esc", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        fetch("esc50", tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_without_pooch_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ValueError, match=r"pip install 'steer-utils\[data\]'"):
        download("https://example.org/set.zip", tmp_path / "set.zip", limit=10)
    assert not list(tmp_path.iterdir())


def test_pooch_keeps_its_own_level_of_notes(server: Server, tmp_path: Path) -> None:
    before = pooch.get_logger().level
    download(server.url, tmp_path / "set.zip", limit=len(BODY), quiet=True)
    assert pooch.get_logger().level == before
