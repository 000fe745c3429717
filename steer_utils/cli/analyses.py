"""What surrounds the benchmark: `analyse`, `questions`, `datasets`, `fetch`, `cost`. Mounted by `cli.main`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from steer_utils.cli.console import note, progress
from steer_utils.cli.options import (
    Clips,
    Device,
    Dtype,
    Json,
    Model,
    Out,
    Own,
    check_scenes,
    finished_table,
    open_model,
    read_settings,
)

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
    from steer_utils.study.report import check_table_target

    if out is not None:
        check_table_target(out)
    if figures is not None and figures.exists() and not figures.is_dir():
        raise ValueError(f"{str(figures)!r} is a file; pass a folder for the figures")
    check_scenes(scenes, seed)
    from steer_utils.methods.settings import model_settings
    from steer_utils.show.analyses import analysis_named, analysis_report, analysis_text
    from steer_utils.show.plots.figures import save_figure
    from steer_utils.sound.datasets import open_clips
    from steer_utils.sound.recordings import ClipBank
    from steer_utils.study.benchmark import scene_set

    analysis = analysis_named(kind)
    given = read_settings(settings)
    bank = None if clips is None else ClipBank(open_clips(clips))
    lm = open_model(model, device, dtype)
    own = given or model_settings(lm)
    made = scene_set(lm, own, count=scenes, seed=seed, clips=bank)
    table = finished_table(
        lambda resume_file: analysis.run(
            lm, made, own, resume_file=resume_file, progress=lambda units: progress(units, "scene")
        ),
        out,
    )
    typer.echo(json.dumps(analysis_report(analysis, table), indent=2) if as_json else analysis_text(analysis, table))
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
    from steer_utils.sound.datasets import DATASETS

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
    """Download a data set, verify and unpack it.

    Prints the folder to pass as --clips.

    Example: steer-utils fetch esc50 --folder data
    """
    from steer_utils.sound.downloads import fetch as download

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
    from steer_utils.lm.costs import cost_table
    from steer_utils.methods.table import standard_passes

    typer.echo(
        cost_table(
            scenes=scenes, queries=queries, seconds=seconds, answer_tokens=answer_tokens,
            passes_per_query=standard_passes() if passes is None else passes,
        )
    )  # fmt: skip


@research_app.command()
def questions(
    mmau: Annotated[Path | None, typer.Option(help="mmau-test-mini.json of MMAU; then give --audio too.")] = None,
    audio: Annotated[Path | None, typer.Option(help="The folder test-mini-audios of MMAU.")] = None,
    sakura: Annotated[Path | None, typer.Option(help="The folder of SAKURA; then give --track too.")] = None,
    track: Annotated[str, typer.Option(help="A track of SAKURA: Animal, Emotion, Gender or Language.")] = "Animal",
    limit: Annotated[int, typer.Option(help="How many questions, from the first on; 0: all.")] = 100,
    drop_broken: Annotated[bool, typer.Option("--drop-broken", help="Leave out questions without an answer.")] = False,
    model: Model = "pocket-qwen2-audio",
    settings: Own = None,
    out: Out = None,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Measure how steering and prompting change attention on the questions of MMAU test-mini or SAKURA.

    As `analyse shift`, but the audio is the data set's, no event is known, and the instruction is to focus on the
    meaningful parts. You must have the data (see `steer-utils datasets`). A pocket model knows few words of these
    questions: what it shows on them says little.

    Example: steer-utils questions --sakura SAKURA --track Animal --model Qwen/Qwen2-Audio-7B-Instruct
    """
    from steer_utils.study.report import check_table_target

    if out is not None:
        check_table_target(out)
    if (mmau is None) == (sakura is None) or (mmau is not None and audio is None):
        raise ValueError("pass either --mmau FILE with --audio FOLDER, or --sakura FOLDER (with --track NAME)")
    if limit < 0:
        raise ValueError(f"limit is {limit}; pass a number of questions, or 0 for all")
    from steer_utils.sound import questions as sets

    if mmau is not None and audio is not None:
        asked = sets.mmau(mmau, audio, drop_broken=drop_broken)
    else:
        assert sakura is not None
        asked = sets.sakura(sakura, track, drop_broken=drop_broken)
    given = read_settings(settings)
    from steer_utils.methods.settings import model_settings
    from steer_utils.show.analyses import ANALYSES, analysis_report, analysis_text
    from steer_utils.study.attention_shift import question_shift_table

    lm = open_model(model, device, dtype)
    pairs = [(each.path, each.prompt) for each in asked[: limit or None]]
    own = given or model_settings(lm)
    table = finished_table(
        lambda resume_file: question_shift_table(
            lm, pairs, own, resume_file=resume_file, progress=lambda units: progress(units, "audio")
        ),
        out,
    )
    shift = ANALYSES["shift"]
    typer.echo(json.dumps(analysis_report(shift, table), indent=2) if as_json else analysis_text(shift, table))
