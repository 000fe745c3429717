"""`sweep`, `results` and `compare` as they are typed; a client that is killed with -9 loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from command_line import invoke, refused
from distributed import LocalCluster
from sweep_work import SIX
from watched_work import stopped

import steer_utils.runs.clusters
import steer_utils.runs.executors
import steer_utils.runs.worker
from steer_utils.cli import sweep as sweep_cli
from steer_utils.runs.executors import RESOURCE
from steer_utils.runs.grids import as_grid
from steer_utils.runs.measuring import steering_table


@pytest.fixture
def grid(six_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid file in the current folder."""
    monkeypatch.chdir(tmp_path)
    return written(tmp_path / "grid.yaml", six_classes)


def written(path: Path, model: Path, **changes: Any) -> Path:
    found = {
        "models": [str(model)],
        "seeds": [0, 1],
        "scenes": 2,
        "blocks": ["early", 1],
        "strengths": [2, 8],
        "split": {"development": list(SIX[:3])},
    }
    path.write_text(yaml.safe_dump({**found, **changes}))
    return path


# -- sweep -----------------------------------------------------------------------------------------------------------
def test_a_sweep_its_results_and_a_second_call(grid: Path, six_classes: Path) -> None:
    result = invoke("sweep", grid, "--workers", 0)
    assert result.exit_code == 0, result.output
    where = grid.parent / "sweeps" / "grid"
    assert result.stdout == f"2 units: 2 ran, 0 were there already, 0 failed. Next: steer-utils results {where}\n"
    assert "10 settings a query, controls among them" in result.stderr and "(2 of 2 done, 0 failed)" in result.stderr
    again = invoke("sweep", grid, "--workers", 0)
    assert again.exit_code == 0 and "0 ran, 2 were there already" in again.stdout

    told = invoke("results", where)
    assert told.exit_code == 0, told.output
    assert "2 of 2 units are finished, 0 failed" in told.stdout and "chosen out of 4" in told.stdout
    names = ("results.parquet", "results.csv", "summary.csv", "best.csv", "overlap.png", "overlap.svg")
    assert all((where / name).is_file() and name in told.stderr for name in names)
    assert len(pd.read_parquet(where / "results.parquet")) == 2 * 2 * 2 * 3 * 10
    assert json.loads(invoke("results", where, "--json").stdout)["best"][0]["model"] == str(six_classes)

    compared = invoke("compare", where, where)
    assert compared.exit_code == 0 and "paired by query" in compared.stdout and "chosen setting" in compared.stdout
    assert len(json.loads(invoke("compare", where, where, "--json").stdout)["rows"]) == 11


def test_several_questions_are_drawn_each(grid: Path, six_classes: Path) -> None:
    written(grid, six_classes, questions=["How many?", "Describe the sound."], seeds=[0], scenes=1)
    assert invoke("sweep", grid, "--workers", 0, "--out", "asked").exit_code == 0
    assert invoke("results", "asked").exit_code == 0
    assert sorted(path.name for path in Path("asked").glob("*.png")) == ["overlap_1.png", "overlap_2.png"]


def test_a_failed_unit_is_counted_and_tried_again(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(lm: Any, unit: dict[str, Any], resume_file: Path) -> Any:
        if unit["seed"] == 1:
            raise OSError("disk full")
        return steering_table(lm, unit, resume_file)

    monkeypatch.setattr(steer_utils.runs.worker, "steering_table", failing)
    result = invoke("sweep", grid, "--workers", 0, "--out", "out")
    assert result.exit_code == 1 and "1 ran, 0 were there already, 1 failed" in result.stdout
    (kept,) = Path("out/failed").iterdir()
    assert f"failed: {kept.stem}: OSError: disk full (traceback: {kept.resolve()})" in result.stderr
    assert any("in failing" in line for line in json.loads(kept.read_text())["traceback"])
    assert "1 of 2 units are finished, 1 failed" in invoke("results", "out").stdout
    monkeypatch.undo()
    os.chdir(grid.parent)
    again = invoke("sweep", grid, "--workers", 0, "--out", "out")
    assert again.exit_code == 0 and "1 ran, 1 were there already, 0 failed" in again.stdout


def test_ctrl_c_says_how_to_go_on(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.runs.worker, "steering_table", stopped)
    result = invoke("sweep", grid, "--workers", 0)
    assert result.exit_code == 130 and "stopped: the same command goes on from here" in result.stderr


@pytest.mark.slow
def test_a_client_that_is_killed_loses_nothing(six_classes: Path, tmp_path: Path) -> None:
    """kill -9 within a unit: finished ones stay, of the one that was cut off at most one scene is lost, and the table
    is that of a run that was not killed. (With workers: `tests/runs`.)"""
    grid, out = written(tmp_path / "grid.yaml", six_classes, scenes=5, seeds=[0, 1, 2, 3]), tmp_path / "out"
    program = "from steer_utils.cli.main import main; main()"
    command = [sys.executable, "-c", program, "sweep", str(grid), "--workers", "0", "--out", str(out)]
    client = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    eventually(lambda: visible(out / "units") and any(scenes_in(path) >= 2 for path in begun(out)))
    client.kill()
    client.wait()
    stamps = {path: path.stat().st_mtime_ns for path in visible(out / "units")}
    (cut_off,) = begun(out)
    finished = scenes_in(cut_off)
    assert 1 <= len(stamps) <= 3 and 2 <= finished < 10

    heard: list[int] = []
    measuring = steer_utils.runs.measuring
    whole = measuring._scene_rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "_scene_rows", lambda *given: heard.append(given[-1]) or whole(*given))
        result = invoke("sweep", grid, "--workers", 0, "--out", out)
    assert f"{4 - len(stamps)} ran, {len(stamps)} were there already, 0 failed" in result.stdout
    assert len(heard) == 10 * (4 - len(stamps)) - finished
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert invoke("sweep", grid, "--workers", 0, "--out", tmp_path / "whole").exit_code == 0
    for path in visible(out / "units"):
        left, right = pd.read_parquet(path), pd.read_parquet(tmp_path / "whole" / "units" / path.name)
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def visible(folder: Path) -> list[Path]:
    """The files that are whole."""
    return [path for path in folder.glob("*") if not path.name.startswith(".")]


