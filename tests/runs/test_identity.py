"""The hash of a run: it changes with each thing that the result depends on, and with nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import huggingface_hub
import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_notebooks import write_notebook

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.runs.identity import installed_versions, revision, run_identity

PARAMETERS = """seed = 0
strength = 0.5
blocks = [3, 4]
name = "x"
figures = "figures"
threads = len("four")
odd = {1, 2}
nothing = None"""
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    (tmp_path / "requirements.lock").write_text("# for all\ntorch==2.13.0\n")
    return write_notebook(tmp_path / "notebooks" / "a.ipynb", "print(seed)", "print(name)", parameters=PARAMETERS)


def test_a_run_is_told_by_what_it_depends_on(notebook: Path) -> None:
    facts = run_identity(notebook, {"seed": 3})
    assert facts.parameters == {
        "seed": 3,
        "strength": 0.5,
        "blocks": [3, 4],
        "name": "x",
        "threads": 'len("four")',
        "odd": "{1, 2}",
        "nothing": None,
    }
    assert facts.given == {"seed": 3} and facts.draws_into_the_run
    assert set(facts.lock) == {"requirements.lock", "steer-utils"} and facts.models == {}
    assert re.fullmatch("[0-9a-f]{12}", facts.hash)
    said = facts.as_dict()
    assert json.loads(json.dumps(said)) == said and said["hash"] == facts.hash


def test_defaults_that_are_given_are_the_same_run(notebook: Path) -> None:
    same = run_identity(notebook, {}).hash
    assert run_identity(notebook, {"seed": 0, "blocks": (3, 4), "strength": 0.5, "nothing": None}).hash == same
    assert run_identity(notebook, {"strength": 1}).hash == run_identity(notebook, {"strength": 1.0}).hash != same
    assert run_identity(notebook, {"threads": None}).hash != same, "its default is computed, and is not None"


def test_where_figures_go_counts_only_if_it_is_given(notebook: Path) -> None:
    own, there = run_identity(notebook, {}), run_identity(notebook, {"figures": "figures"})
    assert "figures" not in own.parameters and there.parameters["figures"] == "figures" and own.hash != there.hash
    assert not there.draws_into_the_run
    assert not run_identity(write_notebook(notebook.with_name("b.ipynb"), parameters="seed = 0"), {}).draws_into_the_run


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(-1000, 1000),
        "strength": st.floats(-10, 10).map(lambda value: value + 0.0),  # -0.0 is 0.0
        "blocks": st.lists(st.integers(0, 9), max_size=3),
        "name": st.text(max_size=5),
    },
)
DEFAULTS = {"seed": 0, "strength": 0.5, "blocks": [3, 4], "name": "x"}


@QUICK
@given(one=VALUES, other=VALUES)
def test_equal_parameters_and_only_they_have_equal_hashes(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, Any], other: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "hashes" / "a.ipynb"
    if not path.exists():
        write_notebook(path, parameters=PARAMETERS)
    same = run_identity(path, one).hash == run_identity(path, other).hash
    assert same == ({**DEFAULTS, **one} == {**DEFAULTS, **other})


@QUICK
@given(data=st.data())
def test_only_what_is_executed_of_a_notebook_counts(notebook: Path, data: st.DataObject) -> None:
    before, there = run_identity(notebook, {}).hash, notebook.read_text()
    changed = nbformat.read(notebook, as_version=4)
    cell = changed.cells[data.draw(st.integers(1, 2))]
    executed = ["source", "tags", "type", "order"]
    kind = data.draw(st.sampled_from([*executed, "outputs", "count", "id", "metadata", "kernel"]))
    if kind == "source":
        cell.source += data.draw(st.sampled_from([" ", "\n", "# a remark"]))
    elif kind == "tags":
        cell.metadata["tags"] = [data.draw(st.sampled_from(["raises-exception", "nbval-skip"]))]
    elif kind == "type":
        changed.cells[1] = nbformat.v4.new_markdown_cell(changed.cells[1].source)
    elif kind == "order":
        changed.cells.append(changed.cells.pop(1))
    elif kind == "outputs":
        cell.outputs = [nbformat.v4.new_output("stream", text=data.draw(st.text(max_size=9)) + "x")]
    elif kind == "count":
        cell.execution_count = data.draw(st.integers(1, 99))
    elif kind == "id":
        cell.id = "another"
    elif kind == "metadata":
        cell.metadata["collapsed"] = True
    else:
        changed.metadata["kernelspec"]["display_name"] = "another"
    try:
        nbformat.write(changed, notebook)
        assert (run_identity(notebook, {}).hash != before) == (kind in executed)
    finally:
        notebook.write_text(there)


def test_the_lock_counts_and_its_remarks_do_not(notebook: Path, tmp_path: Path) -> None:
    lock, before = tmp_path / "requirements.lock", run_identity(notebook, {})
    lock.write_text("torch==2.13.0  # the same\n\n")
    assert run_identity(notebook, {}).hash == before.hash
    lock.write_text("torch==2.14.0\n")
    assert run_identity(notebook, {}).hash != before.hash
    lock.write_text("torch @ https://x.org/torch.whl#sha256=1\n")
    other = run_identity(notebook, {}).hash
    lock.write_text("torch @ https://x.org/torch.whl#sha256=2\n")
    assert run_identity(notebook, {}).hash != other, "a # within a line is no remark"


def test_without_a_lock_the_installed_versions_count(notebook: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "requirements.lock").unlink()
    before = run_identity(notebook, {})
    assert {"torch", "transformers", "numpy", "steer-utils"} <= set(before.lock)
    assert before.lock.items() <= installed_versions().items()
    monkeypatch.setattr("steer_utils.runs.identity.installed_version", lambda name: "0.0" if name == "numpy" else "1")
    assert run_identity(notebook, {}).hash != before.hash


# -- models --------------------------------------------------------------------------------------------------------
def folder_of_a_model(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "config.json").write_text('{"a": 1, "b": 2}')
    (path / "settings.json").write_text("{}")
    return path


def test_the_model_counts_as_it_is_in_its_folder(tmp_path: Path) -> None:
    """The path is the notebook's: it is read from the notebook's folder."""
    model = folder_of_a_model(tmp_path / "models" / "mine")
    path = write_notebook(tmp_path / "notebooks" / "a.ipynb", parameters='model = "x"\nother = ""')
    before = run_identity(path, {"model": "../models/mine"})
    assert set(before.models) == {"model"} and before.models["model"]["name"] == "../models/mine"
    (model / "config.json").write_text('{"b": 2,\n "a": 1}')
    (model / "evaluation.json").write_text("{}")
    assert run_identity(path, {"model": "../models/mine"}).hash == before.hash
    hashes = {before.hash}
    for name, text in (("model.safetensors", "other"), ("config.json", "{}"), ("settings.json", '{"strength": 2}')):
        (model / name).write_text(text)
        hashes.add(run_identity(path, {"model": "../models/mine"}).hash)
    assert len(hashes) == 4
    both = run_identity(path, {"model": "../models/mine", "other": "../models/mine"})
    assert set(both.models) == {"model", "other"}


def test_a_pocket_model_is_known_by_its_weights(tmp_path: Path) -> None:
    assert revision("pocket-qwen2-audio", tmp_path).startswith("sha256:")
    assert revision("pocket-qwen2-audio", tmp_path) != revision("pocket-audio-flamingo-3", tmp_path)
    path = write_notebook(tmp_path / "a.ipynb", parameters='model = "pocket-qwen2-audio"')
    with pytest.raises(CheckpointError, match="no pocket model 'pocket-nothing'; there are: pocket-qwen2-audio"):
        run_identity(path, {"model": "pocket-nothing"})


def test_a_hub_id_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert revision("some/model", tmp_path) == "unknown", "no network, nothing in the cache"
    here = tmp_path / "models--some--model"

    def download(name: str, file: str) -> str:
        (here / "snapshots" / "abc").mkdir(parents=True)
        (here / "snapshots" / "abc" / file).write_text("{}")
        (here / "refs").mkdir()
        (here / "refs" / "main").write_text("abc")
        return str(here / "snapshots" / "abc" / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert revision("some/model", tmp_path) == "commit abc", "learnt from the small file that the run needs anyway"
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("it is in the cache"))
    assert revision("some/model", tmp_path) == "commit abc"
    assert revision("not a name!", tmp_path) == "unknown"
