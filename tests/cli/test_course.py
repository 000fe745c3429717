"""`course`, `run`, `exercises` and `doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from command_line import invoke, refused
from small_notebooks import write_notebook
from watched_work import stopped

import steer_utils.course.doctor
import steer_utils.lm.environment
import steer_utils.runs.folder
import steer_utils.runs.notebooks
from steer_utils.cli.course import _summary
from steer_utils.runs.folder import RunFolder


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of two notebooks, and runners that only note what they are given: seed 13 fails, 14 is run elsewhere."""
    for name in ("01_b", "00_a", "helper"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", parameters="preset = 'smoke'\nseed = 0")
    monkeypatch.chdir(tmp_path)

    def noted(path: Path, *, parameters: dict, out: Path) -> Path:
        with (tmp_path / "log").open("a") as log:
            log.write(f"{path} {json.dumps(parameters)}\n")
        return out

    def in_folder(path: Path, parameters: dict, out: Path, *, again: bool, tell: Any) -> RunFolder:
        with (tmp_path / "log").open("a") as log:
            log.write(f"{path} {json.dumps(parameters)} {out}{' again' if again else ''}\n")
        failed, elsewhere = (parameters.get("seed") == seed for seed in (13, 14))
        if failed or elsewhere:
            tell("it was cut off before")
            error = "cell 2 failed" if failed else "it is being run by process 3 on a"
            return RunFolder(out / f"{path.stem}-x", "failed" if failed else "running", ran=failed, error=error)
        return RunFolder(out / f"{path.stem}-x", "complete", ran=again or parameters.get("seed") != 1)

    monkeypatch.setattr(steer_utils.lm.environment, "usable_cores", lambda: 1)  # in this process, so in order
    monkeypatch.setattr(steer_utils.runs.notebooks, "run_notebook", noted)
    monkeypatch.setattr(steer_utils.runs.folder, "run_in_folder", in_folder)
    return tmp_path


def test_course_runs_in_order_and_prints_the_results(course: Path) -> None:
    (course / "figures").mkdir()
    (course / "figures" / "results.md").write_text("| method | overlap |\n")
    result = invoke("course", "--preset", "smoke")
    assert result.exit_code == 0, result.output
    assert (course / "log").read_text().splitlines() == [
        'notebooks/00_a.ipynb {"preset": "smoke"}',
        'notebooks/01_b.ipynb {"preset": "smoke"}',
    ]
    assert "| method | overlap |" in result.stdout and "make lab" in result.stdout


def test_course_says_which_figures_changed(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (course / "figures").mkdir()
    for name in ("same.md", "other.md"):
        (course / "figures" / name).write_text("| 92.9 |")

    def draws(path: Path, *, parameters: dict, out: Path) -> Path:
        (course / "figures" / "other.md").write_text("| 93.0 |")
        return out

    monkeypatch.setattr(steer_utils.runs.notebooks, "run_notebook", draws)
    result = invoke("course")
    assert [line for line in result.stderr.splitlines() if "changed" in line] == [
        "note: changed: figures/other.md: other text"
    ]


def test_course_stops_at_the_first_failure(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, *, parameters: dict, out: Path) -> Path:
        raise steer_utils.runs.notebooks.NotebookError(f"cell 2 of {path.name} failed; see it in {out.name}")

    monkeypatch.setattr(steer_utils.runs.notebooks, "run_notebook", fails)
    result = invoke("course")
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == "steer-utils: cell 2 of 00_a.ipynb failed; see it in 00_a.ipynb\n"


def test_course_runs_a_notebook_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once: the first waits for what the second writes. Then one fails, and the course with it."""
    waits = "while not Path('there').exists():\n    time.sleep(0.02)"
    first = f"import time\nfrom pathlib import Path\n{waits}\nprint('met')"
    write_notebook(tmp_path / "notebooks" / "00_a.ipynb", first, parameters="preset = 'smoke'")
    write_notebook(tmp_path / "notebooks" / "01_b.ipynb", "open('there', 'w').close()", parameters="preset = 'smoke'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(steer_utils.lm.environment, "usable_cores", lambda: 2)
    result = invoke("course", "--preset", "smoke")
    assert result.exit_code == 0, result.output
    assert {"00_a.ipynb", "01_b.ipynb"} == {path.name for path in (tmp_path / "runs").glob("*.ipynb")}
    write_notebook(tmp_path / "notebooks" / "01_b.ipynb", "1 / 0", parameters="preset = 'smoke'")
    result = invoke("course", "--preset", "smoke")
    assert result.exit_code == 1 and "of 01_b.ipynb failed: ZeroDivisionError" in result.stderr


def test_run_gives_each_notebook_a_folder_and_counts(course: Path) -> None:
    first = "notebooks/00_a.ipynb"
    result = invoke("run", first, "1", "-p", "seed=4", "--preset", "paper", "--out", "there")
    assert result.exit_code == 0, result.output
    given = '{"seed": 4, "preset": "paper"} there'
    assert (course / "log").read_text() == f"{first} {given}\nnotebooks/01_b.ipynb {given}\n"
    assert result.stdout.splitlines() == [
        "ran               there/00_a-x",
        "ran               there/01_b-x",
        "2 ran",
    ]
    result = invoke("run", first, "-p", "seed=1")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "1 was there already")
    assert invoke("run", first, "-p", "seed=1", "--again").stdout.splitlines()[-1] == "1 ran"
    assert (course / "log").read_text().endswith('{"seed": 1} runs again\n')


def test_run_goes_on_after_a_failure_and_names_it_at_the_end(course: Path) -> None:
    """Exit code 1 too where another process is at it: what was asked for is not there yet."""
    result = invoke("run", "0", "1", "-p", "seed=13")
    assert result.exit_code == 1 and result.stdout.splitlines()[-1] == "2 failed: 00_a, 01_b"
    assert len((course / "log").read_text().splitlines()) == 2, "the second one still runs"
    assert "note: it was cut off before" in result.stderr and "steer-utils: 00_a: cell 2 failed" in result.stderr
    result = invoke("run", "0", "-p", "seed=14")
    assert result.exit_code == 1 and "it is being run by process 3 on a" in result.stderr
    assert result.stdout.splitlines()[-1] == "1 being run by another process: 00_a"


def test_run_sums_up() -> None:
    ended = {"ran": ["a", "b"], "there already": ["c"], "failed": ["d"], "running elsewhere": []}
    assert _summary(ended) == "2 ran, 1 was there already, 1 failed: d"
    assert _summary({**ended, "ran": [], "there already": ["a", "c"]}) == "2 were there already, 1 failed: d"


def test_run_reads_parameters_from_a_file(course: Path) -> None:
    (course / "p.yaml").write_text("seed: 4\npreset: smoke\n")
    assert invoke("run", "0", "--params", "p.yaml").exit_code == 0
    assert invoke("run", "0", "--params", "p.yaml", "-p", "seed=5", "--preset", "course").exit_code == 0
    assert [line.partition(" ")[2] for line in (course / "log").read_text().splitlines()] == [
        '{"seed": 4, "preset": "smoke"} runs',
        '{"seed": 5, "preset": "course"} runs',
    ]
    (course / "log").unlink()
    for text, message in (
        ("sede: 4", "no parameter sede; it has: preset='smoke', seed=0"),
        ("seed: 1.5", "seed of notebooks/00_a.ipynb is int (default 0), got 1.5"),
        ("preset: smok", "pass one of smoke, course, paper"),
        ("- seed: 1\n- seed: 2", "for many runs use `steer-utils sweep`"),
        ("", "holds nothing"),
    ):
        (course / "p.yaml").write_text(text)
        refused(invoke("run", "0", "--params", "p.yaml"), message)
    refused(invoke("run", "0", "--params", "none.yaml"), "cannot read parameters from 'none.yaml'")
    assert not (course / "log").exists()


def test_run_stopped_by_hand_says_how_to_go_on(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.runs.folder, "run_in_folder", stopped)
    result = invoke("run", "0")
    assert result.exit_code == 130 and "the same command goes on from here" in result.stderr


def test_run_takes_the_number_of_a_lesson(course: Path) -> None:
    assert invoke("run", "01", "0").exit_code == 0
    assert [line.split()[0] for line in (course / "log").read_text().splitlines()] == [
        "notebooks/01_b.ipynb",
        "notebooks/00_a.ipynb",
    ]
    refused(invoke("run", "7"), "there is no lesson 7 in notebooks/ (there: 00_a.ipynb, 01_b.ipynb)")


def test_exercises_are_written_beside_the_lessons(course: Path) -> None:
    assert invoke("exercises").exit_code == 0 and not list(course.glob("notebooks/exercises/*"))
    lesson = nbformat.read(course / "notebooks" / "00_a.ipynb", as_version=4)
    source = "# solution: begin\na = 1\n# solution: end"
    lesson.cells += [nbformat.v4.new_code_cell(source, metadata={"tags": ["solution"]})]
    nbformat.write(lesson, course / "notebooks" / "00_a.ipynb")
    assert invoke("exercises").stdout == "notebooks/exercises/00_a.ipynb\n"
    assert "a = 1" not in (course / "notebooks" / "exercises" / "00_a.ipynb").read_text()
    refused(invoke("exercises", "--notebooks", course / "log"), "no numbered notebooks")


def test_doctor_fails_when_a_check_does(monkeypatch: pytest.MonkeyPatch) -> None:
    well = steer_utils.course.doctor.Finding("python", "OK", "3.11")
    ill = steer_utils.course.doctor.Finding("audio", "FAIL", "no sound", "make setup")
    monkeypatch.setattr(steer_utils.course.doctor, "examine", lambda: [well])
    assert "Ready. Next: make course" in invoke("doctor").stdout
    monkeypatch.setattr(steer_utils.course.doctor, "examine", lambda: [well, ill])
    found = invoke("doctor")
    assert found.exit_code == 1 and "→ make setup" in found.stdout and "Ready" not in found.stdout


def test_run_refuses_before_the_first_notebook_starts(course: Path) -> None:
    first = "notebooks/00_a.ipynb"
    refused(invoke("run", first, "-p", "sede=4"), "no parameter sede; it has: preset='smoke', seed=0")
    refused(invoke("run", first, "-p", "seed"), "write it as name=value")
    refused(invoke("run", first, "notebooks/none.ipynb"), "there is no notebook")
    write_notebook(course / "notebooks" / "02_c.ipynb", parameters="model = 'pocket-nothing'")
    refused(invoke("run", first, "2"), "there is no pocket model 'pocket-nothing'")
    refused(invoke("course", "--preset", "smok"), "pass one of smoke, course, paper")
    refused(invoke("course", "--notebooks", course / "log"), "no numbered notebooks")
    assert not (course / "log").exists()
