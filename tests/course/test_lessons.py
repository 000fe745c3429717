"""What the notebooks share: sizes, the figure folder, the scene."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from steer_utils.course import lessons
from steer_utils.lm.models import AudioLM
from steer_utils.runs.folder import RECORDED
from steer_utils.runs.notebooks import RUN_FOLDER
from steer_utils.runs.parameters import PRESETS
from steer_utils.show.plots.figures import new_figure
from steer_utils.study.resume import resumable_rows


def test_a_preset_takes_its_own_size(tmp_path: Path) -> None:
    sizes = [lessons.begin(preset, tmp_path).size(smoke=1, course=2, paper=3) for preset in PRESETS]
    assert sizes == [1, 2, 3]


def test_an_unknown_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'fast'.*smoke, course, paper"):
        lessons.begin("fast", tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("within", ["notebooks", "notebooks/exercises", "."])
def test_figures_lie_in_the_project(within: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / within).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / within)
    assert lessons.begin("smoke", "figures").figures == tmp_path / "figures"
    assert (tmp_path / "figures").is_dir()


def test_a_figure_is_written_shown_and_captioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = new_figure(2, 1)
    figure.subplots()
    lessons.begin("smoke", tmp_path).keep(figure, "00_empty", "An empty pair of axes, for a test.", "Nothing at all.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00_empty.png", "00_empty.svg"]
    assert "Nothing at all." in capsys.readouterr().out


def test_a_lesson_opens_with_the_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lesson = lessons.begin("smoke", tmp_path)
    lesson.show_method()
    lesson.show_method("row")
    said = capsys.readouterr().out
    assert "from a sound to a window" in said and "lit: the part of this lesson" in said
    with pytest.raises(ValueError, match="'rows' is no part of the method"):
        lesson.show_method("rows")
    assert not list(tmp_path.iterdir())


# -- a run with a folder of its own --------------------------------------------------------------------------------
def in_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> lessons.Lesson:
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv(RUN_FOLDER, str(folder))
    return lessons.begin("smoke", folder / "figures")


def test_what_is_recorded_is_kept_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson = in_a_run(tmp_path / "run", monkeypatch)
    lesson.record("overlap", np.float32(0.5))
    lesson.record("by slot", {"first": np.array([1, 2]), "no data": math.nan, "most": [math.inf]})
    lesson.record("words", "Größe")
    lesson.record("overlap", torch.tensor(0.75))
    text = (tmp_path / "run" / RECORDED).read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no json")) == {
        "overlap": 0.75,
        "by slot": {"first": [1, 2], "no data": None, "most": [None]},
        "words": "Größe",
    }
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["figures", RECORDED]


def test_long_work_has_a_place_of_its_own_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson = in_a_run(tmp_path / "run", monkeypatch)
    one, two = lesson.resume_file("table"), lesson.resume_file("table.2")
    assert one is not None and one != two and one.is_relative_to(tmp_path / "run")
    called: list[int] = []

    def rows_of(unit: int) -> list[dict[str, int]]:
        called.append(unit)
        if unit == 2 and called.count(2) == 1:
            raise InterruptedError
        return [{"unit": unit}]

    with pytest.raises(InterruptedError):
        resumable_rows(4, rows_of, {}, resume_file=one)
    assert [row["unit"] for row in resumable_rows(4, rows_of, {}, resume_file=lesson.resume_file("table"))] == [
        0,
        1,
        2,
        3,
    ]
    assert called == [0, 1, 2, 2, 3]


def test_outside_a_run_neither_changes_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    lesson = lessons.begin("smoke", tmp_path / "figures")
    lesson.record("overlap", 0.5)
    assert lesson.resume_file("table") is None and lesson.folder is None
    monkeypatch.setenv(RUN_FOLDER, "")  # what the kernel of a run without a folder finds
    assert lessons.begin("smoke", tmp_path / "figures").folder is None
    assert [path.name for path in tmp_path.iterdir()] == ["figures"] and not list((tmp_path / "figures").iterdir())


@pytest.mark.parametrize("run", [True, False])
def test_what_cannot_be_kept_is_refused_in_a_run_or_not(
    run: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson = in_a_run(tmp_path / "run", monkeypatch) if run else lessons.begin("smoke", tmp_path / "figures")
    with pytest.raises(ValueError, match="table is a object; pass numbers, text, lists or dicts"):
        lesson.record("table", object())
    for name in ("", "  ", 3):
        with pytest.raises(ValueError, match="the name of a result is"):
            lesson.record(name, 1)  # type: ignore[arg-type]
    for name in ("", " ", "a/b", "../b", ".", "/etc/passwd", 3):
        with pytest.raises(ValueError, match=r"the name of a resume file is .*pass a file name"):
            lesson.resume_file(name)  # type: ignore[arg-type]


def test_a_scene_has_the_sounds_in_their_order_and_fits_the_model(lm: AudioLM) -> None:
    scene = lessons.scene_of("siren, dog bark", lm, seed=3)
    assert [event.name for event in scene.events] == ["siren", "dog bark"]
    assert scene.duration <= min(8.0, lm.window_seconds)


def test_a_sound_that_cannot_be_made_is_refused(lm: AudioLM) -> None:
    with pytest.raises(ValueError, match="kazoo"):
        lessons.scene_of("siren, kazoo", lm, seed=3)
