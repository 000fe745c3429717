"""docs/promises.md names a test for each promise: they are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "promises.md"
NAMED = sorted(
    set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""))
)

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="docs/ is not beside tests/ here")


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda part: part.rpartition("/")[2])
def test_a_promise_has_its_test(path: str, name: str) -> None:
    assert (ROOT / path).is_file() and name in names_in(path) and name.startswith("test_")


def test_every_promise_names_one() -> None:
    """Each row of a table of promises, and no name that is written otherwise."""
    promises = PAGE.read_text(encoding="utf-8").split("### Threads")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and not line.startswith("| what |")]
    assert len(rows) > 15 and all("::test_" in row for row in rows)
    assert PAGE.read_text(encoding="utf-8").count("::test_") == sum(
        len(re.findall(r"`tests/[\w/]+\.py::test_\w+`", line)) for line in PAGE.read_text(encoding="utf-8").splitlines()
    )
