"""Quizzes: the pages are those of the sources, the numbers are the lessons', and a bad question is refused."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from steer_utils.course.quizzes import LETTERS, page, read_quiz, read_quizzes, write_quizzes

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "docs" / "quizzes" / "source").glob("*.yaml"))
GOOD: dict[str, Any] = yaml.safe_load(SOURCES[0].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def printed() -> str:
    """All that the lessons show, with single spaces."""
    shown = []
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        if "exercises" in path.parts:
            continue
        for cell in nbformat.read(path, as_version=4).cells:
            shown.append(cell.source)
            for output in cell.get("outputs", []):
                shown.append(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
    return re.sub(r"\s+", " ", " ".join(shown))


def test_the_pages_are_up_to_date(tmp_path: Path) -> None:
    for path in write_quizzes(SOURCES[0].parent, tmp_path):
        committed = ROOT / "docs" / "quizzes" / path.name
        assert path.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8"), "run `steer-utils quizzes`"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_quiz_rests_on_what_its_lesson_printed(path: Path, printed: str) -> None:
    quiz = read_quiz(path)
    for question in quiz.questions:
        for figure in question.figures:
            assert re.sub(r"\s+", " ", figure) in printed, f"no lesson prints {figure!r} any more"
    if quiz.lesson != "forty_lines":  # asks what follows from the lines, not what they gave
        assert sum(bool(question.figures) for question in quiz.questions) >= 3


def test_the_right_answer_has_no_place_of_its_own() -> None:
    """Nor is it always the longest."""
    places, longest, count = set(), 0, 0
    for quiz in read_quizzes(SOURCES[0].parent):
        for question in quiz.questions:
            options = question.shuffled()
            places.add(LETTERS[[bool(option.right) for option in options].index(True)])
            longest += bool(max(options, key=lambda option: len(option.text)).right)
            count += 1
    assert places == set("ABC") and longest < 0.9 * count


def test_answers_are_folded() -> None:
    text = page(read_quiz(SOURCES[0]))
    assert text.count("<details>") == text.count("</details>") == 5
    assert text.count("is right:") == 5 and "is right" not in re.sub(
        r"<details>.*?</details>", "", text, flags=re.DOTALL
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda quiz: quiz["questions"].pop(), "4 questions"),
        (lambda quiz: quiz["questions"][0]["options"].pop(), "2 options"),
        (lambda quiz: quiz["questions"][0]["options"][1].update(right="x"), "an option holds"),
        (lambda quiz: quiz["questions"][0]["options"][1].update(why=" "), "an option holds"),
        (lambda quiz: quiz["questions"][0]["options"].append({"right": "more", "why": "x"}), "2 right"),
        (lambda quiz: quiz["questions"][0]["options"].append(quiz["questions"][0]["options"][1]), "option twice"),
        (lambda quiz: quiz.update(lesson="other"), "must have its name"),
        (lambda quiz: quiz.update(lesson="../up"), "without number"),
        (lambda quiz: quiz.update(more=1), "more"),
        (lambda quiz: quiz.update(title=3), "title"),
    ],
)
def test_a_bad_quiz_is_refused_in_one_line(change: Any, words: str, tmp_path: Path) -> None:
    quiz = copy.deepcopy(GOOD)
    change(quiz)
    path = tmp_path / SOURCES[0].name
    path.write_text(yaml.safe_dump(quiz), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        read_quiz(path)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    with pytest.raises(ValueError):
        write_quizzes(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_quizzes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no quizzes"):
        read_quizzes(tmp_path)
