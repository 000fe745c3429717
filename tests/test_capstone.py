"""The capstone: starter and sample report share their given code, are executed, and run on other parameters."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

from steer_utils.course.exercises import blanked, tags

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks" / "capstone"
STARTER, REPORT = (FOLDER / f"mediation_{name}.ipynb" for name in ("starter", "report"))
BOTH = pytest.mark.parametrize("path", [STARTER, REPORT], ids=lambda path: path.stem)


def code(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@BOTH
def test_it_is_executed_and_says_what_it_is_for(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert re.match(r"# Capstone · ", notebook.cells[0].source) and path.stat().st_size < 1_000_000
    for part in ("**After this notebook you can**", "**Time**", "**You need**", "> **Predict.**"):
        assert part in notebook.cells[0].source + notebook.cells[3].source
    cells = code(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs and not [
        output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert str(ROOT) not in nbformat.writes(notebook)
    for target in re.findall(r"\]\(([^)#]+)", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")):
        assert target.startswith("https://") or (FOLDER / target).exists(), target


def test_the_starter_is_given_the_reports_code_without_its_solution() -> None:
    report = [cell.source for cell in code(REPORT)]
    solved = next(cell.source for cell in code(REPORT) if "solution" in tags(cell))
    given = [cell.source for cell in code(STARTER)]
    assert blanked(solved) in given and solved not in given
    own = [source for source in given if not any(whole.startswith(source) for whole in (*report, blanked(solved)))]
    assert len(own) == 1 and "your conditions" in own[0], "one cell is the starter's own: the skeleton"
    for source in given:
        ast.parse(source)


def test_the_rubric_adds_up() -> None:
    text = nbformat.read(STARTER, as_version=4).cells[-1].source
    assert sum(map(int, re.findall(r"^\| (\d+) \|", text, re.MULTILINE))) == 100


def test_what_the_report_says_is_what_it_printed() -> None:
    """The numbers of its findings stand in its outputs."""
    cells = nbformat.read(REPORT, as_version=4).cells
    printed = " ".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    findings = " ".join(c.source for c in cells if c.cell_type == "markdown" and "**Finding" in c.source)
    findings = findings.split("## Limits")[0]
    numbers = set(re.findall(r"[+-]?\d+\.\d|\d+(?= %)", findings))
    rounded = {f"{float(number):+.1f}" for number in re.findall(r"[+-]\d+\.\d+", printed)}
    shown = rounded | {number.lstrip("+") for number in rounded} | set(re.findall(r"\d+(?=%)", printed)) | {"-0.0"}
    assert len(numbers) > 12 and numbers <= shown, numbers - shown


@pytest.mark.notebooks
@pytest.mark.slow
@BOTH
def test_it_runs_with_other_parameters(path: Path, tmp_path: Path) -> None:
    import papermill

    parameters = {"preset": "smoke", "model": "pocket-audio-flamingo-3", "figures": str(tmp_path / "figures")}
    papermill.execute_notebook(path, tmp_path / path.name, parameters=parameters, progress_bar=False, cwd=str(tmp_path))
    assert (path == STARTER) or (tmp_path / "figures" / "capstone_mediation.png").is_file()
