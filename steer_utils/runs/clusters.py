"""Units of work past one machine, on Dask: a scheduler that runs somewhere, or jobs of SLURM.

    with connected("tcp://10.0.0.1:8786") as client: DaskExecutor(client).run(units, function)
    with slurm(read_profile(Path("gpu.yaml"))) as client: ...

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

import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steer_utils.lm.environment import library_versions, usable_cores
from steer_utils.runs.executors import RETRIES, Function, Outcome, Outcomes, Unit, attempt

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster
    from distributed import Client

REMEDY = "sweeps past one machine need Dask: pip install 'steer-utils[cluster]'"
RESOURCE = "unit"  # what a worker has one of: dask worker ADDRESS --nthreads 1 --resources unit=1
START_A_WORKER = f"dask worker {{address}} --nthreads 1 --resources {RESOURCE}=1"
TIMEOUT = 20.0  # seconds that a scheduler has to answer


@dataclass(frozen=True)
class DaskExecutor:
    """The workers of a Dask client. `threads` each computes with; default: the cores of a machine shared out evenly
    among its workers.

    Units go to workers that have the resource `unit` if any has it, and one at a time to each process whatever its
    threads. A unit whose worker dies is given to another one, as often as the scheduler's `allowed-failures` says. When
    the scheduler is gone, the units that did not end are `lost`.
    """

    client: Client
    threads: int | None = None

    @property
    def workers(self) -> int:
        """How many worker processes there are now."""
        return len(self.client.nthreads())

    def run(self, units: Sequence[Unit], function: Function) -> Outcomes:
        """The outcome of each unit as it ends. Closing the iterator takes back what has not started.

        Raises ValueError, before any work, for workers that lack this library or have another version of it.
        """
        from dask.base import tokenize
        from distributed import as_completed

        machines = seen_by_workers(self.client)
        threads = self.threads or min(_cores_each(machines), default=1)
        resources = {RESOURCE: 1} if any(RESOURCE in each["resources"] for each in machines) else None

        def submitted(unit: Unit, priority: int, turn: str = "first") -> Any:
            # Two clients that ask for the same unit of the same folder wait for one run of it.
            key = f"unit-{tokenize(function, unit, turn)}-{unit['name']}"
            return self.client.submit(
                attempt, function, unit, threads, key=key, priority=priority, retries=RETRIES, pure=False,
                resources=resources,
            )  # fmt: skip

        futures = {submitted(unit, -index): unit for index, unit in enumerate(units)}
        blamed = []
        try:
            for future in as_completed(list(futures), loop=self.client.loop):
                unit = futures.pop(future)
                outcome = _outcome(unit, future)
                future.release()  # else it would be computed again when the worker that holds it dies
                if outcome is None:
                    blamed.append(unit)
                else:
                    yield outcome
            for unit in blamed:  # alone: Dask also blames what waited beside the unit that killed its worker
                futures = {(future := submitted(unit, 0, "alone")): unit}
                died = Outcome(unit, error="its worker died each time; see the worker's log (out of memory?)")
                yield _outcome(unit, future) or died
        finally:
            if self.client.status == "running":
                self.client.cancel([future for future in futures if not future.done()])


def seen_by_workers(client: Client, path: Path | None = None) -> list[dict[str, Any]]:
    """Of each worker: its host, cores, resources, and whether it `sees` the file `path`.

    Raises ValueError for workers that cannot import this library or have another version of it, or see no such file.
    """
    answers = client.run(_machine, None if path is None else str(path), on_error="return").values()
    # A worker that lacks a module answers with a plain Exception that holds the error as text.
    if unable := [str(each) for each in answers if isinstance(each, Exception) and "NotFoundError" in str(each)]:
        raise ValueError(f"the workers cannot import steer_utils ({unable[0]}); install it on their machines")
    found = [each for each in answers if not isinstance(each, Exception)]  # others are of workers that just ended
    own = library_versions()["steer-utils"]
    if other := sorted({each["version"] for each in found} - {own}):
        raise ValueError(f"the workers have steer_utils {', '.join(other)}, this is {own}; install the same on all")
    if blind := sorted({each["host"] for each in found if not each["sees"]}):
        raise ValueError(f"the workers on {', '.join(blind)} see no {path}; pass --out with a folder that all share")
    return found


def _machine(path: str | None, dask_worker: Any = None) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "cores": usable_cores(),
        "resources": list(dask_worker.state.total_resources),
        "version": library_versions()["steer-utils"],
        "sees": path is None or Path(path).is_file(),
    }


def _cores_each(machines: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """For each worker its share of its machine's cores."""
    hosts = [each["host"] for each in machines]
    return (max(1, each["cores"] // hosts.count(each["host"])) for each in machines)


def _outcome(unit: Unit, future: Any) -> Outcome | None:
    """What became of it, once known; None if its workers died, as often as the scheduler allows."""
    from distributed import KilledWorker

    try:
        return Outcome(unit, **future.result())
    except KilledWorker:
        return None
    except CancelledError:  # the scheduler is gone
        return Outcome(unit, lost=True)
    except Exception as error:  # Dask's own, such as a unit that could not be sent
        return Outcome(unit, error=f"{type(error).__name__}: {' '.join(str(error).split())}")


# -- where the workers are -------------------------------------------------------------------------------------------
@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at `address`. Raises ValueError if none answers there, or without Dask."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(REMEDY) from error
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:  # a timeout is an OSError too
        raise ValueError(
            f"no Dask scheduler answers at {address!r} ({' '.join(str(error).split())[:120]}); start one with "
            "`dask scheduler`, and pass the address that it prints"
        ) from error
    try:
        yield client
    finally:
        _closed(client)


@contextmanager
def slurm(profile: Mapping[str, Any]) -> Iterator[Client]:
    """A client of workers in SLURM jobs that are kept at `profile["jobs"]`: one that ends at its walltime is followed
    by another, which takes up the unit where it was. The scheduler runs in this process.

    Raises ValueError for arguments that SLURMCluster does not take, without dask-jobqueue, or without `sbatch`.
    """
    if shutil.which("sbatch") is None:
        raise ValueError("there is no `sbatch` here; run this on a machine from which SLURM jobs are submitted")
    cluster = slurm_cluster(profile)
    try:
        cluster.adapt(minimum_jobs=profile["jobs"], maximum_jobs=profile["jobs"])
        from distributed import Client

        client = Client(cluster, set_as_default=False)
        try:
            yield client
        finally:
            _closed(client)
    finally:
        cluster.close()


def slurm_cluster(profile: Mapping[str, Any]) -> SLURMCluster:
    """The cluster of a profile, without any job yet: `job_script()` is what would be submitted.

    Each worker process does one unit at a time; of a job's `cores` each of its `processes` (default 1) gets its share.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise ValueError(REMEDY) from error
    given = {name: value for name, value in profile.items() if name != "jobs"}
    # Later arguments win: one thread for units, which themselves compute with several.
    extra = [*given.pop("worker_extra_args", []), "--nthreads", "1", "--resources", f"{RESOURCE}=1"]
    try:
        return SLURMCluster(**{"processes": 1, **given}, worker_extra_args=extra)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the profile cannot be used: {' '.join(str(error).split())[:300]}") from error


def read_profile(path: Path) -> dict[str, Any]:
    """The profile in a yaml file. Raises ValueError for a file that holds none, without `jobs`, `cores` or `memory`, or
    with a walltime that yaml read as a number."""
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read a profile from {str(path)!r}: {error}") from error
    if not isinstance(found, dict) or (lacking := [key for key in ("jobs", "cores", "memory") if key not in found]):
        what = ", ".join(lacking) if isinstance(found, dict) else "everything"
        raise ValueError(f"{path} lacks {what}; a profile holds jobs, and arguments of dask_jobqueue.SLURMCluster")
    for name in ("jobs", "cores", "processes"):
        value = found.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{path}: {name} is {value!r}; pass a whole number from 1")
    if not isinstance(found.get("walltime", ""), str):  # yaml reads 12:00:00 as 43200, and SLURM that as minutes
        raise ValueError(f"{path}: walltime was read as the number {found['walltime']}; put it in quotes")
    return found


def threads_of(profile: Mapping[str, Any]) -> int:
    """How many threads a worker of this profile computes with."""
    return max(1, profile["cores"] // profile.get("processes", 1))


def _closed(client: Client) -> None:
    try:
        client.close(timeout=2)
    except OSError:  # a scheduler that is gone cannot say goodbye (a timeout is an OSError)
        return
