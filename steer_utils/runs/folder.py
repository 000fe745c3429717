"""A notebook run in a folder of its own, named by all that its result depends on.

    run = run_in_folder(Path("notebooks/00_start_here.ipynb"), {"seed": 3}, Path("runs"))
    run.path                # runs/00_start_here-1f0c5d7a93e2/: notebook.ipynb, figures/, result.json, run.json
    run.status, run.ran     # "complete", True; the second time "complete", False
    run.result()["recorded"]

A folder has one run in it. `run.json` says what the run is and how far it came. A lock says whether a process is at
work in it; the system releases the lock when that process ends, however it ends. So a run that says "running" and is
not locked was killed, and is resumed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from steer_utils.runs.identity import RunIdentity, installed_versions, run_identity
from steer_utils.runs.notebooks import RUN_FOLDER, NotebookError, Tell, execute, on_stderr
from steer_utils.runs.parameters import short_path
from steer_utils.sound.files import write_json

Status = Literal["running", "complete", "failed"]

NOTEBOOK, RESULT, RUN, RECORDED = "notebook.ipynb", "result.json", "run.json", "recorded.json"
FIGURES, PARTIALS, LOCK = "figures", "partials", ".lock"


class RunFolderError(ValueError):
    """Where runs should go is no folder, or a result was asked of a run that has none."""


@dataclass(frozen=True)
class RunFolder:
    """One run of a notebook and how it stands.

    status  "complete"; "failed": the notebook, or the start of its kernel, failed; "running": another process is at it
    ran     whether this call executed the notebook; False for a run that was complete, or that another process has
    error   of a failed run: which cell and what it said; of a running one: which process has it
    """

    path: Path
    status: Status
    ran: bool
    error: str | None = None

    @property
    def notebook(self) -> Path:
        """The executed notebook: whole, or as far as it came."""
        return self.path / NOTEBOOK

    @property
    def figures(self) -> Path:
        """Where its figures are, if the notebook has a parameter `figures` that was left alone."""
        return self.path / FIGURES

    def result(self) -> dict[str, Any]:
        """What is in result.json: `recorded` by the notebook, parameters, models, seconds, versions.

        Raises RunFolderError for a run that is not complete.
        """
        if self.status != "complete":
            raise RunFolderError(f"the run in {short_path(self.path)} has no result: it is {self.status}")
        return _read(self.path / RESULT)


def run_in_folder(
    notebook: Path,
    parameters: Mapping[str, Any],
    out: Path,
    *,
    progress: bool = True,
    again: bool = False,
    tell: Tell = on_stderr,
) -> RunFolder:
    """Run a notebook in `<out>/<its name>-<hash>/`, unless a complete run is there already.

    The hash is that of `identity.RunIdentity`: parameters, sources, lock, models. `figures`, where the notebook has
    such a parameter and it is not given, is the run's own folder of that name. In the folder:

        notebook.ipynb   the executed copy, saved after each cell
        figures/         what it drew
        result.json      written when it is complete: what `lesson.record` was told, parameters, seconds, versions
        run.json         what the run is, its status (running, complete, failed), when, and the error if it failed
        partials/        what `lesson.resume_file` gave out: removed once the run is complete

    A complete run is not repeated; `again=True` repeats it from nothing (as it does after the library's own code was
    edited, which is no part of the hash). A failed or killed run is taken up in its folder: the notebook starts at its
    first cell, and work that keeps partials goes on where it was. A kernel that does not start is tried three times.
    `progress`: a bar over the cells on stderr. `tell` takes a line of text at each such restart and taking up.

    Raises ValueError before anything starts, as `parameters.checked_parameters` does, or if `out` is a file. A
    notebook that fails is no error: see `status`. Nothing is kept between calls, and the current folder stays as it is,
    so that workers may call it, also several at once.
    """
    identity = run_identity(notebook, parameters)
    path = _folder(Path(out).resolve() / f"{identity.notebook.stem}-{identity.hash}")
    with _locked(path) as mine:
        before = _read(path / RUN)
        if not mine:
            return RunFolder(path, "running", ran=False, error=f"it is being run by {_whose(before)}")
        if not again and _is_complete(path):
            return RunFolder(path, "complete", ran=False)
        if again:  # partials would make the repetition a copy
            shutil.rmtree(path / PARTIALS, ignore_errors=True)
        elif unfinished := {"running": "was cut off", "failed": "failed"}.get(str(before.get("status"))):
            tell(f"{identity.notebook.stem} {unfinished} before and is taken up, in {short_path(path)}")
        return _run(identity, path, attempt=int(before.get("attempt", 0)) + 1, progress=progress, tell=tell)


def _run(identity: RunIdentity, path: Path, *, attempt: int, progress: bool, tell: Tell) -> RunFolder:
    (path / RECORDED).unlink(missing_ok=True)  # of an attempt that was cut off
    (path / RESULT).unlink(missing_ok=True)
    started, clock = _now(), time.monotonic()
    report = {
        **identity.as_dict(),
        "status": "running",
        "error": None,
        "attempt": attempt,
        "started": started,
        "ended": None,
        "process": {"host": socket.gethostname(), "pid": os.getpid()},
        "versions": installed_versions(),
    }
    write_json(path / RUN, report)

    def ended(status: Status, error: str | None) -> RunFolder:
        seconds = round(time.monotonic() - clock, 3)
        write_json(path / RUN, {**report, "status": status, "error": error, "ended": _now(), "seconds": seconds})
        return RunFolder(path, status, ran=True, error=error)

    figures = {FIGURES: str(path / FIGURES)} if identity.draws_into_the_run else {}
    try:
        execute(
            identity.notebook,
            path / NOTEBOOK,
            {**identity.given, **figures},
            progress=progress,
            tell=tell,
            environment={RUN_FOLDER: str(path)},
        )
    except NotebookError as error:
        return ended("failed", str(error))
    except Exception as error:  # no fault of the notebook, such as a full disk: the folder must say so too
        ended("failed", f"{type(error).__name__}: {error}")
        raise
    result = {
        **identity.as_dict(),
        "recorded": _read(path / RECORDED),
        "started": started,
        "ended": _now(),
        "seconds": round(time.monotonic() - clock, 3),
        "versions": report["versions"],
    }
    write_json(path / RESULT, result)
    run = ended("complete", None)
    (path / RECORDED).unlink(missing_ok=True)
    shutil.rmtree(path / PARTIALS, ignore_errors=True)
    return run


def _is_complete(path: Path) -> bool:
    whole = (path / NOTEBOOK).is_file() and bool(_read(path / RESULT))
    return whole and _read(path / RUN).get("status") == "complete"


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this call is the one that may work in the folder; it is, until the block ends.

    A lock of the system (flock): it goes with its process, so that no kill leaves one behind. Where a file system has
    no such lock, filelock keeps host and pid in the file, and takes over from a process that is gone.
    """
    lock = FileLock(path / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _whose(report: Mapping[str, Any]) -> str:
    process = report.get("process")
    if not isinstance(process, dict):  # it has the lock, and has not written yet
        return "another process"
    return f"process {process.get('pid')} on {process.get('host')} since {report.get('started')}"


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"runs cannot go to {short_path(path.parent)}: {error.strerror}; pass a folder") from error
    return path


def _read(path: Path) -> dict[str, Any]:
    """A json object; empty if there is none that can be read, as after a disk was full."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
