"""Quizzes: five questions a lesson, kept as yaml, made into pages whose answers are folded.

    for path in write_quizzes(Path("docs/quizzes/source"), Path("docs/quizzes")):
        print(path)

A question has one right option, and every option says why it is right or which misconception it comes from. `figures`
are texts that a lesson prints: the tests look them up in the notebooks, so that no question rests on an old number.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from steer_utils.sound.config_files import read_config_file
from steer_utils.sound.files import whole_file

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
QUESTIONS = 5  # a lesson
LETTERS = "ABCDE"
NOTE = (
    "<!-- Made by `steer-utils quizzes` from docs/quizzes/source/{lesson}.yaml: change that file, not this page. -->\n"
)


class Option(BaseModel):
    """An answer to choose: either `right` or `wrong` holds its text; `why` says why, or the misconception behind it."""

    model_config = STRICT
    why: str
    right: str = ""
    wrong: str = ""

    @model_validator(mode="after")
    def checked(self) -> Self:
        """Itself. Raises ValueError for what the class does not allow."""
        if bool(self.right.strip()) == bool(self.wrong.strip()) or not self.why.strip():
            raise ValueError("an option holds `right: TEXT` or `wrong: TEXT`, and `why: TEXT`")
        return self

    @property
    def text(self) -> str:
        """What is to be chosen."""
        return self.right or self.wrong


class Question(BaseModel):
    """A question with 3 to 5 options, one of them right. `figures`: texts that a lesson prints, and it rests on."""

    model_config = STRICT
    ask: str
    options: list[Option]
    figures: list[str] = []

    @model_validator(mode="after")
    def checked(self) -> Self:
        """Itself. Raises ValueError for what the class does not allow."""
        right = sum(bool(option.right) for option in self.options)
        if not 3 <= len(self.options) <= len(LETTERS) or right != 1:
            raise ValueError(
                f"{self.ask[:40]!r} has {len(self.options)} options, {right} right; give 3 to 5, one right"
            )
        if len({option.text for option in self.options}) < len(self.options):
            raise ValueError(f"{self.ask[:40]!r} has the same option twice")
        return self

    def shuffled(self) -> list[Option]:
        """The options in an order that says nothing, and is the same each time."""
        return sorted(self.options, key=lambda option: hashlib.sha256((self.ask + option.text).encode()).digest())


class Quiz(BaseModel):
    """The questions of one lesson, told by the name of its notebook without number."""

    model_config = STRICT
    lesson: str
    title: str
    questions: list[Question]

    @model_validator(mode="after")
    def checked(self) -> Self:
        """Itself. Raises ValueError for what the class does not allow."""
        if not re.fullmatch(r"[a-z0-9_]+", self.lesson):
            raise ValueError(f"lesson is {self.lesson!r}; write a notebook's name without number, such as start_here")
        if len(self.questions) != QUESTIONS:
            raise ValueError(f"{self.lesson} has {len(self.questions)} questions; a quiz has {QUESTIONS}")
        return self


def read_quiz(path: Path) -> Quiz:
    """One quiz. Raises ValueError, in one line that names the file, for anything that is none."""
    given = read_config_file(path, "a quiz")
    try:
        quiz = Quiz.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        raise ValueError(f"{Path(path).name}: {where} {first['msg']}".replace("\n", " ")) from None
    if quiz.lesson != Path(path).stem:
        raise ValueError(f"{Path(path).name} is for the lesson {quiz.lesson!r}; the file must have its name")
    return quiz


def read_quizzes(folder: Path) -> list[Quiz]:
    """All quizzes of a folder, in order of their names. Raises ValueError for a folder without any."""
    paths = sorted(Path(folder).glob("*.yaml"))
    if not paths:
        raise ValueError(f"there are no quizzes (.yaml) in {str(folder)!r}; pass docs/quizzes/source")
    return [read_quiz(path) for path in paths]


def page(quiz: Quiz) -> str:
    """The quiz as markdown: questions with lettered options, the answer and all explanations folded under each."""
    parts = [NOTE.format(lesson=quiz.lesson), f"# Quiz · {quiz.title}\n"]
    for number, question in enumerate(quiz.questions, start=1):
        options = list(zip(LETTERS, question.shuffled(), strict=False))
        parts.append(f"**{number}.** {question.ask}\n")
        parts += [f"- **{letter}.** {option.text}" for letter, option in options]
        parts.append("\n<details><summary>Answer</summary>\n")
        parts += [
            f"- **{letter}** {'is right' if option.right else 'is not'}: {option.why}" for letter, option in options
        ]
        parts.append("\n</details>\n")
    return "\n".join(parts)


def write_quizzes(source: Path, out: Path) -> list[Path]:
    """Write a page for each quiz, and README.md, which lists them. If one cannot be read, none is written."""
    quizzes = read_quizzes(source)
    listed = "".join(f"- [{quiz.title}]({quiz.lesson}.md)\n" for quiz in quizzes)
    about = (
        f"# Quizzes\n\nFive questions a lesson, about what it measured. The answer is folded under each.\n\n{listed}"
    )
    pages = {out / f"{quiz.lesson}.md": page(quiz) for quiz in quizzes} | {out / "README.md": about}
    out.mkdir(parents=True, exist_ok=True)
    for path, text in pages.items():
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")
    return list(pages)
