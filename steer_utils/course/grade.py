"""A class table from the notebooks that students hand in: what is in the files, read without running anything.

    rows = grade_folder(Path("handed_in"), lessons_of(Path("notebooks")))
    write_table(rows, Path("grades.csv"))

A file is named by its student, `ada.ipynb`; with a folder for each student, `ada/00_start_here.ipynb`, the folder is.
The lesson is told from the heading of the notebook. Each exercise is `passed`, `wrong`, `not run`, `edited` (the check
is not the lesson's), `stale` (the answer was run after its check), `missing` or `blank`. What somebody typed into the
outputs of a file cannot be told from what a kernel wrote: only `run` can, which executes the lesson's own checks.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steer_utils.course.exercises import BLANK, blanked, tags
from steer_utils.runs.parameters import REMEDY
from steer_utils.sound.files import whole_file

LARGEST = 50_000_000  # bytes of a notebook that is read
_HEADING = re.compile(r"\A#\s+(?:(\d\d|[A-Z]+\d*)\s+·\s+)?(.+?)\s*$", re.MULTILINE)
_EXERCISE = re.compile(r"\*\*Exercise (\S+)\*\*")
_GUESS = re.compile(r"^(guess_\w+)\s*=\s*(.+?)\s*(?:#.*)?$", re.MULTILINE)
#: Executes a notebook whatever its cells do; in a process of its own, which can be stopped whole.
_RUNNER = """
import signal, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
client = NotebookClient(notebook, allow_errors=True, timeout=None, kernel_name="python3")
def stop(*_):
    client.km.provisioner.process.kill()  # a session of its own: it would outlive this one
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
client.execute()
nbformat.write(notebook, sys.argv[2])
"""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson: its number, the answer's cell as it is handed out, solved, and its check."""

    number: str
    blank: str
    solved: str
    check: str


@dataclass(frozen=True)
class Lesson:
    """What a lesson asks for: its title, its exercises, and the names of its guesses."""

    title: str
    path: Path
    exercises: tuple[Exercise, ...]
    guesses: frozenset[str]

    def column(self, exercise: Exercise) -> str:
        """What the table calls an exercise: 04.1, or with the name of the notebook where its number has none."""
        return exercise.number if "." in exercise.number else f"{self.path.stem} {exercise.number}"


@dataclass
class Grade:
    """What one file of a student holds; `remarks` is what a marker should look at."""

    student: str
    file: str
    lesson: str = ""
    exercises: dict[str, str] = field(default_factory=dict)
    guesses: int = 0
    guesses_asked: int = 0
    errors: int = 0
    remarks: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)  # a digest of each answer of their own

    @property
    def passed(self) -> int:
        """How many exercises are passed."""
        return list(self.exercises.values()).count("passed")


# -- lessons ---------------------------------------------------------------------------------------------------------
def lessons_of(folder: Path) -> dict[str, Lesson]:
    """The lessons of a folder, at any depth, by their titles; exercise versions and checkpoints are left out.

    Raises ValueError for a folder without a lesson that has exercises.
    """
    lessons = {}
    for path in sorted(Path(folder).rglob("*.ipynb")):
        if {"exercises", ".ipynb_checkpoints"} & set(path.relative_to(folder).parts):
            continue
        cells = _read(path)["cells"]
        if (title := _title(cells)) and (exercises := tuple(_exercises(cells))):
            guesses = frozenset(name for name, _ in _guesses(cells))
            lessons[title] = Lesson(title, path, exercises, guesses)
    if not lessons:
        raise ValueError(f"there is no lesson with exercises in {str(folder)!r}; pass --notebooks FOLDER, the course's")
    return lessons


def _exercises(cells: Sequence[dict[str, Any]]) -> Iterator[Exercise]:
    for task, solution, check in zip(cells, cells[1:], cells[2:], strict=False):
        if "exercise" in tags(task) and (number := _EXERCISE.search(_source(task))):
            solved = _source(solution)
            yield Exercise(number[1], blanked(solved), solved, _source(check))


