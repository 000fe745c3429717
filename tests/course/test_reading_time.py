"""How long a lesson is: which cells count, and for how many minutes."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from steer_utils.course.reading_time import Minutes, minutes, teaching_cells, time_line

HINT = "\n\n<details><summary>Hint 1</summary>\n\n" + "word " * 2000 + "\n\n</details>"


def code(source: str, *tags: str) -> nbformat.NotebookNode:
    return new_code_cell(source, metadata={"tags": list(tags)})


@pytest.mark.parametrize("tag", "install parameters hide-cell predict solution check".split())
def test_what_nobody_reads_is_no_teaching_cell(tag: str) -> None:
    notebook = new_notebook(cells=[new_markdown_cell("# A"), code("x = 1"), code(""), code("y = 1", tag)])
    assert teaching_cells(notebook) == 2
    assert teaching_cells(new_notebook(cells=[code("y = 1", "nbval-ignore-output")])) == 1


def test_minutes_are_words_cells_and_what_exercises_state() -> None:
    words = new_markdown_cell("word " * 13 * 130)
    exercise = new_markdown_cell("**Exercise 1** · Title · ●○○ easy · 7 minutes" + HINT)
    notebook = new_notebook(cells=[words, *[code("x = 1") for _ in range(14)], code("y = 1", "hide-cell"), exercise])
    assert minutes(notebook) == Minutes(reading=20, exercises=7) and minutes(notebook).total == 27
    assert time_line(notebook) == "**Time** 20 minutes to read, 7 for the exercises."
    assert minutes(new_notebook(cells=[new_markdown_cell("short\n\n## Reading\n" + "word " * 2000)])).total == 5
