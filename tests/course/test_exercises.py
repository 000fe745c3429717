"""Exercise versions: solutions blanked, the rest as it was, and nothing handed out by mistake."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from steer_utils.course.exercises import BEGIN, END, blanked, exercise_version, tags, write_exercises

SOLUTION = '''def twice(x):
    """Twice x."""
    # solution: begin
    secret = 2
    return secret * x
    # solution: end


print(twice(3))'''


def lesson(solution: str = SOLUTION) -> nbformat.NotebookNode:
    cells = [
        new_markdown_cell("# A\n\n[next](01_next.ipynb), [paper](https://arxiv.org/abs/2606.11400), [here](#title)"),
        new_code_cell("print(1)", execution_count=1, outputs=[new_output("stream", text="1\n")]),
        new_markdown_cell("**Exercise**", metadata={"tags": ["exercise"]}),
        new_code_cell(solution, execution_count=2, metadata={"tags": ["solution"], "jupyter": {"source_hidden": True}}),
        new_code_cell("check(twice)", execution_count=3, metadata={"tags": ["check"]}),
    ]
    return new_notebook(cells=cells)


def test_what_stands_between_the_marks_is_blanked_in_place() -> None:
    blank = blanked(SOLUTION)
    assert blank == 'def twice(x):\n    """Twice x."""\n    ...  # your answer\n\n\nprint(twice(3))'
    ast.parse(blank)


def test_two_stretches_give_two_blanks() -> None:
    one = "# solution: begin\na = 1\n# solution: end"
    assert blanked(f"{one}\nb = 2\n{one}") == "...  # your answer\nb = 2\n...  # your answer"


@pytest.mark.parametrize(
    "source",
    ["a = 1", f"{BEGIN}\na = 1", f"a = 1\n{END}", f"{BEGIN}\n{BEGIN}\n{END}"],
)
def test_marks_that_do_not_pair_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match="solution: begin"):
        blanked(source)


def test_the_exercise_version_has_no_outputs_and_no_solutions() -> None:
    source = lesson()
    version = exercise_version(source, "../01_title.ipynb")
    nbformat.validate(version)
    code = [cell for cell in version.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert "secret" not in "".join(cell.source for cell in version.cells)
    assert "jupyter" not in version.cells[3].metadata and tags(version.cells[3]) == {"solution"}
    assert version.cells[1].source == "print(1)" and version.cells[4].source == "check(twice)"
    assert "secret" in source.cells[3].source and source.cells[1].outputs, "the lesson must stay as it was"


def test_relative_links_go_one_folder_up_and_others_stay() -> None:
    text = exercise_version(lesson(), "../01_title.ipynb").cells[0].source
    assert "](../01_next.ipynb)" in text and "](https://arxiv.org/abs/2606.11400)" in text and "](#title)" in text
    assert "](../01_title.ipynb)" in text  # to the lesson itself


def test_an_elective_keeps_its_place_and_its_links(tmp_path: Path) -> None:
    """Its version lies a folder deeper, beside those of other electives, and its links lead to what they led to."""
    elective = lesson()
    elective.cells[0].source = "[core](../00_a.ipynb#part), [beside](other.ipynb), [docs](../../docs/x.md)"
    (tmp_path / "electives").mkdir()
    nbformat.write(lesson(), tmp_path / "00_a.ipynb")
    nbformat.write(elective, tmp_path / "electives" / "more.ipynb")
    written = write_exercises(tmp_path, tmp_path / "exercises")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "exercises/00_a.ipynb",
        "exercises/electives/more.ipynb",
    ]
    text = nbformat.read(written[1], as_version=4).cells[0].source
    assert "](../../00_a.ipynb#part)" in text and "](../../electives/other.ipynb)" in text
    assert "](../../../docs/x.md)" in text and "](../../electives/more.ipynb)" in text


def test_a_cell_that_cannot_be_blanked_is_named(tmp_path: Path) -> None:
    nbformat.write(lesson(), tmp_path / "00_a.ipynb")
    nbformat.write(lesson("secret = 2"), tmp_path / "01_b.ipynb")
    with pytest.raises(ValueError, match=r"cell 4 of 01_b\.ipynb"):
        write_exercises(tmp_path, tmp_path / "exercises")
    assert not list(tmp_path.glob("exercises/*"))


def test_lessons_without_exercises_have_no_exercise_version(tmp_path: Path) -> None:
    nbformat.write(lesson(), tmp_path / "00_a.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Nothing to do")]), tmp_path / "01_b.ipynb")
    assert write_exercises(tmp_path, tmp_path / "exercises") == [tmp_path / "exercises" / "00_a.ipynb"]
    first = (tmp_path / "exercises" / "00_a.ipynb").read_bytes()
    write_exercises(tmp_path, tmp_path / "exercises")
    assert (tmp_path / "exercises" / "00_a.ipynb").read_bytes() == first, "the same each time"


def test_a_folder_without_lessons_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no numbered notebooks"):
        write_exercises(tmp_path, tmp_path / "exercises")
