"""Grading: every state of an exercise, what may be tampered with, damaged files, and a run that is stopped."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from steer_utils.course.grade import Grade, grade_folder, lessons_of, table_text, write_table

SOLVED = "def twice(x):\n    # solution: begin\n    return 2 * x\n    # solution: end"
MINE = "def twice(x):\n    return x + x"
BLANK = "def twice(x):\n    ...  # your answer"
CHECK = "checks.numbers.twice(twice)"
NUMBERS = {  # a course's checks, as far as a run of these notebooks needs them
    "checks = type('checks', (), {})": "checks.numbers = type('n', (), {'twice': staticmethod(lambda f: "
    "print('Correct. Twice.') if f(2) == 4 else 1 / 0)})",
}
SETUP = "\n".join(part for pair in NUMBERS.items() for part in pair)


def notebook(
    answer: str = MINE, said: str | None = "Correct. Twice.\n", guess: str = "None", check: str = CHECK, **more: object
) -> nbformat.NotebookNode:
    """A student's lesson: `said` is what the check printed (None: not run), "!" an error of its own."""
    outputs = [] if said is None else [new_output("stream", name="stdout", text=said)]
    if said == "!":
        outputs = [new_output("error", ename="Wrong", evalue="no", traceback=["Not yet: no"])]
    count = {"execution_count": more.get("checked", 4)} if said is not None else {}
    cells = [
        new_markdown_cell("# 00 · Numbers\n\nText."),
        new_code_cell(str(more.get("setup", "import math")), execution_count=1),
        new_code_cell(f"guess_1 = {guess}  # your guess, in %", execution_count=2),
        new_markdown_cell("**Exercise 00.1** · Twice · ●○○ easy · 3 minutes", metadata={"tags": ["exercise"]}),
        new_code_cell(answer, execution_count=3, metadata={"tags": ["solution"]}),
        new_code_cell(check, outputs=outputs, metadata={"tags": ["check"]}, **count),
    ]
    return new_notebook(cells=cells)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    (folder / "exercises").mkdir(parents=True)
    nbformat.write(notebook(SOLVED), folder / "00_numbers.ipynb")
    nbformat.write(notebook(BLANK), folder / "exercises" / "00_numbers.ipynb")
    return folder


def graded(course: Path, **students: nbformat.NotebookNode) -> dict[str, Grade]:
    folder = course.parent / "in"
    folder.mkdir(exist_ok=True)
    for name, handed_in in students.items():
        nbformat.write(handed_in, folder / f"{name}.ipynb")
    return {grade.student: grade for grade in grade_folder(folder, lessons_of(course))}


@pytest.mark.parametrize(
    ("handed_in", "state"),
    [
        (notebook(), "passed"),
        (notebook(said="!"), "wrong"),
        (notebook(said="All is Correct. Really.\n"), "wrong"),
        (notebook(said=None), "not run"),
        (notebook(BLANK, said="!"), "blank"),
        (notebook(BLANK), "blank"),
        (notebook(checked=3), "stale"),
        (notebook(check="print('Correct. Twice.')"), "edited"),
        (notebook(check=f"{CHECK} or print()"), "edited"),
        (notebook(check=f"{CHECK}  # mine"), "passed"),
        (new_notebook(cells=notebook().cells[:3]), "missing"),
    ],
)
def test_the_state_of_an_exercise(course: Path, handed_in: nbformat.NotebookNode, state: str) -> None:
    grade = graded(course, ada=handed_in)["ada"]
    assert grade.exercises == {"00.1": state}
    assert grade.passed == (state == "passed") and grade.errors == 0
    assert any("edited" in remark for remark in grade.remarks) == (state == "edited")


def test_lost_tags_do_not_matter(course: Path) -> None:
    bare = notebook()
    for cell in bare.cells:
        cell.metadata.pop("tags", None)
    assert graded(course, ada=bare)["ada"].exercises == {"00.1": "passed"}


def test_an_elective_numbers_its_exercises_without_a_lesson(course: Path) -> None:
    elective = notebook(SOLVED)
    elective.cells[0].source, elective.cells[3].source = "# Elective · Sums", "**Exercise 1** · Twice"
    (course / "electives").mkdir()
    nbformat.write(elective, course / "electives" / "sums.ipynb")
    elective.cells[4].source = MINE
    assert graded(course, ada=elective)["ada"].exercises == {"sums 1": "passed"}


def test_guesses_and_errors_are_counted(course: Path) -> None:
    failing = notebook(guess="40")
    failing.cells[1].outputs = [new_output("error", ename="NameError", evalue="x", traceback=[])]
    grades = graded(course, ada=failing, bob=notebook())
    assert (grades["ada"].guesses, grades["ada"].guesses_asked, grades["ada"].errors) == (1, 1, 1)
    assert grades["bob"].guesses == 0


@pytest.mark.parametrize(
    ("setup", "remark"),
    [
        ("checks.numbers.twice = print", "replaces checks"),
        ("def print(*a): pass", "replaces print"),
        ("print('Correct. Twice.')", "writes 'Correct.' itself"),
    ],
)
def test_tampering_gets_a_remark(course: Path, setup: str, remark: str) -> None:
    assert remark in "; ".join(graded(course, ada=notebook(setup=setup))["ada"].remarks)


