"""A run has a folder: complete it is not repeated, killed or failed it is taken up, and nobody else disturbs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest
from small_notebooks import write_notebook

from steer_utils.runs import folder as run_folder
from steer_utils.runs.folder import FIGURES, PARTIALS, RECORDED, RunFolder, RunFolderError, run_in_folder
from steer_utils.runs.notebooks import RUN_FOLDER, NotebookError

PARAMETERS = 'seed = 0\nfigures = "figures"'
Work = Callable[[Path, dict[str, Any]], None]


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "notebooks" / "a.ipynb", "print(seed)", parameters=PARAMETERS)


class Executions(list[dict[str, Any]]):
    """What was executed, with which parameters; `work` is what the notebook does in its folder."""

    work: Work = staticmethod(lambda folder, parameters: None)


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> Executions:
    """Execution without a kernel: the copy is the notebook, and `work` is done."""
    made = Executions()

    def execute(source: Path, target: Path, parameters: dict, *, environment: dict, **_: Any) -> None:
        made.append(parameters)
        target.write_bytes(source.read_bytes())
        made.work(Path(environment[RUN_FOLDER]), parameters)

    monkeypatch.setattr(run_folder, "execute", execute)
    return made


def report(run: RunFolder) -> dict[str, Any]:
    return json.loads((run.path / "run.json").read_text())


def fails(folder: Path, parameters: dict[str, Any]) -> None:
    (folder / RECORDED).write_text('{"of the failed one": 1}')
    raise NotebookError("cell 2 of a.ipynb failed: ZeroDivisionError")


def test_a_run_is_one_folder_with_all_that_belongs_to_it(
    notebook: Path, tmp_path: Path, executions: Executions
) -> None:
    def work(folder: Path, parameters: dict[str, Any]) -> None:
        assert json.loads((folder / "run.json").read_text())["status"] == "running"
        (folder / RECORDED).write_text('{"overlap": 0.92}')
        (folder / PARTIALS).mkdir()

    executions.work = work
    run = run_in_folder(notebook, {"seed": 3}, tmp_path / "runs")
    assert (run.status, run.ran, run.error) == ("complete", True, None)
    assert run.path.parent == tmp_path / "runs" and run.path.name == f"a-{report(run)['hash']}"
    assert executions == [{"seed": 3, "figures": str(run.path / FIGURES)}], "defaults are left to the notebook"
    assert {path.name for path in run.path.iterdir()} == {"notebook.ipynb", "result.json", "run.json", ".lock"}
    assert run.notebook.is_file() and run.figures == run.path / FIGURES

    said = report(run)
    assert (said["status"], said["attempt"], said["error"]) == ("complete", 1, None)
    assert said["parameters"] == {"seed": 3} and said["process"]["pid"] == os.getpid()
    assert said["started"] <= said["ended"] and {"python", "torch", "steer-utils"} <= set(said["versions"])
    result = run.result()
    assert result["recorded"] == {"overlap": 0.92} and result["parameters"] == {"seed": 3}
    assert result["seconds"] >= 0 and result["versions"] == said["versions"] and result["hash"] == said["hash"]


def test_a_notebook_that_records_nothing_has_a_result(notebook: Path, tmp_path: Path, executions: Executions) -> None:
    result = run_in_folder(notebook, {}, tmp_path).result()
    assert result["recorded"] == {} and result["parameters"] == {"seed": 0}


def test_figures_go_where_they_are_told(notebook: Path, tmp_path: Path, executions: Executions) -> None:
    run_in_folder(notebook, {"figures": "figures"}, tmp_path)
    run_in_folder(write_notebook(tmp_path / "none.ipynb"), {}, tmp_path)
    assert executions == [{"figures": "figures"}, {}]


# -- once is enough ------------------------------------------------------------------------------------------------
def test_a_complete_run_is_not_repeated(notebook: Path, tmp_path: Path, executions: Executions) -> None:
    first = run_in_folder(notebook, {"seed": 3}, tmp_path / "runs")
    before = {path: path.read_bytes() for path in first.path.iterdir()}
    second = run_in_folder(notebook, {"seed": 3}, tmp_path / "runs")
    assert second == RunFolder(first.path, "complete", ran=False) and len(executions) == 1
    assert {path: path.read_bytes() for path in first.path.iterdir()} == before
    other = run_in_folder(notebook, {"seed": 4}, tmp_path / "runs")
    assert other.ran and other.path != first.path


def test_again_repeats_it_from_nothing(notebook: Path, tmp_path: Path, executions: Executions) -> None:
    run = run_in_folder(notebook, {}, tmp_path)
    (run.path / PARTIALS).mkdir()
    (run.path / PARTIALS / "table.partial").write_text("of before")
    executions.work = lambda folder, _: pytest.fail("old partials") if (folder / PARTIALS).exists() else None
    repeated = run_in_folder(notebook, {}, tmp_path, again=True)
    assert repeated.ran and repeated.path == run.path and report(repeated)["attempt"] == 2


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        ("notebook.ipynb", None),
        ("result.json", None),
        ("run.json", None),
        ("result.json", '{"recor'),
        ("run.json", '{"status": "compl'),
        ("run.json", "[]"),
    ],
)
def test_what_is_no_longer_whole_is_run_again(
    lost: str, left: str | None, notebook: Path, tmp_path: Path, executions: Executions
) -> None:
    run = run_in_folder(notebook, {}, tmp_path)
    (run.path / lost).unlink()
    if left is not None:
        (run.path / lost).write_text(left)
    assert run_in_folder(notebook, {}, tmp_path).ran
    assert run_in_folder(notebook, {}, tmp_path).status == "complete" and len(executions) == 2


# -- failures ------------------------------------------------------------------------------------------------------
def test_a_failed_run_stays_visible_and_is_tried_again(notebook: Path, tmp_path: Path, executions: Executions) -> None:
    executions.work = fails
    run = run_in_folder(notebook, {}, tmp_path)
    assert (run.status, run.ran) == ("failed", True) and run.error == "cell 2 of a.ipynb failed: ZeroDivisionError"
    assert report(run)["status"] == "failed" and report(run)["error"] == run.error and run.notebook.is_file()
    assert not (run.path / "result.json").exists()
    with pytest.raises(RunFolderError, match="has no result: it is failed"):
        run.result()

    (run.path / PARTIALS).mkdir()
    executions.work = lambda folder, _: None if (folder / PARTIALS).exists() else pytest.fail("partials are gone")
    told: list[str] = []
    mended = run_in_folder(notebook, {}, tmp_path, tell=told.append)
    assert (mended.status, mended.ran, mended.path) == ("complete", True, run.path)
    assert mended.result()["recorded"] == {}, "what the failed attempt recorded is not of this one"
    assert "a failed before and is taken up" in told[0] and report(mended)["attempt"] == 2


def test_a_complete_run_that_fails_when_repeated_is_failed(
    notebook: Path, tmp_path: Path, executions: Executions
) -> None:
    run_in_folder(notebook, {}, tmp_path)
    executions.work = fails
    run = run_in_folder(notebook, {}, tmp_path, again=True)
    assert run.status == "failed" and not (run.path / "result.json").exists(), "no result beside another notebook"


def test_what_is_no_fault_of_the_notebook_is_raised_and_written_down(
    notebook: Path, tmp_path: Path, executions: Executions
) -> None:
    def full(folder: Path, parameters: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    executions.work = full
    with pytest.raises(OSError, match="No space left"):
        run_in_folder(notebook, {}, tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.name.startswith("a-"))
    written = json.loads((folder / "run.json").read_text())
    assert written["status"] == "failed" and "No space left" in written["error"]
    executions.work = lambda folder, parameters: None
    assert run_in_folder(notebook, {}, tmp_path).status == "complete", "its lock was let go"


def test_refused_before_anything_starts(notebook: Path, tmp_path: Path, executions: Executions) -> None:
    with pytest.raises(ValueError, match="has no parameter sede"):
        run_in_folder(notebook, {"sede": 1}, tmp_path / "runs")
    with pytest.raises(ValueError, match=r"seed of .* is int"):
        run_in_folder(notebook, {"seed": "1"}, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunFolderError, match=r"runs cannot go to .*runs: .*; pass a folder"):
        run_in_folder(notebook, {}, tmp_path / "runs")
    assert executions == []


# -- two at once, and kills ----------------------------------------------------------------------------------------
def test_the_second_of_two_at_once_keeps_away(notebook: Path, tmp_path: Path, executions: Executions) -> None:
    seen: list[RunFolder] = []

    def meanwhile(folder: Path, parameters: dict[str, Any]) -> None:
        before = (folder / "run.json").read_bytes()
        seen.extend(run_in_folder(notebook, {}, tmp_path, again=again) for again in (False, True))
        assert (folder / "run.json").read_bytes() == before

    executions.work = meanwhile
    run = run_in_folder(notebook, {}, tmp_path)
    assert len(executions) == 1 and run.status == "complete"
    for other in seen:
        assert (other.path, other.status, other.ran) == (run.path, "running", False)
        assert f"it is being run by process {os.getpid()} on " in str(other.error)


RUNNER = """
import sys
from pathlib import Path
from steer_utils.runs.folder import run_in_folder
run_in_folder(Path(sys.argv[1]), {}, Path(sys.argv[2]), progress=False)
"""

LONG = """import os, time
from pathlib import Path
from steer_utils.course import lessons
from steer_utils.study.resume import resumable_rows
lesson = lessons.begin("smoke", figures)
here = Path(figures).parents[2]  # of the test

