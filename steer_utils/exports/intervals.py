"""Labelled intervals as files that other tools read and write; the ending of the name says which:

.txt    Audacity label track: start, end, label; of one audio
.tsv    DCASE strong labels: filename, onset, offset, event_label
.json   a list of {"file", "event", "start", "end", "confidence"}
.jams   JAMS, namespace segment_open (as soundata writes sound events); of one audio

    write_intervals("dog.txt", [Labelled(found.interval, "dog bark")])
    truth = read_intervals("drawn_in_audacity.txt")

Only .json and .jams keep the confidence; .txt keeps no file name. Times are seconds, in .txt and .tsv to a microsecond.
What a format cannot hold is refused before a file is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import check_target, whole_file
from ..layouts import read_text
from ..spans import Interval
from .labels import (
    Labelled,
    audacity_text,
    dcase_text,
    jams_text,
    json_text,
    parse_audacity,
    parse_dcase,
    parse_jams,
    parse_json,
)

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_BYTES = 256 * 2**20  # of a file that is read; the strong labels of all AudioSet take 50 MB

AnyPath = str | PathLike[str]

_READERS: dict[str, Callable[[str, str], list[Labelled]]] = {
    ".txt": parse_audacity, ".tsv": parse_dcase, ".json": parse_json, ".jams": parse_jams,
}  # fmt: skip
SUFFIXES = tuple(_READERS)


def write_intervals(path: AnyPath, intervals: Iterable[Labelled], *, duration: float | None = None) -> None:
    """Write `intervals` in the format that the ending of `path` names, whole or not at all.

    `duration`: seconds of the audio, which only JAMS records (None: the latest end). Raises ValueError for another
    ending, no such folder, or what the format cannot hold: labels of several audios in .txt and .jams, without a file
    name in .tsv, with tabs or line breaks in .txt and .tsv.
    """
    target, rows = Path(path), list(intervals)
    check_target(target, SUFFIXES)
    text = _rendered(target, rows, duration)
    with whole_file(target) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def check_intervals(path: AnyPath, intervals: Iterable[Labelled]) -> None:
    """Raises the ValueError that `write_intervals` would raise, before any work, and writes nothing."""
    check_target(Path(path), SUFFIXES)
    _rendered(Path(path), list(intervals), None)


def read_intervals(path: AnyPath) -> list[Labelled]:
    """The labels of a file, in its order, whatever tool wrote it. Raises ValueError naming the line or entry at fault.

    A DCASE row of a file name alone says that nothing sounds in that file, and gives no label.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"cannot read labels from {str(source)!r}; its name must end in {' or '.join(SUFFIXES)}")
    if source.is_file() and source.stat().st_size > MAX_BYTES:
        raise ValueError(f"{str(source)!r} has {source.stat().st_size} bytes; label files have at most {MAX_BYTES}")
    return _READERS[suffix](read_text(source), source.name)


def _rendered(path: Path, rows: Sequence[Labelled], duration: float | None) -> str:
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return audacity_text(rows)
    if suffix == ".tsv":
        return dcase_text(rows)
    return json_text(rows) if suffix == ".json" else jams_text(rows, duration)


# -- from the table of a benchmark -----------------------------------------------------------------------------------
def scene_file(scene: int) -> str:
    """The name that scene `scene` of a run goes by in labels: a run keeps the seed of its scenes, not their sound."""
    return f"scene_{scene:04d}.wav"


def of_scene(table: DataFrame, scene: int) -> DataFrame:
    """The rows of one scene, attrs kept. Raises ValueError for a scene that the table has not."""
    _check_table(table)
    rows = table[table["scene"] == scene]
    if rows.empty:
        raise ValueError(f"the run has no scene {scene}; it has {table['scene'].min()} to {table['scene'].max()}")
    return rows


def found_intervals(table: DataFrame, method: str) -> list[Labelled]:
    """What `method` found, by scene and in the order of the true events; answers that named no time are left out.

    `table`: as `benchmark.run` made it. Raises ValueError for another table, or a method that it does not hold.
    """
    _check_table(table)
    methods = list(dict.fromkeys(table["method"]))
    if method not in methods:
        raise ValueError(f"the table has no method {method!r}; it has: {', '.join(map(str, methods))}")
    return _rows(table[(table["method"] == method) & table["start"].notna()], "start", "end")


def true_intervals(table: DataFrame) -> list[Labelled]:
    """The events that were there, each once, by scene and in order of time. Raises as `found_intervals` does."""
    _check_table(table)
    return _rows(table.drop_duplicates(["scene", "event", "truth_start", "truth_end"]), "truth_start", "truth_end")


def _check_table(table: DataFrame) -> None:
    needed = ("scene", "event", "method", "truth_start", "truth_end", "start", "end")
    if lacking := [name for name in needed if name not in table.columns]:  # such as an analysis of `analyse`
        raise ValueError(f"this is no table of `steer-utils benchmark`: it lacks {', '.join(lacking)}")


def _rows(table: DataFrame, start: str, end: str) -> list[Labelled]:
    ordered = table.sort_values(["scene", "truth_start"], kind="stable")
    return [
        Labelled(Interval(first, last), str(event), scene_file(int(scene)))
        for scene, event, first, last in zip(
            ordered["scene"], ordered["event"], ordered[start], ordered[end], strict=True
        )
    ]
