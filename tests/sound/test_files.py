"""Files are written whole or not at all, folders and tables read strictly, targets checked before work."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from steer_utils.sound.files import (
    check_sounds,
    check_target,
    find_root,
    parse_rows,
    read_rows,
    read_text,
    require_root,
    sound_files,
    whole_file,
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


def test_sounds_are_there_inside_and_decodable(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones(100) * 0.1, 8000)
    soundfile.write(tmp_path / "none.wav", np.ones(0), 8000)
    (tmp_path / "b.wav").write_bytes(b"")
    (tmp_path / "folder.wav").mkdir()
    check_sounds(tmp_path, ["a.wav", "./a.wav"], "t")
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
