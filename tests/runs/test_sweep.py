"""Sweeps: whatever is killed, no finished unit is lost, the same command does the rest, and tables are identical."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from short_work import short_units, slow_square, three_fails, write_square
from sweep_work import short_sweep, small_grid, small_sweep

from steer_utils.runs import worker
from steer_utils.runs.clusters import connected
from steer_utils.runs.executors import DaskExecutor, Outcome, SerialExecutor
from steer_utils.runs.sweep import Sweep, run_sweep
from steer_utils.runs.sweep_results import tidy
from steer_utils.runs.worker import kept_model, run_unit

distributed = pytest.importorskip("distributed")


def same(first: Sweep, second: Sweep) -> None:
    one, other = tidy(first), tidy(second)
    one.attrs = other.attrs = {}
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert len(one) == 2 * 2 * 2 * 3 * 10 and one["overlap"].nunique() > 5


# -- the same from all executors -------------------------------------------------------------------------------------
def test_dask_gives_the_table_of_a_serial_run_with_a_worker_killed_meanwhile(
    six_classes: Path, finished_sweep: Sweep, client: Any, tmp_path: Path
) -> None:
    sweep, pids, killed = small_sweep(six_classes, tmp_path / "out"), client.run(os.getpid), list[int]()

    def kill_a_busy_worker() -> None:
        """As soon as a unit has begun to write."""
        while not any(sweep.folder.glob("partial/*")):
            time.sleep(0.01)
        killed.extend(pids[address] for address, keys in client.processing().items() if keys)
        os.kill(killed[0], signal.SIGKILL)

    watching = threading.Thread(target=kill_a_busy_worker, daemon=True)
    watching.start()
    assert all(outcome.done for outcome in run_sweep(sweep, DaskExecutor(client, threads=1)))
    watching.join(10)
    assert killed and killed[0] not in client.run(os.getpid).values()
    same(sweep, finished_sweep)


def test_nothing_is_lost_or_done_twice(client: Any, tmp_path: Path) -> None:
    sweep = short_sweep(tmp_path / "out", 200)
    work = partial(write_square, str(sweep.folder))
    outcomes = list(run_sweep(sweep, DaskExecutor(client), work))
    assert len(outcomes) == 200 and all(outcome.done for outcome in outcomes)
    assert tidy(sweep)["square"].tolist() == [n * n for n in range(200)]
    assert list(run_sweep(sweep, SerialExecutor(), work)) == []


# -- what fails ------------------------------------------------------------------------------------------------------
def test_a_failing_unit_is_kept_in_words_and_tried_again(tmp_path: Path) -> None:
    sweep = short_sweep(tmp_path / "out", 6)
    outcomes = list(run_sweep(sweep, SerialExecutor(), three_fails))
    assert [one.unit["n"] for one in outcomes if one.error] == [3]
    kept = json.loads((sweep.folder / "failed" / "u003.json").read_text())
    assert kept["error"] == "RuntimeError: three is bad" and any("in three_fails" in line for line in kept["traceback"])
    assert kept["unit"]["n"] == 3 and sweep.failures() == {"u003": "RuntimeError: three is bad"}
    again = list(run_sweep(sweep, SerialExecutor(), partial(write_square, str(sweep.folder))))
    assert len(again) == 6 and sweep.failures() == {} and sweep.unfinished() == []


def test_a_failing_model_does_not_stop_the_other(six_classes: Path, tmp_path: Path) -> None:
    broken, whole = shutil.copytree(six_classes, tmp_path / "broken"), six_classes
    (broken / "model.safetensors").write_bytes(b"cut off")
    sweep = small_sweep(whole, tmp_path / "out", models=[str(broken), str(whole)], seeds=[0], scenes=1)
    failed = [one.unit["model"] for one in run_sweep(sweep, SerialExecutor()) if one.error]
    assert failed == [str(broken)] and [unit["model"] for unit in sweep.finished()] == [str(whole)]
    found = tidy(sweep)
    assert (found.attrs["units"], found.attrs["finished"], len(found.attrs["failures"])) == (2, 1, 1)


def test_a_lost_unit_that_did_end_counts_as_done(tmp_path: Path) -> None:
    """The scheduler went before it could say so."""
    sweep = short_sweep(tmp_path / "out", 2)
    write_square(str(sweep.folder), sweep.units[0])

    class Gone:
        workers = 1

        def run(self, units: Any, function: Any) -> Any:
            yield from (Outcome(unit, lost=True) for unit in sweep.units)

    first, second = run_sweep(sweep, Gone())
    assert first.done and second.lost and sweep.failures() == {}


# -- the folder ------------------------------------------------------------------------------------------------------
def test_a_folder_takes_more_models_and_seeds_but_no_other_grid(six_classes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = small_sweep(six_classes, out)
    (first.path_of(first.units[0])).touch()
    more = small_sweep(six_classes, out, seeds=[0, 1, 2])
    assert len(more.units) == 3 and more.finished() == [first.units[0]]
    assert Sweep.opened(out) == more
    with pytest.raises(ValueError, match="holds a sweep with other scenes, strengths; pass another --out"):
        small_sweep(six_classes, out, scenes=3, strengths=[1])


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="is not empty and holds no sweep"):
        Sweep.started(short_units(1), small_grid("one"), tmp_path)
    with pytest.raises(ValueError, match="holds no sweep that can be read"):
        Sweep.opened(tmp_path)
    (tmp_path / "sweep.json").write_text('{"format": 0}')
    with pytest.raises(ValueError, match="another version"):
        Sweep.opened(tmp_path)


# -- one unit --------------------------------------------------------------------------------------------------------
def test_a_worker_keeps_one_model(six_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    whole = worker.load

    def counting(source: str, **options: Any) -> Any:
        loaded.append(source)
        assert not worker._kept  # the one before is gone first
        return whole(source, **options)

    monkeypatch.setattr(worker, "load", counting)
    monkeypatch.setattr(worker, "_kept", {})
    first = kept_model(str(six_classes), None, None, None)
    assert kept_model(str(six_classes), None, None, None) is first and loaded == [str(six_classes)]
    kept_model(str(six_classes), None, "bfloat16", None)
    assert loaded == [str(six_classes)] * 2 and len(worker._kept) == 1


def test_other_weights_than_planned_are_refused(six_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_kept", {})
    with pytest.raises(ValueError, match=r"the sweep was planned with .* of sha256:0, on "):
        kept_model(str(six_classes), "sha256:0", None, None)


def test_a_folder_that_this_machine_does_not_see_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sees no .*sweep.json; pass --out with a folder that all machines share"):
        run_unit(str(tmp_path), {"name": "one", "kind": "steering"})


def test_a_finished_unit_is_not_done_again(finished_sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "steering_table", lambda *_: pytest.fail("done again"))
    found = run_unit(str(finished_sweep.folder), finished_sweep.units[0])
    table = tidy(finished_sweep)
    own = table[(table["seed"] == 0) & (table["split"] == "development") & (table["vector"] == "steering")]
    assert found["overlap"] == pytest.approx(own.groupby(["blocks", "strength"])["overlap"].mean().max())
    assert not list(finished_sweep.folder.glob("partial/*"))


@pytest.mark.slow
def test_a_scheduler_that_is_killed_loses_no_finished_unit(tmp_path: Path, scheduler: Any) -> None:
    sweep = short_sweep(tmp_path / "out", 12)
    process, client = scheduler
    found = []
    for outcome in run_sweep(sweep, DaskExecutor(client, threads=1), partial(slow_square, str(sweep.folder))):
        found.append(outcome)
        if len(found) == 3:
            process.kill()
    lost = [one for one in found if one.lost]
    assert len(found) == 12 and len(lost) >= 7 and not any(one.error for one in found)
    assert {one.unit["name"] for one in found if one.done} == {unit["name"] for unit in sweep.finished()}
    rest = list(run_sweep(sweep, SerialExecutor(), partial(write_square, str(sweep.folder))))
    assert len(rest) == len(lost) and sweep.unfinished() == []


@pytest.fixture
def scheduler() -> Iterator[Any]:
    """A scheduler and a worker as a user starts them: `dask scheduler`, `dask worker`; and a client."""
    here = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1]), DASK_LOGGING__DISTRIBUTED="error")
    quiet = {"env": here, "stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    port = _free_port()
    address = f"tcp://127.0.0.1:{port}"
    own = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*own, "--no-dashboard", "--dashboard-address", ":0"], **quiet)
    given = ["--nthreads", "2", "--resources", "unit=1", "--no-nanny", "--death-timeout", "5", "--no-dashboard"]
    worker = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", address, *given], **quiet)
    try:
        with connected(address) as client:
            client.wait_for_workers(1)
            yield process, client
    finally:
        for each in (worker, process):
            each.kill()
            each.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