def begun(out: Path) -> list[Path]:
    """What is kept of units that have not ended."""
    ended = {path.stem for path in visible(out / "units")}
    return [path for path in visible(out / "partial") if path.stem not in ended]


def scenes_in(resume_file: Path) -> int:
    """Whole lines after that of facts."""
    try:
        return max(0, resume_file.read_bytes().count(b"\n") - 1)
    except FileNotFoundError:  # the unit has just ended
        return 0


def eventually(found: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


# -- where it runs ---------------------------------------------------------------------------------------------------
def test_a_scheduler_is_used_and_its_dashboard_named(grid: Path, six_classes: Path) -> None:
    written(grid, six_classes, seeds=[0], scenes=1)
    with LocalCluster(n_workers=1, threads_per_worker=1, resources={RESOURCE: 1}, dashboard_address=":0") as cluster:
        result = invoke("sweep", grid, "--scheduler", cluster.scheduler_address, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "1 ran, 0 were there already, 0 failed" in result.stdout and "note: dashboard: http://" in result.stderr


def test_large_models_get_a_worker_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the cores would each load 7B."""
    base = {"seeds": 0, "scenes": 1, "blocks": "all", "strengths": 2}
    names = ("pocket-qwen2-audio", "Qwen/Qwen2-Audio-7B-Instruct")
    pocket, large = (as_grid({**base, "models": name}) for name in names)
    monkeypatch.setattr(sweep_cli, "usable_cores", lambda: 16)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert sweep_cli._gpus(pocket) == () and sweep_cli._default_workers(pocket, ()) == 8
    assert sweep_cli._gpus(large) == ("0", "1", "2", "3") and sweep_cli._default_workers(large, ("0", "1")) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert sweep_cli._gpus(large) == ("2", "3")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert sweep_cli._gpus(large) == () and sweep_cli._default_workers(large, ()) == 1


# -- refusals --------------------------------------------------------------------------------------------------------
def test_what_cannot_be_used_is_refused_before_any_work(
    grid: Path, six_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steer_utils.runs.worker, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    monkeypatch.setattr(steer_utils.runs.clusters, "TIMEOUT", 0.5)
    refused(invoke("sweep", "nowhere.yaml"), "cannot read a grid from 'nowhere.yaml'")
    refused(invoke("sweep", grid, "--workers", -1), "workers is -1")
    refused(invoke("sweep", grid, "--workers", 1, "--scheduler", "tcp://a:1"), "pass one of --workers, --scheduler")
    refused(invoke("sweep", grid, "--scheduler", "tcp://a:1"), "pass --out with a folder that all machines")
    refused(invoke("sweep", grid, "--scheduler", "tcp://127.0.0.1:9", "--out", "out"), "no Dask scheduler answers")
    refused(invoke("sweep", grid, "--slurm", "none.yaml", "--out", "out"), "cannot read a profile")
    (grid.parent / "thesis").mkdir()
    (grid.parent / "thesis" / "text").touch()
    refused(invoke("sweep", grid, "--out", "thesis"), "is not empty and holds no sweep")
    written(grid, six_classes, blocks=[7])
    refused(invoke("sweep", grid), "blocks has 7, but ")
    refused(invoke("results", "thesis"), "holds no sweep that can be read")
    refused(invoke("results", "thesis", "--write", "a.md"), "--write is for the table of the pocket models")
    refused(invoke("results", "--json"), "--json is for a sweep")
    refused(invoke("compare", "thesis", "thesis"), "holds no sweep that can be read")


def test_results_without_a_folder_is_the_table_of_the_pocket_models(tmp_path: Path) -> None:
    assert invoke("results").stdout.startswith("| overlap, % |")
    page = tmp_path / "page.md"
    page.write_text("<!-- results: begin --><!-- results: end -->")
    written_ = invoke("results", "--write", page)
    assert written_.exit_code == 0 and "is up to date" in written_.stderr and "| overlap, % |" in page.read_text()
