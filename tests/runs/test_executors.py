"""Executors: one outcome a unit whatever happens to it or to its worker, in this process and on Dask alike."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from short_work import dies_at_three, environment, meet, short_units, square, three_fails

from steer_utils.lm.environment import usable_cores
from steer_utils.runs import executors
from steer_utils.runs.executors import DaskExecutor, Executor, Outcome, SerialExecutor, seen_by_workers


@pytest.fixture(params=["serial", "dask"])
def executor(request: pytest.FixtureRequest) -> Executor:
    """Each engine; workers are started for the second only."""
    return SerialExecutor() if request.param == "serial" else DaskExecutor(request.getfixturevalue("client"))


def test_each_of_many_units_has_one_outcome(executor: Executor, tmp_path: Path) -> None:
    units = short_units(200)
    work = partial(meet, str(tmp_path), executor.workers)
    outcomes = {outcome.unit["name"]: outcome for outcome in executor.run(units, work)}
    assert len(outcomes) == 200 and all(outcome.done for outcome in outcomes.values())
    assert [outcomes[unit["name"]].value["square"] for unit in units] == [n * n for n in range(200)]
    pids = {outcome.value["pid"] for outcome in outcomes.values()}
    assert len(pids) == executor.workers and (os.getpid() in pids) == isinstance(executor, SerialExecutor)


def test_a_unit_that_raises_is_told_and_the_others_go_on(executor: Executor) -> None:
    outcomes = list(executor.run(short_units(6), three_fails))
    (failed,) = (outcome for outcome in outcomes if not outcome.done)
    assert len(outcomes) == 6 and failed.unit["n"] == 3
    assert failed.error == "RuntimeError: three is bad"
    assert "in three_fails" in failed.trace and failed.value is None


def test_no_units_no_outcomes(executor: Executor) -> None:
    assert list(executor.run([], square)) == []


def test_nothing_of_this_process_changes(executor: Executor) -> None:
    before = dict(os.environ)
    list(executor.run(short_units(1), square))
    assert dict(os.environ) == before


def test_an_outcome_is_done_lost_or_failed() -> None:
    unit = {"name": "one"}
    assert Outcome(unit).done
    assert not Outcome(unit, lost=True).done and not Outcome(unit, error="no").done


def test_no_torch_before_the_threads_are_known() -> None:
    """A worker imports this module first: torch would read the environment before it is set."""
    code = "import sys, steer_utils.runs.executors; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- Dask ------------------------------------------------------------------------------------------------------------
def test_threads_are_pinned(client: Any) -> None:
    (given,) = DaskExecutor(client, threads=5).run(short_units(1), environment)
    assert given.value["OMP_NUM_THREADS"] == given.value["MKL_NUM_THREADS"] == "5"
    assert given.value["STEER_UTILS_THREADS_SHARED"] is None
    (shared,) = DaskExecutor(client).run([{"name": "other", "n": 1}], environment)
    assert int(shared.value["OMP_NUM_THREADS"]) == max(1, usable_cores() // 2)
    assert shared.value["STEER_UTILS_THREADS_SHARED"] == "1"
    assert shared.value["OMP_WAIT_POLICY"] == "PASSIVE"


def test_a_process_does_one_unit_at_a_time(client: Any, tmp_path: Path) -> None:
    """Units share the model, whose hooks are not for two at once."""
    log = tmp_path / "log"
    list(DaskExecutor(client).run(short_units(8), partial(_logged, str(log))))
    open_units: dict[str, int] = {}
    for pid, word in (line.split() for line in log.read_text().splitlines()):
        open_units[pid] = open_units.get(pid, 0) + (1 if word == "begin" else -1)
        assert open_units[pid] in (0, 1)


def _logged(path: str, unit: dict[str, Any]) -> None:
    for word in ("begin", "end"):
        with open(path, "a") as log:
            log.write(f"{os.getpid()} {word}\n")
        time.sleep(0.02)


@pytest.mark.parametrize("deaths", [1, 40])
def test_a_unit_whose_worker_dies_is_tried_again_and_given_up_if_it_always_does(
    client: Any, tmp_path: Path, deaths: int
) -> None:
    """Only that unit is: Dask also blames what waited beside it."""
    for number in range(deaths):
        (tmp_path / f"die{number}").touch()
    units = [{**unit, "deaths": deaths} for unit in short_units(6)]
    outcomes = {
        outcome.unit["n"]: outcome for outcome in DaskExecutor(client).run(units, partial(dies_at_three, str(tmp_path)))
    }
    assert ("its worker died each time" in outcomes[3].error) == (deaths > 1)
    assert len(outcomes) == 6 and all(outcome.done for n, outcome in outcomes.items() if n != 3)
    assert deaths - len(list(tmp_path.glob("die*"))) in (1, 4)


def test_workers_must_see_the_folder_and_have_this_version(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweep.json").touch()
    machines = seen_by_workers(client, tmp_path / "sweep.json")
    assert len(machines) == 2 and all(machine["sees"] and machine["cores"] >= 1 for machine in machines)
    with pytest.raises(ValueError, match=r"see no .*none.json; pass --out with a folder that all share"):
        seen_by_workers(client, tmp_path / "none.json")
    monkeypatch.setattr(executors, "installed_version", lambda package: "99")
    with pytest.raises(ValueError, match=r"the workers have steer_utils .*, this is 99"):
        list(DaskExecutor(client).run(short_units(1), square))


def test_workers_without_this_library_are_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker answers so where a module is missing."""
    lacking = Exception("ModuleNotFoundError(\"No module named 'steer_utils'\")")
    monkeypatch.setattr(client, "run", lambda *_, **__: {"tcp://one": lacking})
    with pytest.raises(ValueError, match=r"the workers cannot import steer_utils .*install it on their machines"):
        seen_by_workers(client)
