"""The parameters of notebooks: read from a command line or a file, checked against the defaults."""

from __future__ import annotations

import json
import ntpath
import os
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from papermill.parameterize import parameterize_path
from small_notebooks import write_notebook

from steer_utils.runs.parameters import (
    as_plain,
    checked_parameters,
    full_parameters,
    known_parameters,
    papermill_path,
    parsed_parameters,
    read_parameters,
    short_path,
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
    ({"clips": "caf\udce9.wav"}, r"clips is 'caf.*'; pass letters that UTF-8 has"),
    ({"anything": ["\ud800"]}, "pass letters that UTF-8 has"),
    ({"preset": "smok"}, "preset is 'smok'; pass one of smoke, course, paper"),
]


@pytest.mark.parametrize(("given_values", "message"), REFUSED)
def test_bad_parameters_are_refused(notebook: Path, given_values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_parameters(notebook, given_values)


def test_what_is_no_notebook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no notebook"):
        known_parameters(tmp_path / "none.ipynb")
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(ValueError, match="is not a notebook that can be run"):
        known_parameters(tmp_path / "broken.ipynb")


def test_values_become_what_papermill_can_write(notebook: Path) -> None:
    found = checked_parameters(
        notebook,
        {"seed": np.int64(3), "strength": 1, "blocks": (1, np.int32(2)), "clips": Path("a/b"), "anything": {"k": (1,)}},
    )
    assert found == {"seed": 3, "strength": 1, "blocks": [1, 2], "clips": "a/b", "anything": {"k": [1]}}
    assert type(found["seed"]) is int and json.dumps(found)


def test_typed_text_is_read_as_the_default_is(notebook: Path) -> None:
    typed = {"seed": "3", "strength": "1e-2", "blocks": "[1, 2]", "quick": "true", "clips": "1_0", "anything": "none"}
    assert parsed_parameters(notebook, typed) == {
        "seed": 3,
        "strength": 0.01,
        "blocks": [1, 2],
        "quick": True,
        "clips": "1_0",
        "anything": None,
    }
    assert parsed_parameters(notebook, {"anything": "['a1_0', 0.1]"}) == {"anything": ["a1_0", 0.1]}
    assert known_parameters(notebook)["blocks"] == [3, 4]


@pytest.mark.parametrize(
    "text", ["1_0", "0x10", "[1, 0b1]", "{[]: 1}", "{{}}", "[" * 300, "-" * 50_000 + "1", "(" * 90 + "1"]
)
def test_text_that_python_cannot_take_for_a_value_stays_text(notebook: Path, text: str) -> None:
    assert parsed_parameters(notebook, {"seed": text}) == {"seed": text}
    with pytest.raises(ValueError, match=r"seed of .* is int"):
        checked_parameters(notebook, {"seed": text})
    path = write_notebook(notebook.with_name("02_odd.ipynb"), parameters=f"odd = {text[:200]}\nseed = 0")
    assert known_parameters(path)["seed"] == 0


def test_text_is_read_and_never_run(notebook: Path) -> None:
    trap = notebook.with_name("trap")
    code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    path = write_notebook(notebook.with_name("03_trap.ipynb"), parameters=f"seed = {code}\nclips = 'a'")
    assert known_parameters(path) == {"seed": None, "clips": "a"} and full_parameters(path, {})["seed"] == code
    assert parsed_parameters(notebook, {"seed": code, "anything": code}) == {"seed": code, "anything": code}
    assert not trap.exists()


def test_every_parameter_has_a_value(notebook: Path) -> None:
    """Also those whose default no json holds; a whole number for a float is that float."""
    source = 'seed = 0\nstrength = 0.5\nthreads = len("four")\nodd = {1, 2}\npair = (1, 2)\nanything = None'
    path = write_notebook(notebook.with_name("01_more.ipynb"), parameters=source)
    assert full_parameters(path, {}) == {
        "seed": 0,
        "strength": 0.5,
        "threads": 'len("four")',
        "odd": "{1, 2}",
        "pair": [1, 2],
        "anything": None,
    }
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
        ("p.yaml", "on: 3", "yaml takes on for true"),
        ("p.yaml", "true: 3", "has the name True, which is no text; write names in quotes"),
        ("p.yaml", "seed: 010", "line 1: yaml takes 010 for 8"),
        ("p.yaml", "seed: 1\nseed: 2\n", "has seed twice"),
        ("p.json", '{"seed": 1, "clips": {"a": 1, "a": 2}}', "has a twice"),
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


def test_paths_are_short_within_the_current_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert short_path(tmp_path / "here" / "runs" / "a") == "runs/a"
    assert short_path(tmp_path / "there") == str(tmp_path / "there")


def test_a_path_on_another_drive_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows there is no way from one drive to another."""
    monkeypatch.setattr(os.path, "relpath", ntpath.relpath)
    monkeypatch.setattr(os, "getcwd", lambda: "C:\\course")
    assert short_path(PureWindowsPath("D:/runs/a.ipynb")) == "D:\\runs\\a.ipynb"  # type: ignore[arg-type]
    assert short_path(PureWindowsPath("C:/course/runs/a.ipynb")) == "runs\\a.ipynb"  # type: ignore[arg-type]


@given(st.text(max_size=20), st.dictionaries(st.sampled_from(("seed", "x", "0")), st.integers()))
def test_braces_of_a_path_are_its_own(path: str, given_values: dict[str, int]) -> None:
    """papermill puts parameters into paths."""
    assert parameterize_path(papermill_path(path), given_values) == path  # type: ignore[arg-type]


def test_a_notebook_whose_name_has_braces(tmp_path: Path) -> None:
    (tmp_path / "{x}").mkdir()
    assert known_parameters(write_notebook(tmp_path / "{x}" / "a{seed}.ipynb", parameters="seed = 3")) == {"seed": 3}
