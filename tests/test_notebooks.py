"""The notebooks as a reader meets them: committed executed, and running from top to bottom to the same outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SKIPPED = {"nbval-ignore-output", "nbval-skip", "raises-exception"}
LARGEST = 1_000_000  # bytes
LEAST_COMPARED = 0.6


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["00_start_here.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_small_and_valid(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    nbformat.validate(nbformat.read(path, as_version=4))


def test_executed_in_order_without_errors(notebook: nbformat.NotebookNode) -> None:
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]


def test_one_parameters_cell(notebook: nbformat.NotebookNode) -> None:
    assert sum("parameters" in tags(cell) for cell in code_cells(notebook)) == 1


def test_enough_outputs_are_compared(notebook: nbformat.NotebookNode) -> None:
    with_output = [cell for cell in code_cells(notebook) if cell.outputs]
    compared = [cell for cell in with_output if not tags(cell) & SKIPPED]
    assert len(compared) / len(with_output) >= LEAST_COMPARED


def test_figures_have_alt_text_and_a_caption(notebook: nbformat.NotebookNode) -> None:
    figures = 0
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                figures += 1
                assert len(output.metadata.get("image/png", {}).get("alt", "")) > 40
                printed = "".join(each.get("text", "") for each in cell.outputs if each.output_type == "stream")
                assert printed.strip(), "a figure needs its caption printed under it"
    assert figures


def test_links_are_well_formed(notebook: nbformat.NotebookNode) -> None:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            assert re.fullmatch(r"https://[\w.-]+(/[\w./-]*)?", target), target
        else:
            assert (ROOT / "notebooks" / target).exists(), target


def test_nothing_of_this_machine_is_in_it(notebook: nbformat.NotebookNode) -> None:
    assert str(ROOT) not in json.dumps(notebook) and str(Path.home()) not in json.dumps(notebook)


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nbval(path: Path, tmp_path: Path) -> None:
    """Run again in a fresh kernel; every output that can be compared is as committed (nbval, strict)."""
    copy = tmp_path / "notebooks" / path.name  # its figures must not replace the committed ones
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "-p", "no:cacheprovider",
               "--nbval-cell-timeout=600", "--rootdir", str(tmp_path), str(copy)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.notebooks
@pytest.mark.parametrize("model", ["pocket-qwen2-audio", "pocket-audio-flamingo-3"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_with_other_parameters(path: Path, model: str, tmp_path: Path) -> None:
    """papermill, the smoke preset, another scene and query, either model."""
    import papermill

    parameters = {"preset": "smoke", "model": model, "events": "helicopter, bird, alarm", "query": "bird",
                  "figures": str(tmp_path / "figures")}  # fmt: skip
    out = tmp_path / path.name
    papermill.execute_notebook(path, out, parameters=parameters, progress_bar=False, cwd=str(tmp_path))
    outputs = [output for cell in nbformat.read(out, as_version=4).cells for output in cell.get("outputs", [])]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert len(list((tmp_path / "figures").glob("*.png"))) >= 2
