"""Sweeps from the command line: `sweep`, `results` and `compare`. Mounted by `steer_utils.cli.main`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.console import note, say
from steer_utils.cli.options import Json
from steer_utils.lm.environment import usable_cores
from steer_utils.lm.threads import asked_for

if TYPE_CHECKING:
    from pandas import DataFrame

    from steer_utils.runs.executors import Executor
    from steer_utils.runs.grids import Grid
    from steer_utils.runs.sweep import Sweep

sweep_app = typer.Typer()

SWEEPS = Path("sweeps")


@sweep_app.command()
def sweep(
    grid: Annotated[Path, typer.Argument(help="A yaml file: models, seeds, scenes, blocks, strengths.")],
    workers: Annotated[
        int | None, typer.Option(help="Processes of this machine; 0: in this one [default: half the cores].")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="The address of a Dask scheduler, such as tcp://host:8786.")
    ] = None,
    slurm: Annotated[
        Path | None, typer.Option(help="A yaml profile of SLURM jobs: jobs, cores, memory, queue, walltime ...")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The sweep's folder; all machines must see it [default: sweeps/<name of GRID>].")
    ] = None,
) -> None:
    """Run a grid of models, seeds, blocks and strengths.

    On this machine, on Dask, or through SLURM; a unit is a model with a seed. Strength 0 and a random vector of equal
    norm are always in the grid. A setting is chosen on development classes and measured on the others (`steer-utils
    results`). A grid with `notebook:` runs that notebook instead.

    The same command goes on where it was cut off, and tries again what failed. Exit code 1 if a unit failed.

    Example: steer-utils sweep grid.yaml --workers 2
    """
    if sum(option is not None for option in (workers, scheduler, slurm)) > 1:
        raise ValueError("pass one of --workers, --scheduler and --slurm")
    if workers is not None and workers < 0:
        raise ValueError(f"workers is {workers}; pass 0 to work in this process, or a number of processes")
    if out is None and (scheduler is not None or slurm is not None):
        raise ValueError("pass --out with a folder that all machines of the cluster see")
    from steer_utils.runs.grids import read_grid

    read = read_grid(grid)
    from steer_utils.runs.planning import plan_sweep
    from steer_utils.runs.sweep import Sweep

    sweep_plan = plan_sweep(read)
    for line in sweep_plan.notes:
        note(line)
    started = Sweep.started(sweep_plan.units, read, SWEEPS / grid.stem if out is None else out)
    with _executor(read, workers, scheduler, slurm, started.folder / "sweep.json") as (executor, dashboard):
        if not _run(started, executor, dashboard):
            raise typer.Exit(1)


@contextmanager
def _executor(
    grid: Grid, workers: int | None, scheduler: str | None, slurm: Path | None, plan: Path
) -> Iterator[tuple[Executor, str]]:
    """What runs the units, and the address of its dashboard."""
    from steer_utils.runs import clusters
    from steer_utils.runs.executors import DaskExecutor, SerialExecutor, seen_by_workers

    if scheduler is None and slurm is None:
        devices = _gpus(grid)
        count = _default_workers(grid, devices) if workers is None else workers
        if not count:
            yield SerialExecutor(), ""
            return
        threads = asked_for(os.environ)
        with clusters.local_workers(count, threads, devices) as client:
            yield DaskExecutor(client, threads), ""
        return
    profile = None if slurm is None else clusters.read_profile(slurm)
    with clusters.slurm_workers(profile) if profile is not None else clusters.connected(str(scheduler)) as client:
        if not client.nthreads():
            how = clusters.START_A_WORKER.format(address=scheduler)
            note("waiting for the first SLURM job to start" if profile else f"no worker has joined; start some: {how}")
            client.wait_for_workers(1)
        seen_by_workers(client, plan)
        yield DaskExecutor(client, None if profile is None else profile.threads), client.dashboard_link


def _run(started: Sweep, executor: Executor, dashboard: str) -> bool:
    """Run what is left and say how it went; False if anything failed or was lost."""
    from steer_utils.runs.status import Status, shown
    from steer_utils.runs.sweep import run_sweep

    status = Status(len(started.units), len(started.finished()), executor.workers, dashboard)
    if dashboard:
        note(f"dashboard: {dashboard}")
    try:
        with shown(status) as count, closing(run_sweep(started, executor)) as outcomes:
            for outcome in outcomes:
                count(outcome)
    except KeyboardInterrupt:
        note("stopped: the same command goes on from here")
        raise typer.Exit(130) from None
    for name, error in started.failures().items():
        say(f"failed: {name}: {error} (traceback: {started.folder / 'failed' / name}.json)")
    if status.lost:
        say(f"{status.lost} units were not run: the scheduler is gone. The same command, with one that runs, does them")
    typer.echo(
        f"{status.total} units: {status.ran} ran, {status.there} were there already, {status.failed} failed. "
        f"Next: steer-utils results {started.folder}"
    )
    return not status.failed and not status.lost


def _gpus(grid: Grid) -> tuple[str, ...]:
    """The GPUs to share out, as CUDA_VISIBLE_DEVICES names them: none for pocket models, which stay on the CPU."""
    import os

    import torch

    from steer_utils.lm.models import POCKET_MODELS

    if set(grid.models) <= set(POCKET_MODELS) or getattr(grid, "device", None) == "cpu":
        return ()
    named = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    return tuple(named or map(str, range(torch.cuda.device_count())))


def _default_workers(grid: Grid, devices: tuple[str, ...]) -> int:
    """Half the cores for pocket models; for large ones a worker a GPU, or a single one, as each holds the weights."""
    from steer_utils.lm.models import POCKET_MODELS

    if devices or not set(grid.models) <= set(POCKET_MODELS):
        return max(1, len(devices))
    return max(1, usable_cores() // 2)


@sweep_app.command()
def results(
    folder: Annotated[
        Path | None, typer.Argument(help="The folder of a sweep; without it, the pocket models as they ship.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Without DIR: put the table between the result marks of this Markdown page.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the measured table, or what a sweep found.

    Without DIR: methods by pocket models, beside the paper's own figures. With DIR: the setting of each model chosen on
    the development classes and what it gives on the others; every row (results.parquet, results.csv), summary.csv,
    best.csv and the figures are written into DIR.

    Example: steer-utils results sweeps/grid
    """
    if folder is None:
        if as_json:
            raise ValueError("--json is for a sweep; pass its folder")
        from steer_utils.study.paper_table import results_table, write_results_table

        if write is None:
            typer.echo(results_table())
        else:
            write_results_table(write)
            note(f"the table in {write} is up to date")
        return
    if write is not None:
        raise ValueError("--write is for the table of the pocket models; what a sweep found is written into its folder")
    from steer_utils.runs.sweep import Sweep
    from steer_utils.runs.sweep_results import results_json, results_text, tidy, write_results

    table = tidy(Sweep.opened(folder))
    typer.echo(results_json(table) if as_json else results_text(table))
    written = [*write_results(table, folder), *_draw(table, folder)]
    note(f"written into {folder}: {', '.join(path.name for path in written)}")


