"""Before a long run: the `datasets` there are, `fetch` one, and what a model would `cost`. Mounted by `cli.main`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer()


@data_app.command()
def datasets() -> None:
    """List the data sets, their licences, and how to get them.

    Example: steer-utils datasets
    """
    from steer_utils.sound.datasets import DATASETS

    for name, dataset in DATASETS.items():
        how = f"steer-utils fetch {name}" if dataset.remote is not None else dataset.obtain
        typer.echo(
            f"{name}: {dataset.title}, {dataset.holds}\n  licence  {dataset.licence}. {dataset.restriction}\n"
            f"  get it   {how}\n  page     {dataset.homepage}\n  cite     {dataset.citation}"
        )


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A data set (see `steer-utils datasets`).")],
    folder: Annotated[Path, typer.Option(help="Where it goes.")] = Path("data"),
    keep_archive: Annotated[bool, typer.Option("--keep-archive", help="Keep the archive once it is unpacked.")] = False,
) -> None:
    """Download a data set, verify and unpack it.

    Prints the folder to pass as --clips.

    Example: steer-utils fetch esc50 --folder data
    """
    from steer_utils.sound.downloads import fetch as download

    typer.echo(str(download(name, folder, keep_archive=keep_archive, quiet=None)))


@data_app.command()
def cost(
    scenes: Annotated[int, typer.Option(help="How many scenes.")] = 300,
    queries: Annotated[int, typer.Option(help="Queries a scene.")] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds of a scene.")] = 17.0,
    passes: Annotated[
        int | None, typer.Option(help="Suffix passes a query; else those of the standard methods.")
    ] = None,
    answer_tokens: Annotated[int, typer.Option(help="Tokens of the one answer a query.")] = 32,
) -> None:
    """Say what a benchmark of a published checkpoint takes.

    Memory and hours, computed from its shape alone.

    Example: steer-utils cost --scenes 300
    """
    from steer_utils.lm.costs import cost_table
    from steer_utils.lm.families import FAMILIES
    from steer_utils.methods.table import standard_passes

    typer.echo(
        cost_table(
            scenes=scenes,
            queries=queries,
            seconds=seconds,
            answer_tokens=answer_tokens,
            passes_per_query=standard_passes() if passes is None else passes,
            families=FAMILIES,
        )
    )
