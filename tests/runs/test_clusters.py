"""Dask and SLURM: real workers on this machine. There is no SLURM here: its job script is read, and a stand-in for
`sbatch` runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from short_work import dies_at_three, environment, short_units, square, three_fails

from steer_utils.runs import clusters
from steer_utils.runs.clusters import (
    DaskExecutor,
    connected,
    read_profile,
    seen_by_workers,
    slurm,
    slurm_cluster,
    threads_of,
)

distributed = pytest.importorskip("distributed")
PROFILE = {"jobs": 1, "cores": 8, "memory": "32GB", "queue": "gpu", "walltime": "12:00:00"}


@pytest.fixture(scope="module")
def made() -> Iterator[Any]:
    """A cluster of two processes of two threads each."""
    with distributed.LocalCluster(
        processes=True, n_workers=2, threads_per_worker=2, dashboard_address=None, silence_logs="CRITICAL"
    ) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client
        client.wait_for_workers(2)  # one that is just starting cannot be closed


@pytest.fixture
def client(made: Any) -> Any:
    """The same, both workers there: a test may have killed one."""
    made.wait_for_workers(2)
    return made


# -- units on workers ------------------------------------------------------------------------------------------------
def test_units_run_elsewhere_and_failures_are_told(client: Any) -> None:
    executor = DaskExecutor(client)
    found = {one.unit["n"]: one for one in executor.run(short_units(20), three_fails)}
    assert executor.workers == 2 and len(found) == 20
    assert {one.value["pid"] for n, one in found.items() if n != 3} <= set(client.run(os.getpid).values())
    assert found[3].error == "RuntimeError: three is bad" and "in three_fails" in found[3].trace
    assert all(one.done for n, one in found.items() if n != 3)


def test_threads_are_pinned(client: Any) -> None:
    (given,) = DaskExecutor(client, threads=5).run(short_units(1), environment)
    assert given.value["OMP_NUM_THREADS"] == given.value["MKL_NUM_THREADS"] == "5"
    (shared,) = DaskExecutor(client).run([{"name": "other", "n": 1}], environment)
    assert int(shared.value["OMP_NUM_THREADS"]) == max(1, clusters.usable_cores() // 2)


def test_a_process_does_one_unit_at_a_time(client: Any, tmp_path: Path) -> None:
    """Its threads are no matter: units share the model, whose hooks are not for two at once."""
    log = tmp_path / "log"
    list(DaskExecutor(client).run(short_units(8), partial(_logged, str(log))))
    open_units: dict[str, int] = {}
    for pid, word in (line.split() for line in log.read_text().splitlines()):
        open_units[pid] = open_units.get(pid, 0) + (1 if word == "begin" else -1)
        assert open_units[pid] in (0, 1)


def _logged(path: str, unit: dict[str, Any]) -> None:
    import time

    for word in ("begin", "end"):
        with open(path, "a") as log:
            log.write(f"{os.getpid()} {word}\n")
        time.sleep(0.02)


def test_only_the_unit_that_kills_its_workers_is_given_up(client: Any, tmp_path: Path) -> None:
    """Dask also blames what waited beside it."""
    for number in range(40):
        (tmp_path / f"die{number}").touch()
    outcomes = DaskExecutor(client).run(short_units(6), partial(dies_at_three, str(tmp_path)))
    found = {one.unit["n"]: one for one in outcomes}
    assert "its worker died each time" in found[3].error
    assert sorted(n for n, one in found.items() if one.done) == [0, 1, 2, 4, 5]


def test_workers_must_see_the_folder_and_have_this_version(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweep.json").touch()
    seen = seen_by_workers(client, tmp_path / "sweep.json")
    assert len(seen) == 2 and all(each["sees"] and each["cores"] >= 1 for each in seen)
    with pytest.raises(ValueError, match=r"see no .*none.json; pass --out with a folder that all share"):
        seen_by_workers(client, tmp_path / "none.json")
    monkeypatch.setattr(clusters, "library_versions", lambda: {"steer-utils": "99"})
    with pytest.raises(ValueError, match=r"the workers have steer_utils .*, this is 99"):
        list(DaskExecutor(client).run(short_units(1), square))


def test_workers_without_this_library_are_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker answers so where a module is missing."""
    lacking = Exception("ModuleNotFoundError(\"No module named 'steer_utils'\")")
    monkeypatch.setattr(client, "run", lambda *_, **__: {"tcp://one": lacking})
    with pytest.raises(ValueError, match=r"the workers cannot import steer_utils .*install it on their machines"):
        seen_by_workers(client)


