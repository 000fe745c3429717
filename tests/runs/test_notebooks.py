"""Notebooks executed: refused before anything starts, kept when they fail; kernels that do not come up start again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipykernel.kernelspec
import nbformat
import papermill
import pytest
import zmq
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.parameterize import parameterize_path
from small_notebooks import write_notebook

from steer_utils.runs.folder import run_in_folder
from steer_utils.runs.notebooks import RUN_FOLDER, STARTS, NotebookError, execute, run_notebook


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "a.ipynb", "print(seed)")


def kernels_that_fail(monkeypatch: pytest.MonkeyPatch, count: int, log: Path) -> None:
    """The first `count` kernels end before they answer, as one does whose port was taken."""
    code = (
        f"import os, sys; log = {str(log)!r}; open(log, 'a').write('start\\n')\n"
        f"if len(open(log).readlines()) <= {count}: sys.exit('Address already in use')\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'ipykernel_launcher', *sys.argv[1:]])"
    )
    spec = {"argv": [sys.executable, "-c", code, "-f", "{connection_file}"], "display_name": "x", "language": "python"}
    monkeypatch.setattr(ipykernel.kernelspec, "get_kernel_dict", lambda: spec)


@pytest.mark.notebooks
def test_a_kernel_that_does_not_start_is_started_again_and_a_failing_cell_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a run with a folder, which keeps the notebook as far as it came."""
    log, told = tmp_path / "log", list[str]()
    kernels_that_fail(monkeypatch, 1, log)
    source = write_notebook(tmp_path / "a.ipynb", "print('before')", "1 / 0", "print('after')")
    run = run_in_folder(source, {}, tmp_path / "runs", progress=False, tell=told.append)
    assert log.read_text().count("start") == 2, "one failed start, one kernel, and none for the cell that failed"
    assert len(told) == 1 and "a.ipynb did not start" in told[0] and told[0].endswith(f"again, 2 of {STARTS}")
    assert run.status == "failed" and run.ran and run.error is not None
    assert "cell 3 of a.ipynb failed: ZeroDivisionError: division by zero" in run.error
    cells = nbformat.read(run.notebook, as_version=4).cells
    texts = [output.get("text", "") for cell in cells for output in cell.get("outputs", [])]
    assert "before\n" in texts and "after\n" not in texts


@pytest.mark.notebooks
def test_three_failed_starts_are_a_failed_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    kernels_that_fail(monkeypatch, 99, tmp_path / "log")
    with pytest.raises(NotebookError, match=r"no kernel started for a\.ipynb, tried 3 times: Kernel died"):
        execute(notebook, tmp_path / "out.ipynb", {}, progress=False, tell=told.append)
    assert (tmp_path / "log").read_text().count("start") == STARTS and len(told) == STARTS - 1


