"""`steer-utils analyse`, `datasets`, `fetch` and `cost`: what surrounds the benchmark. Mounted by `steer_utils.cli`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .console import note, progress
from .options import Clips, Device, Dtype, Json, Model, Out, Own, check_scenes, open_model, partial_of, read_settings

research_app = typer.Typer()


@research_app.command()
def analyse(
    kind: Annotated[str, typer.Argument(help="sensitivity, shift, occlusion or swap.")],
    model: Model = "pocket-qwen2-audio",
    clips: Clips = None,
    scenes: Annotated[int, typer.Option(help="How many three-event scenes.")] = 100,
    seed: Annotated[int, typer.Option(help="What the scenes follow from.")] = 0,
    settings: Own = None,
    out: Out = None,
    figures: Annotated[Path | None, typer.Option(help="Draw the figures into this folder, as .png and .svg.")] = None,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Look behind the benchmark: what the result hangs on, what moves, and whether it causes anything.

    sensitivity: one factor at a time, and strength against blocks. shift: attention to the audio and within it, by
    block, under steering, prompting and audio-based steering. occlusion: what the model says once the window that was
    found is taken out. swap: whether the answer follows the vector.

    Give --out to make a long run resumable: when it is cut off, the same command goes on where it stopped.

    Example: steer-utils analyse shift --scenes 50 --out shift.parquet --figures figures
    """
    from .tables import check_table_target, write_table

    if out is not None:
        check_table_target(out)
    if figures is not None and figures.exists() and not figures.is_dir():
        raise ValueError(f"{str(figures)!r} is a file; pass a folder for the figures")
    check_scenes(scenes, seed)
    from .analyses import analysis_named, analysis_report, analysis_text
    from .benchmark import scene_set
    from .datasets import open_clips
    from .facts import model_settings
    from .figures import save_figure
    from .recordings import ClipBank

    analysis = analysis_named(kind)
    given = read_settings(settings)
    bank = None if clips is None else ClipBank(open_clips(clips))
    lm = open_model(model, device, dtype)
    own = given or model_settings(lm)
    made = scene_set(lm, own, count=scenes, seed=seed, clips=bank)
    partial = partial_of(out)
    try:
        table = analysis.run(lm, made, own, partial=partial, progress=lambda units: progress(units, "scene"))
    except KeyboardInterrupt:
        note("stopped" + (": the same command goes on from here" if partial is not None else ""))
        raise typer.Exit(130) from None
    if out is not None and partial is not None:
        write_table(table, out)
        partial.unlink(missing_ok=True)
    typer.echo(json.dumps(analysis_report(analysis, table), indent=2) if as_json else analysis_text(analysis, table))
    if out is not None:
        note(f"every row is in {out}")
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        for name, drawn in analysis.figures(table).items():
            stem = figures / f"{analysis.name}_{name}_{Path(model).name}"
            note(f"drawn: {save_figure(drawn.figure, stem, drawn.alt, drawn.caption)[0]}")


@research_app.command()
def datasets() -> None:
    """List the data sets that can be used, with their licences and how to get them.

    Example: steer-utils datasets
    """
    from .datasets import DATASETS

    for name, dataset in DATASETS.items():
        how = f"steer-utils fetch {name}" if dataset.remote is not None else dataset.obtain
        typer.echo(
            f"{name}: {dataset.title}, {dataset.holds}\n  licence  {dataset.licence}. {dataset.restriction}\n"
            f"  get it   {how}\n  page     {dataset.homepage}\n  cite     {dataset.citation}"
        )


@research_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A data set (see `steer-utils datasets`).")],
    folder: Annotated[Path, typer.Option(help="Where it goes.")] = Path("data"),
    keep_archive: Annotated[bool, typer.Option("--keep-archive", help="Keep the archive once it is unpacked.")] = False,
) -> None:
    """Download a data set, verify and unpack it; a broken download goes on where it stopped.

    Prints the folder to pass as --clips.

    Example: steer-utils fetch esc50 --folder data
    """
    from .downloads import fetch as download

    typer.echo(str(download(name, folder, keep_archive=keep_archive, quiet=None)))


@research_app.command()
def cost(
    scenes: Annotated[int, typer.Option(help="How many scenes.")] = 300,
    queries: Annotated[int, typer.Option(help="Queries a scene.")] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds of a scene.")] = 17.0,
    passes: Annotated[
        int | None, typer.Option(help="Suffix passes a query; else those of the standard methods.")
    ] = None,
    answer_tokens: Annotated[int, typer.Option(help="Tokens of the one answer a query.")] = 32,
) -> None:
    """Say what a benchmark of the published 7B checkpoints takes: memory and hours, from their shapes alone.

    Example: steer-utils cost --scenes 300
    """
    from .costs import STANDARD_PASSES, cost_table

    typer.echo(
        cost_table(
            scenes=scenes, queries=queries, seconds=seconds, answer_tokens=answer_tokens,
            passes_per_query=STANDARD_PASSES if passes is None else passes,
        )
    )  # fmt: skip
