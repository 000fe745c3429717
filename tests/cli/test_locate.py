"""`locate` and `models`: answers on stdout, one line on stderr and exit code 2 for what cannot be used."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import done, invoke, refused
from PIL import Image

import steer_utils.lm.models
import steer_utils.methods.locate
from steer_utils.methods.settings import Settings
from steer_utils.sound.labels import read_intervals

RATE = 16_000
NOISE = (0.1 * np.random.default_rng(0).normal(size=3 * RATE)).astype(np.float32)


def test_locate_says_where(folder: Path, street: Path) -> None:
    result = invoke("locate", street, "Dog  bark", "--model", folder, "--seconds", 1)
    assert result.exit_code == 0, result.output
    lm = steer_utils.lm.models.load(folder)
    found = steer_utils.methods.locate.locate(lm, street, "dog bark", seconds=1.0)
    assert result.stdout.splitlines()[0] == f"dog bark: {found.interval}"
    assert f"{found.score:.2f}" in result.stdout and "steering (ours)" in result.stdout and str(folder) in result.stdout
    assert ("does not think" in result.stderr) == (found.presence < 0.5)


def test_locate_prints_one_json_object(folder: Path, street: Path) -> None:
    result = invoke("locate", street, "bell", "--model", folder, "--json", "--method", "prompting")
    found = json.loads(result.stdout)
    assert 0 <= found["start"] < found["end"] <= 3.0 and 0 <= found["presence"] <= 1
    assert (found["event"], found["method"], found["windows"]) == ("bell", "prompting", 1)


def test_locate_notes_a_sound_that_the_model_does_not_hear(
    folder: Path, street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steer_utils.methods.locate, "presence_log_odds", lambda *_: [[math.log(1 / 3)]])
    result = invoke("locate", street, "bell", "--model", folder, "--method", "loudest", "--json")
    assert "the model does not think there is one (presence 0.25)" in result.stderr
    assert json.loads(result.stdout)["presence"] == 0.25
    monkeypatch.setattr(steer_utils.methods.locate, "presence_log_odds", lambda *_: [[math.log(3)]])
    assert invoke("locate", street, "bell", "--model", folder, "--method", "loudest").stderr == ""


def test_locate_takes_any_rate_channels_and_length(folder: Path, tmp_path: Path) -> None:
    """10 s of stereo at 44.1 kHz, against a model that hears 4 s in one go."""
    samples = 0.1 * np.random.default_rng(1).normal(size=(441_000, 2))
    path = tmp_path / "long.flac"
    soundfile.write(path, samples, 44_100)
    result = invoke(
        "locate",
        path,
        "bell",
        "--model",
        folder,
        "--json",
        "--figure",
        tmp_path / "f.png",
        "--labels",
        tmp_path / "l.txt",
    )
    found = json.loads(result.stdout)
    assert found["windows"] == 4 and found["duration"] == 10.0
    assert "10.0 s is longer than the 4 s this model hears in one go: heard in 4 windows" in result.stderr
    ((start, end, label),) = csv.reader((tmp_path / "l.txt").open(), delimiter="\t")
    assert label == "bell" and [round(float(start), 3), round(float(end), 3)] == [found["start"], found["end"]]
    with Image.open(tmp_path / "f.png") as image:
        assert image.format == "PNG" and 600 <= image.width <= 2400 and 300 <= image.height <= 2000
        assert "bell is located at" in image.info["Description"]


def bad_sounds(where: Path) -> dict[str, Path]:
    paths = {name: where / f"{name}.wav" for name in ("missing", "silent", "nan", "text", "empty", "corrupt", "short")}
    soundfile.write(paths["silent"], np.zeros(RATE), RATE)
    soundfile.write(paths["nan"], np.full(RATE, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    soundfile.write(paths["short"], NOISE[:100], RATE)
    soundfile.write(paths["corrupt"], NOISE, RATE)
    paths["corrupt"].write_bytes(paths["corrupt"].read_bytes()[4:60])
    paths["text"].write_text("not a sound\n" * 20)
    paths["empty"].touch()
    (where / "empty_folder").mkdir()
    return {**paths, "folder": where / "empty_folder"}


SOUNDS_SAID = {
    "missing": "there is no file",
    "silent": "silent",
    "nan": "NaN",
    "text": "cannot decode",
    "empty": "cannot decode",
    "corrupt": "cannot decode",
    "short": "lasts 0.006 s",
    "folder": "holds no sound file; it holds: nothing",
}


@pytest.mark.parametrize("kind", SOUNDS_SAID)
def test_sounds_that_cannot_be_heard_are_refused(tmp_path: Path, no_model: None, kind: str) -> None:
    refused(invoke("locate", bad_sounds(tmp_path)[kind], "bell"), SOUNDS_SAID[kind])


def test_locate_refuses_what_it_cannot_use(folder: Path, street: Path) -> None:
    refused(invoke("locate", street, "dog brk", "--model", folder), "It knows: dog bark, bell, siren")
    refused(invoke("locate", street, "bell", "--model", folder, "--seconds", -1), "pass a positive width")
    refused(invoke("locate", street, "bell", "--model", street.parent), "no config.json")
    refused(invoke("locate", street, "bell", "--model", "pocket-nothing"), "there is no pocket model")


def test_locate_refuses_bad_choices_before_loading(street: Path, tmp_path: Path, no_model: None) -> None:
    refused(invoke("locate", street, "bell", "--method", "magic"), "pass one of steering, steering-heads")
    refused(invoke("locate", street, "bell", "--dtype", "int8"), "pass one of auto, float32")
    refused(invoke("locate", street, "bell", "--quantise", "int4"), "pass one of int8, nf4, torchao-int8")
    refused(invoke("locate", street, "bell", "--device", "abacus"), "cannot use the device 'abacus'")
    refused(invoke("locate", street, "bell", "--figure", tmp_path / "a.bmp"), "must end in .png or .svg")
    refused(invoke("locate", street, "bell", "--figure", tmp_path / "no" / "a.png"), "there is no folder")
    refused(invoke("locate", street, "bell", "--labels", tmp_path / "a.doc"), "must end in .txt")
    assert list(tmp_path.iterdir()) == []


def test_errors_that_are_not_ours_are_not_hidden(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: np.zeros(2).reshape(3))
    result = invoke("locate", street, "bell", "--model", "a/b")
    assert isinstance(result.exception, ValueError) and result.exit_code == 1
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: Path("/no/such/file").read_text())
    refused(invoke("locate", street, "bell", "--model", "a/b"), "/no/such/file: No such file")


def test_models_lists_what_ships() -> None:
    listing = invoke("models").stdout
    models = steer_utils.lm.models
    assert all(name in listing for name in (*models.POCKET_MODELS, *models.MINI_MODELS))


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_wrong_with_a_file_is_noted(folder: Path, street: Path, tmp_path: Path, as_json: bool) -> None:
    cut = tmp_path / "cut.wav"
    cut.write_bytes(street.read_bytes()[:48_000])
    result = invoke("locate", cut, "bell", "--model", folder, "--method", "loudest", *(["--json"] if as_json else []))
    assert "note: the file " in result.stderr and "cut.wav' is cut short: it announces 3.00 s" in result.stderr
    if as_json:
        assert "is cut short" in json.loads(result.stdout)["warnings"][0]
    else:
        assert "warning   the file" in result.stdout


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_name_in_latin_1(folder: Path, street: Path, tmp_path: Path) -> None:
    audio = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    audio.write_bytes(street.read_bytes())
    labels, figure = tmp_path / "l.tsv", tmp_path / "f.svg"
    done(
        invoke(
            "locate", audio, "bell", "--model", folder, "--method", "loudest", "--labels", labels, "--figure", figure
        )
    )
    assert [label.file for label in read_intervals(labels)] == ["café.wav"]
    audio.write_bytes(b"no sound")
    refused(invoke("locate", audio, "bell", "--labels", labels), "cannot decode")


# -- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".txt", ".tsv", ".json", ".jams"])
def test_locate_writes_labels_by_the_ending(folder: Path, street: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"found{suffix}"
    found = json.loads(
        done(invoke("locate", street, "bell", "--model", folder, "--json", "--method", "loudest", "--labels", path))
    )
    (label,) = read_intervals(path)
    times = [round(label.interval.start, 3), round(label.interval.end, 3)]
    assert label.event == "bell" and times == [found["start"], found["end"]]
    assert label.file == (None if suffix == ".txt" else "street.wav")
    assert label.confidence == (found["presence"] if suffix in (".json", ".jams") else None)
    if suffix == ".jams":
        assert json.loads(path.read_text())["file_metadata"]["duration"] == 3.0


def test_locate_refuses_labels_before_loading(street: Path, tmp_path: Path, no_model: None) -> None:
    odd = tmp_path / "a\tb.wav"
    odd.write_bytes(street.read_bytes())
    for audio, labels, message in ((street, "a.doc", "must end in .txt or .tsv"), (odd, "a.tsv", "go into .json")):
        refused(invoke("locate", audio, "bell", "--labels", tmp_path / labels), message)
    assert [entry.name for entry in tmp_path.iterdir()] == [odd.name]


# -- a folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Three sounds, one of them silent, beside what is none."""
    where = tmp_path / "sounds"
    where.mkdir()
    for name, samples in (("b.wav", NOISE), ("a.flac", NOISE[:RATE]), ("silent.wav", np.zeros(RATE))):
        soundfile.write(where / name, samples, RATE)
    for name in ("notes.csv", ".hidden.wav"):
        (where / name).write_text("no sound")
    return where


