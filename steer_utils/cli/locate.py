"""One sound, one model: `locate` an event, list the `models`. Mounted by `cli.main`."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.console import note, progress
from steer_utils.cli.options import (
    Batch,
    Device,
    Dtype,
    Json,
    Model,
    Own,
    Quantise,
    Revision,
    finished_table,
    open_model,
    read_settings,
    settings_of,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from steer_utils.lm.models import AudioLM
    from steer_utils.methods.locate import EventAnswer, Located
    from steer_utils.methods.settings import Settings
    from steer_utils.sound.audio import AudioError
    from steer_utils.sound.labels import Labelled

locate_app = typer.Typer()


@locate_app.command()
def locate(
    audio: Annotated[
        Path, typer.Argument(help="A sound file of any rate, channel count and length; or a folder of them.")
    ],
    events: Annotated[list[str], typer.Argument(metavar="EVENT...", help='What to find, such as "dog bark" "rain".')],
    model: Model = "pocket-qwen2-audio",
    method: Annotated[str, typer.Option(help="How to find it; a wrong name lists them all.")] = "steering",
    seconds: Annotated[
        float | None, typer.Option(help="Width of the window to find; by default the curve decides.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Presence from which on a sound counts as there (0 to 1); by default as calibrated, else 0.5."
        ),
    ] = None,
    as_json: Json = False,
    figure: Annotated[Path | None, typer.Option(help="Draw what was found, as .png or .svg.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Write it as Audacity (.txt) or DCASE (.tsv) labels, .json or .jams; of a folder also into a folder, "
            "an Audacity track a file, with what is there."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a table, a row a file and sound, as .csv or .parquet.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with that table, on which every file can be heard and steered.")
    ] = None,
    settings: Own = None,
    batch: Batch = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Find when a sound happens: its start and end in seconds.

    Of a folder, or for several sounds, each gets a line (or a json object), as soon as it is heard; what cannot be
    heard is said, left out, and makes the exit code 1.

    Give --out to make a long run resumable: when it is cut off, the same command goes on where it stopped. Settings
    that `steer-utils tune` left in the folder of --out, or in the current one, are used.

    Example: steer-utils locate street.wav "dog bark" --figure street.png

    Example: steer-utils locate recordings "dog bark" rain --labels labels/ --out table.csv --html report.html
    """
    from steer_utils.sound.audio import read_recording
    from steer_utils.sound.decoding import sound_files
    from steer_utils.sound.files import check_target, readable_name
    from steer_utils.sound.labels import Labelled, check_intervals, write_intervals
    from steer_utils.sound.spans import Interval
    from steer_utils.study.report import check_table_target

    several = audio.is_dir() or len(events) > 1 or out is not None or html is not None
    tracks = labels if labels is not None and audio.is_dir() and not labels.suffix else None
    if figure is not None:
        check_target(figure, (".png", ".svg"))
        if several:
            raise ValueError(
                f"a figure shows one sound in one file, and {str(audio)!r} is "
                f"{'a folder' if audio.is_dir() else 'asked for several'}; pass one file and one sound, or no --figure"
            )
    if out is not None:
        check_table_target(out)
    if html is not None:
        check_target(html, (".html",))
        if find_spec("traitlets") is None:
            raise ValueError("the players of a report need the package traitlets: pip install traitlets")
    if tracks is not None and (tracks.is_file() or not tracks.parent.is_dir()):
        fault = "is a file" if tracks.is_file() else "lies in no folder that is there"
        raise ValueError(f"a folder for labels cannot be made: {str(tracks)!r} {fault}")
    files = sound_files(audio, by_name_too=True) if audio.is_dir() else [audio]
    if labels is not None and tracks is None:  # with intervals to be found; this is about the names
        span = Interval(0.0, 1.0)
        names = [(" ".join(event.split()), readable_name(path.name)) for path in files for event in events]
        check_intervals(labels, [Labelled(span, event, name) for event, name in names])
    given = read_settings(settings)
    recording = None if audio.is_dir() else read_recording(audio)  # before the model is loaded, which can take minutes
    for warning in recording.warnings if recording and not several else ():
        note(warning)
    from steer_utils.methods.locate import locate as find
    from steer_utils.methods.table import method_named

    method_named(method)
    lm = open_model(model, device, dtype, revision, quantise)
    own = settings_of(lm, given, out)
    if several or recording is None:
        from steer_utils.show.folder_report import locate_folder

        listed = _Listed(as_json, quiet=out is not None or html is not None, several=len(events) > 1)
        table = finished_table(
            lambda resume_file: locate_folder(
                lm,
                files,
                events,
                method=method,
                seconds=seconds,
                settings=own,
                batch=batch,
                threshold=threshold,
                html=html,
                labels=tracks,
                resume_file=resume_file,
                progress=lambda units: progress(units, "file", quiet=not listed.quiet),
                heard=listed.heard,
            ),
            out,
            _counted if listed.quiet else lambda table: None,
        )
        _tell_of_all(table, labels if tracks is None else None, html, len(files))
        return
    located = find(
        lm,
        recording,
        events[0],
        method=method,
        seconds=seconds,
        settings=own,
        progress=lambda starts: progress(starts, "window", quiet=None),
    )
    _note_doubts(located, lm, own, threshold)
    typer.echo(json.dumps(located.as_dict()) if as_json else _located_text(located))  # whatever becomes of the files
    if labels is not None:
        write_intervals(labels, [_label(audio, located)], duration=located.duration)
    if figure is not None:
        from steer_utils.show.plots.located import alt_text_located, located_figure, write_figure

        alt = alt_text_located(located)
        write_figure(located_figure(located), figure, alt, f"Where {model} hears the {located.event}")


