"""Labels: what sounds when, in files that other tools read and write. The ending of the name says which format:

.txt    Audacity label track: start, end, label; of one audio
.tsv    DCASE strong labels: filename, onset, offset, event_label
.json   a list of {"file", "event", "start", "end", "confidence"}
.jams   JAMS, namespace segment_open (as soundata writes sound events); of one audio

    write_intervals("dog.txt", [Labelled(located.interval, "dog bark")])
    truth = read_intervals("drawn_in_audacity.txt")

Only .json and .jams keep the confidence; .txt keeps no file name. Times are seconds, in .txt and .tsv to a microsecond.
What a format cannot hold is refused before a file is written.

In this order below: a label, each format as a pair of functions (labels to text, text to labels) with their table
`FORMATS`, files, and the labels in a benchmark's table.
"""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from steer_utils.sound.files import (
    RepeatedKeyError,
    cell_seconds,
    check_target,
    parse_rows,
    read_text,
    strict_json,
    whole_file,
)
from steer_utils.sound.spans import Interval

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_BYTES = 256 * 2**20  # of a file that is read; the strong labels of all AudioSet take 50 MB
DCASE_COLUMNS = ("filename", "onset", "offset", "event_label")
JAMS_NAMESPACES = ("segment_open", "tag_open")  # those whose values are free text, in order of preference
JAMS_VERSION = "0.3.5"  # of the schema that is followed


@dataclass(frozen=True)
class Labelled:
    """What sounds when: `interval` in seconds from the start of the audio, `event`, the audio's file name, confidence.

    Raises ValueError for a start before 0, a blank event or file, text that UTF-8 cannot hold, or a confidence that is
    not a finite number.
    """

    interval: Interval
    event: str
    file: str | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.interval.start < 0:
            raise ValueError(f"{self.event!r} starts at {self.interval.start} s; labels start at 0 s or later")
        for name, text in (("event", self.event), *([] if self.file is None else [("file", self.file)])):
            if not isinstance(text, str) or not text.strip() or any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f"{name} is {text!r}; pass a name that is not blank, in letters that UTF-8 has")
        confidence = self.confidence
        if confidence is not None and not (_is_number(confidence) and math.isfinite(confidence)):
            raise ValueError(f"confidence is {confidence!r}; pass a finite number, or None")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# -- Audacity --------------------------------------------------------------------------------------------------------
def audacity_text(rows: Sequence[Labelled]) -> str:
    """An Audacity label track. Raises ValueError for labels of several audios, and for tabs or line breaks in one."""
    _one_file(rows, "an Audacity label track")
    return "".join("\t".join((*_seconds_of(row), _check_cell(row.event))) + "\n" for row in rows)


def parse_audacity(text: str, name: str) -> list[Labelled]:
    """The region labels of an exported track. Lines of frequencies are skipped, point labels refused."""
    rows = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        cells = line.split("\t")
        if not line.strip() or cells[0] == "\\":  # "\", low and high frequency of the label above
            continue
        where = f"{name} line {number}"
        if len(cells) != 3:
            raise ValueError(f"{where}: {line[:80]!r} is no start, end and label, separated by tabs")
        # Audacity itself takes a comma for the decimal point
        start, end = (cell_seconds(where, cell.replace(",", ".")) for cell in cells[:2])
        rows.append(_labelled(where, start, end, cells[2], None, None))
    return rows


