"""Many scenes: `benchmark` the methods, `analyse` what lies behind, measure the `questions` of data sets; `draw` and
`export` what was saved. Mounted by `cli.main`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.console import note, progress
from steer_utils.cli.options import (
    Batch,
    Clips,
    Device,
    Dtype,
    Json,
    Model,
    Out,
    Own,
    Quantise,
    Revision,
    check_scenes,
    finished_table,
    open_bank,
    open_model,
    read_settings,
    settings_of,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from steer_utils.methods.base import Method
    from steer_utils.show.analyses import Analysis
    from steer_utils.sound.labels import Labelled

PRESETS = {"smoke": 6, "course": 100, "paper": 300}  # scenes of a benchmark

Clap = Annotated[str | None, typer.Option(help="One more row: a folder or hub id of CLAP (laion/clap-htsat-unfused).")]

analyses_app = typer.Typer()


@analyses_app.command()
def benchmark(
    model: Model = "pocket-qwen2-audio",
    clips: Clips = None,
    preset: Annotated[
        str, typer.Option(help=f"Size of the run: {', '.join(f'{name} ({n} scenes)' for name, n in PRESETS.items())}.")
    ] = "course",
    scenes: Annotated[int | None, typer.Option(help="How many three-event scenes; else as the preset says.")] = None,
    seed: Annotated[int, typer.Option(help="What the scenes follow from.")] = 0,
    scenes_of: Annotated[
        str | None, typer.Option(help="Scenes that are less kind, as 'bed -5 dB'; `steer-utils scenes` lists them.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Names, separated by commas, or all (rivals and slow ones too); else the standard ones."),
    ] = None,
    clap: Clap = None,
    settings: Own = None,
    out: Out = None,
    as_json: Json = False,
    batch: Batch = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Compare the methods on scenes with known truth.

    Prints overlap with its 95 % interval, by slot, beside the chance of that slot. The methods, and what each needs,
    are listed by `steer-utils methods`.

    Give --out to make a long run resumable: when it is cut off, the same command goes on where it stopped.

    Example: steer-utils benchmark --scenes 200 --seed 0 --out pocket.parquet
    """
    if out is not None:
        from steer_utils.study.report import check_table_target

        check_table_target(out)
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; pass one of {', '.join(PRESETS)}")
    scenes = PRESETS[preset] if scenes is None else scenes
    check_scenes(scenes, seed)
    from steer_utils.methods.table import FURTHER, RIVALS, method_named, standard_methods
    from steer_utils.sound.conditions import PLAIN, condition_named
    from steer_utils.study.benchmark import run_benchmark, scene_set

    condition = PLAIN if scenes_of is None else condition_named(scenes_of).name
    everything = methods == "all"
    chosen = [method_named(name.strip()).name for name in methods.split(",")] if methods and not everything else []
    own = read_settings(settings)
    bank = open_bank(clips)
    external = _outside(clap, device)
    lm = open_model(model, device, dtype, revision, quantise)
    own = settings_of(lm, own, out)
    made = scene_set(lm, own, count=scenes, seed=seed, clips=bank, condition=condition)
    wanted = chosen or [*standard_methods(own, scenes), *((*RIVALS, *FURTHER) if everything else ())]
    from steer_utils.study.report import report_json, report_text

    finished_table(
        lambda resume_file: run_benchmark(
            lm,
            made,
            own,
            methods=list(dict.fromkeys(wanted)),
            external=external,
            batch=batch,
            resume_file=resume_file,
            progress=lambda indices: progress(indices, "scene"),
        ),
        out,
        report_json if as_json else report_text,
    )