def rows_of(unit):
    with (here / "log").open("a") as log:
        log.write(f"{unit} {os.getpid()}\\n")
    while unit == 2 and not (here / "go on").exists():
        time.sleep(0.05)
    return [{"unit": unit}]

rows = resumable_rows(4, rows_of, {"seed": seed}, resume_file=lesson.resume_file("rows"))
lesson.record("units", len(rows))"""


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Waits until something is so, for three minutes; what waits in a kernel goes on at the end."""

    def wait(so: Callable[[], bool]) -> None:
        until = time.monotonic() + 180
        while not so():
            assert time.monotonic() < until, "it never came so far"
            time.sleep(0.05)

    yield wait
    (tmp_path / "go on").touch()


def _gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rsplit(")")[-1].split()[0] == "Z"


@pytest.mark.notebooks
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, waiting: Callable[[Callable[[], bool]], None]) -> None:
    """kill -9 in the third of four units; then the same run again, from a thread as Dask's workers do."""
    source, out = write_notebook(tmp_path / "a.ipynb", LONG, parameters=PARAMETERS), tmp_path / "runs"
    log = tmp_path / "log"
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(source), str(out)], stderr=subprocess.DEVNULL)
    try:
        waiting(lambda: log.exists() and log.read_text().count("\n") == 3)
        other = run_in_folder(source, {}, out, progress=False)
        assert (other.status, other.ran) == ("running", False) and f"process {runner.pid} on" in str(other.error)
    finally:
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
    assert report(other)["status"] == "running", "nobody was left to say otherwise"
    waiting(lambda: _gone(int(log.read_text().split()[1])))  # the kernel looks every second whether it was left alone

    (tmp_path / "go on").touch()
    here, told = Path.cwd(), list[str]()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_in_folder, source, {}, out, progress=False, tell=told.append).result()
    assert (run.status, run.ran, run.path) == ("complete", True, other.path)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["0", "1", "2", "2", "3"]
    assert run.result()["recorded"] == {"units": 4} and report(run)["attempt"] == 2
    assert "a was cut off before and is taken up" in told[0]
    assert run.figures.is_dir() and not (run.path / PARTIALS).exists() and Path.cwd() == here
    assert str(run.figures) in json.dumps(nbformat.read(run.notebook, as_version=4).cells[1].source)
    assert run_in_folder(source, {}, out, progress=False) == RunFolder(run.path, "complete", ran=False)
