"""Exercise versions of the notebooks, made from the lessons: the solutions are blanked, everything else is the same.

A lesson is the one source. In it an exercise is three cells in a row, told by their tags:

    exercise   Markdown: what to do, how hard it is, how many minutes
    solution   code, folded; what stands between `# solution: begin` and `# solution: end` is blanked
    check      code: one call of `steer_utils.course.checks`, which the solution passes
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from steer_utils.runs.parameters import REMEDY
from steer_utils.sound.files import whole_file

BEGIN, END = "# solution: begin", "# solution: end"
BLANK = "...  # your answer"
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


def exercise_version(lesson: Any, name: str) -> Any:
    """The lesson called `name` (NN_title.ipynb) as a notebook to work in: without outputs and solutions.

    Its relative links go one folder up, to where the lesson is. Raises ValueError as `blanked` does, naming the cell.
    """
    version = copy.deepcopy(lesson)
    for number, cell in enumerate(version.cells, start=1):
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((?!https?:|#|/)", "](../", cell.source)
            continue
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("jupyter", None)
        if "solution" in tags(cell):
            try:
                cell.source = blanked(cell.source)
            except ValueError as error:
                raise ValueError(f"cell {number} of {name}: {error}") from None
    version.cells[0].source += "\n\n" + NOTE.format(lesson=f"../{name}")
    return version


def write_exercises(lessons: Path, out: Path) -> list[Path]:
    """Write the exercise version of every lesson of a folder that has exercises; the paths written.

    `out` is made if need be. Nothing is written if one version cannot be made. Raises ValueError for a folder without
    lessons, and as `exercise_version` does.
    """
    try:
        import nbformat
    except ImportError as error:
        raise ValueError(REMEDY) from error
    paths = sorted(lessons.glob("[0-9]*.ipynb"))
    if not paths:
        raise ValueError(f"there are no numbered notebooks in {str(lessons)!r}; pass their folder")
    sources = {path.name: nbformat.read(path, as_version=4) for path in paths}
    versions = {
        out / name: exercise_version(lesson, name)
        for name, lesson in sources.items()
        if any("solution" in tags(cell) for cell in lesson.cells)
    }
    out.mkdir(parents=True, exist_ok=True)
    for target, notebook in versions.items():
        with whole_file(target) as part:
            part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return list(versions)
