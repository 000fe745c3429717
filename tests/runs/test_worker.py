"""A unit that is a notebook: its run in a folder of its own, what it recorded as a row, its failure told."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pandas as pd
import pytest

from steer_utils.runs.executors import SerialExecutor
from steer_utils.runs.grids import as_grid
from steer_utils.runs.planning import plan_sweep
from steer_utils.runs.sweep import Sweep, run_sweep
from steer_utils.runs.sweep_results import recorded_summary, results_text, tidy, write_results
from steer_utils.runs.worker import notebook_table

RECORD = (
    "import json, os, pathlib\n"
    "assert seed != 13, 'unlucky'\n"
    "there = pathlib.Path(os.environ['STEER_UTILS_RUN'], 'recorded.json')\n"
    "there.write_text(json.dumps({'overlap': 0.5 + 0.1 * seed, 'event': 'bell', 'window': [1, 2]}))\n"
)


def test_a_sweep_of_a_notebook(tmp_path: Path) -> None:
    """Three kernels: two that record, one that fails and keeps its folder."""
    cells = [nbformat.v4.new_code_cell("seed = 0\nwidths = [1.0]"), nbformat.v4.new_code_cell(RECORD)]
    cells[0].metadata["tags"] = ["parameters"]
    made = nbformat.v4.new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(made, tmp_path / "lesson.ipynb")
    grid = as_grid({"notebook": str(tmp_path / "lesson.ipynb"), "seeds": [1, 13, 2], "parameters": {"widths": [[0.5]]}})
    sweep = Sweep.started(plan_sweep(grid).units, grid, tmp_path / "out")
    outcomes = list(run_sweep(sweep, SerialExecutor()))

    assert [bool(one.error) for one in outcomes] == [False, True, False]
    assert "RuntimeError" in outcomes[1].error and "unlucky" in outcomes[1].error
    assert outcomes[0].value == {"overlap": None}  # there is nothing to choose
    table = tidy(sweep)
    assert table["seed"].tolist() == [1, 2] and table["overlap"].tolist() == [0.6, 0.7]
    assert table["parameter widths"].tolist() == ["[0.5]"] * 2 and table["window"].tolist() == ["[1, 2]"] * 2
    assert all((sweep.folder / "runs" / name / "notebook.ipynb").is_file() for name in table["run"])

    (overlap,) = recorded_summary(table).query("recorded == 'overlap'").to_dict("records")
    half = 12.7062 * 0.1 / 2  # t of one degree of freedom, times the standard error of 0.6 and 0.7
    assert overlap["mean"] == pytest.approx(0.65) and overlap["seeds"] == 2
    assert [overlap["seed_low"], overlap["seed_high"]] == pytest.approx([0.65 - half, 0.65 + half], abs=1e-4)
    assert "2 of 3 units are finished, 1 failed" in results_text(table)
    assert [path.name for path in write_results(table, tmp_path)] == ["results.parquet", "results.csv", "summary.csv"]
    assert len(pd.read_csv(tmp_path / "results.csv")) == 2


def test_a_run_that_another_process_has_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steer_utils.runs import folder

    busy = folder.RunFolder(tmp_path, "running", ran=False, error="it is being run by 7 on host")
    monkeypatch.setattr(folder, "run_in_folder", lambda *_, **__: busy)
    with pytest.raises(RuntimeError, match="it is being run by 7 on host"):
        notebook_table({"notebook": "a.ipynb", "parameters": {}}, tmp_path / "runs")
