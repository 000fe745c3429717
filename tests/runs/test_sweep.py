"""Sweeps: whatever is killed, no finished unit is lost, the same command does the rest, and tables are identical."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from short_work import short_units, slow_square, three_fails, write_square
from sweep_work import short_sweep, six_classes, small_grid

from steer_utils.runs import worker
from steer_utils.runs.clusters import DaskExecutor, connected
from steer_utils.runs.executors import Executor, LocalExecutor, Outcome, SerialExecutor
from steer_utils.runs.planning import plan_sweep
from steer_utils.runs.sweep import Sweep, run
from steer_utils.runs.sweep_results import tidy
from steer_utils.runs.worker import kept_model, run_unit

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return six_classes(tmp_path_factory.mktemp("six"))


@pytest.fixture(scope="module")
def serial(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A finished sweep, run in this process."""
    return swept(folder, tmp_path_factory.mktemp("serial") / "out", SerialExecutor())


def started(model: Path, out: Path, **changes: Any) -> Sweep:
    grid = small_grid(model, **changes)
    return Sweep.started(plan_sweep(grid).units, grid, out)


def swept(model: Path, out: Path, executor: Executor) -> Sweep:
    sweep = started(model, out)
    assert all(one.done for one in run(sweep, executor))
    return sweep


@contextmanager
def two_workers() -> Iterator[distributed.Client]:
    """A real cluster of two processes on this machine; whole again before it is closed, which else is noisy."""
    with distributed.LocalCluster(
        processes=True, n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL"
    ) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        yield client
        client.wait_for_workers(2)


def same(first: Sweep, second: Sweep) -> None:
    one, other = tidy(first), tidy(second)
    one.attrs = other.attrs = {}
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert len(one) == 2 * 2 * 2 * 3 * 10 and one["overlap"].nunique() > 5


# -- the same from all executors -------------------------------------------------------------------------------------
def test_local_processes_give_the_table_of_a_serial_run(folder: Path, serial: Sweep, tmp_path: Path) -> None:
    same(swept(folder, tmp_path / "out", LocalExecutor(2, threads=1)), serial)


def test_dask_gives_the_same_with_a_worker_killed_mid_run(folder: Path, serial: Sweep, tmp_path: Path) -> None:
    sweep = started(folder, tmp_path / "out")
    with two_workers() as client:
        pids = client.run(os.getpid)
        killed: list[int] = []

        def kill_a_busy_worker() -> None:
            """As soon as a unit has begun to write."""
            while not any(sweep.folder.glob("partial/*")):
                time.sleep(0.01)
            killed.extend(pids[address] for address, keys in client.processing().items() if keys)
            os.kill(killed[0], signal.SIGKILL)

        watching = threading.Thread(target=kill_a_busy_worker, daemon=True)
        watching.start()
        assert all(one.done for one in run(sweep, DaskExecutor(client, threads=1)))
        watching.join(10)
        assert killed and killed[0] not in client.run(os.getpid).values()
    same(sweep, serial)


@pytest.mark.parametrize("name", ["serial", "local", "dask"])
def test_nothing_of_200_short_units_is_lost(name: str, tmp_path: Path) -> None:
    sweep = short_sweep(tmp_path / "out", 200)
    work = partial(write_square, str(sweep.folder))
    if name == "dask":
        with two_workers() as client:
            outcomes = list(run(sweep, DaskExecutor(client), work))
    else:
        outcomes = list(run(sweep, SerialExecutor() if name == "serial" else LocalExecutor(2), work))
    assert len(outcomes) == 200 and all(one.done for one in outcomes)
    assert tidy(sweep)["square"].tolist() == [n * n for n in range(200)]
    assert list(run(sweep, SerialExecutor(), work)) == []  # nothing is done twice


# -- what fails ------------------------------------------------------------------------------------------------------
def test_a_failing_unit_is_kept_in_words_and_tried_again(tmp_path: Path) -> None:
    sweep = short_sweep(tmp_path / "out", 6)
    outcomes = list(run(sweep, SerialExecutor(), three_fails))
    assert [one.unit["n"] for one in outcomes if one.error] == [3]
    kept = json.loads((sweep.folder / "failed" / "u003.json").read_text())
    assert kept["error"] == "RuntimeError: three is bad" and any("in three_fails" in line for line in kept["traceback"])
    assert kept["unit"]["n"] == 3 and sweep.failures() == {"u003": "RuntimeError: three is bad"}
    again = list(run(sweep, SerialExecutor(), partial(write_square, str(sweep.folder))))
    assert len(again) == 6 and sweep.failures() == {} and sweep.unfinished() == []