# -- with papermill replaced ---------------------------------------------------------------------------------------
@pytest.fixture
def papermill_that(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """papermill whose calls raise these in turn (None: nothing), with a kernel up or not. Gives the list of calls."""

    def replaced(*problems: Exception | None, started: bool = False) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def execute_notebook(source: str, target: str, **options: Any) -> None:
            calls.append({"source": source, "target": target, **options})
            if started:
                options["on_notebook_start"](notebook=None)
            if (problem := problems[len(calls) - 1]) is not None:
                raise problem

        monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
        return calls

    return replaced


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("Kernel died before replying to kernel_info"),
        zmq.ZMQError(zmq.EADDRINUSE),
        OSError(98, "Address already in use"),
        DeadKernelError("Kernel died"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_what_counts_as_a_failed_start(
    problem: Exception, notebook: Path, tmp_path: Path, papermill_that: Callable[..., list], capsys: Any
) -> None:
    calls = papermill_that(problem, problem, None)
    execute(notebook, tmp_path / "out.ipynb", {"seed": 1})
    assert len(calls) == 3 and calls[0]["parameters"] == {"seed": 1}
    assert [line.rsplit("again, ")[-1] for line in capsys.readouterr().err.splitlines()] == ["2 of 3", "3 of 3"]


@pytest.mark.parametrize(
    ("problem", "started"),
    [
        (PermissionError(13, "no"), False),
        (KeyError("x"), False),
        (PermissionError(13, "no"), True),
        (RuntimeError("of the run"), True),
        (OSError(98, "Address already in use"), True),
    ],
    ids=repr,
)
def test_nothing_else_is_tried_again(
    problem: Exception, started: bool, notebook: Path, tmp_path: Path, papermill_that: Callable[..., list]
) -> None:
    calls = papermill_that(problem, None, started=started)
    with pytest.raises(type(problem)):
        execute(notebook, tmp_path / "out.ipynb", {})
    assert len(calls) == 1


def test_no_parameter_goes_into_a_path(tmp_path: Path, papermill_that: Callable[..., list]) -> None:
    calls = papermill_that(None)
    (tmp_path / "{seed}").mkdir()
    source = write_notebook(tmp_path / "{seed}" / "{x}.ipynb", "print(seed)")
    target = run_notebook(source, parameters={"seed": 3}, out=tmp_path / "out {seed}.ipynb", progress=False)
    (call,) = calls
    paths = [parameterize_path(call[name], call["parameters"]) for name in ("source", "target")]
    assert paths == [str(source), str(target)]


def test_a_failing_cell_is_named(notebook: Path, tmp_path: Path, papermill_that: Callable[..., list]) -> None:
    calls = papermill_that(PapermillExecutionError(3, 2, "1 / 0", "ZeroDivisionError", "no", []), None, started=True)
    with pytest.raises(NotebookError, match=r"cell 2 of a\.ipynb failed: ZeroDivisionError: no; see it in .*out\."):
        execute(notebook, tmp_path / "out.ipynb", {})
    assert len(calls) == 1


def test_a_kernel_that_dies_at_work_is_named_with_its_cell(
    notebook: Path, tmp_path: Path, papermill_that: Callable[..., list]
) -> None:
    """As for lack of memory; starting it again would end the same way."""
    left = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(str(count)) for count in range(4)])
    left.cells.insert(1, nbformat.v4.new_markdown_cell("text", metadata={"papermill": {"start_time": "2026"}}))
    for cell, time in zip(left.cells, ("2026", "2026", "2026", None, None), strict=True):
        cell.metadata["papermill"] = {"start_time": time, "status": "completed"}
    nbformat.write(left, tmp_path / "out.ipynb")
    calls = papermill_that(DeadKernelError("Kernel died"), None, started=True)
    with pytest.raises(NotebookError, match=r"the kernel died in cell 2 of a\.ipynb \(out of memory\?\)"):
        execute(notebook, tmp_path / "out.ipynb", {})
    assert len(calls) == 1


def test_the_kernel_is_told_its_folder_and_nothing_of_another_run(
    notebook: Path, tmp_path: Path, papermill_that: Callable[..., list]
) -> None:
    calls = papermill_that(None, None)
    execute(notebook, tmp_path / "out.ipynb", {}, environment={RUN_FOLDER: "/here"})
    execute(notebook, tmp_path / "out.ipynb", {})
    specs = [call["kernel_manager_class"]().kernel_spec_manager.get_kernel_spec("any") for call in calls]
    assert [spec.env[RUN_FOLDER] for spec in specs] == ["/here", ""]
    assert specs[0].argv[0] == sys.executable and calls[0]["resources"]["metadata"]["path"] == str(tmp_path)


def test_widgets_that_nobody_can_show_are_taken_out(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute_notebook(source: str, target: str, **_: Any) -> None:
        executed = nbformat.read(source, as_version=4)
        view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Player()"}
        executed.cells[-1].outputs = [nbformat.v4.new_output("display_data", data=view)]
        executed.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
        nbformat.write(executed, target)

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    execute(notebook, tmp_path / "out.ipynb", {})
    left = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert left.cells[-1].outputs == [] and "widgets" not in left.metadata


def test_a_run_is_refused_before_anything_starts(
    notebook: Path, tmp_path: Path, papermill_that: Callable[..., list]
) -> None:
    calls = papermill_that()
    with pytest.raises(ValueError, match="has no parameter sede"):
        run_notebook(notebook, parameters={"sede": 1}, out=tmp_path / "runs" / "x.ipynb")
    with pytest.raises(ValueError, match="overwritten by its own run"):
        run_notebook(notebook, out=notebook)
    assert calls == [] and not (tmp_path / "runs").exists()


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
        parameters='preset = "smoke"\nseed = 0\nclips = ""',
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
