"""Which notebooks are the course, and which one a number or a name means.

lesson_paths(Path("notebooks"))            # 00 to 07 in order, then the electives by name
lesson_path("06"), lesson_path("playground"), lesson_path("somewhere/else.ipynb")
"""

from __future__ import annotations

from pathlib import Path

NOTEBOOKS = Path("notebooks")
ELECTIVES = "electives"  # the folder in it with the lessons that have no number
#: Numbers that lessons once had, and the elective that each became.
FORMER_NUMBERS = {8: "beyond_the_paper", 9: "playground", 10: "a_real_language_model"}


def lesson_paths(notebooks: Path = NOTEBOOKS) -> list[Path]:
    """The course's notebooks: the numbered ones in order, then the electives.

    Raises ValueError for a folder without numbered notebooks.
    """
    numbered = sorted(notebooks.glob("[0-9]*.ipynb"))
    if not numbered:
        raise ValueError(f"there are no numbered notebooks in {str(notebooks)!r}; pass their folder")
    return [*numbered, *sorted((notebooks / ELECTIVES).glob("*.ipynb"))]


def lesson_path(name: str, notebooks: Path = NOTEBOOKS) -> Path:
    """The notebook that `name` means: a lesson's number (6, 06), an elective's name, or any path.

    Raises ValueError for a number or a name without a notebook, saying which there are.
    """
    if name.isdigit():
        found = sorted(notebooks.glob(f"{int(name):02d}_*.ipynb"))
        if len(found) == 1:
            return found[0]
        there = ", ".join(path.name for path in sorted(notebooks.glob("[0-9]*.ipynb"))) or "none"
        elective = FORMER_NUMBERS.get(int(name))
        if elective is not None and (notebooks / ELECTIVES / f"{elective}.ipynb").is_file():
            raise ValueError(f"there is no lesson {name} any more; it is an elective now: pass {elective}")
        raise ValueError(
            f"there is no lesson {name} in {notebooks.name}/ (there: {there}); run it from the course's folder"
        )
    path = Path(name)
    if path.suffix or path.parent != Path():
        return path
    elective_path = notebooks / ELECTIVES / f"{name}.ipynb"
    if not elective_path.is_file():
        there = ", ".join(path.stem for path in sorted((notebooks / ELECTIVES).glob("*.ipynb"))) or "none"
        raise ValueError(f"there is no elective {name!r} (there: {there}); pass one, a lesson's number or a path")
    return elective_path
