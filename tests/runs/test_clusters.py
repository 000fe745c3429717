"""Workers of this machine, of a scheduler, of SLURM. There is no SLURM here: its job script is read, and a stand-in for
`sbatch` runs it."""

from __future__ import annotations

import inspect
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import distributed
import psutil
import pytest
from dask_jobqueue.core import Job, JobQueueCluster
from dask_jobqueue.slurm import SLURMJob
from distributed import Client
from short_work import environment, short_units

from steer_utils.runs import clusters
from steer_utils.runs.clusters import Profile, connected, local_workers, read_profile, slurm_cluster, slurm_workers
from steer_utils.runs.executors import DaskExecutor
from steer_utils.sound.config_files import config

PROFILE = {"jobs": 1, "cores": 8, "memory": "32GB", "queue": "gpu", "walltime": "12:00:00"}
NO_DASHBOARD = {"dashboard_address": ":0"}


def profile(**changes: object) -> Profile:
    return config(Profile, {**PROFILE, **changes}, "a profile")


# -- this machine ----------------------------------------------------------------------------------------------------
CLIENT = """
import os, sys, time
if "bokeh" not in sys.modules:
    sys.modules["bokeh"] = None  # as if it were not installed
from steer_utils.runs.clusters import local_workers
from steer_utils.runs.executors import DaskExecutor

def work(unit):
    with open(os.path.join(sys.argv[1], f"unit{unit['name']}"), "w") as file:
        file.write(f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']} {os.environ['OMP_NUM_THREADS']} ")
    time.sleep(600)

if __name__ == "__main__":
    with local_workers(2, threads=3, devices=("5", "6")) as client:
        try:
            list(DaskExecutor(client, threads=3).run([{"name": "a"}, {"name": "b"}], work))
        except KeyboardInterrupt:
            print("stopped")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_workers_end_with_the_process_that_asked(how: signal.Signals, tmp_path: Path) -> None:
    """By Ctrl-C in a terminal, which all processes get, quietly and at once; also by kill -9, which runs no clean-up.
    Until then they have their threads and devices, and all this without bokeh."""
    (tmp_path / "client.py").write_text(CLIENT)
    command = [sys.executable, str(tmp_path / "client.py"), str(tmp_path)]
    asking = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    files = [tmp_path / "unita", tmp_path / "unitb"]
    eventually(lambda: all(path.is_file() and path.read_text().endswith(" ") for path in files))
    workers = [path.read_text().split() for path in files]
    assert sorted(device for _, device, _ in workers) == ["5", "6"] and {threads for *_, threads in workers} == {"3"}
    (os.killpg if how is signal.SIGINT else os.kill)(asking.pid, how)
    out, errors = asking.communicate(timeout=30)
    eventually(lambda: not any(psutil.pid_exists(int(pid)) for pid, *_ in workers))
    if how is signal.SIGINT:
        assert (asking.returncode, out, errors) == (0, b"stopped\n", b"")


def eventually(so: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def test_strangers_on_this_machine_are_refused(client: Client) -> None:
    """A scheduler runs any code that it is sent; on a shared machine others can reach its port."""
    protocol, host, port = client.scheduler.address.replace("//", "").split(":")
    assert protocol == "tls"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(plain) as wrapped,  # no certificate of ours
    ):
        wrapped.recv(1)


def test_bad_numbers_of_workers_are_refused() -> None:
    for bad in ({"workers": 0}, {"workers": 2, "threads": 0}):
        with pytest.raises(ValueError, match="pass at least 1 of each"), local_workers(**bad):
            pass


# -- other machines --------------------------------------------------------------------------------------------------
def test_an_address_without_a_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "TIMEOUT", 0.5)
    for address in ("tcp://127.0.0.1:9", "127.0.0.1:9", "tls://127.0.0.1:9"):
        with pytest.raises(ValueError, match=r"no Dask scheduler answers at .*; start one with `dask scheduler`"):
            connected(address).__enter__()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "nowhere",
        "tcp://host",
        "http://host:8786",
        "tcp://host:port",
        "",
        "tcp://",
        "tcp://host:99999",
        "tcp://host:-1",
    ],
)
def test_what_is_no_address_is_refused_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: pytest.fail("it was called"))
    with pytest.raises(ValueError, match=rf"^{re.escape(repr(address))} is no address of a Dask .*such as tcp://host"):
        connected(address).__enter__()


def test_without_dask_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for opened in (connected("tcp://127.0.0.1:9"), local_workers(1)):
        with pytest.raises(ValueError, match=r"pip install 'steer-utils\[sweep\]'"):
            opened.__enter__()
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ValueError, match=r"pip install 'steer-utils\[cluster\]'"):
        slurm_cluster(profile())


# -- SLURM -----------------------------------------------------------------------------------------------------------
def test_the_job_script_asks_for_what_the_profile_says() -> None:
    asked = profile(
        job_extra_directives=["--gres=gpu:1"],
        worker_extra_args=["--preload", "mine.py"],
        scheduler_options=NO_DASHBOARD,
    )
    with slurm_cluster(asked) as cluster:
        script = cluster.job_script()
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=30G",
        "#SBATCH -t 12:00:00",
        "#SBATCH --gres=gpu:1",
    ):
        assert line in script
    command = script.strip().splitlines()[-1]
    assert command.startswith(sys.executable) and "--preload mine.py" in command
    assert command.endswith("--nthreads 1 --resources unit=1")  # the last of two --nthreads wins
    assert asked.threads == 8 and profile(processes=4).threads == 2


def test_jobs_are_submitted_run_and_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for SLURM: `sbatch` keeps the script, runs it and prints a number, `scancel` ends it."""
    _stand_in(
        tmp_path,
        "sbatch",
        'cp "$1" jobs/$$.sh; setsid sh jobs/$$.sh > jobs/$$.log 2>&1 &\n'
        'echo $! >> jobs/pids; echo "Submitted batch job $!"',
    )
    _stand_in(tmp_path, "scancel", 'for job in "$@"; do echo $job >> jobs/ended; kill -- -$job; done')
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    asked = profile(cores=2, memory="1GB", interface="lo", protocol="tcp://", scheduler_options=NO_DASHBOARD)
    with slurm_workers(asked) as client:
        client.wait_for_workers(1, timeout=60)
        outcomes = list(DaskExecutor(client, asked.threads).run(short_units(5), environment))
        assert [outcome.value["OMP_NUM_THREADS"] for outcome in outcomes] == ["2"] * 5
    assert (tmp_path / "jobs" / "ended").read_text() == (tmp_path / "jobs" / "pids").read_text()


