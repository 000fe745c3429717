"""Slides: what a lesson holds comes into one page that needs nothing else, and what is no lesson is refused."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from steer_utils.course.slides import slides_html, slides_of, write_slides

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    figure = new_output(
        "display_data", {"image/png": DOT}, metadata={"image/png": {"alt": 'A curve & a "peak" at 2 s.'}}
    )
    plain = new_output("display_data", {"image/png": DOT})
    cells = [
        new_markdown_cell(
            "# 04 · Steering <now>\n\n**After this notebook you can**\n\n- add *it* by\n  hand;\n- stop.\n\n**Time** x"
        ),
        new_markdown_cell(
            "## How strongly\n\nText.\n\n> **Predict.** From $\\lambda = 1$ on,\n> does it rise?\n\nMore."
        ),
        new_code_cell("1", outputs=[new_output("stream", text="number\nThe caption.\n"), figure]),
        new_code_cell("2", outputs=[figure, plain]),
        new_markdown_cell("> **Predict.** Never shown?\n\n## Else"),
        new_code_cell("3", outputs=[figure]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "04_a.ipynb")
    return tmp_path / "04_a.ipynb"


def test_a_lesson_becomes_aims_questions_and_figures(lesson: Path) -> None:
    slides = slides_of(lesson)
    assert [slide.kind for slide in slides] == ["lesson", "predict", "figure", "figure", "predict", "figure"]
    assert slides[0].points == ("add *it* by hand;", "stop.")
    assert slides[1].points == ("From $\\lambda = 1$ on, does it rise?",)
    assert slides[2].title == "How strongly" and slides[2].caption == "The caption."
    assert {slide.lesson for slide in slides} == {"04 · Steering <now>"}


def test_the_page_stands_alone_and_is_escaped(lesson: Path) -> None:
    page = slides_html(slides_of(lesson))
    assert page.count("<section") == 6 and page.count("</section>") == 6
    assert "Steering &lt;now&gt;" in page and "<now>" not in page
    assert 'alt="A curve &amp; a &quot;peak&quot; at 2 s."' in page and "From λ = 1 on" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "http" not in page


def test_what_is_no_executed_lesson_is_refused(tmp_path: Path, lesson: Path) -> None:
    (tmp_path / "torn.ipynb").write_text("{", encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 00 · A")]), tmp_path / "bare.ipynb")
    for name, words in (("torn", "cannot read"), ("bare", "no figure"), ("nowhere", "cannot read")):
        with pytest.raises(ValueError, match=words):
            write_slides([lesson, tmp_path / f"{name}.ipynb"], tmp_path / "slides.html")
        assert not (tmp_path / "slides.html").exists()


def test_every_figure_of_a_real_lesson_is_a_slide() -> None:
    path = next((ROOT / "notebooks").glob("00_*.ipynb"))
    cells = nbformat.read(path, as_version=4).cells
    drawn = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    slides = slides_of(path)
    assert sum(slide.kind == "figure" for slide in slides) == drawn and slides[0].points
    assert all(slide.caption and slide.alt for slide in slides if slide.kind == "figure")
