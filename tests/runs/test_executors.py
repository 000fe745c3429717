"""Executors: one outcome a unit whatever happens to it or to its worker, and nobody left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from short_work import dies_at_three, environment, short_units, square, three_fails

from steer_utils.runs.executors import (
    RETRIES,
    Executor,
    LocalExecutor,
    Outcome,
    SerialExecutor,
    pin_threads,
    usable_cores,
)

EXECUTORS: dict[str, Executor] = {"serial": SerialExecutor(), "local": LocalExecutor(2)}


@pytest.mark.parametrize("name", EXECUTORS)
def test_each_of_many_units_has_one_outcome(name: str) -> None:
    units = short_units(200)
    found = {one.unit["name"]: one for one in EXECUTORS[name].run(units, square)}
    assert len(found) == 200 and all(one.done for one in found.values())
    assert [found[unit["name"]].value["square"] for unit in units] == [n * n for n in range(200)]
    pids = {one.value["pid"] for one in found.values()}
    assert pids == {os.getpid()} if name == "serial" else len(pids) == 2 and os.getpid() not in pids


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_unit_that_raises_is_told_and_the_others_go_on(name: str) -> None:
    found = list(EXECUTORS[name].run(short_units(6), three_fails))
    (failed,) = (one for one in found if not one.done)
    assert len(found) == 6 and failed.unit["n"] == 3 and failed.tries == 1
    assert failed.error == "RuntimeError: three is bad"
    assert "in three_fails" in failed.trace and failed.value is None


@pytest.mark.parametrize("name", EXECUTORS)
def test_no_units_no_outcomes(name: str) -> None:
    assert list(EXECUTORS[name].run([], square)) == []


def test_a_dead_worker_is_replaced_and_its_unit_tried_again(tmp_path: Path) -> None:
    for number in range(RETRIES):
        (tmp_path / f"die{number}").touch()
    found = {one.unit["n"]: one for one in LocalExecutor(2).run(short_units(6), partial(dies_at_three, str(tmp_path)))}
    assert len(found) == 6 and all(one.done for one in found.values())
    assert found[3].tries == RETRIES + 1 and found[2].tries == 1


def test_a_unit_that_always_kills_its_worker_is_given_up(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"die{number}").touch()
    found = {one.unit["n"]: one for one in LocalExecutor(1).run(short_units(5), partial(dies_at_three, str(tmp_path)))}
    assert found[3].error == "its worker died 3 times, at last by SIGKILL (out of memory?)"
    assert [n for n, one in found.items() if one.done] == [0, 1, 2, 4]
    assert len(list(tmp_path.glob("die*"))) == 9 - (RETRIES + 1)


def test_threads_and_devices_are_given_out() -> None:
    found = list(LocalExecutor(2, threads=3, devices=("5",)).run(short_units(2), environment))
    assert [one.value for one in found] == [
        {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "5"}
    ] * 2
    (shared,) = LocalExecutor(max(1, usable_cores() // 2)).run(short_units(1), environment)
    assert int(shared.value["OMP_NUM_THREADS"]) == usable_cores() // max(1, usable_cores() // 2)


def test_nothing_of_this_process_changes() -> None:
    before = dict(os.environ)
    list(LocalExecutor(1, threads=7).run(short_units(1), square))
    list(SerialExecutor().run(short_units(1), square))
    assert dict(os.environ) == before


def test_torch_is_told_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("torch.set_num_threads", told.append)
    pin_threads(4)
    assert told == [4] and os.environ["OMP_NUM_THREADS"] == "4"


def test_closing_early_stops_the_workers() -> None:
    outcomes = LocalExecutor(2).run(short_units(50), square)
    pid = next(outcomes).value["pid"]
    assert psutil.pid_exists(pid)
    outcomes.close()
    assert not psutil.pid_exists(pid)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """A parent that is killed with -9 runs no clean-up: the worker itself must see it."""
    script = tmp_path / "client.py"
    script.write_text(
        "import os, sys, time\n"
        "from steer_utils.runs.executors import LocalExecutor\n"
        "def work(unit):\n"
        "    open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    list(LocalExecutor(1).run([{'name': 'one'}], work))\n"
    )
    client = subprocess.Popen([sys.executable, str(script), str(tmp_path / "pid")])
    pid = int(_eventually(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()))
    client.kill()
    client.wait()
    assert _eventually(lambda: not psutil.pid_exists(pid))


def test_bad_numbers_are_refused() -> None:
    for bad in ({"workers": 0}, {"workers": 2, "threads": 0}):
        with pytest.raises(ValueError, match="pass at least 1 of each"):
            LocalExecutor(**bad)


def test_an_outcome_is_done_lost_or_failed() -> None:
    unit = {"name": "one"}
    assert Outcome(unit).done
    assert not Outcome(unit, lost=True).done and not Outcome(unit, error="no").done


def test_no_torch_before_the_threads_are_known() -> None:
    """A worker imports this module first: torch would read the environment before it is set."""
    code = "import sys, steer_utils.runs.executors; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _eventually(found: object, seconds: float = 30.0) -> object:
    """The first true value of `found()`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()  # type: ignore[operator]
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("it never came")
