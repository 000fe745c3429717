"""Notebooks as runs: refused before anything starts, executed in this Python, kept when they fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import papermill
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.runs import NotebookError, checked_parameters, known_parameters, parsed_parameters, run_notebook

PARAMETERS = """preset = "smoke"  # smoke, course or paper
seed = 0
strength: float = 0.5
blocks = [3, 4]
clips = ""
quick = False
anything = None"""


def write_notebook(path: Path, *cells: str) -> Path:
    """A notebook with the parameters above and these code cells."""
    first = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "notebooks" / "00_first.ipynb", "print(seed)")


@pytest.fixture
def never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("it was started"))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sede": 1}, r"00_first\.ipynb has no parameter sede; it has: preset='smoke', seed=0, strength=0\.5"),
    ({"seed": "1"}, "seed of .* is int .default 0., got '1'"),
    ({"seed": 1.5}, "seed of .* is int"),
    ({"seed": True}, "seed of .* is int"),
    ({"quick": 1}, "quick of .* is bool"),
    ({"strength": "much"}, "strength of .* is float"),
    ({"blocks": "34"}, "blocks of .* is list"),
    ({"clips": 3}, "clips of .* is str"),
    ({"anything": {1, 2}}, "anything is a set"),
    ({"preset": "smok"}, "preset is 'smok'; pass one of smoke, course, paper"),
]


@pytest.mark.parametrize(("given_values", "message"), REFUSED)
def test_bad_parameters_are_refused_before_anything_starts(
    notebook: Path, never_runs: None, tmp_path: Path, given_values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_notebook(notebook, parameters=given_values, out=tmp_path / "runs" / "x.ipynb")
    assert not (tmp_path / "runs").exists()


def test_what_is_no_notebook_is_refused(notebook: Path, never_runs: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no notebook"):
        run_notebook(tmp_path / "none.ipynb")
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{")
    with pytest.raises(ValueError, match="is not a notebook that can be run"):
        run_notebook(broken)
    with pytest.raises(ValueError, match="overwritten by its own run"):
        run_notebook(notebook, out=notebook)


def test_values_become_what_papermill_can_write(notebook: Path) -> None:
    found = checked_parameters(
        notebook,
        {"seed": np.int64(3), "strength": 1, "blocks": (1, np.int32(2)), "clips": Path("a/b"), "anything": {"k": (1,)}},
    )
    assert found == {"seed": 3, "strength": 1, "blocks": [1, 2], "clips": "a/b", "anything": {"k": [1]}}
    assert type(found["seed"]) is int and json.dumps(found)


def test_typed_text_is_read_as_the_default_is(notebook: Path) -> None:
    typed = {"seed": "3", "strength": "1e-2", "blocks": "[1, 2]", "quick": "true", "clips": "007", "anything": "none"}
    assert parsed_parameters(notebook, typed) == {
        "seed": 3, "strength": 0.01, "blocks": [1, 2], "quick": True, "clips": "007", "anything": None,
    }  # fmt: skip
    assert known_parameters(notebook)["blocks"] == [3, 4]


@given(name=st.text(min_size=1), value=st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.none()))
def test_no_unknown_name_and_no_other_type_passes(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.ipynb"
    if not path.exists():
        write_notebook(path)
    with pytest.raises(ValueError, match="has no parameter"):
        checked_parameters(path, {f"not {name}": value})
    if not isinstance(value, str):
        with pytest.raises(ValueError, match="clips"):
            checked_parameters(path, {"clips": value if value is not None else 0})


@pytest.mark.notebooks
def test_runs_in_its_own_folder_in_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a user has registered another Python under the name of the kernel, or none is registered."""
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.chdir(tmp_path)
    source = write_notebook(
        tmp_path / "notebooks" / "01_where.ipynb",
        "import os, sys\nprint(sys.executable, os.path.basename(os.getcwd()), preset, seed, clips, sep='|')",
    )
    before = source.read_bytes()
    written = run_notebook(
        Path("notebooks/01_where.ipynb"), parameters={"seed": 5, "clips": "../x"}, preset="course", progress=False
    )
    assert written == (tmp_path / "runs" / "01_where.ipynb").resolve() and source.read_bytes() == before
    cells = nbformat.read(written, as_version=4).cells
    assert cells[-1].outputs[0].text.strip() == f"{sys.executable}|notebooks|course|5|../x"
    assert Path.cwd() == tmp_path


@pytest.mark.notebooks
def test_a_failed_run_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_notebook(tmp_path / "02_fails.ipynb", "print('before')", "1 / 0", "print('after')")
    with pytest.raises(NotebookError, match=r"cell 3 of 02_fails\.ipynb failed: ZeroDivisionError.*runs/02_fails"):
        run_notebook(source, progress=False)
    kept = nbformat.read(tmp_path / "runs" / "02_fails.ipynb", as_version=4)
    texts = [output.get("text", "") for cell in kept.cells for output in cell.get("outputs", [])]
    assert "before\n" in texts and "after\n" not in texts
