"""Where the workers of a sweep are: processes of this machine, those of a Dask scheduler, or jobs of SLURM.

    with local_workers(2) as client: DaskExecutor(client).run(units, function)
    with connected("tcp://10.0.0.1:8786") as client: ...
    with slurm_workers(read_profile(Path("gpu.yaml"))) as client: ...

Only a unit and the name of its function travel; results are files in a folder that all machines share. A profile is a
yaml file of arguments of dask_jobqueue.SLURMCluster, and `jobs`, how many of them to keep running:

    jobs: 4
    cores: 8
    memory: 32GB
    queue: gpu
    walltime: "12:00:00"
    job_extra_directives: ["--gres=gpu:1"]
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from steer_utils.lm.environment import usable_cores
from steer_utils.lm.threads import THREADS, polite, share_of_cores
from steer_utils.runs.executors import RESOURCE
from steer_utils.sound.config_files import Config, Count, Text, config, read_config_file

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster
    from distributed import Client

REMEDY = "sweeps need Dask: pip install 'steer-utils[sweep]' (or pass --workers 0 to work in this process)"
SLURM_REMEDY = "SLURM jobs need dask-jobqueue: pip install 'steer-utils[cluster]'"
START_A_WORKER = f"dask worker {{address}} --nthreads 1 --resources {RESOURCE}=1"
TextList = list[Text]
Words = Annotated[
    str | None, Field(pattern=r"\S", description='text, in quotes where it looks like something else: "0123", "no"')
]

TIMEOUT = 20.0  # seconds that a scheduler has to answer
CHECK_EVERY = 5.0  # seconds
PATIENCE = 1.0  # seconds that a local worker has to end before it is killed
DEATHS = 2  # of local workers, that one unit may cause before it is tried alone, and then again


# -- this machine ----------------------------------------------------------------------------------------------------
@contextmanager
def local_workers(workers: int, threads: int | None = None, devices: Sequence[str] = ()) -> Iterator[Client]:
    """A client of `workers` processes of this machine, each with `threads` threads (default: the cores shared out).

    A process is started anew, not forked, keeps what it loaded, is replaced when it dies, and ends with this process
    whatever ends that. `devices`: values of CUDA_VISIBLE_DEVICES, given out in turn. Nothing listens beyond this
    machine, nor to anybody on it without the certificate that is made here, and there is no dashboard. Raises
    ValueError for fewer than one worker or thread, or without Dask.
    """
    if workers < 1 or (threads is not None and threads < 1):
        raise ValueError(f"workers is {workers}, threads {threads}; pass at least 1 of each")
    try:
        import cryptography  # noqa: F401  # for the certificates below
        import dask.config
        from distributed import Client, LocalCluster, WorkerPlugin
    except ImportError as error:
        raise ValueError(REMEDY) from error

    class OfThisSweep(WorkerPlugin):
        """Ctrl-C is for the process that asked: it stops the workers."""

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if devices:
                os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(worker.name) % len(devices)]

    given = dict.fromkeys(THREADS, str(threads)) if threads else share_of_cores(max(1, usable_cores() // workers))
    environment = {**given, **polite(os.environ)}
    # A worker that is gone is known by its process: one that is silent for minutes (a laptop that slept) is not gone.
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": None}),
        LocalCluster(
            security=True,  # a scheduler without would run code for anybody on this machine
            n_workers=workers,
            threads_per_worker=1,  # for units, which themselves compute with several
            memory_limit=0,  # Dask would kill workers that hold a large model
            dashboard_address=None,
            scheduler_kwargs={"allowed_failures": DEATHS - 1, "dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
            env=environment,
            resources={RESOURCE: 1},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(OfThisSweep())
        over = threading.Event()
        watching = threading.Thread(target=_keep_up, args=(cluster, workers, over), daemon=True)
        watching.start()
        try:
            yield client
        finally:
            over.set()
            watching.join()
            cluster.sync(_stop, list(cluster.workers.values()))


def _keep_up(cluster: Any, workers: int, over: threading.Event) -> None:
    """Replace what Dask gave up: it starts a dead worker anew, but not one that dies while it starts."""
    while not over.wait(CHECK_EVERY):
        cluster.scale(workers)


async def _stop(nannies: Sequence[Any]) -> None:
    """End the workers whatever they are doing: Dask itself would wait for their units to end."""
    await asyncio.gather(*(nanny.close(timeout=PATIENCE) for nanny in nannies))


# -- other machines --------------------------------------------------------------------------------------------------
@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at `address`. Raises ValueError for what is no address, if none answers there, or
    without Dask."""
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise ValueError(REMEDY) from error
    try:
        if not 0 < get_address_host_port(address)[1] < 2**16:
            raise ValueError("there is no such port")
    except ValueError as error:
        raise ValueError(
            f"{address!r} is no address of a Dask scheduler ({error}); pass one such as tcp://host:8786"
        ) from error
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:
        # A timeout is an OSError, too; TLS without certificates is a TypeError.
        raise ValueError(
            f"no Dask scheduler answers at {address!r} ({' '.join(str(error).split())[:120]}); start one with "
            "`dask scheduler`, and pass the address that it prints"
        ) from error
    try:
        yield client
    finally:
        _close(client)