def test_a_failing_model_does_not_stop_the_other(folder: Path, serial: Sweep, tmp_path: Path) -> None:
    broken = six_classes(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"cut off")
    grid = small_grid(folder, models=[str(broken), str(folder)])
    sweep = Sweep.started(plan_sweep(grid).units, grid, tmp_path / "out")
    failed = [one.unit["model"] for one in run(sweep, SerialExecutor()) if one.error]
    assert failed == [str(broken)] * 2 and [unit["model"] for unit in sweep.finished()] == [str(folder)] * 2
    found = tidy(sweep)
    assert (found.attrs["units"], found.attrs["finished"], len(found.attrs["failures"])) == (4, 2, 2)


def test_a_lost_unit_that_did_end_counts_as_done(tmp_path: Path) -> None:
    """The scheduler went before it could say so."""
    sweep = short_sweep(tmp_path / "out", 2)
    write_square(str(sweep.folder), sweep.units[0])

    class Gone:
        workers = 1

        def run(self, units: Any, function: Any) -> Any:
            yield from (Outcome(unit, lost=True) for unit in sweep.units)

    first, second = run(sweep, Gone())
    assert first.done and second.lost and sweep.failures() == {}


# -- the folder ------------------------------------------------------------------------------------------------------
def test_a_folder_takes_more_models_and_seeds_but_no_other_grid(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = started(folder, out)
    (first.path_of(first.units[0])).touch()
    more = started(folder, out, seeds=[0, 1, 2])
    assert len(more.units) == 3 and more.finished() == [first.units[0]]
    assert Sweep.opened(out) == more
    with pytest.raises(ValueError, match="holds a sweep with other scenes, strengths; pass another --out"):
        started(folder, out, scenes=3, strengths=[1])


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
def test_a_worker_keeps_one_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    whole = worker.load

    def counting(source: str, **options: Any) -> Any:
        loaded.append(source)
        assert not worker._kept  # the one before is gone first
        return whole(source, **options)

    monkeypatch.setattr(worker, "load", counting)
    monkeypatch.setattr(worker, "_kept", {})
    first = kept_model(str(folder), None, None, None)
    assert kept_model(str(folder), None, None, None) is first and loaded == [str(folder)]
    kept_model(str(folder), None, "bfloat16", None)
    assert loaded == [str(folder)] * 2 and len(worker._kept) == 1


def test_other_weights_than_planned_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_kept", {})
    with pytest.raises(ValueError, match=r"the sweep was planned with .* of sha256:0, on "):
        kept_model(str(folder), "sha256:0", None, None)


def test_a_folder_that_this_machine_does_not_see_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sees no .*sweep.json; pass --out with a folder that all machines share"):
        run_unit(str(tmp_path), {"name": "one", "kind": "steering"})


def test_a_finished_unit_is_not_done_again(serial: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "steering_table", lambda *_: pytest.fail("done again"))
    found = run_unit(str(serial.folder), serial.units[0])
    table = tidy(serial)
    own = table[(table["seed"] == 0) & (table["split"] == "development") & (table["vector"] == "steering")]
    assert found["overlap"] == pytest.approx(own.groupby(["blocks", "strength"])["overlap"].mean().max())
    assert not list(serial.folder.glob("partial/*"))


def test_a_scheduler_that_is_killed_loses_no_finished_unit(tmp_path: Path, scheduler: Any) -> None:
    sweep = short_sweep(tmp_path / "out", 12)
    process, client = scheduler
    found = []
    for outcome in run(sweep, DaskExecutor(client, threads=1), partial(slow_square, str(sweep.folder))):
        found.append(outcome)
        if len(found) == 3:
            process.kill()
    lost = [one for one in found if one.lost]
    assert len(found) == 12 and len(lost) >= 7 and not any(one.error for one in found)
    assert {one.unit["name"] for one in found if one.done} == {unit["name"] for unit in sweep.finished()}
    rest = list(run(sweep, SerialExecutor(), partial(write_square, str(sweep.folder))))
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
