"""Exercise versions of the notebooks, made from the lessons: the solutions are blanked, everything else is the same.

A lesson is the one source. In it an exercise is three cells in a row, told by their tags:

    exercise   Markdown: what to do, how hard it is, how many minutes
    solution   code, folded (also tagged `hide-input`, for pages); what stands between `# solution: begin` and
               `# solution: end` is blanked, and names that the check needs are set to ... before it
    check      code: one call of `steer_utils.course.checks`, which the solution passes
"""

from __future__ import annotations

import copy
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from steer_utils.runs.lesson_paths import lesson_paths
from steer_utils.runs.parameters import REMEDY
from steer_utils.sound.files import whole_file

BEGIN, END = "# solution: begin", "# solution: end"
BLANK = "...  # your answer"
FOLDED = "hide-input"  # the tag by which a page folds a cell's code: the answers of a lesson, not those to be written
NOTE = (
    "> **Exercise version.** Made from [the lesson]({lesson}), which has the solutions, by `make exercises`. "
    "Work in a copy: making it again overwrites this file."
)


def tags(cell: Any) -> set[str]:
    """The tags of a notebook cell."""
    return set(cell.get("metadata", {}).get("tags", []))


def blanked(source: str) -> str:
    """The code of a solution cell with each stretch between the marks replaced by a blank, indented as it was.

    Raises ValueError for marks that do not pair, or for none: a solution would be handed out.
    """
    kept: list[str] = []
    inside = any_blank = False
    for line in source.splitlines():
        mark = line.strip()
        if mark not in (BEGIN, END):
            if not inside:
                kept.append(line)
            continue
        if inside == (mark == BEGIN):
            raise ValueError(f"a solution must stand between {BEGIN!r} and {END!r}; found {mark!r} out of place")
        inside = mark == BEGIN
        if inside:
            any_blank = True
            kept.append(line[: len(line) - len(line.lstrip())] + BLANK)
    if inside or not any_blank:
        raise ValueError(f"a solution cell must hold {BEGIN!r} and {END!r} around what is to be blanked")
    return "\n".join(kept)


def exercise_version(lesson: Any, path: str) -> Any:
    """A lesson as a notebook to work in: without outputs and solutions.

    `path`: where the lesson is, seen from there (../06_title.ipynb); its relative links are led through that folder.
    Raises ValueError as `blanked` does, naming the cell.
    """
    folder, name = posixpath.split(path)
    version = copy.deepcopy(lesson)
    for number, cell in enumerate(version.cells, start=1):
        if cell.cell_type == "markdown":
            cell.source = re.sub(
                r"\]\((?!https?:|#|/)([^)]+)", lambda link: f"]({_joined(folder, link[1])}", cell.source
            )
            continue
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("jupyter", None)
        if "solution" in tags(cell):
            cell.metadata["tags"] = [tag for tag in cell.metadata["tags"] if tag != FOLDED]
            try:
                cell.source = blanked(cell.source)
            except ValueError as error:
                raise ValueError(f"cell {number} of {name}: {error}") from None
    version.cells[0].source += "\n\n" + NOTE.format(lesson=path)
    return version


def _joined(folder: str, link: str) -> str:
    target, mark, anchor = link.partition("#")
    return posixpath.normpath(posixpath.join(folder, target)) + mark + anchor


def version_path(lesson: Path, lessons: Path, out: Path) -> tuple[Path, str]:
    """Where the exercise version of a lesson goes, and the lesson's path seen from there."""
    target = out / lesson.relative_to(lessons)
    return target, Path(os.path.relpath(lesson, target.parent)).as_posix()


def write_exercises(lessons: Path, out: Path) -> list[Path]:
    """Write the exercise version of every lesson of a folder, electives too, that has exercises; the paths written.

    `out` is made if need be. Nothing is written if one version cannot be made. Raises ValueError for a folder without
    lessons, and as `exercise_version` does.
    """
    try:
        import nbformat
    except ImportError as error:
        raise ValueError(REMEDY) from error
    sources = {path: nbformat.read(path, as_version=4) for path in lesson_paths(lessons)}
    versions = {}
    for path, lesson in sources.items():
        if any("solution" in tags(cell) for cell in lesson.cells):
            target, back = version_path(path, lessons, out)
            versions[target] = exercise_version(lesson, back)
    for target, notebook in versions.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as part:
            part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return list(versions)
