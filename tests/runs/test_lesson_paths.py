"""Numbers, names and paths of lessons: each means one notebook, or is refused with what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from steer_utils.runs.lesson_paths import lesson_path, lesson_paths


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    for name in (
        "06_locating.ipynb",
        "00_start.ipynb",
        "electives/playground.ipynb",
        "electives/beyond_the_paper.ipynb",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_the_core_comes_first(notebooks: Path) -> None:
    assert [path.stem for path in lesson_paths(notebooks)] == [
        "00_start",
        "06_locating",
        "beyond_the_paper",
        "playground",
    ]
    with pytest.raises(ValueError, match="no numbered notebooks"):
        lesson_paths(notebooks / "electives")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("6", "06_locating.ipynb"),
        ("06", "06_locating.ipynb"),
        ("playground", "electives/playground.ipynb"),
    ],
)
def test_a_number_or_a_name_means_a_lesson(notebooks: Path, name: str, path: str) -> None:
    assert lesson_path(name, notebooks) == notebooks / path


def test_a_path_is_taken_as_it_is(notebooks: Path) -> None:
    for path in ("a/b.ipynb", "c.ipynb"):
        assert lesson_path(path, notebooks) == Path(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("7", r"no lesson 7 in notebooks/ \(there: 00_start.ipynb, 06_locating.ipynb\)"),
        ("08", "an elective now: pass beyond_the_paper"),
        ("9", "an elective now: pass playground"),
        ("10", "there is no lesson 10 in notebooks/"),
        ("playgroud", r"no elective 'playgroud' \(there: beyond_the_paper, playground\)"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(notebooks: Path, name: str, message: str) -> None:
    """A number that a lesson once had leads to the elective it became."""
    with pytest.raises(ValueError, match=message):
        lesson_path(name, notebooks)
