"""A notebook executed in a kernel of this Python. One that does not come up is started again, one that fails never.

Kernels that start at the same moment can take each other's ports; that is the one mistake that trying again mends.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steer_utils.lm.threads import polite
from steer_utils.runs.parameters import REMEDY, checked_parameters, papermill_path, short_path
from steer_utils.sound.files import whole_file

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

Tell = Callable[[str], object]  # takes one line of text for the person who waits

STARTS = 3  # how many times a kernel is started before its run counts as failed
RUN_FOLDER = "STEER_UTILS_RUN"  # in the environment of a kernel: the folder that its run has to itself
WIDGETS = "application/vnd.jupyter.widget-"  # how the kinds of all widget outputs begin
RUNS = Path("runs")  # where executed copies go, from the current folder


class NotebookError(RuntimeError):
    """A cell failed, or no kernel came up; the message names the cell, the error and the copy, which is kept."""


def on_stderr(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def run_notebook(
    path: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    preset: str | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> Path:
    """Execute a notebook with these parameters; returns the path of the executed copy (default runs/<name>.ipynb).

    `preset` is the notebook's parameter of that name. Paths among the parameters are passed as they are given, and
    the notebook reads them from its own folder. `progress`: a bar over its cells on stderr. Raises, before anything
    starts, ValueError for a missing notebook, an unknown parameter (naming the known ones), a value of another type
    or an unknown preset; afterwards NotebookError if a cell fails.
    """
    source = Path(path).resolve()
    target = (RUNS / source.name if out is None else Path(out)).resolve()
    if target == source:
        raise ValueError(f"{str(path)!r} would be overwritten by its own run; pass another out=")
    values = checked_parameters(source, {**({"preset": preset} if preset is not None else {}), **(parameters or {})})
    target.parent.mkdir(parents=True, exist_ok=True)
    execute(source, target, values, progress=progress)
    return target


def execute(
    source: Path,
    target: Path,
    parameters: Mapping[str, Any],
    *,
    progress: bool = True,
    environment: Mapping[str, str] | None = None,
    tell: Tell = on_stderr,
) -> None:
    """Execute `source` with these parameters, in its own folder; `target` is the executed copy, also of a failed one.

    `environment`: what the kernel has in os.environ beside what is there. `progress`: a bar over the cells on stderr.
    `tell` is told each time that a kernel has to be started again. The current folder stays as it is.

    Raises NotebookError when a cell fails, the kernel dies in one, or `STARTS` kernels in a row did not come up;
    ValueError if papermill or ipykernel is missing.
    """
    try:
        import papermill  # noqa: F401
    except ImportError as error:
        raise ValueError(REMEDY) from error
    manager = _own_python(environment or {})
    try:
        for start in range(1, STARTS + 1):
            problem = _executed(source, target, parameters, manager, progress)
            if problem is None:
                return
            if start < STARTS:
                tell(f"the kernel for {source.name} did not start ({problem}); again, {start + 1} of {STARTS}")
        raise NotebookError(f"no kernel started for {source.name}, tried {STARTS} times: {problem}") from problem
    finally:
        _without_live_views(target)


def _executed(
    source: Path,
    target: Path,
    parameters: Mapping[str, Any],
    manager: type[AsyncKernelManager],
    progress: bool,
) -> Exception | None:
    """None, or why no kernel came up. Raises as `execute` does."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    up: list[bool] = []
    bar = {"desc": source.stem, "unit": "cell", "leave": True} if progress else False
    try:
        papermill.execute_notebook(
            papermill_path(source),
            papermill_path(target),
            parameters=dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar=bar,
            kernel_manager_class=manager,
            on_notebook_start=lambda notebook: up.append(True),
            extra_arguments=["--log-level=CRITICAL"],  # else it says at each end that it was interrupted
            resources={"metadata": {"path": str(source.parent)}},  # the kernel alone: `cwd` would move us too
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"cell {error.exec_count} of {source.name} failed: {error.ename}: {error.evalue}; "
            f"see it in {short_path(target)}"
        ) from error
    except Exception as error:
        if not up and _is_a_failed_start(error):
            return error
        if not isinstance(error, DeadKernelError):
            raise
        raise NotebookError(
            f"the kernel died in cell {_cells_begun(target)} of {source.name} (out of memory?); "
            f"see how far it came in {short_path(target)}"
        ) from error
    return None


def _is_a_failed_start(error: Exception) -> bool:
    """jupyter_client raises RuntimeError for a kernel that died or was silent, zmq its own for a port in use."""
    from zmq import ZMQError

    return isinstance(error, (RuntimeError, ZMQError)) or getattr(error, "errno", None) == errno.EADDRINUSE


def _cells_begun(target: Path) -> int:
    """How many code cells papermill began: the statuses it writes last say "completed" of all of them."""
    import nbformat

    code = [cell for cell in nbformat.read(target, as_version=4).cells if cell.cell_type == "code"]
    return sum(bool(cell.metadata.get("papermill", {}).get("start_time")) for cell in code)


def _without_live_views(target: Path) -> None:
    """Widgets need a kernel, and there is none any more: the pictures that stand for them are what is kept."""
    if not target.is_file() or WIDGETS not in target.read_text(encoding="utf-8"):
        return
    import nbformat

    from steer_utils.show.widgets.twins import static_outputs  # loads torch: for notebooks that have widgets only

    executed = nbformat.read(target, as_version=4)
    static_outputs(executed)
    with whole_file(target) as part:
        nbformat.write(executed, part)


def _own_python(environment: Mapping[str, str]) -> type[AsyncKernelManager]:
    """A kernel manager that starts this very Python, whatever kernels a user has registered under "python3"."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    try:
        from ipykernel.kernelspec import get_kernel_dict
    except ImportError as error:
        raise ValueError(REMEDY) from error

    class OwnSpecs(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            # A run that a notebook of another run starts must not take that one's folder for its own.
            variables = {RUN_FOLDER: "", **polite(os.environ), **environment}
            return KernelSpec(**{**get_kernel_dict(), "env": variables})

    class OwnPython(AsyncKernelManager):
        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return OwnSpecs(parent=self)

    return OwnPython
