"""Before a long run: the `datasets` and `methods` there are, `fetch` one, make `scenes`, and what a model would `cost`.

Mounted by `cli.main`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steer_utils.cli.options import Clips, open_bank
from steer_utils.sound.tables import text_table

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
def methods() -> None:
    """List the methods, and what each needs.

    Beside one pass a method may need labels (development scenes whose true intervals are known), a 2nd pass behind the
    same audio, or a 2nd audio. Its passes and its source are told too.

    Example: steer-utils methods
    """
    from steer_utils.methods.table import METHODS

    cells = [["name", "what", "needs", "passes", "source", "standard"]]
    for name, one in METHODS.items():
        cells.append([name, one.label, one.demands, one.passes, one.source, "yes" if one.standard else "no"])
    typer.echo("\n".join(text_table(cells)))


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
def scenes(
    condition: Annotated[str | None, typer.Argument(help="One of the conditions; without it they are listed.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the scenes, each a .wav and a .json.")] = Path("scenes"),
    count: Annotated[int, typer.Option(help="How many scenes.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="What the scenes follow from.", min=0)] = 0,
    seconds: Annotated[float, typer.Option(help="What the model hears in one go.")] = 8.0,
    clips: Clips = None,
) -> None:
    """List the conditions of made scenes, or make scenes of one.

    What sounds when is in the .json beside each sound.

    Example: steer-utils scenes "bed -5 dB" --count 5 --out beds
    """
    from steer_utils.sound.conditions import CONDITIONS, condition_named

    if condition is None:
        typer.echo("\n".join(text_table([[name, one.words] for name, one in CONDITIONS.items()])))
        return
    chosen = condition_named(condition)
    from steer_utils.sound.scenemaker import three_event_maker
    from steer_utils.sound.sounds import SOUNDS

    bank = open_bank(clips)
    maker = chosen.maker(three_event_maker(tuple(SOUNDS) if bank is None else bank.categories, seconds, bank))
    for scene in maker.balanced(count, seed):
        typer.echo(str(scene.save(out / f"scene_{scene.index:04}")))


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