def test_locate_goes_through_a_folder(folder: Path, sounds: Path, tmp_path: Path) -> None:
    labels = tmp_path / "found.tsv"
    command = ("locate", sounds, "bell", "--model", folder, "--seconds", 0.5, "--batch", 2)
    result = invoke(*command, "--json", "--labels", labels)
    assert result.exit_code == 1
    assert "silent.wav is left out" in result.stderr and "1 of 3 files were left out" in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["file"] for line in lines] == ["a.flac", "b.wav"]
    alone = json.loads(done(invoke("locate", sounds / "b.wav", "bell", "--model", folder, "--seconds", 0.5, "--json")))
    assert {**alone, "file": "b.wav", "presence": lines[1]["presence"]} == lines[1]
    assert lines[1]["presence"] == pytest.approx(alone["presence"], abs=2e-4)
    written = read_intervals(labels)
    assert [(label.file, round(label.interval.start, 3)) for label in written] == [
        (line["file"], line["start"]) for line in lines
    ]
    (sounds / "silent.wav").unlink()
    text = done(invoke(*command)).splitlines()
    assert [line.partition(":")[0] for line in text] == ["a.flac", "b.wav"] and ", presence " in text[0]


def test_several_sounds_in_a_folder_give_a_table_a_report_and_tracks(
    folder: Path, sounds: Path, tmp_path: Path
) -> None:
    out, html, tracks = tmp_path / "table.csv", tmp_path / "report.html", tmp_path / "labels"
    (sounds / "broken.wav").write_text("no sound")
    command = ("locate", sounds, "bell", "siren", "--model", folder, "--threshold", 0)
    result = invoke(*command, "--out", out, "--html", html, "--labels", tracks)
    assert result.exit_code == 1 and "2 of 4 files were left out" in result.stderr
    assert "broken.wav is left out: cannot decode" in result.stderr
    assert result.stdout.split() == ["sound", "there", "of", "files", "bell", "2", "2", "siren", "2", "2"]
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("a.flac", "b.wav", "broken.wav", "silent.wav")
    assert [(row["file"], row["event"]) for row in rows] == [(n, e) for n in names for e in ("bell", "siren")]
    assert [bool(row["problem"]) for row in rows] == [False] * 4 + [True] * 4
    assert sorted(path.name for path in tracks.iterdir()) == ["a.txt", "b.txt"]
    assert html.is_file() and not list(tmp_path.glob(".*partial"))
    lines = [json.loads(line) for line in invoke(*command, "--json").stdout.splitlines()]
    assert [(line["file"], line["event"], line["start"]) for line in lines] == [
        (row["file"], row["event"], float(row["start"])) for row in rows[:4]
    ]


