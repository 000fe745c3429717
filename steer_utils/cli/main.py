"""The command line: `steer-utils locate street.wav "dog bark"` and the rest. torch is imported by commands only.

Answers go to stdout, notes and progress to stderr. Exit code 0: done; 1: a notebook failed; 2: something given
cannot be used, said in one line. Anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.analyses import research_app
from steer_utils.cli.console import Commands, note, progress
from steer_utils.cli.course import course_app
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
from steer_utils.cli.pocket import pocket_app
from steer_utils.cli.sweep import sweep_app
from steer_utils.cli.vectors import export_app

if TYPE_CHECKING:
    from steer_utils.lm.models import AudioLM
    from steer_utils.methods.locate import Located

PRESETS = {"smoke": 6, "course": 100, "paper": 300}  # scenes of a benchmark

app = typer.Typer(
    name="steer-utils",
    cls=Commands,
    help="Steer where audio-language models listen, and read the moment out of their attention, in seconds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(pocket_app, name="pocket")
app.add_typer(course_app)  # without a name: their commands stand beside the others
app.add_typer(research_app)
app.add_typer(sweep_app)
app.add_typer(export_app)


def main() -> None:
    """What the installed command `steer-utils` calls."""
    app(prog_name="steer-utils")


def _version(asked: bool) -> None:
    if asked:
        import steer_utils

        typer.echo(f"steer-utils {steer_utils.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def locate(
    audio: Annotated[Path, typer.Argument(help="A sound file of any rate, channel count and length.")],
    event: Annotated[str, typer.Argument(help='What to find, such as "dog bark".')],
    model: Model = "pocket-qwen2-audio",
    method: Annotated[str, typer.Option(help="How to find it; a wrong name lists them all.")] = "steering",
    seconds: Annotated[
        float | None, typer.Option(help="Width of the window to find; by default the curve decides.")
    ] = None,
    as_json: Json = False,
    figure: Annotated[Path | None, typer.Option(help="Draw what was found, as .png or .svg.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Write it as Audacity (.txt) or DCASE (.tsv) labels, .json or .jams.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Find when a sound happens: its start and end in seconds.

    Example: steer-utils locate street.wav "dog bark" --figure street.png
    """
    from steer_utils.sound.audio import TARGET_RATE, read_audio
    from steer_utils.sound.files import check_target
    from steer_utils.sound.labels import Labelled, check_intervals, write_intervals
    from steer_utils.sound.spans import Interval

    if figure is not None:
        check_target(figure, (".png", ".svg"))
    if labels is not None:  # with an interval to be found; this is about the names
        check_intervals(labels, [Labelled(Interval(0.0, 1.0), " ".join(event.split()), audio.name)])
    samples = read_audio(audio)  # before the model is loaded, which can take minutes
    from steer_utils.methods.locate import locate as find
    from steer_utils.methods.table import method_named

    method_named(method)
    lm = open_model(model, device, dtype)
    found = find(
        lm, samples, event, method=method, seconds=seconds, sampling_rate=TARGET_RATE,
        progress=lambda starts: progress(starts, "window", quiet=None),
    )  # fmt: skip
    _note_doubts(found, lm)
    if labels is not None:
        label = Labelled(found.interval, found.event, audio.name, round(found.presence, 4))
        write_intervals(labels, [label], duration=found.duration)
    if figure is not None:
        from steer_utils.show.plots.located import alt_text_located, located_figure, write_figure

        alt = alt_text_located(found)
        write_figure(located_figure(found), figure, alt, f"Where {model} hears the {found.event}")
    typer.echo(json.dumps(found.as_dict()) if as_json else _located_text(found))


def _note_doubts(found: Located, lm: AudioLM) -> None:
    if found.windows > 1:
        note(
            f"{found.duration:.1f} s is longer than the {lm.window_seconds:g} s this model hears in one go: "
            f"heard in {found.windows} windows"
        )
    if found.presence < 0.5:
        note(f"the model does not think there is one (presence {found.presence:.2f}); this is only its best guess")