@analyses_app.command()
def analyse(
    kind: Annotated[
        str, typer.Argument(help="sensitivity, shift, occlusion, swap, blocks, words, field, conditions or curves.")
    ],
    model: Model = "pocket-qwen2-audio",
    clips: Clips = None,
    scenes: Annotated[int, typer.Option(help="How many three-event scenes.")] = 100,
    seed: Annotated[int, typer.Option(help="What the scenes follow from.")] = 0,
    settings: Own = None,
    clap: Clap = None,
    out: Out = None,
    figures: Annotated[Path | None, typer.Option(help="Draw the figures into this folder, as .png and .svg.")] = None,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Analyse what the result depends on, and what it causes.

    sensitivity: one factor at a time, and strength against blocks. shift: attention to the audio and within it, by
    block, under steering, prompting and audio-based steering. occlusion: what the model says once the window that was
    found is taken out. swap: whether the answer follows the vector. blocks: each block steered, each later one read.
    words: synonyms and phrases that the model was never trained with (for models that take any text). field: precision
    and recall of `locate` in files as one records them outside (with --clap, beside CLAP). conditions: scenes that are
    less kind (`steer-utils scenes` lists them), and sounds that are not there. curves: strength, number of contrast
    pairs, wording, language.

    Give --out to make a long run resumable: when it is cut off, the same command goes on where it stopped.

    Example: steer-utils analyse shift --scenes 50 --out shift.parquet --figures figures
    """
    from steer_utils.study.report import check_table_target

    if out is not None:
        check_table_target(out)
    if figures is not None and figures.exists() and not figures.is_dir():
        raise ValueError(f"{str(figures)!r} is a file; pass a folder for the figures")
    check_scenes(scenes, seed)
    from steer_utils.show.analyses import analysis_named
    from steer_utils.show.plots.figures import save_figure
    from steer_utils.study.benchmark import scene_set
    from steer_utils.study.field import field_table

    analysis = analysis_named(kind)
    if clap is not None and analysis.name != "field":
        raise ValueError(f"CLAP is a row of `analyse field`, not of {analysis.name}; leave out --clap")
    given = read_settings(settings)
    bank = open_bank(clips)
    run = partial(field_table, external=_outside(clap, device)) if clap is not None else analysis.run
    lm = open_model(model, device, dtype, revision, quantise)
    own = settings_of(lm, given, out)
    made = scene_set(lm, own, count=scenes, seed=seed, clips=bank)
    table = finished_table(
        lambda resume_file: run(
            lm, made, own, resume_file=resume_file, progress=lambda units: progress(units, "scene")
        ),
        out,
        lambda table: _analysed(analysis, table, as_json),
    )
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        for name, drawn in analysis.figures(table).items():
            stem = figures / f"{analysis.name}_{name}_{Path(model).name}"
            note(f"drawn: {save_figure(drawn.figure, stem, drawn.alt, drawn.caption)[0]}")


def _outside(clap: str | None, device: str | None) -> list[Method]:
    """CLAP as a method, if it is named."""
    if clap is None:
        return []
    from steer_utils.methods.clap import ClapLocator

    return [ClapLocator.load(clap, device=None if device == "auto" else device).method()]


def _analysed(analysis: Analysis, table: DataFrame, as_json: bool) -> str:
    from steer_utils.show.analyses import analysis_report, analysis_text

    return json.dumps(analysis_report(analysis, table), indent=2) if as_json else analysis_text(analysis, table)


@analyses_app.command()
def calibrate(
    table: Annotated[Path, typer.Argument(help="What `analyse field` wrote with --out FILE.parquet.")],
    out: Annotated[Path, typer.Argument(help="The file to write: calibration.json in the folder of the model.")],
) -> None:
    """Make a probability of a model's yes or no.

    Fitted to its answers to "is it there?" on the development files of `analyse field`.

    Prints how well presence is told on the test files: before and after. `locate` uses a calibration.json that lies
    beside a model's settings, and the threshold in it.

    Example: steer-utils calibrate field.parquet my-model/calibration.json
    """
    from steer_utils.sound.files import check_target

    check_target(out, (".json",))
    from steer_utils.show.analyses import calibration_text
    from steer_utils.study.report import read_table

    saved = read_table(table)
    if saved.attrs.get("analysis") != "field":
        raise ValueError(f"{table} is no table of `steer-utils analyse field`; pass one")
    from steer_utils.study.field import calibration_of

    calibration = calibration_of(saved)
    calibration.save(out)
    typer.echo(calibration_text(saved, calibration))


@analyses_app.command()
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
    batch: Batch = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Measure attention on the questions of MMAU or SAKURA.

    How steering and prompting change it, as `analyse shift`, but the audio is the data set's, no event is known, and
    the instruction is to focus on the meaningful parts. You must have the data (see `steer-utils datasets`). A pocket
    model knows few words of these questions: what it shows on them says little.

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

    if sakura is not None:
        asked = sets.sakura(sakura, track, drop_broken=drop_broken)
    else:
        assert mmau is not None and audio is not None
        asked = sets.mmau(mmau, audio, drop_broken=drop_broken)
    given = read_settings(settings)
    from steer_utils.show.analyses import ANALYSES
    from steer_utils.study.attention_shift import question_shift_table

    lm = open_model(model, device, dtype, revision, quantise)
    pairs = [(each.path, each.prompt) for each in asked[: limit or None]]
    own = settings_of(lm, given, out)
    finished_table(
        lambda resume_file: question_shift_table(
            lm,
            pairs,
            own,
            batch=batch,
            resume_file=resume_file,
            progress=lambda units: progress(units, "audio"),
        ),
        out,
        lambda table: _analysed(ANALYSES["shift"], table, as_json),
    )


@analyses_app.command()
def draw(
    table: Annotated[
        Path | None, typer.Argument(help="What `benchmark` or `analyse` wrote with --out FILE.parquet.")
    ] = None,
    figure: Annotated[Path | None, typer.Argument(help="Where the figure goes, as .png or .svg.")] = None,
    hero: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw the README's animation into this folder instead.")
    ] = None,
    model: Annotated[str, typer.Option(help="The model that the animation shows.")] = "pocket-qwen2-audio",
) -> None:
    """Draw a saved run again, and print its report.

    The file holds all that is needed. An analysis of several figures writes each beside FIGURE, with its name added.

    Example: steer-utils draw run.parquet run.png

    Example: steer-utils draw --hero figures
    """
    from steer_utils.sound.files import check_target

    if hero is not None:
        if table is not None:
            raise typer.BadParameter("--hero draws no saved run; leave out the table and the figure")
        _draw_hero(hero, model)
        return
    if table is None or figure is None:
        raise typer.BadParameter("pass the table of a saved run and where its figure goes, or --hero FOLDER")
    check_target(figure, (".png", ".svg"))
    from steer_utils.study.report import read_table, report_text

    saved = read_table(table)
    from steer_utils.show.analyses import analysis_of, analysis_text
    from steer_utils.show.plots.located import write_figure

    analysis = analysis_of(saved.attrs)
    if analysis is not None:
        drawn = analysis.figures(saved)
        for name, one in drawn.items():
            path = figure if len(drawn) == 1 else figure.with_name(f"{figure.stem}_{name}{figure.suffix}")
            write_figure(one.figure, path, one.alt, one.caption)
            note(f"drawn: {path}")
        typer.echo(analysis_text(analysis, saved))
        return
    from steer_utils.show.plots.located import alt_text_overlap, overlap_figure
    from steer_utils.study.report import summary

    rows = {str(saved.attrs["model"]): summary(saved)}
    write_figure(overlap_figure(rows), figure, alt_text_overlap(rows), f"Overlap by method, from {table.name}")
    typer.echo(report_text(saved))


def _draw_hero(folder: Path, model: str) -> None:
    from steer_utils.show.hero import check_hero, read_hero, write_hero

    check_hero(folder)
    hero = read_hero(open_model(model, None, None, None, None))
    for path in write_hero(hero, folder):
        note(f"drawn: {path}")
    typer.echo(hero.caption())


@analyses_app.command()
def export(
    table: Annotated[Path, typer.Argument(help="What `benchmark` wrote with --out FILE.parquet.")],
    out: Annotated[Path, typer.Argument(help="The label file: .tsv (DCASE), .json, or, of one scene, .txt or .jams.")],
    method: Annotated[str, typer.Option(help="Whose intervals; a wrong name lists those of the run.")] = "steering",
    truth: Annotated[bool, typer.Option("--truth", help="Write the true intervals in place of found ones.")] = False,
    scene: Annotated[int | None, typer.Option(help="This scene alone, counted from 0.")] = None,
) -> None:
    """Write a saved benchmark's intervals as label files.

    For Audacity, DCASE, or as json or JAMS. Scene 12 goes by the file name scene_0012.wav, in the found and in the true
    labels alike.

    Example: steer-utils export run.parquet found.tsv --method steering

    Example: steer-utils export run.parquet truth.tsv --truth
    """
    from steer_utils.sound.files import check_target
    from steer_utils.sound.labels import SUFFIXES, found_intervals, of_scene, true_intervals, write_intervals

    check_target(out, SUFFIXES)
    from steer_utils.study.report import read_table

    saved = read_table(table)
    rows = saved if scene is None else of_scene(saved, scene)
    intervals = true_intervals(rows) if truth else found_intervals(rows, method)
    write_intervals(out, intervals, duration=_scene_seconds(saved.attrs["scenes"], intervals))
    typer.echo(f"{len(intervals)} intervals in {out}")
    if not truth and (lost := int((rows["method"] == method).sum()) - len(intervals)):
        note(f"{lost} of {lost + len(intervals)} answers named no time, and are left out")


def _scene_seconds(scenes: object, intervals: Sequence[Labelled]) -> float | None:
    """How long each scene of a run is, where all are of one length and no token at the end goes beyond it."""
    match scenes:
        case {"seconds": [float() as low, float() as high]} if low == high:
            return low if all(each.interval.end <= low for each in intervals) else None
    return None
