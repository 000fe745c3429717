"""Files are written whole or not at all, folders and tables read strictly, targets checked before work."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from steer_utils.sound.files import (
    check_target,
    find_root,
    parse_rows,
    read_rows,
    read_text,
    require_root,
    whole_file,
    whole_number,
)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(target) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_file_is_there_only_at_the_end_and_readable_by_others(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with whole_file(target) as part:
        part.write_text("new")
        assert not target.exists() and part.suffix == ".txt"
    assert target.read_text() == "new"
    before = target.stat().st_ino
    with whole_file(target) as part:
        part.write_text("newer")
    assert target.stat().st_ino != before  # put in its place, not written into it: a kill finds the one or the other
    plain = tmp_path / "plain"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode


def test_bad_targets_are_refused(tmp_path: Path) -> None:
    check_target(tmp_path / "ok.PNG", (".png", ".svg"))
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg"):
        check_target(tmp_path / "a.jpg", (".png", ".svg"))
    with pytest.raises(ValueError, match="no folder"):
        check_target(tmp_path / "no" / "a.png", (".png",))
    (tmp_path / "d.png").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        check_target(tmp_path / "d.png", (".png",))


def test_the_root_is_the_folder_or_the_only_visible_one_in_it(tmp_path: Path) -> None:
    marker = Path("meta") / "table.csv"
    assert find_root(tmp_path, marker) is None
    for name in (".hidden", "set", "empty"):
        (tmp_path / name / "meta").mkdir(parents=True)
    for name in (".hidden", "set"):
        (tmp_path / name / marker).touch()
    assert find_root(tmp_path, marker) == require_root(tmp_path, marker, "X") == tmp_path / "set"
    assert find_root(tmp_path / "set", marker) == tmp_path / "set"
    assert find_root(tmp_path / "none", marker) is None
    with pytest.raises(ValueError, match=r"X holds meta/table\.csv, but .* does not \(it holds meta\)"):
        require_root(tmp_path / "empty", marker, "X")


def test_rows_are_trimmed_and_quoted_line_breaks_stay_inside(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes('\ufeff Name , "Text"\r\n a ,"x, ""y""\r\nz"\r\n\r\nb,\r\n'.encode())
    assert read_rows(table, ("name", "text")) == [
        ("t.csv line 2", {"name": "a", "text": 'x, "y"\r\nz'}),
        ("t.csv line 5", {"name": "b", "text": ""}),
    ]
    assert parse_rows("A\tb \n x\ty \t\n", "t", ("a",), delimiters="\t") == [("t line 2", {"a": " x", "b": "y "})]


@pytest.mark.parametrize(
    "content", [b'name\n"open', b"name\nx\xff", b"name\n", b"other\nx\n", b"", b"name\n\n\n", b"name\nx,y\n"]
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.csv"):
        read_rows(tmp_path / "t.csv", ("name",))


def test_missing_text_is_a_value_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            read_text(path)


def test_what_the_system_refuses_names_the_file(tmp_path: Path) -> None:
    """A full disk, as `write` tells of it: without a name."""
    target = tmp_path / "a.txt"
    with pytest.raises(OSError, match="No space left") as raised, whole_file(target):
        raise OSError(errno.ENOSPC, "as the system says it")
    assert raised.value.filename == str(target) and not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError) as raised, whole_file(tmp_path / "no" / "a.txt"):
        pass
    assert raised.value.filename == str(tmp_path / "no" / "a.txt")
    with pytest.raises(FileNotFoundError) as raised, whole_file(target):
        (tmp_path / "other").read_text()  # another file's fault stays its own
    assert raised.value.filename == str(tmp_path / "other")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as raised, whole_file(tmp_path / "a.txt"):
        Path("/dev/full").write_text("x")
    assert raised.value.filename == str(tmp_path / "a.txt")


def test_encodings_by_their_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes("dög\r\n".encode(encoding))
        assert read_text(path) == "dög\r\n"
    path.write_bytes("a\nd\xf6g".encode("latin-1"))
    with pytest.raises(ValueError, match=r"is not text in UTF-8 \(line 2: .* 0xf6\); save it as UTF-8"):
        read_text(path)
    path.write_bytes("a\nb".encode("utf-16-le"))  # without a mark
    with pytest.raises(ValueError, match="holds a NUL character in line 1; if it is UTF-16"):
        read_text(path)


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1", 1), ("1.0", 1), ("12.", 12), ("1_0", None), ("1.5", None), ("-1", None), ("", None), ("²", None)],
)
def test_whole_numbers(cell: str, number: int | None) -> None:
    if number is None:
        with pytest.raises(ValueError, match="no whole number from 0"):
            whole_number("here", cell)
    else:
        assert whole_number("here", cell) == number