# -- DCASE -----------------------------------------------------------------------------------------------------------
def dcase_text(rows: Sequence[Labelled]) -> str:
    """A table of DCASE strong labels. Raises ValueError for labels without a file, and tabs or line breaks in one."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(DCASE_COLUMNS)
    for row in rows:
        if row.file is None:
            raise ValueError(f"{row.event!r} names no audio file, which DCASE labels do; pass Labelled(..., file=...)")
        table.writerow((_check_cell(row.file), *_seconds_of(row), _check_cell(row.event)))
    return text.getvalue()


def parse_dcase(text: str, name: str) -> list[Labelled]:
    """The rows of such a table. The column filename may be absent, further ones are not read."""
    rows = []
    for where, row in parse_rows(text, name, DCASE_COLUMNS[1:], delimiters="\t", short_rows=True):
        file, start, end, event = (row.get(column, "") for column in DCASE_COLUMNS)
        if any(cell.strip() for cell in (start, end, event)):
            times = cell_seconds(where, start), cell_seconds(where, end)
            rows.append(_labelled(where, *times, event, file if file.strip() else None, None))
    return rows


# -- json and JAMS ---------------------------------------------------------------------------------------------------
def json_text(rows: Sequence[Labelled]) -> str:
    """A list of {"file", "event", "start", "end", "confidence"}."""
    entries = [
        {"file": row.file, "event": row.event, **asdict(row.interval), "confidence": row.confidence} for row in rows
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def parse_json(text: str, name: str) -> list[Labelled]:
    """What `json_text` wrote; file and confidence may be absent."""
    entries, known = _parsed(text, name), {"file", "event", "start", "end", "confidence"}
    if not isinstance(entries, list):
        raise ValueError(f"{name} holds a {type(entries).__name__}; labels are a list of objects")
    rows = []
    for number, entry in enumerate(entries):
        where = f"{name} entry {number}"
        if not isinstance(entry, dict) or not {"event", "start", "end"} <= set(entry) <= known:
            raise ValueError(f"{where}: {str(entry)[:80]} is no event, start and end (with a file, a confidence)")
        times = _json_number(where, entry["start"]), _json_number(where, entry["end"])
        rows.append(_labelled(where, *times, entry["event"], entry.get("file"), _confidence(where, entry)))
    return rows


def jams_text(rows: Sequence[Labelled], duration: float | None = None) -> str:
    """A JAMS file with one annotation. Raises ValueError for labels of several audios, or beyond `duration` seconds."""
    file = _one_file(rows, "a JAMS file")
    latest = max((row.interval.end for row in rows), default=0.0)
    seconds = latest if duration is None else float(duration)
    if not math.isfinite(seconds) or seconds < latest - 1e-6:
        raise ValueError(f"duration is {duration} s, but the last label ends at {latest:g} s; pass the audio's length")
    annotation = {
        "namespace": JAMS_NAMESPACES[0],
        "data": [
            {
                "time": row.interval.start,
                "duration": row.interval.duration,
                "value": row.event,
                "confidence": row.confidence,
            }
            for row in rows
        ],
        "annotation_metadata": {"annotation_tools": "steer-utils"},
        "time": 0.0,
        "duration": seconds,
        "sandbox": {},
    }
    named = {} if file is None else {"title": file, "identifiers": {"filename": file}}
    metadata = {**named, "duration": seconds, "jams_version": JAMS_VERSION}
    jams = {"file_metadata": metadata, "annotations": [annotation], "sandbox": {}}
    return json.dumps(jams, indent=1, ensure_ascii=False) + "\n"


def parse_jams(text: str, name: str) -> list[Labelled]:
    """The labels of the one annotation whose namespace is segment_open (else tag_open); others are skipped."""
    jams = _parsed(text, name)
    try:
        annotations = [(annotation["namespace"], annotation["data"]) for annotation in jams["annotations"]]
        metadata = jams.get("file_metadata", {})
        file = metadata.get("identifiers", {}).get("filename") or metadata.get("title") or None
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{name} is no JAMS file: it has no annotations with namespace and data") from error
    by_namespace = [[data for namespace, data in annotations if namespace == wanted] for wanted in JAMS_NAMESPACES]
    chosen = next(filter(None, by_namespace), [])
    if len(chosen) != 1:
        names = ", ".join(str(namespace) for namespace, _ in annotations) or "none"
        raise ValueError(f"{name} must hold one annotation of {' or '.join(JAMS_NAMESPACES)}; found: {names[:200]}")
    if not isinstance(chosen[0], list):
        raise ValueError(f"{name}: the data of its annotation is a {type(chosen[0]).__name__}, not a list")
    rows = []
    for number, entry in enumerate(chosen[0]):
        where = f"{name} entry {number}"
        if not isinstance(entry, dict) or not {"time", "duration", "value"} <= set(entry):
            raise ValueError(f"{where}: {str(entry)[:80]} has not time, duration and value")
        start = _json_number(where, entry["time"])
        end = start + _json_number(where, entry["duration"])
        rows.append(_labelled(where, start, end, entry["value"], file, _confidence(where, entry)))
    return rows


#: By the ending of a file's name: labels to text, and (text, name for errors) to labels.
FORMATS: dict[str, tuple[Callable[[Sequence[Labelled]], str], Callable[[str, str], list[Labelled]]]] = {
    ".txt": (audacity_text, parse_audacity),
    ".tsv": (dcase_text, parse_dcase),
    ".json": (json_text, parse_json),
    ".jams": (jams_text, parse_jams),
}
SUFFIXES = tuple(FORMATS)


# -- what the formats share ------------------------------------------------------------------------------------------
def _labelled(where: str, start: float, end: float, event: Any, file: Any, confidence: Any) -> Labelled:
    try:
        return Labelled(Interval(start, end), event, file, confidence)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _json_number(where: str, value: object) -> float:
    try:
        if _is_number(value):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(f"{where}: {str(value)[:40]!r} is no number")


def _confidence(where: str, entry: dict[str, Any]) -> float | None:
    return None if entry.get("confidence") is None else _json_number(where, entry["confidence"])


def _seconds_of(row: Labelled) -> tuple[str, str]:
    start, end = f"{row.interval.start:.6f}", f"{row.interval.end:.6f}"
    if start == end:
        raise ValueError(f"{row.event!r} lasts {row.interval.duration:g} s; this format holds microseconds")
    return start, end


def _check_cell(text: str) -> str:
    wrong = [letter for letter in text if unicodedata.category(letter) in ("Cc", "Zl", "Zp")]
    if wrong:
        raise ValueError(f"{text!r} holds {wrong[0]!r}; tabs and line breaks go into .json or .jams only")
    return text


def _one_file(rows: Sequence[Labelled], what: str) -> str | None:
    files = list(dict.fromkeys(row.file for row in rows))
    if len(files) > 1:
        raise ValueError(f"{what} is about one audio, these labels are about {len(files)}; use .tsv or .json")
    return files[0] if files else None


def _parsed(text: str, name: str) -> Any:
    try:
        return strict_json(text)
    except RepeatedKeyError as error:
        raise ValueError(f"{name} {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not json ({error})") from error


# -- files -----------------------------------------------------------------------------------------------------------
def write_intervals(path: str | PathLike[str], intervals: Iterable[Labelled], *, duration: float | None = None) -> None:
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


def check_intervals(path: str | PathLike[str], intervals: Iterable[Labelled]) -> None:
    """Raises the ValueError that `write_intervals` would raise, before any work, and writes nothing."""
    check_target(Path(path), SUFFIXES)
    _rendered(Path(path), list(intervals), None)


def read_intervals(path: str | PathLike[str]) -> list[Labelled]:
    """The labels of a file, in its order, whatever tool wrote it. Raises ValueError naming the line or entry at fault.

    A DCASE row of a file name alone says that nothing sounds in that file, and gives no label.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"cannot read labels from {str(source)!r}; its name must end in {' or '.join(SUFFIXES)}")
    if source.is_file() and source.stat().st_size > MAX_BYTES:
        raise ValueError(f"{str(source)!r} has {source.stat().st_size} bytes; label files have at most {MAX_BYTES}")
    parse = FORMATS[suffix][1]
    return parse(read_text(source), source.name)


def _rendered(path: Path, rows: Sequence[Labelled], duration: float | None) -> str:
    write = FORMATS[path.suffix.lower()][0]
    return jams_text(rows, duration) if write is jams_text else write(rows)


# -- from the table of a benchmark -----------------------------------------------------------------------------------
def scene_file(scene: int) -> str:
    """The name that scene `scene` of a run goes by in labels: a run keeps the seed of its scenes, not their sound."""
    return f"scene_{scene:04d}.wav"


def of_scene(table: DataFrame, scene: int) -> DataFrame:
    """The rows of one scene, attrs kept. Raises ValueError for a scene that is not in the table."""
    _check_table(table)
    rows = table[table["scene"] == scene]
    if rows.empty:
        raise ValueError(f"the run has no scene {scene}; it has {table['scene'].min()} to {table['scene'].max()}")
    return rows


def found_intervals(table: DataFrame, method: str) -> list[Labelled]:
    """What `method` found, by scene and in the order of the true events; answers that named no time are left out.

    `table`: as `run_benchmark` made it. Raises ValueError for another table, or a method that it does not hold.
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