def test_copies_and_the_lessons_own_solution_are_told(course: Path) -> None:
    grades = graded(
        course, ada=notebook(MINE + "  # mine"), bob=notebook(MINE), cy=notebook("def twice(x):\n    return 2 * x")
    )
    assert grades["ada"].remarks == ["00.1: same answer as bob"] and grades["bob"].remarks == [
        "00.1: same answer as ada"
    ]
    assert grades["cy"].remarks == ["00.1: the lesson's own solution"]


def test_two_files_of_one_student_and_files_that_are_none(course: Path) -> None:
    folder = course.parent / "in" / "ada"
    folder.mkdir(parents=True)
    for name in ("first", "second"):
        nbformat.write(notebook(), folder / f"{name}.ipynb")
    (folder.parent / "torn.ipynb").write_text('{"cells": [', encoding="utf-8")
    (folder.parent / "bytes.ipynb").write_bytes(b"\xff\xfe\x00")
    (folder.parent / "old.ipynb").write_text('{"nbformat": 3, "worksheets": []}', encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 99 · Else")]), folder.parent / "else.ipynb")
    grades = grade_folder(folder.parent, lessons_of(course))
    assert [grade.student for grade in grades] == ["ada", "ada", "bytes", "else", "old", "torn"]
    assert grades[1].remarks == ["handed in twice: ada/first.ipynb"]
    for grade, words in zip(
        grades[2:], ["cannot be read", "no lesson's: '99 · Else'", "format 4", "cannot be read"], strict=True
    ):
        assert words in grade.remarks[0] and "\n" not in grade.remarks[0] and not grade.exercises


def test_bad_folders_are_refused_in_one_line(course: Path, tmp_path: Path) -> None:
    lessons, empty = lessons_of(course), tmp_path / "empty"
    empty.mkdir()
    for folder, words in ((tmp_path / "nowhere", "there is no folder"), (empty, "no notebooks")):
        with pytest.raises(ValueError, match=words) as error:
            grade_folder(folder, lessons)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no lesson with exercises"):
        lessons_of(empty)
    with pytest.raises(ValueError, match="timeout is 0"):
        grade_folder(course, lessons, timeout=0)


def test_the_table_is_csv_and_no_formula(course: Path, tmp_path: Path) -> None:
    rows = list(graded(course, **{"=HYPERLINK(1)": notebook(), "ada": notebook(said="!")}).values())
    table = list(csv.DictReader(io.StringIO(table_text(rows))))
    assert [row["student"] for row in table] == ["'=HYPERLINK(1)", "ada"]
    assert [(row["passed"], row["of"], row["00.1"]) for row in table] == [("1", "1", "passed"), ("0", "1", "wrong")]
    write_table(rows, tmp_path / "grades.csv")
    assert (tmp_path / "grades.csv").read_text(encoding="utf-8") == table_text(rows)


def test_nothing_is_executed_by_default(course: Path) -> None:
    trap = course.parent / "ran"
    graded(course, ada=notebook(f"open({str(trap)!r}, 'w')", said=None))
    assert not trap.exists()


def test_a_run_is_ended_and_a_run_that_gives_nothing_is_told(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for runner, words in (
        ("import time; time.sleep(60)", "stopped after 0.4 s"),
        ("raise SystemExit(1)", "it could not be run"),
        ("import shutil, sys; shutil.copy(*sys.argv[1:])", ""),
    ):
        monkeypatch.setattr("steer_utils.course.grade._RUNNER", runner)
        folder = course.parent / "in"
        folder.mkdir(exist_ok=True)
        nbformat.write(notebook(), folder / "ada.ipynb")
        timeout = 0.4 if "sleep" in runner else 60
        (grade,) = grade_folder(folder, lessons_of(course), run=True, timeout=timeout)
        assert grade.exercises == {"00.1": "not run"}, "outputs from before the run do not count"
        assert words in "; ".join(grade.remarks)


@pytest.mark.slow
@pytest.mark.notebooks
def test_a_run_uses_the_lessons_check_and_is_stopped_in_time(course: Path) -> None:
    folder = course.parent / "in"
    folder.mkdir()
    pid = course.parent / "pid"
    nbformat.write(
        notebook("def twice(x):\n    return 3 * x", setup=SETUP, check="print('Correct. ')"), folder / "forger.ipynb"
    )
    nbformat.write(notebook(said=None, setup=SETUP), folder / "honest.ipynb")
    endless = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    nbformat.write(notebook(endless, setup=SETUP), folder / "endless.ipynb")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    grades = {grade.student: grade for grade in grade_folder(folder, lessons_of(course), run=True, timeout=25)}
    assert grades["honest"].exercises == {"00.1": "passed"}
    assert grades["forger"].exercises == {"00.1": "wrong"} and "check edited: 00.1" in grades["forger"].remarks
    assert grades["endless"].exercises == {"00.1": "not run"} and "stopped after 25 s" in grades["endless"].remarks
    assert before == {path: path.read_bytes() for path in folder.iterdir()}, "what was handed in is left as it is"
    if pid.exists():
        for _ in range(50):
            if not Path(f"/proc/{pid.read_text()}").exists():
                break
            time.sleep(0.1)
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


def test_a_notebook_is_read_as_data(course: Path) -> None:
    """Sources as lists of lines, as Jupyter writes them, are the same cells."""
    lines = json.loads(nbformat.writes(notebook()))
    for cell in lines["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True) if isinstance(cell["source"], str) else cell["source"]
    (course.parent / "in").mkdir()
    (course.parent / "in" / "ada.ipynb").write_text(json.dumps(lines), encoding="utf-8")
    assert graded(course)["ada"].exercises == {"00.1": "passed"}