# -- what was handed in ----------------------------------------------------------------------------------------------
def grade_folder(
    folder: Path, lessons: Mapping[str, Lesson], *, run: bool = False, timeout: float = 600
) -> list[Grade]:
    """A grade for every notebook in `folder` and its folders, in order of students; a damaged one has a remark.

    `run`: execute a copy of each first, with the lesson's own checks, for at most `timeout` seconds. It is the
    students' code, and it runs with your rights. Raises ValueError for a folder without notebooks, or a timeout that
    is not above 0.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}; pass the one with the students' notebooks")
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout:g}; pass seconds above 0")
    paths = [
        path
        for path in sorted(folder.rglob("*.ipynb"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise ValueError(f"there are no notebooks (.ipynb) in {str(folder)!r}; they are named by student: ada.ipynb")
    grades = [_grade(path, folder, lessons, run, timeout) for path in paths]
    _compare(grades)
    return sorted(grades, key=lambda grade: (grade.student.casefold(), grade.lesson, grade.file))


def _grade(path: Path, folder: Path, lessons: Mapping[str, Lesson], run: bool, timeout: float) -> Grade:
    inside = path.relative_to(folder)
    grade = Grade(path.stem if len(inside.parts) == 1 else inside.parts[0], inside.as_posix())
    try:
        cells = _read(path)["cells"]
    except ValueError as error:
        grade.remarks.append(str(error))
        return grade
    lesson = lessons.get(_title(cells))
    if lesson is None:
        known = ", ".join(sorted(lessons))
        grade.remarks.append(f"its heading is no lesson's: {_title(cells) or 'none'!r} (lessons: {known})")
        return grade
    grade.lesson = lesson.title
    placed = _placed(cells, lesson)
    edited = set()
    for exercise in lesson.exercises:
        _, check = placed[exercise.number]
        if check is not None and not _same(_source(cells[check]), exercise.check):
            edited.add(exercise.number)
            if run:
                cells[check]["source"] = exercise.check
    if run:
        cells, note = _executed(path, cells, timeout)
        if note:
            grade.remarks.append(note)
        placed = _placed(cells, lesson)
    for exercise in lesson.exercises:
        solution, check = placed[exercise.number]
        state = _state(cells, exercise, solution, check)
        grade.exercises[lesson.column(exercise)] = "edited" if exercise.number in edited and not run else state
        if solution is not None and not _same(source := _source(cells[solution]), exercise.blank):
            if _same(source, exercise.solved):
                grade.remarks.append(f"{exercise.number}: the lesson's own solution")
            else:
                grade.answers[exercise.number] = hashlib.sha256(_plain(source).encode()).hexdigest()
    if edited:
        grade.remarks.append(f"check edited: {', '.join(sorted(edited))}")
    given = {name: value for name, value in _guesses(cells) if name in lesson.guesses}
    grade.guesses, grade.guesses_asked = sum(value != "None" for value in given.values()), len(lesson.guesses)
    grade.errors = _errors(cells)
    grade.remarks += _suspicious(cells, {check for _, check in placed.values()})
    return grade


def _placed(cells: Sequence[dict[str, Any]], lesson: Lesson) -> dict[str, tuple[int | None, int | None]]:
    """The indices of each exercise's answer and check, told from its task; tags may have been lost, order may not."""
    starts = {
        number[1]: index
        for index, cell in enumerate(cells)
        if cell["cell_type"] == "markdown" and (number := _EXERCISE.search(_source(cell)))
    }
    placed: dict[str, tuple[int | None, int | None]] = {}
    for exercise in lesson.exercises:
        start = starts.get(exercise.number)
        if start is None:
            placed[exercise.number] = (None, None)
            continue
        stop = min((other for other in starts.values() if other > start), default=len(cells))
        code = [index for index in range(start + 1, stop) if cells[index]["cell_type"] == "code"]
        called = exercise.check.split("(")[0]
        check = next((index for index in code if _source(cells[index]).lstrip().startswith(called)), None)
        check = check if check is not None else next((i for i in code if "check" in tags(cells[i])), None)
        before = [index for index in code if check is not None and index < check]
        tagged = [index for index in before if "solution" in tags(cells[index])]
        answer = tagged or before
        placed[exercise.number] = (answer[-1] if answer else None, check)
    return placed


def _state(cells: Sequence[dict[str, Any]], exercise: Exercise, solution: int | None, check: int | None) -> str:
    if check is None or solution is None:
        return "missing"
    if _same(_source(cells[solution]), exercise.blank):
        return "blank"
    count = cells[check].get("execution_count")
    outputs = cells[check].get("outputs", [])
    if not isinstance(count, int) or not outputs:
        return "not run"
    if any(output.get("output_type") == "error" for output in outputs):
        return "wrong"
    printed = "".join(_text(output.get("text", "")) for output in outputs if output.get("name") == "stdout")
    if not printed.startswith("Correct. "):
        return "wrong"
    answered = cells[solution].get("execution_count")
    return "passed" if isinstance(answered, int) and answered < count else "stale"


def _suspicious(cells: Sequence[dict[str, Any]], checks: set[int | None]) -> list[str]:
    """Code outside the checks that may decide what they print: somebody should look at it."""
    remarks = []
    for index, cell in enumerate(cells):
        if cell["cell_type"] != "code" or index in checks:
            continue
        try:
            tree = ast.parse(_source(cell))
        except (SyntaxError, ValueError):  # magics, half-written code
            continue
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = {_root(target) for target in targets if target is not None}
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            if names & {"checks", "print"}:
                remarks.append(f"cell {index + 1} replaces {' and '.join(sorted(names & {'checks', 'print'}))}")
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("Correct. "):
                remarks.append(f"cell {index + 1} writes 'Correct.' itself")
    return list(dict.fromkeys(remarks))


