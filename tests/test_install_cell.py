"""The first code cell of a lesson: on Colab and Kaggle it installs the package beside their torch, elsewhere none."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata, util
from pathlib import Path
from typing import Any

import pytest

from steer_utils.course.exercises import tags

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted([*NOTEBOOKS.glob("[0-9]*.ipynb"), *NOTEBOOKS.glob("electives/*.ipynb")])


def first_code(path: Path) -> dict[str, Any]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return next(cell for cell in cells if cell["cell_type"] == "code")


@pytest.fixture(scope="module")
def source() -> str:
    """The cell, which is the same everywhere."""
    firsts = [first_code(path) for path in [*LESSONS, *NOTEBOOKS.rglob("exercises/**/*.ipynb")]]
    if not any("install" in tags(cell) for cell in firsts):
        pytest.skip("no lesson has the cell yet")
    assert all("install" in tags(cell) and not cell["outputs"] for cell in firsts)
    (text,) = {"".join(cell["source"]) for cell in firsts}
    return text


def test_where_the_package_is_nothing_happens(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *args, **named: pytest.fail("something was installed"))
    exec(source, {})
    assert capsys.readouterr() == ("", "")


def test_elsewhere_it_is_installed_and_torch_stays(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command) if check else None)
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    exec(source, {})
    package, model = commands
    assert f"torch=={metadata.version('torch')}" in package and f"numpy=={metadata.version('numpy')}" in package
    assert any(word.startswith("steer-utils[lessons] @ git+https://github.com/") for word in package)
    pinned = next(line for line in (ROOT / "language-model.txt").read_text("utf-8").splitlines() if line[0] != "#")
    assert model[-2:] == ["--no-deps", pinned.split()[0]]
