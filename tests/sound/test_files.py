"""Files appear whole or not at all, and bad targets are refused before work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from steer_utils.sound.files import check_target, whole_file


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
