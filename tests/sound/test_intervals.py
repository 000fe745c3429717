"""Label files by the ending of their name, and the intervals of a benchmark's table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from steer_utils.sound import labels as exports
from steer_utils.sound.labels import (
    SUFFIXES,
    Labelled,
    check_intervals,
    found_intervals,
    of_scene,
    read_intervals,
    true_intervals,
    write_intervals,
)
from steer_utils.sound.spans import Interval

DOG = Labelled(Interval(1.5, 3.25), "dog bark", "street.wav")
KEEPS_FILE = {".txt": False, ".tsv": True, ".json": True, ".jams": True}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_ending_decides(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix.upper()}"
    write_intervals(path, iter([DOG]))
    write_intervals(str(path), [DOG])  # over an existing file
    expected = DOG if KEEPS_FILE[suffix] else Labelled(DOG.interval, DOG.event)
    assert read_intervals(path) == read_intervals(str(path)) == [expected]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_labels_are_no_error(tmp_path: Path, suffix: str) -> None:
    write_intervals(tmp_path / f"a{suffix}", [])
    assert read_intervals(tmp_path / f"a{suffix}") == []


def test_jams_knows_how_long_the_audio_is(tmp_path: Path) -> None:
    write_intervals(tmp_path / "a.jams", [DOG], duration=8.0)
    assert '"duration": 8.0' in (tmp_path / "a.jams").read_text()


def test_line_ends_and_letters_do_not_depend_on_the_system(tmp_path: Path) -> None:
    write_intervals(tmp_path / "a.txt", [Labelled(DOG.interval, "Glöckchen")])
    assert (tmp_path / "a.txt").read_bytes() == "1.500000\t3.250000\tGlöckchen\n".encode()
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf1.5\t3.25\tdog bark\r\n")  # as Windows tools save it
    assert read_intervals(tmp_path / "a.txt") == [Labelled(DOG.interval, "dog bark")]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    write_intervals(path, [DOG])
    before = path.read_bytes()
    bad = Labelled(Interval(0, 1), "dog\tbark", "a.wav")
    for attempt in (check_intervals, write_intervals):
        with pytest.raises(ValueError, match="tabs and line breaks"):
            attempt(path, [DOG, bad])
    check_intervals(path, [DOG])
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_bad_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for attempt in (check_intervals, write_intervals):
        with pytest.raises(ValueError, match=r"must end in .txt or .tsv or .json or .jams"):
            attempt(tmp_path / "a.csv", [DOG])
        with pytest.raises(ValueError, match="there is no folder"):
            attempt(tmp_path / "no" / "a.txt", [DOG])
    with pytest.raises(ValueError, match=r"cannot read labels from .*must end in .txt"):
        read_intervals(tmp_path / "a.csv")
    for missing in ("missing.txt", "folder.tsv"):
        (tmp_path / "folder.tsv").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="cannot be read"):
            read_intervals(tmp_path / missing)
    (tmp_path / "latin.txt").write_bytes("0\t1\tGlöckchen\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not text in UTF-8"):
        read_intervals(tmp_path / "latin.txt")
    monkeypatch.setattr(exports, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match=r"has 14 bytes; label files have at most 10"):
        read_intervals(tmp_path / "latin.txt")


# -- from the table of a benchmark -------------------------------------------------------------------------------------
@pytest.fixture
def table() -> pd.DataFrame:
    """Two scenes of two events, two methods; one answer named no time. Sorted as by `run_benchmark`."""
    rows = [
        (scene, event, method, truth, truth + 2.0, start, end)
        for scene in (0, 12)
        for method, shift in (("asking", 1.0), ("steering", 0.25))
        for event, truth in (("dog bark", 5.0), ("bell", 1.0))
        for start, end in [(truth + shift, truth + shift + 2.0)]
    ]
    made = pd.DataFrame(rows, columns=["scene", "event", "method", "truth_start", "truth_end", "start", "end"])
    made.loc[0, ["start", "end"]] = float("nan")
    return made


def test_found_intervals(table: pd.DataFrame) -> None:
    found = found_intervals(table, "steering")
    assert [(row.file, row.event, row.interval) for row in found] == [
        ("scene_0000.wav", "bell", Interval(1.25, 3.25)),
        ("scene_0000.wav", "dog bark", Interval(5.25, 7.25)),
        ("scene_0012.wav", "bell", Interval(1.25, 3.25)),
        ("scene_0012.wav", "dog bark", Interval(5.25, 7.25)),
    ]
    assert [row.event for row in found_intervals(table, "asking")] == ["bell", "bell", "dog bark"]


def test_true_intervals_are_each_there_once(table: pd.DataFrame) -> None:
    assert [(row.file, row.event, row.interval.start) for row in true_intervals(table)] == [
        ("scene_0000.wav", "bell", 1.0),
        ("scene_0000.wav", "dog bark", 5.0),
        ("scene_0012.wav", "bell", 1.0),
        ("scene_0012.wav", "dog bark", 5.0),
    ]


def test_one_scene(table: pd.DataFrame) -> None:
    assert {row.file for row in true_intervals(of_scene(table, 12))} == {"scene_0012.wav"}
    with pytest.raises(ValueError, match="the run has no scene 3; it has 0 to 12"):
        of_scene(table, 3)


def test_tables_that_do_not_serve(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="the table has no method 'clap'; it has: asking, steering"):
        found_intervals(table, "clap")
    with pytest.raises(ValueError, match=r"no table of `steer-utils benchmark`: it lacks method, start"):
        true_intervals(table.drop(columns=["method", "start"]))


def test_labels_need_no_torch() -> None:
    code = "import sys, steer_utils.sound.labels; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