def test_several_sounds_in_one_file(folder: Path, street: Path, tmp_path: Path) -> None:
    out = done(invoke("locate", street, "bell", "siren", "--model", folder, "--labels", tmp_path / "l.txt"))
    assert [line.split(",")[0].split()[1] for line in out.splitlines()] == ["bell", "siren"]
    assert [label.event for label in read_intervals(tmp_path / "l.txt")] == ["bell", "siren"]


def test_tables_and_reports_are_refused_before_loading(street: Path, tmp_path: Path, no_model: None) -> None:
    folder = street.parent
    for options, message in (
        (("--out", tmp_path / "a.xlsx"), "must end in"),
        (("--html", tmp_path / "a.htm"), "must end in .html"),
        (("--html", tmp_path / "no" / "a.html"), "there is no folder"),
        (("--labels", tmp_path / "no" / "labels"), "lies in no folder"),
        (("--figure", tmp_path / "a.png"), "a figure shows one sound"),
    ):
        refused(invoke("locate", folder, "bell", "siren", *options), message)


def test_only_a_report_needs_the_packages_of_widgets(
    folder: Path, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pip install .` has none of them."""
    for name in [name for name in sys.modules if name.startswith(("steer_utils.show", "traitlets"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "traitlets", None)  # importing it fails
    out = tmp_path / "table.csv"
    done(invoke("locate", street, "bell", "--model", folder, "--figure", tmp_path / "bell.png"))
    done(invoke("locate", street, "bell", "--model", folder, "--out", out))
    monkeypatch.setattr("steer_utils.cli.locate.find_spec", lambda name: None)
    refused(invoke("locate", street, "bell", "--html", tmp_path / "page.html"), "pip install traitlets")


def test_tuned_settings_are_used_and_others_on_request(
    folder: Path, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a benchmark does: those in the folder of --out or the current one, of these very weights; or --settings."""
    lm = steer_utils.lm.models.load(folder)
    chosen = Settings(strength=6.0, chosen_on={"events": ["siren"], "revision": lm.revision})
    found = steer_utils.methods.locate.locate(lm, street, "bell", seconds=1.0, settings=chosen)
    plain = steer_utils.methods.locate.locate(lm, street, "bell", seconds=1.0)
    assert abs(found.score - plain.score) > 0.01, "or nothing is shown"
    arguments = ("locate", street, "bell", "--model", folder, "--seconds", 1, "--json")
    chosen.save(tmp_path / "mine.json")
    given = json.loads(done(invoke(*arguments, "--settings", tmp_path / "mine.json")))
    assert given["score"] == pytest.approx(found.score, abs=1e-3)
    monkeypatch.chdir(tmp_path)
    assert json.loads(done(invoke(*arguments)))["score"] == pytest.approx(plain.score, abs=1e-3)
    tuned = tmp_path / f"{folder.name}.settings.json"
    (tmp_path / "mine.json").rename(tuned)
    result = invoke(*arguments)
    assert json.loads(done(result))["score"] == pytest.approx(found.score, abs=1e-3)
    assert f"settings of {tuned.name}, chosen on siren" in result.stderr.replace("\n", " ")
    out = tmp_path / "table.csv"
    done(invoke(*arguments[:-1], "--out", out))
    assert float(next(csv.DictReader(out.open()))["score"]) == pytest.approx(found.score, abs=1e-3)
    Settings(chosen_on={"events": ["siren"], "revision": "another"}).save(tuned)
    refused(invoke(*arguments), "was chosen for revision another")
    refused(invoke(*arguments, "--settings", street), "cannot read settings")


def test_a_folder_is_refused_where_one_file_belongs(sounds: Path, tmp_path: Path, no_model: None) -> None:
    refused(invoke("locate", sounds, "bell", "--figure", tmp_path / "a.png"), "a figure shows one sound")
    refused(invoke("locate", sounds, "bell", "--labels", tmp_path / "a.txt"), "is about one audio, these labels are")
    refused(invoke("locate", tmp_path, "bell"), "holds no sound file; it holds: sounds")
