"""Labels: what is written is read back, other programs' readers agree, and what a format cannot hold is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import jams
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.sound import labels
from steer_utils.sound.labels import (
    FORMATS,
    SUFFIXES,
    Labelled,
    audacity_text,
    check_intervals,
    dcase_text,
    found_intervals,
    jams_text,
    json_text,
    of_scene,
    parse_audacity,
    parse_dcase,
    parse_jams,
    parse_json,
    read_intervals,
    true_intervals,
    write_intervals,
)
from steer_utils.sound.spans import Interval

letters = st.characters(exclude_categories=["Cs"])  # lone surrogates, which UTF-8 has not
names = st.text(letters, min_size=1, max_size=12).filter(lambda text: text.strip() != "")
cells = names.filter(lambda text: all(unicodedata.category(letter) not in ("Cc", "Zl", "Zp") for letter in text))
starts = st.floats(0, 1e5)
lengths = st.floats(1e-3, 1e4)
few = settings(max_examples=40)
sure = st.none() | st.floats(-10, 10)
DOG = Labelled(Interval(1.5, 3.25), "dog bark", "street.wav")
BELL = Labelled(Interval(0.0, 4.0), "bell", "street.wav", 0.75)


def rows_of(texts: st.SearchStrategy[str], files: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Labelled]]:
    def labelled(start: float, lasts: float, event: str, file: str | None, confidence: float | None) -> Labelled:
        return Labelled(Interval(start, start + lasts), event, file, confidence)

    return st.lists(st.builds(labelled, starts, lengths, texts, files, sure), max_size=5)


def near(read: list[Labelled], written: list[Labelled], within: float = 1.01e-6) -> bool:
    """Equal in order, names and files, and times to a microsecond."""
    return [(row.event, row.file) for row in read] == [(row.event, row.file) for row in written] and all(
        abs(one.interval.start - two.interval.start) <= within and abs(one.interval.end - two.interval.end) <= within
        for one, two in zip(read, written, strict=True)
    )


# -- what is written is read back ------------------------------------------------------------------------------------
@few
@given(rows_of(cells, st.none()))
def test_audacity_round_trip(rows: list[Labelled]) -> None:
    assert near(parse_audacity(audacity_text(rows), "x"), rows)


@few
@given(rows_of(cells, cells))
def test_dcase_round_trip(rows: list[Labelled]) -> None:
    assert near(parse_dcase(dcase_text(rows), "x"), rows)


@few
@given(rows_of(names, st.none() | names))
def test_json_round_trip_is_exact(rows: list[Labelled]) -> None:
    assert parse_json(json_text(rows), "x") == rows


@few
@given(rows_of(names, st.none()), st.none() | names)
def test_jams_round_trip(rows: list[Labelled], file: str | None) -> None:
    rows = [Labelled(row.interval, row.event, file, row.confidence) for row in rows]
    read = parse_jams(jams_text(rows), "x")
    assert near(read, rows, within=1e-9) and [row.confidence for row in read] == [row.confidence for row in rows]


def test_the_lines_are_those_that_the_programs_write() -> None:
    assert audacity_text([DOG, BELL]) == "1.500000\t3.250000\tdog bark\n0.000000\t4.000000\tbell\n"
    assert dcase_text([DOG]) == "filename\tonset\toffset\tevent_label\nstreet.wav\t1.500000\t3.250000\tdog bark\n"
    assert json.loads(json_text([BELL])) == [
        {"file": "street.wav", "event": "bell", "start": 0.0, "end": 4.0, "confidence": 0.75}
    ]


# -- other programs' readers -----------------------------------------------------------------------------------------
NASTY = ('5" pipe', '"quoted"', "it's; a, comma", "Glöckchen 🔔", " edges ", "=1+1", "#no comment", "back\\slash")


@pytest.mark.parametrize("name", NASTY)
def test_pandas_reads_the_dcase_table_as_written(name: str) -> None:
    table = pd.read_csv(io.StringIO(dcase_text([Labelled(Interval(0.1, 2.0), name, name)])), sep="\t")
    assert list(table.columns) == ["filename", "onset", "offset", "event_label"]
    assert table.iloc[0].tolist() == [name, 0.1, 2.0, name]


def test_jams_loads_and_validates(tmp_path: Path) -> None:
    rows = [Labelled(Interval(place, place + 1.5), name, "a.wav", 0.5) for place, name in enumerate(NASTY)]
    rows.append(Labelled(Interval(2.0, 2.25), "tab\tand\nline", "a.wav"))
    path = tmp_path / "a.jams"
    path.write_text(jams_text(rows, duration=60.0), encoding="utf-8")
    loaded = jams.load(str(path), validate=True, strict=True)
    assert loaded.validate(strict=True) and loaded.file_metadata.duration == 60.0
    (annotation,) = loaded.search(namespace="segment_open")
    times, values = annotation.to_interval_values()
    by_start = sorted(rows, key=lambda row: row.interval.start)
    assert sorted(values) == sorted(row.event for row in rows)
    assert times[:, 0].tolist() == [row.interval.start for row in by_start]
    assert sorted((times[:, 1] - times[:, 0]).tolist()) == sorted(row.interval.duration for row in rows)
    assert [observation.confidence for observation in annotation.data].count(None) == 1


def test_what_jams_itself_writes_is_read(tmp_path: Path) -> None:
    track = jams.JAMS()
    track.file_metadata.duration = 10.0
    track.file_metadata.title = "street.wav"
    tags = jams.Annotation(namespace="tag_open")
    tags.append(time=0.0, duration=10.0, value="outdoors", confidence=1.0)
    events = jams.Annotation(namespace="segment_open")
    events.append(time=1.5, duration=1.75, value="dog bark", confidence=None)
    track.annotations.extend([tags, events])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jsonschema deprecates what jams 0.3.5 calls
        track.save(str(tmp_path / "a.jams"))
    text = (tmp_path / "a.jams").read_text()
    assert parse_jams(text, "x") == [DOG]
    assert [row.event for row in parse_jams(text.replace("segment_open", "chord"), "x")] == ["outdoors"]


def test_audacity_files_as_audacity_writes_them() -> None:
    text = (
        "1.500000\t3.250000\tdog bark\r\n\\\t100.000000\t2000.000000\r\n"  # with a frequency range, from Windows
        "0,500000\t4,000000\t bell\n\n"  # under a language with decimal commas
    )
    first, second = parse_audacity(text, "x")
    assert (first.event, first.interval, first.file) == ("dog bark", DOG.interval, None)
    assert (second.event, second.interval) == (" bell", Interval(0.5, 4.0))


def test_dcase_tables_as_found_in_the_wild() -> None:
    text = "filename\tonset\toffset\tevent_label\tnote\nquiet.wav\t\t\t\nstreet.wav\t1.5\t3.25\tdog bark\tx\n"
    assert parse_dcase(text, "x") == [DOG]  # a file without events, and a further column
    assert parse_dcase("onset\toffset\tevent_label\r\n1.5\t3.25\tdog bark\r\n", "x") == [
        Labelled(DOG.interval, "dog bark")
    ]
    assert parse_dcase("filename\tonset\toffset\tevent_label\n", "x") == []


# -- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "said"), [("dog\tbark", r"'\\t'"), ("dog\nbark", r"'\\n'"), ("a\u2028b", "u2028")])
def test_tabs_and_line_breaks_need_json(name: str, said: str) -> None:
    row = Labelled(Interval(0, 1), name, "a.wav")
    for write in (audacity_text, dcase_text):
        with pytest.raises(ValueError, match=said + r".*go into .json or .jams only"):
            write([row])
    with pytest.raises(ValueError, match=said):
        dcase_text([Labelled(Interval(0, 1), "dog", name)])
    assert parse_json(json_text([row]), "x") == [row]


def test_labels_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match=r"'dog' starts at -1.0 s"):
        Labelled(Interval(-1, 1), "dog")
    for wrong in ("", " \n", "\ud800", None, 5):
        with pytest.raises(ValueError, match="event is"):
            Labelled(Interval(0, 1), wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="file is ' '"):
        Labelled(Interval(0, 1), "dog", " ")
    for doubt in (float("nan"), float("inf"), True, "1"):
        with pytest.raises(ValueError, match="confidence is"):
            Labelled(Interval(0, 1), "dog", None, doubt)  # type: ignore[arg-type]


def test_what_a_format_cannot_hold() -> None:
    two = [DOG, Labelled(Interval(0, 1), "bell", "other.wav")]
    for write in (audacity_text, jams_text):
        with pytest.raises(ValueError, match=r"about one audio, these labels are about 2; use .tsv or .json"):
            write(two)
    with pytest.raises(ValueError, match="'dog' names no audio file"):
        dcase_text([Labelled(Interval(0, 1), "dog")])
    for write in (audacity_text, dcase_text):
        with pytest.raises(ValueError, match="this format holds microseconds"):
            write([Labelled(Interval(1, 1 + 1e-8), "click", "a.wav")])
    for wrong in (3.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"the last label ends at 3.25 s"):
            jams_text([DOG], duration=wrong)


TEXT_FAULTS = {
    "1.0\t2.0": "line 1: '1.0.t2.0' is no start, end and label",
    "0\t1\tdog\n1.0\t2.0\tdog\tcat\n": "a.txt line 2: .* is no start, end and label",
    "1.0\t1.0\tpoint": "line 1: an interval must end after it starts, got 1.0 to 1.0",
    "2\t1\tdog": "must end after it starts",
    "x\t2.0\tdog": "line 1: 'x' is no number of seconds",
    "1_0\t20\tdog": "'1_0' is no number",
    "nan\t2.0\tdog": "finite",
    "-1\t2.0\tdog": "starts at -1.0 s",
    "1\t2.0\t ": "event is ' '",
}


HEAD = "filename\tonset\toffset\tevent_label\n"
TABLE_FAULTS = {
    "onset\toffset\tevent_label\tonset\n1\t2\tdog\t3\n": "a.tsv has the column 'onset' twice",
    "": r"lacks the column\(s\) onset, offset, event_label; found: none",
    "filename,onset,offset,event_label\n": "found: filename,onset,offset,event_label",
    HEAD + "a.wav\t1.0\t\tdog\n": "line 2: '' is no number of seconds",
    HEAD + "a.wav\t1.0\t2.0\n": "line 2: event is ''",
    HEAD + "a.wav\t1.0\t2.0\tdog\tmore\n": "line 2 has 5 cells for 4 columns",
    HEAD + 'a.wav\t1.0\t2.0\t"dog\nb.wav\t1.0\t2.0\tcat\n': "a.tsv line 2: a quote is not closed",
    HEAD + "a.wav\t3.0\t2.0\tdog\n": "line 2: an interval must end after it starts",
}


JSON_FAULTS = {
    "{": "a.json is not json",
    '[{"event": "dog", "event": "cat", "start": 1, "end": 2}]': "a.json has event twice; give each key once",
    "[" * 100_000: "a.json is not json",
    "{}": "holds a dict; labels are a list",
    '[{"event": "dog", "start": 1}]': "entry 0: .* is no event, start and end",
    '[{"event": "dog", "start": 1, "end": 2, "label": 3}]': "is no event, start and end",
    '[{"event": "dog", "start": "1", "end": 2}]': "'1' is no number",
    '[{"event": "dog", "start": true, "end": 2}]': "'True' is no number",
    '[{"event": "dog", "start": 1, "end": 1e999}]': "1e999 is too large",
    '[{"event": "dog", "start": 1, "end": Infinity}]': "finite",
    '[{"event": "dog", "start": 1, "end": ' + "9" * 400 + "}]": "is no number",
    '[{"event": 7, "start": 1, "end": 2}]': "entry 0: event is 7",
    '[{"event": "dog", "start": 1, "end": 2, "confidence": "high"}]': "'high' is no number",
}
FAULTS = [
    (suffix, text, message)
    for suffix, faults in ((".txt", TEXT_FAULTS), (".tsv", TABLE_FAULTS), (".json", JSON_FAULTS))
    for text, message in faults.items()
]


@pytest.mark.parametrize(("suffix", "text", "message"), FAULTS, ids=range(len(FAULTS)))
def test_faults_name_the_line_or_entry(suffix: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FORMATS[suffix][1](text, f"a{suffix}")


def test_jams_faults() -> None:
    good = json.loads(jams_text([BELL]))

    def refused(place: str, change: str, value: Any, message: str) -> None:
        changed = json.loads(json.dumps(good))
        annotation = changed["annotations"][0]
        {"file": changed, "annotation": annotation, "entry": annotation["data"][0]}[place][change] = value
        with pytest.raises(ValueError, match=message):
            parse_jams(json.dumps(changed), "a.jams")

    for wrong in ("[]", "{}", "3", '{"annotations": [1]}', '{"annotations": [], "file_metadata": 3}'):
        with pytest.raises(ValueError, match=r"a.jams is no JAMS file"):
            parse_jams(wrong, "a.jams")
    refused(
        "file", "annotations", good["annotations"] * 2, "must hold one annotation of .*: segment_open, segment_open"
    )
    refused("file", "annotations", [], "found: none")
    refused("annotation", "namespace", "beat", "found: beat")
    refused("annotation", "data", {"time": [0.0]}, "the data of its annotation is a dict")
    refused("annotation", "data", [5], "entry 0: 5 has not time")
    refused("entry", "value", {"label": "dog"}, "entry 0: event is")
    refused("entry", "time", "0", "entry 0: '0' is no number")
    refused("entry", "duration", None, "entry 0: 'None' is no number")
    refused("entry", "duration", 0, "entry 0: an interval must end after it starts")
    refused("entry", "confidence", [1], r"entry 0: '\[1\]' is no number")


@few
@given(st.text(max_size=60) | st.recursive(st.none() | st.floats() | st.text(max_size=5), st.lists).map(json.dumps))
def test_nothing_but_value_error_comes_out_of_any_text(text: str) -> None:
    for _, parse in FORMATS.values():
        try:
            assert isinstance(parse(text, "x"), list)
        except ValueError:
            continue


@few
@given(st.integers(0, 200), st.text(max_size=3))
def test_a_damaged_file_is_read_or_refused(place: int, inserted: str) -> None:
    for write, parse in FORMATS.values():
        text = write([DOG, DOG])
        cut = place % len(text)
        try:
            parse(text[:cut] + inserted + text[cut + 1 :], "x")
        except ValueError:
            continue


# -- files by the ending of their name -------------------------------------------------------------------------------
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
    monkeypatch.setattr(labels, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match=r"has 14 bytes; label files have at most 10"):
        read_intervals(tmp_path / "latin.txt")


# -- from the table of a benchmark -----------------------------------------------------------------------------------
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
    table = pd.DataFrame(rows, columns=["scene", "event", "method", "truth_start", "truth_end", "start", "end"])
    table.loc[0, ["start", "end"]] = float("nan")
    return table


def test_found_intervals(table: pd.DataFrame) -> None:
    assert [(row.file, row.event, row.interval) for row in found_intervals(table, "steering")] == [
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
