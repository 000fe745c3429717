"""The built website: every page is there and whole, links lead somewhere, and nothing comes from elsewhere."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from site_pages import ROOT, Elements, pages

import steer_utils
from steer_utils.course.exercises import tags

NOTEBOOKS = sorted(path.relative_to(ROOT) for path in (ROOT / "notebooks").rglob("[!.]*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if path.parts[1] != "exercises"]
LEAST_ALT = 4  # characters
#: What a browser loads by itself; `a` and `form` lead away only where a reader goes.
LOADED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "iframe": "src",
    "link": "href",
}


@pytest.fixture(scope="module")
def elements(site: Path) -> dict[str, Elements]:
    """Page -> its elements."""
    return {name: Elements((site / f"{name}.html").read_text(encoding="utf-8")) for name in pages(site)}


def page_of(notebook: Path) -> str:
    return notebook.with_suffix("").as_posix()


def test_every_notebook_and_text_has_its_page(elements: dict[str, Elements]) -> None:
    texts = [path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "docs").glob("*.md")]
    assert {page_of(path) for path in NOTEBOOKS} | set(texts) | {"index", "search"} <= set(elements)
    assert len(NOTEBOOKS) > 20 and len(texts) > 3


def test_every_public_name_is_documented(elements: dict[str, Elements]) -> None:
    ids = {facts.get("id") for name, page in elements.items() if name.startswith("api/") for _, facts in page.all}
    assert not {name for name in steer_utils.__all__ if f"steer_utils.{name}" not in ids} - {"__version__"}


def test_every_picture_has_alt_text(elements: dict[str, Elements]) -> None:
    bare = [
        (name, picture["src"][:60])
        for name, page in elements.items()
        for picture in page.named("img")
        if len(picture.get("alt", "").strip()) < LEAST_ALT
    ]
    assert not bare


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_alt_texts_and_folds_of_a_lesson_are_kept(path: Path, elements: dict[str, Elements]) -> None:
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    page = elements[page_of(path)]
    shown = " ".join(" ".join(picture["alt"].split()) for picture in page.named("img"))
    for cell in cells:
        for output in cell.get("outputs", []):
            if "text/html" not in output.get("data", {}):
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                assert " ".join(alt.split()) in shown
    folded = sum(
        bool(cell["metadata"].get("jupyter", {}).get("source_hidden") or {"hide-input", "hide-cell"} & tags(cell))
        for cell in cells
    )
    assert len([fold for fold in page.named("details") if "hide" in fold.get("class", "")]) == folded
    assert folded or path.parts[1] in ("gpu", "capstone")


def test_a_notebook_can_be_run_elsewhere_and_downloaded(site: Path, elements: dict[str, Elements]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository = urlparse(project["urls"]["Repository"]).path
    for path in NOTEBOOKS:
        bar = elements[page_of(path)].text.partition('class="run-this"')[2].partition("</nav>")[0]
        colab, kaggle, binder, download = (link["href"] for link in Elements(bar).named("a"))
        assert colab == f"https://colab.research.google.com/github{repository}/blob/main/{path.as_posix()}"
        assert kaggle.endswith(f"github.com{repository}/blob/main/{path.as_posix()}") and "kaggle.com" in kaggle
        assert binder == f"https://mybinder.org/v2/gh{repository}/main?urlpath=lab/tree/{path.as_posix()}"
        assert (site / page_of(path)).parent.joinpath(download).read_bytes() == (ROOT / path).read_bytes()


def test_lessons_follow_each_other(elements: dict[str, Elements]) -> None:
    core = [page_of(path) for path in LESSONS if len(path.parts) == 2]
    for here, there in pairwise(core):
        (link,) = (link for link in elements[here].named("a") if "right-next" in link.get("class", ""))
        assert link["href"] == f"{Path(there).name}.html"


def test_links_lead_somewhere(site: Path, elements: dict[str, Elements]) -> None:
    anchors = {name: {facts.get("id") for _, facts in page.all} for name, page in elements.items()}
    broken = []
    for name, page in elements.items():
        if name == "search":
            continue  # filled in by its script
        for tag, facts in page.all:
            address = facts.get("href", "") if tag in ("a", "link") else facts.get("src", "")
            parts = urlparse(address)
            if parts.scheme or not address:
                continue
            target = (
                (site / name).parent.joinpath(unquote(parts.path)).resolve() if parts.path else site / f"{name}.html"
            )
            if not target.is_file():
                broken.append((name, address))
            elif parts.fragment and target.suffix == ".html":
                there = target.relative_to(site).with_suffix("").as_posix()
                if unquote(parts.fragment) not in anchors[there]:
                    broken.append((name, address))
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site: Path, elements: dict[str, Elements]) -> None:
    for name, page in elements.items():
        for tag, attribute in LOADED.items():
            for facts in page.named(tag):
                if tag == "link" and facts.get("rel") not in ("stylesheet", "preload", "icon", "modulepreload"):
                    continue  # next, prev, search: no browser loads them
                assert not re.match(r"(https?:)?//", facts.get(attribute, "")), (name, facts)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
