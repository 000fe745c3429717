"""Downloads from a server on this machine: whole and verified, or an error and nothing in their place."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pooch
import pytest

from steer_utils.sound.datasets import DATASETS, Remote
from steer_utils.sound.downloads import DownloadError, fetch

FILES = {"tiny-main/table.csv": b"filename\n", "tiny-main/audio/a.wav": bytes(range(256)) * 400}


def packed(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


@dataclass
class Server:
    """What it serves under any path, and how often it was asked."""

    body: bytes
    sent: int | None = None  # bytes after which the connection is cut
    status: int = 200
    asked: int = 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves a data set called "tiny", without a published checksum."""
    serving = Server(packed(FILES))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving.asked += 1
            self.send_response(serving.status)
            self.send_header("Content-Length", str(len(serving.body)))
            self.end_headers()
            self.wfile.write(serving.body[: serving.sent])

        def log_message(self, *args: object) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    remote = Remote(f"http://127.0.0.1:{running.server_address[1]}/tiny.zip", "tiny.zip", "tiny-main")
    monkeypatch.setitem(DATASETS, "tiny", replace(DATASETS["esc50"], name="tiny", title="Tiny", remote=remote))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield serving
    running.shutdown()
    thread.join()
    running.server_close()


def expect(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    dataset = DATASETS["tiny"]
    assert dataset.remote is not None
    monkeypatch.setitem(DATASETS, "tiny", replace(dataset, remote=replace(dataset.remote, **changes)))


def refused(folder: Path, message: str) -> None:
    """The download fails, and neither an unpacked folder nor a part of anything is left."""
    with pytest.raises(DownloadError, match=message):
        fetch("tiny", folder, quiet=True)
    assert set(os.listdir(folder)) <= {"tiny.zip", "tiny.zip.sha256"}


def test_fetch_gives_the_unpacked_folder_and_says_licence_and_checksum(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    level = pooch.get_logger().level
    folder = fetch("tiny", tmp_path / "new" / "data")
    assert folder == tmp_path / "new" / "data" / "tiny-main"
    assert {name: (folder.parent / name).read_bytes() for name in FILES} == FILES
    printed = capsys.readouterr().err
    digest = hashlib.sha256(server.body).hexdigest()
    assert "CC BY-NC 3.0" in printed and digest in printed and "no checksum of tiny.zip is published" in printed
    assert sorted(os.listdir(folder.parent)) == ["tiny-main", "tiny.zip.sha256"]
    assert (folder.parent / "tiny.zip.sha256").read_text() == f"{digest}  tiny.zip\n"
    assert fetch("tiny", tmp_path / "new" / "data", quiet=True) == folder
    assert server.asked == 1
    assert capsys.readouterr().err == "" and pooch.get_logger().level == level
    folder.rename(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode == tmp_path.joinpath("new").stat().st_mode  # others may read it too


def test_a_relative_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fetch("tiny", "data", quiet=True) == Path("data/tiny-main")
    assert sorted(os.listdir("data")) == ["tiny-main", "tiny.zip.sha256"]


def test_the_first_checksum_is_demanded_from_then_on(server: Server, tmp_path: Path) -> None:
    fetch("tiny", tmp_path, quiet=True).rename(tmp_path.parent / f"{tmp_path.name}-moved")
    server.body = packed({"tiny-main/table.csv": b"changed\n"})
    refused(tmp_path, r"not the file expected.*remove tiny\.zip\.sha256")
    assert os.listdir(tmp_path) == ["tiny.zip.sha256"]
    (tmp_path / "tiny.zip.sha256").unlink()
    assert (fetch("tiny", tmp_path, quiet=True) / "table.csv").read_bytes() == b"changed\n"


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_published_checksum_is_demanded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    expect(monkeypatch, checksum=f"{kind}:{hashlib.new(kind, b'another file').hexdigest()}")
    refused(tmp_path, "not the file expected")
    assert os.listdir(tmp_path) == []
    expect(monkeypatch, checksum=f"{kind}:{hashlib.new(kind, server.body).hexdigest()}")
    fetch("tiny", tmp_path, keep_archive=True, quiet=True)
    assert sorted(os.listdir(tmp_path)) == ["tiny-main", "tiny.zip"]


def test_an_archive_got_by_hand_is_verified_and_unpacked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, checksum=f"sha256:{hashlib.sha256(server.body).hexdigest()}")
    (tmp_path / "tiny.zip").write_bytes(server.body)
    assert (fetch("tiny", tmp_path, quiet=True) / "table.csv").is_file()
    assert server.asked == 0


@pytest.mark.parametrize("sent", [0, 5000])
def test_a_cut_connection_leaves_nothing_that_looks_whole(server: Server, tmp_path: Path, sent: int) -> None:
    server.sent = sent
    refused(tmp_path, r"cannot be downloaded .*; try later, or get it by hand")
    assert os.listdir(tmp_path) == []
    server.sent = None
    assert (fetch("tiny", tmp_path, quiet=True) / "table.csv").is_file()


def test_answers_that_are_no_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.status = 404
    refused(tmp_path, "cannot be downloaded .*404")
    expect(monkeypatch, url="http://127.0.0.1:9/tiny.zip")
    refused(tmp_path, "cannot be downloaded")
    assert os.listdir(tmp_path) == []


WAYS_OUT = r"../out.txt tiny-main/../../out.txt /tmp/steer_utils_out.txt ..\out.txt C:\out.txt C:out.txt tiny-main/.."


@pytest.mark.parametrize("name", [*WAYS_OUT.split(), r"\\host\share\out.txt"])
def test_members_that_lead_out_are_refused_before_anything_is_written(
    server: Server, tmp_path: Path, name: str
) -> None:
    server.body = packed({**FILES, name: b"x"})
    refused(tmp_path / "data", "leads out of the folder")
    assert os.listdir(tmp_path) == ["data"] and not Path("/tmp/steer_utils_out.txt").exists()


def test_a_link_is_unpacked_as_a_plain_file(server: Server, tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo("tiny-main/link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    server.body = made.getvalue()
    link = fetch("tiny", tmp_path, quiet=True) / "link"
    assert not link.is_symlink() and link.read_bytes() == b"/etc/passwd"


WHOLE = packed(FILES)


@pytest.mark.parametrize("body", [WHOLE[:5000], WHOLE[:300] + bytes(200) + WHOLE[500:], b"", b"no archive"])
def test_a_damaged_archive_is_refused(server: Server, tmp_path: Path, body: bytes) -> None:
    server.body = body
    refused(tmp_path, "no zip, damaged, or too large.*remove it to download it again")
    (tmp_path / "tiny.zip").unlink()
    server.body = WHOLE
    assert (fetch("tiny", tmp_path, quiet=True) / "table.csv").is_file()


def test_an_archive_without_the_folder_is_refused(server: Server, tmp_path: Path) -> None:
    server.body = packed({"other/x": b"", "tiny-main": b"a file"})
    refused(tmp_path, "does not hold the folder 'tiny-main'")


def test_what_is_not_downloaded_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sakura", "mmau"):
        with pytest.raises(ValueError, match=r"not downloaded by this library: .*github\.com"):
            fetch(name, tmp_path)
    with pytest.raises(ValueError, match="no data set is called 'esc'"):
        fetch("esc", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        fetch("esc50", tmp_path / "file")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ValueError, match=r"pip install 'steer-utils\[data\]'"):
        fetch("esc50", tmp_path)
    assert os.listdir(tmp_path) == ["file"]