def test_an_address_without_a_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "TIMEOUT", 0.5)
    for address in ("tcp://127.0.0.1:9", "nowhere"):
        with pytest.raises(ValueError, match=r"no Dask scheduler answers at .*; start one with `dask scheduler`"):
            connected(address).__enter__()


@pytest.mark.parametrize("package", ["distributed", "dask_jobqueue"])
def test_without_dask_the_remedy_is_told(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"pip install 'steer-utils\[cluster\]'"):
        connected("tcp://127.0.0.1:9").__enter__() if package == "distributed" else slurm_cluster(PROFILE)


# -- SLURM -----------------------------------------------------------------------------------------------------------
def test_the_job_script_asks_for_what_the_profile_says() -> None:
    profile = {**PROFILE, "job_extra_directives": ["--gres=gpu:1"], "worker_extra_args": ["--preload", "mine.py"]}
    with slurm_cluster({**profile, "scheduler_options": {"dashboard_address": ":0"}}) as cluster:
        script = cluster.job_script()
    for line in ("#SBATCH -p gpu", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=30G", "#SBATCH -t 12:00:00",
                 "#SBATCH --gres=gpu:1"):  # fmt: skip
        assert line in script
    command = script.strip().splitlines()[-1]
    assert command.startswith(sys.executable) and "--preload mine.py" in command
    assert command.endswith("--nthreads 1 --resources unit=1")  # the last of two --nthreads wins
    assert threads_of(profile) == 8 and threads_of({**profile, "processes": 4}) == 2


def test_jobs_are_submitted_run_and_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for SLURM: `sbatch` keeps the script, runs it and prints a number, `scancel` ends it."""
    _stand_in(tmp_path, "sbatch", 'cp "$1" jobs/$$.sh; setsid sh jobs/$$.sh > jobs/$$.log 2>&1 &\n'
              'echo $! >> jobs/pids; echo "Submitted batch job $!"')  # fmt: skip
    _stand_in(tmp_path, "scancel", 'for job in "$@"; do echo $job >> jobs/ended; kill -- -$job; done')
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    profile = {**PROFILE, "cores": 2, "memory": "1GB", "interface": "lo", "protocol": "tcp://",
               "scheduler_options": {"dashboard_address": ":0"}}  # fmt: skip
    with slurm(profile) as client:
        client.wait_for_workers(1, timeout=60)
        found = list(DaskExecutor(client, threads_of(profile)).run(short_units(5), environment))
        assert {one.value["OMP_NUM_THREADS"] for one in found} == {"2"} and len(found) == 5
    assert (tmp_path / "jobs" / "ended").read_text() == (tmp_path / "jobs" / "pids").read_text()


def _stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_slurm_without_sbatch_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="there is no `sbatch` here"):
        slurm(PROFILE).__enter__()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read a profile from"),
        ("- 1", "lacks everything; a profile holds jobs"),
        ("jobs: 2\ncores: 4\n", "lacks memory"),
        ("jobs: 0\ncores: 4\nmemory: 1GB\n", "jobs is 0; pass a whole number from 1"),
        ("jobs: 1\ncores: many\nmemory: 1GB\n", "cores is 'many'"),
        ("jobs: 1\ncores: 4\nmemory: 1GB\nwalltime: 12:00:00\n", "walltime was read as the number 43200"),
    ],
)
def test_bad_profiles_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "gpu.yaml").write_text(text)
    with pytest.raises(ValueError) as raised:
        read_profile(tmp_path / "gpu.yaml")
    assert message in str(raised.value) and "gpu.yaml" in str(raised.value)


def test_a_profile_of_unknown_arguments_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the profile cannot be used: .*quue"):
        slurm_cluster({**PROFILE, "quue": "gpu"})