def _located_text(found: Located) -> str:
    from steer_utils.methods.table import METHODS

    return (
        f"{found.event}: {found.interval}\n"
        f"score     {found.score:.2f}\n"
        f"method    {METHODS[found.method].label}\n"
        f"model     {found.model}\n"
        f"presence  {found.presence:.2f}  (probability that it is there at all, by the model's own yes or no)"
    )


@app.command()
def benchmark(
    model: Model = "pocket-qwen2-audio",
    clips: Clips = None,
    preset: Annotated[
        str, typer.Option(help=f"Size of the run: {', '.join(f'{name} ({n} scenes)' for name, n in PRESETS.items())}.")
    ] = "course",
    scenes: Annotated[int | None, typer.Option(help="How many three-event scenes; else as the preset says.")] = None,
    seed: Annotated[int, typer.Option(help="What the scenes follow from.")] = 0,
    methods: Annotated[
        str | None, typer.Option(help="Names, separated by commas, or all (slow ones too); else the standard ones.")
    ] = None,
    clap: Annotated[
        str | None, typer.Option(help="One more row: a folder or hub id of CLAP (laion/clap-htsat-unfused).")
    ] = None,
    settings: Own = None,
    out: Out = None,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Compare the methods on scenes with known truth.

    Prints overlap with its 95 % interval, by slot, beside the chance of that slot.

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
    from steer_utils.methods.settings import model_settings
    from steer_utils.methods.table import FURTHER, method_named, standard_methods
    from steer_utils.sound.datasets import open_clips
    from steer_utils.sound.recordings import ClipBank
    from steer_utils.study.benchmark import run_benchmark, scene_set

    everything = methods == "all"
    chosen = [method_named(name.strip()).name for name in methods.split(",")] if methods and not everything else []
    own = read_settings(settings)
    bank = None if clips is None else ClipBank(open_clips(clips))
    external = []
    if clap is not None:
        from steer_utils.methods.clap import ClapLocator

        external = [ClapLocator.load(clap, device=device).method()]
    lm = open_model(model, device, dtype)
    own = own or model_settings(lm)
    made = scene_set(lm, own, count=scenes, seed=seed, clips=bank)
    wanted = chosen or [*standard_methods(own, scenes), *(FURTHER if everything else ())]
    table = finished_table(
        lambda resume_file: run_benchmark(
            lm, made, own, methods=list(dict.fromkeys(wanted)), external=external, resume_file=resume_file,
            progress=lambda indices: progress(indices, "scene"),
        ),
        out,
    )  # fmt: skip
    from steer_utils.study.report import report_json, report_text

    typer.echo(report_json(table) if as_json else report_text(table))


@app.command()
def draw(
    table: Annotated[Path, typer.Argument(help="What `benchmark` or `analyse` wrote with --out FILE.parquet.")],
    figure: Annotated[Path, typer.Argument(help="Where the figure goes, as .png or .svg.")],
) -> None:
    """Draw a saved run again, and print its report: the file holds all that is needed.

    An analysis of several figures writes each beside FIGURE, with its name added.

    Example: steer-utils draw run.parquet run.png
    """
    from steer_utils.sound.files import check_target

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


@app.command()
def models() -> None:
    """List the pocket models and the sounds they know.

    Example: steer-utils models
    """
    from steer_utils.lm.checkpoints import known_events
    from steer_utils.lm.models import POCKET_MODELS, WEIGHTS

    for name in POCKET_MODELS:
        events = known_events(WEIGHTS / name)
        if events is None:
            typer.echo(f"{name}: its weights are not installed")
            continue
        size = sum(path.stat().st_size for path in (WEIGHTS / name).glob("*.safetensors")) / 1e6
        typer.echo(f"{name} ({size:.0f} MB) knows {len(events)} sounds: {', '.join(events)}")
    typer.echo("Any Qwen2-Audio or Audio Flamingo 3 checkpoint works too, by folder or hub id, and takes any text.")
