"""The glossary: terms that are linked are there, each stands once, and lessons do not use words that it rules out."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^### (.+)$", TEXT, re.MULTILINE)
LESSONS = [path for path in sorted((ROOT / "notebooks").rglob("*.ipynb")) if "checkpoints" not in str(path)]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / "notebooks").rglob("*.md"), ROOT / "README.md"]


def anchor(heading: str) -> str:
    """What GitHub and the site make of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def texts_of(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def ruled_out() -> list[str]:
    """The phrases after "Not:"; a sentence such as "Not the place of an event." rules out no words."""
    return [word.strip() for line in re.findall(r"Not: ([^.]+)\.", TEXT) for word in line.split(",")]


def test_terms_stand_once_and_in_order() -> None:
    assert len(set(map(anchor, TERMS))) == len(TERMS) > 30
    for part in TEXT.split("\n## ")[1:]:
        own = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert own == sorted(own, key=str.casefold), part.splitlines()[0]


@pytest.mark.parametrize("path", [*LESSONS, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_term_that_is_linked_is_there(path: Path) -> None:
    for target in re.findall(r"\]\([^)\s]*glossary\.md#([^)]+)\)", texts_of(path)):
        assert target in set(map(anchor, TERMS)), f"no term {target!r} in docs/glossary.md"


def test_phrases_are_ruled_out() -> None:
    """The list is read at all: a change of its form must not empty it."""
    assert {"length of a vector", "control vector"} <= set(ruled_out())


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lessons_use_one_word_for_a_thing(path: Path) -> None:
    text = " ".join(texts_of(path).split()).lower()
    used = [phrase for phrase in ruled_out() if re.search(rf"\b{re.escape(phrase.lower())}\b", text)]
    assert not used, f"docs/glossary.md has another word for: {', '.join(used)}"
