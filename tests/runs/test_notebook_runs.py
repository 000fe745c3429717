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
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_notebooks import write_notebook

from steer_utils.runs.notebook_runs import (
    NotebookError,
    as_plain,
    checked_parameters,
    full_parameters,
    known_parameters,
    parsed_parameters,
    read_parameters,
    run_notebook,
)

PARAMETERS = """preset = "smoke"  # smoke, course or paper
seed = 0
strength: float = 0.5
blocks = [3, 4]
clips = ""
quick = False
anything = None"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "notebooks" / "00_first.ipynb", "print(seed)", parameters=PARAMETERS)


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


def test_every_parameter_has_a_value(notebook: Path) -> None:
    """Also those whose default no json holds; a whole number for a float is that float."""
    source = 'seed = 0\nstrength = 0.5\nthreads = len("four")\nodd = {1, 2}\npair = (1, 2)\nanything = None'
    path = write_notebook(notebook.with_name("01_more.ipynb"), parameters=source)
    assert full_parameters(path, {}) == {
        "seed": 0, "strength": 0.5, "threads": 'len("four")', "odd": "{1, 2}", "pair": [1, 2], "anything": None,
    }  # fmt: skip
    found = full_parameters(path, {"strength": 2, "seed": 3, "threads": None})
    assert (found["strength"], found["seed"], found["threads"]) == (2.0, 3, None)
    assert type(found["strength"]) is float and type(found["seed"]) is int


def test_numbers_and_arrays_of_other_libraries_become_plain() -> None:
    given_values = {"a": np.arange(2), "b": [np.float32(0.5), torch.tensor(3)], "c": (Path("x"), torch.eye(2))}
    assert as_plain("it", given_values) == {"a": [0, 1], "b": [0.5, 3], "c": ["x", [[1.0, 0.0], [0.0, 1.0]]]}
    for value in (object(), {1}, 1j, np.ndarray, b"x", {"k": [print]}):
        with pytest.raises(ValueError, match=r"it is a .*; pass numbers, text, lists or dicts"):
            as_plain("it", value)


# -- a file of parameters ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["p.yaml", "p.yml", "p.json", "p"])
def test_a_file_of_parameters_is_yaml_or_json(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"seed": 3, "blocks": [1, 2], "clips": "007", "quick": true}')
    assert read_parameters(tmp_path / name) == {"seed": 3, "blocks": [1, 2], "clips": "007", "quick": True}


def test_what_yaml_takes_for_text_is_read_as_the_default_is(notebook: Path, tmp_path: Path) -> None:
    """1e-2 is text to yaml, which wants 1.0e-2."""
    (tmp_path / "p.yaml").write_text("strength: 1e-2\nseed: 3  # of the scene\nclips: true.wav\n")
    read = parsed_parameters(notebook, read_parameters(tmp_path / "p.yaml"))
    assert checked_parameters(notebook, read) == {"strength": 0.01, "seed": 3, "clips": "true.wav"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.yaml", "- {seed: 1}\n- {seed: 2}\n", "holds 2 sets of parameters; for many runs use `steer-utils sweep`"),
        ("p.json", '[{"seed": 1}]', "use `steer-utils sweep`"),
        ("p.yaml", "", "holds nothing; parameters are one mapping, such as seed: 3"),
        ("p.yaml", "seed", "holds a str"),
        ("p.yaml", "[1, 2]", "holds a list; parameters are one mapping"),
        ("p.yaml", "on: 3", "has the name True, which is no text; write names in quotes"),
        ("p.yaml", "seed: [1", "cannot read parameters from .*expected ',' or ']'"),
        ("p.json", "seed: 1", "cannot read parameters from .*Expecting value"),
        ("p.yaml", "seed: !!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_other_files_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_parameters(tmp_path / name)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read parameters from .*none\.yaml.*No such file"):
        read_parameters(tmp_path / "none.yaml")
    (tmp_path / "p.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot read parameters"):
        read_parameters(tmp_path / "p.yaml")


@given(name=st.text(min_size=1), value=st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.none()))
def test_no_unknown_name_and_no_other_type_passes(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.ipynb"
    if not path.exists():
        write_notebook(path, parameters=PARAMETERS)
    with pytest.raises(ValueError, match="has no parameter"):
        checked_parameters(path, {f"not {name}": value})
    if not isinstance(value, str):
        with pytest.raises(ValueError, match="clips"):
            checked_parameters(path, {"clips": value if value is not None else 0})


@pytest.mark.notebooks
def test_runs_in_its_own_folder_in_this_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
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
        parameters=PARAMETERS,
    )
    before = source.read_bytes()
    written = run_notebook(
        Path("notebooks/01_where.ipynb"), parameters={"seed": 5, "clips": "../x"}, preset="course", progress=False
    )
    assert written == (tmp_path / "runs" / "01_where.ipynb").resolve() and source.read_bytes() == before
    cells = nbformat.read(written, as_version=4).cells
    assert cells[-1].outputs[0].text.strip() == f"{sys.executable}|notebooks|course|5|../x"
    assert Path.cwd() == tmp_path
    assert capfd.readouterr().err == "", "kernels have much to say that is of no use to a reader"


@pytest.mark.notebooks
def test_a_failed_run_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_notebook(tmp_path / "02_fails.ipynb", "print('before')", "1 / 0", "print('after')")
    with pytest.raises(NotebookError, match=r"cell 3 of 02_fails\.ipynb failed: ZeroDivisionError.*runs/02_fails"):
        run_notebook(source, progress=False)
    kept = nbformat.read(tmp_path / "runs" / "02_fails.ipynb", as_version=4)
    texts = [output.get("text", "") for cell in kept.cells for output in cell.get("outputs", [])]
    assert "before\n" in texts and "after\n" not in texts