def _root(target: ast.AST) -> str:
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _compare(grades: Sequence[Grade]) -> None:
    """Remarks on files of one student and lesson, and on answers that two students share to the letter."""
    seen: dict[tuple[str, str], Grade] = {}
    authors: dict[tuple[str, str], list[Grade]] = {}
    for grade in grades:
        key = (grade.student, grade.lesson)
        if grade.lesson and key in seen:
            grade.remarks.append(f"handed in twice: {seen[key].file}")
        seen.setdefault(key, grade)
        for number, digest in grade.answers.items():
            authors.setdefault((f"{grade.lesson} {number}", digest), []).append(grade)
    for (exercise, _), same in authors.items():
        names = sorted({grade.student for grade in same})
        for grade in same if len(names) > 1 else ():
            others = ", ".join(name for name in names if name != grade.student)
            grade.remarks.append(f"{exercise.rsplit(' ', 1)[-1]}: same answer as {others}")


# -- running ---------------------------------------------------------------------------------------------------------
def _executed(path: Path, cells: list[dict[str, Any]], timeout: float) -> tuple[list[dict[str, Any]], str]:
    """The cells after a run of a copy in a folder of its own, and what went wrong with it."""
    for cell in cells:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / path.name, Path(folder) / "executed.ipynb"
        source.write_text(json.dumps({**_read(path), "cells": cells}), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-c", _RUNNER, str(source), str(target)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        note = ""
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            note = f"stopped after {timeout:g} s"
        finally:
            _stop(process)
        if target.is_file() and not note:
            return _read(target)["cells"], note
        return cells, note or "it could not be run: its kernel did not start or died"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the run, which ends the kernel that it started; by force where it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# -- the table -------------------------------------------------------------------------------------------------------
def table_text(grades: Sequence[Grade]) -> str:
    """The table as csv: a line a file, a column an exercise; text that a spreadsheet would compute is quoted."""
    numbers = sorted({number for grade in grades for number in grade.exercises})
    columns = ["student", "lesson", "passed", "of", *numbers, "guesses", "guesses asked", "errors", "remarks", "file"]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    for grade in grades:
        states = [grade.exercises.get(number, "") for number in numbers]
        counts = [grade.guesses, grade.guesses_asked, grade.errors]
        row = [grade.student, grade.lesson, grade.passed, len(grade.exercises), *states, *counts]
        writer.writerow([_safe(value) for value in (*row, "; ".join(grade.remarks), grade.file)])
    return written.getvalue()


def write_table(grades: Sequence[Grade], path: Path) -> None:
    """Write the table, whole or not at all."""
    with whole_file(Path(path)) as part:
        part.write_text(table_text(grades), encoding="utf-8")


def _safe(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


# -- cells -----------------------------------------------------------------------------------------------------------
def _read(path: Path) -> dict[str, Any]:
    """A notebook of format 4 as plain data. Raises ValueError, in one line, for anything else."""
    try:
        import nbformat
    except ImportError as error:
        raise ValueError(REMEDY) from error
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.name} is larger than {LARGEST // 1_000_000} MB")
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
            raise ValueError("not a notebook of format 4")
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise ValueError(f"{path.name} is damaged: {str(error).splitlines()[0]}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from None
    return notebook


def _title(cells: Sequence[dict[str, Any]]) -> str:
    """Of "# 00 · Start here: ..." the "00 · Start here: ..."; empty without a heading."""
    first = next((_source(cell) for cell in cells if cell["cell_type"] == "markdown"), "")
    heading = _HEADING.search(first)
    return first[heading.start() : heading.end()].lstrip("#").strip() if heading else ""


def _guesses(cells: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [pair for cell in cells if cell["cell_type"] == "code" for pair in _GUESS.findall(_source(cell))]


def _errors(cells: Sequence[dict[str, Any]]) -> int:
    """Cells that end in an error; a check that says "not yet" is none."""
    kinds = [
        output.get("ename")
        for cell in cells
        for output in cell.get("outputs", [])
        if output.get("output_type") == "error"
    ]
    return sum(kind != "Wrong" for kind in kinds)


def _text(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


def _source(cell: dict[str, Any]) -> str:
    return _text(cell["source"])


def _plain(source: str) -> str:
    """Code without comments, blank lines and spacing, where it can be parsed."""
    try:
        return ast.unparse(ast.parse(source))
    except (SyntaxError, ValueError):
        return "\n".join(line.strip() for line in source.replace(BLANK, "...").splitlines() if line.strip())


def _same(one: str, other: str) -> bool:
    return _plain(one) == _plain(other)