def _stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_slurm_without_sbatch_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="there is no `sbatch` here"):
        slurm_workers(profile()).__enter__()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read a profile from"),
        ("- 1", "lacks everything; a profile holds jobs"),
        ("jobs: 2\ncores: 4\n", "memory is missing; a profile needs cores, jobs, memory"),
        ("jobs: 0\ncores: 4\nmemory: 1GB\n", "jobs is 0; pass a whole number from 1"),
        ("jobs: 1\ncores: many\nmemory: 1GB\n", "cores is 'many'"),
        (
            "jobs: 1\ncores: 4\nmemory: 1GB\nwalltime: 12:00:00\n",
            'line 4: yaml takes 12:00:00 for 43200; write "12:00:00" in quotes',
        ),
        ("jobs: 1\ncores: 4\nmemory: 1GB\ncores: 8\n", "has cores twice"),
        ("jobs: 1\ncores: '4'\nmemory: 1GB\n", "cores is '4'; pass a whole number from 1"),
        ("jobs: true\ncores: 4\nmemory: 1GB\n", "jobs is True; pass a whole number from 1"),
        (
            "jobs: 1\ncores: 4\nmemory: 1GB\njob_extra_directives: --gres=gpu:1\n",
            "job_extra_directives is '--gres=gpu:1'; pass a list such as",
        ),
        (
            "jobs: 1\ncores: 4\nmemory: 1GB\njob_script_prologue: module load\n",
            "job_script_prologue is 'module load'; pass",
        ),
        ("jobs: 1\ncores: 4\nmemory: 1GB\naccount: 123\n", "account is 123; pass text, in quotes where"),
        ("jobs: 1\ncores: 4\nmemory: 1GB\naccount: 0123\n", "yaml takes 0123 for 83"),
        ("jobs: 1\ncores: 4\nmemory: 1GB\nqueue: no\n", "yaml takes no for false"),
        ("jobs: 1\ncores: 4\nmemory: 1GB\nquue: gpu\n", "unknown key 'quue'; did you mean 'queue'? a profile takes"),
    ],
)
def test_bad_profiles_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "gpu.yaml").write_text(text)
    with pytest.raises(ValueError) as raised:
        read_profile(tmp_path / "gpu.yaml")
    assert message in str(raised.value) and "gpu.yaml" in str(raised.value)


def test_what_slurm_cannot_do_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"the profile cannot be used: .*interface"):
        slurm_cluster(profile(interface="none0"))


def test_a_profile_takes_what_the_installed_cluster_takes() -> None:
    """Each key is an argument of its own; none that a file can hold is forgotten."""
    taken = set[str]()
    for kind in (SLURMJob, Job, JobQueueCluster):
        taken |= set(inspect.signature(kind.__init__).parameters)
    ours = set(Profile.model_fields) - {"jobs"}
    assert ours <= taken
    no_file_holds = {"self", "loop", "job_cls", "scheduler_cls", "asynchronous", "n_workers", "scheduler", "name"}
    renamed = {"job_extra", "env_extra", "header_skip", "extra"}  # which dask-jobqueue itself warns of
    assert taken - ours - no_file_holds - renamed == {"base_class_kwargs", "job_kwargs", "silence_logs"}
