"""A folder of recordings: one table, a page a file, labels that are read again; a kill costs a file at most."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from steer_utils.lm.models import AudioLM
from steer_utils.methods import locate as locating
from steer_utils.methods.calibration import Calibration
from steer_utils.methods.locate import UnknownEventError, locate
from steer_utils.methods.settings import PAPER
from steer_utils.show import folder_report
from steer_utils.show.folder_report import COLUMNS, locate_folder, page_name, report_page, track_names
from steer_utils.sound.labels import read_intervals
from steer_utils.sound.spans import Interval

RATE = 16_000
EVENTS = ["dog bark", "bell"]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two that can be heard, one longer than the model's window, one that is none, one with markup for a name."""
    rng = np.random.default_rng(0)
    where = tmp_path / "sounds"
    where.mkdir()
    for name, seconds in (("a.wav", 1), ("b.flac", 2), ("long.wav", 9), ("<b>x.wav", 1)):
        soundfile.write(where / name, (0.1 * rng.normal(size=seconds * RATE)).astype(np.float32), RATE)
    (where / "broken.wav").write_text("no sound")
    return sorted(where.iterdir())


@pytest.fixture
def lm(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return tiny_models["qwen2_audio"]


def test_the_table_is_what_locate_says_and_comes_back_from_csv(lm: AudioLM, files: list[Path], tmp_path: Path) -> None:
    table = locate_folder(lm, files, EVENTS, settings=PAPER, threshold=0.4)
    assert tuple(table.columns) == COLUMNS and len(table) == 2 * len(files)
    for path in files:
        rows = table[table["file"] == path.name].set_index("event")
        if path.name == "broken.wav":
            assert rows["problem"].str.contains("cannot decode").all() and not rows["there"].any()
            assert rows["start"].isna().all()
            continue
        for event in EVENTS:
            found = locate(lm, path, event, settings=PAPER)
            assert rows.loc[event, ["start", "end"]].tolist() == [
                round(found.interval.start, 3),
                round(found.interval.end, 3),
            ]
            assert rows.loc[event, "presence"] == pytest.approx(found.presence, abs=1e-4)
            assert rows.loc[event, "there"] == (found.presence >= 0.4) and not rows.loc[event, "calibrated"]
    table.to_csv(tmp_path / "table.csv", index=False)
    again = pd.read_csv(tmp_path / "table.csv", keep_default_na=True)
    assert list(again["file"]) == list(table["file"]) and list(again["there"]) == list(table["there"])
    np.testing.assert_array_equal(again["start"].to_numpy(float), table["start"].to_numpy(float))


def test_labels_hold_what_is_there_and_are_read_again(lm: AudioLM, files: list[Path], tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    table = locate_folder(lm, files, EVENTS, settings=PAPER, threshold=0.0, labels=labels)
    heard = table[table["problem"] == ""]
    assert sorted(path.name for path in labels.iterdir()) == sorted(f"{Path(n).stem}.txt" for n in set(heard["file"]))
    for name, rows in heard.groupby("file"):
        read = read_intervals(labels / f"{Path(str(name)).stem}.txt")
        assert [(label.event, label.interval) for label in read] == [
            (row["event"], Interval(row["start"], row["end"])) for row in rows.to_dict("records")
        ]
    locate_folder(lm, files, EVENTS, settings=PAPER, threshold=1.0, labels=labels)
    assert all(not read_intervals(path) for path in labels.iterdir())


def test_a_page_a_file_lies_beside_the_report(lm: AudioLM, files: list[Path], tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    locate_folder(lm, files, EVENTS, settings=PAPER, html=report)
    page = report.read_text(encoding="utf-8")
    links = [html.unescape(link) for link in re.findall(r'href="([^"]+)"', page)]
    assert len(links) == len(files) - 1 and all((tmp_path / link).is_file() for link in links)
    assert "<b>x" not in page and "&lt;b&gt;x.wav" in page and "cannot decode" in page and len(page) < 20_000
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"player.js", "player.css", *(Path(link).name for link in links)}
    one = (tmp_path / next(link for link in links if "long" in link)).read_text(encoding="utf-8")
    assert 1 <= one.count('class="steer-saved"') <= 2 and 'src="player.js"' in one
    assert max(path.stat().st_size for path in (tmp_path / "report").iterdir()) < 400_000


def test_a_run_killed_in_a_file_goes_on_to_the_same_table(
    lm: AudioLM, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = locate_folder(lm, files, EVENTS, settings=PAPER, html=tmp_path / "whole.html")
    report, resume = tmp_path / "report.html", tmp_path / ".table.csv.partial"
    options = {"settings": PAPER, "html": report, "resume_file": resume}
    write, written = folder_report.write_whole, list[Path]()

    def killed(path: Path, text: str) -> None:
        if path.suffix == ".html":
            written.append(path)
            if len(written) == 3:  # in the midst of the third file's page
                raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(folder_report, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        locate_folder(lm, files, EVENTS, **options)  # type: ignore[arg-type]
    assert not report.exists() and not written[2].exists()
    monkeypatch.setattr(folder_report, "write_whole", write)
    heard = list[Path]()
    again = locate_folder(lm, files, EVENTS, heard=lambda path, _: heard.append(path), **options)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(again, whole)
    kept = [path.name for path in files if path not in heard]
    assert len(kept) >= 2 and len(kept) + len(heard) == len(files)
    assert all((tmp_path / "report" / path.name).is_file() for path in (tmp_path / "whole").iterdir())
    page_of = {path: page_name(number, path.name) for number, path in enumerate(files)}
    for path in files:
        assert (tmp_path / "report" / page_of[path]).is_file() == (path.name != "broken.wav")
    # pages that are gone are made again, not linked to nowhere
    for path in (tmp_path / "report").iterdir():
        path.unlink()
    heard.clear()
    locate_folder(lm, files, EVENTS, heard=lambda path, _: heard.append(path), **options)  # type: ignore[arg-type]
    assert heard == files


def test_names_of_pages_and_tracks() -> None:
    assert page_name(6, "Straße 12.wav") == "0007-Stra_e_12.html"
    assert track_names(["a.wav", "A.flac", "b.wav"]) == ["a.wav.txt", "A.flac.txt", "b.txt"]


def test_a_thousand_files_make_a_small_page() -> None:
    row = dict.fromkeys(COLUMNS, "") | {"event": "dog bark", "there": True, "presence": 0.9, "calibrated": True}
    row |= {"start": 1.0, "end": 2.0, "duration": 5.0}
    table = pd.DataFrame([{**row, "file": f"{number}.wav"} for number in range(1000)])
    table.attrs = {"model": "tiny", "method": "steering", "threshold": 0.5, "events": ["dog bark"]}
    page = report_page(table, [page_name(number, f"{number}.wav") for number in range(1000)])
    assert len(page) < 300_000 and page.count("<iframe") == 0 and "dog bark in 1000" in page


def test_what_cannot_be_done_is_refused_before_work(lm: AudioLM, files: list[Path], tmp_path: Path) -> None:
    refused = (
        ({"events": ["bell", "bell"]}, ValueError, "pass each sound once"),
        ({"events": ["cat"]}, UnknownEventError, "It knows"),
        ({"threshold": 1.5}, ValueError, "pass a probability"),
        ({"html": tmp_path / "r.html", "method": "loudest"}, ValueError, "the players of a report steer"),
        ({"seconds": -1.0}, ValueError, "positive width"),
    )
    for options, error, message in refused:
        with pytest.raises(error, match=message):
            locate_folder(lm, files, **{"events": EVENTS, "labels": tmp_path / "labels", **options})  # type: ignore[arg-type]
    assert not (tmp_path / "labels").exists()


def test_a_calibrated_presence_is_said_to_be_one(
    lm: AudioLM, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = Calibration(0.2, 0.1, PAPER.presence, threshold=0.25)
    for module in (locating, folder_report):
        monkeypatch.setattr(module, "model_calibration", lambda *_: calibration)
    table = locate_folder(lm, files[:1], EVENTS, settings=replace(PAPER))
    assert table["calibrated"].all() and table.attrs["threshold"] == 0.25
    assert table["there"].tolist() == (table["presence"] >= 0.25).tolist()