class Profile(Config):
    """`jobs`, and the arguments of SLURMCluster that a file can hold."""

    jobs: Count
    cores: Count
    memory: Text
    processes: Count = 1
    queue: Words = None
    account: Words = None
    project: Words = None
    # yaml reads 12:00:00 as 43200, and SLURM takes that for minutes
    walltime: Annotated[str | None, Field(description='the time in quotes, such as "12:00:00"')] = None
    job_cpu: Annotated[int | None, Field(ge=1, description="a whole number from 1")] = None
    job_mem: Words = None
    job_name: Words = None
    job_extra_directives: TextList = Field(default=[], description='a list such as ["--gres=gpu:1"]')
    job_directives_skip: TextList = Field(default=[], description='a list of text, such as ["--mem"]')
    job_script_prologue: TextList = Field(default=[], description='a list such as ["module load cuda"]')
    worker_extra_args: TextList = Field(default=[], description="a list of text")
    worker_command: Words = None
    python: Words = None
    shebang: Words = None
    interface: Words = None
    protocol: Words = None
    security: Annotated[bool | None, Field(description="true or false")] = None
    nanny: Annotated[bool, Field(description="true or false")] = True
    death_timeout: Annotated[float | None, Field(gt=0, description="a number of seconds")] = None
    local_directory: Words = None
    log_directory: Words = None
    shared_temp_directory: Words = None
    scheduler_options: Annotated[dict[str, Any], Field(description="a mapping")] = Field(default={})
    host: Words = None
    dashboard_address: Words = None
    config_name: Words = None

    @property
    def threads(self) -> int:
        """How many threads a worker computes with."""
        return max(1, self.cores // self.processes)


def read_profile(path: Path) -> Profile:
    """The profile in a yaml file. Raises ValueError, with the file's name, for a file that holds none, a key given
    twice, a missing one, or a value that cannot be used."""
    values = read_config_file(path, "a profile")
    if not isinstance(values, dict) or not values:
        raise ValueError(
            f"{path} lacks everything; a profile holds jobs, cores, memory, and arguments of dask_jobqueue.SLURMCluster"
        )
    try:
        return config(Profile, values, "a profile")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def slurm_workers(profile: Profile) -> Iterator[Client]:
    """A client of workers in SLURM jobs that are kept at `profile.jobs`: one that ends at its walltime is followed by
    another, which takes up the unit where it was. The scheduler runs in this process.

    Raises ValueError for arguments that SLURMCluster does not take, without dask-jobqueue, or without `sbatch`.
    """
    if shutil.which("sbatch") is None:
        raise ValueError("there is no `sbatch` here; run this on a machine from which SLURM jobs are submitted")
    cluster = slurm_cluster(profile)
    try:
        cluster.adapt(minimum_jobs=profile.jobs, maximum_jobs=profile.jobs)
        from distributed import Client

        client = Client(cluster, set_as_default=False)
        try:
            yield client
        finally:
            _close(client)
    finally:
        cluster.close()


def slurm_cluster(profile: Profile) -> SLURMCluster:
    """The cluster of a profile, without any job yet: `job_script()` is what would be submitted.

    Each worker process does one unit at a time; of a job's `cores` each of its `processes` (default 1) gets its share.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise ValueError(SLURM_REMEDY) from error
    arguments = {"processes": 1, **profile.model_dump(exclude={"jobs"}, exclude_unset=True)}
    # Later arguments win: one thread for units, which themselves compute with several.
    waiting = [f"export {name}={value}" for name, value in polite(os.environ).items()]
    arguments["job_script_prologue"] = [*waiting, *profile.job_script_prologue]
    arguments["worker_extra_args"] = [*profile.worker_extra_args, "--nthreads", "1", "--resources", f"{RESOURCE}=1"]
    try:
        return SLURMCluster(**arguments)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise ValueError(f"the profile cannot be used: {' '.join(str(error).split())[:300]}") from error


def _close(client: Client) -> None:
    try:
        client.close(timeout=2)
    except OSError:  # a scheduler that is gone cannot say goodbye (a timeout is an OSError)
        return