def _draw(table: DataFrame, folder: Path) -> list[Path]:
    """overlap.png and .svg; of several questions one each, overlap_1, overlap_2 ..."""
    from steer_utils.runs.sweep_results import chosen, is_of_scenes, summarised
    from steer_utils.show.plots.figures import save_figure
    from steer_utils.show.plots.sweeps import CAPTION, alt_text_heat, heat_figure

    if not is_of_scenes(table):
        return []
    summary = summarised(table)
    best = chosen(table, summary)
    asked = list(dict.fromkeys(summary["question"]))
    written: list[Path] = []
    for number, question in enumerate(asked, 1):
        stem = folder / ("overlap" if len(asked) == 1 else f"overlap_{number}")
        alt = alt_text_heat(summary, best, question)
        written += save_figure(heat_figure(summary, best, question), stem, alt, CAPTION)
    return written


@sweep_app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A sweep's folder, or a table of `benchmark --out FILE.parquet`.")],
    second: Annotated[Path, typer.Argument(help="Another of the same kind.")],
    as_json: Json = False,
) -> None:
    """Compare two sweeps, or two benchmarks.

    Prints the first minus the second, in points of overlap: paired, with a sign-flip test, where both measured the same
    scenes; else as two samples, which is said.

    Example: steer-utils compare sweeps/a sweeps/b
    """
    from steer_utils.runs.comparisons import compared, comparison_json, comparison_text, read_results

    comparison = compared(read_results(first), read_results(second))
    typer.echo(comparison_json(comparison) if as_json else comparison_text(comparison))