class _Listed:
    """The lines of a run: one a file and sound, as soon as it is heard; notes of what was wrong; what was left out."""

    def __init__(self, as_json: bool, *, quiet: bool, several: bool) -> None:
        self.as_json, self.quiet, self.several = as_json, quiet, several
        self.missed: list[Path] = []

    def heard(self, path: Path, answers: list[EventAnswer] | AudioError) -> None:
        """A file was heard, or could not be."""
        from steer_utils.methods.locate import Located
        from steer_utils.sound.audio import AudioError
        from steer_utils.sound.files import readable_name

        name = readable_name(path.name)
        located = [answers] if isinstance(answers, AudioError) else [one for a in answers for one in a.located.values()]
        for error in dict.fromkeys(str(one) for one in located if isinstance(one, ValueError)):
            note(f"{name} is left out: {error}")
            if path not in self.missed:
                self.missed.append(path)
        good = [one for one in located if isinstance(one, Located)]
        for warning in good[0].warnings if good else ():
            note(warning)
        for one in () if self.quiet else good:
            what = f"{one.event} {one.interval}" if self.several else str(one.interval)
            line = f"{name}: {what}, score {one.score:.2f}, presence {one.chance_that_it_is_there:.2f}"
            typer.echo(json.dumps({"file": name, **one.as_dict()}) if self.as_json else line)


def _tell_of_all(table: DataFrame, labels: Path | None, html: Path | None, files: int) -> None:
    """What was asked for of all sounds in all `files` together. Exits with code 1 if any file was left out."""
    from steer_utils.sound.labels import Labelled, write_intervals
    from steer_utils.sound.spans import Interval

    rows = table[table["problem"] == ""]
    if labels is not None and len(rows):
        found = [
            Labelled(Interval(row["start"], row["end"]), row["event"], row["file"], row["presence"])
            for row in rows.to_dict("records")
        ]
        one = rows["duration"].iloc[0] if rows["file"].nunique() == 1 else None
        write_intervals(labels, found, duration=one)
    if html is not None:
        note(f"to be heard in {html}, with {html.with_suffix('')} beside it")
    missed = table.loc[table["problem"] != "", "file"].nunique()
    if missed:
        note(f"{missed} of {files} files were left out")
        raise typer.Exit(1)


def _counted(table: DataFrame) -> str:
    """How often each sound is there."""
    from steer_utils.sound.tables import text_table

    rows = []
    for event, of_event in table.groupby("event", sort=False):
        heard = of_event[of_event["problem"] == ""]
        rows.append([str(event), str(int(heard["there"].sum())), str(len(heard))])
    return "\n".join(text_table([["sound", "there", "of files"], *rows]))


def _label(audio: Path, located: Located) -> Labelled:
    from steer_utils.sound.files import readable_name
    from steer_utils.sound.labels import Labelled

    return Labelled(located.interval, located.event, readable_name(audio.name), round(located.presence, 4))


def _note_doubts(located: Located, lm: AudioLM, settings: Settings, threshold: float | None) -> None:
    from steer_utils.show.folder_report import threshold_of

    if located.windows > 1:
        note(
            f"{located.duration:.1f} s is longer than the {lm.window_seconds:g} s this model hears in one go: "
            f"heard in {located.windows} windows"
        )
    if located.chance_that_it_is_there < (threshold_of(lm, settings) if threshold is None else threshold):
        presence = f"presence {located.chance_that_it_is_there:.2f}"
        note(f"the model does not think there is one ({presence}); this is only its best guess")


def _located_text(located: Located) -> str:
    from steer_utils.methods.table import METHODS

    kind = "by the model's own yes or no" + ("" if located.probability is None else ", calibrated")
    return (
        f"{located.event}: {located.interval}\n"
        f"score     {located.score:.2f}\n"
        f"method    {METHODS[located.method].label}\n"
        f"model     {located.model}\n"
        f"presence  {located.chance_that_it_is_there:.2f}  (probability that it is there at all, {kind})"
        + "".join(f"\nwarning   {warning}" for warning in located.warnings)
    )


@locate_app.command()
def models() -> None:
    """List the models that ship and the sounds they know.

    Example: steer-utils models
    """
    from steer_utils.lm.loading import known_events
    from steer_utils.lm.models import MINI_MODELS, POCKET_MODELS, WEIGHTS

    for name in POCKET_MODELS:
        events = known_events(WEIGHTS / name)
        if events is None:
            typer.echo(f"{name}: its weights are not installed")
            continue
        size = sum(path.stat().st_size for path in (WEIGHTS / name).glob("*.safetensors")) / 1e6
        typer.echo(f"{name} ({size:.0f} MB) knows {len(events)} sounds: {', '.join(events)}")
    for name in MINI_MODELS:
        typer.echo(f"{name}, with a pretrained language model inside (0.6 GB, assembled once), takes any text")
    typer.echo("Any Qwen2-Audio or Audio Flamingo 3 checkpoint works too, by folder or hub id, and takes any text.")
