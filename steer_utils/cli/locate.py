"""One sound, one model: `locate` an event, list the `models`. Mounted by `cli.main`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.console import note, progress
from steer_utils.cli.options import Batch, Device, Dtype, Json, Model, Quantise, Revision, open_model

if TYPE_CHECKING:
    from steer_utils.lm.models import AudioLM
    from steer_utils.methods.locate import Located

locate_app = typer.Typer()


@locate_app.command()
def locate(
    audio: Annotated[
        Path, typer.Argument(help="A sound file of any rate, channel count and length; or a folder of them.")
    ],
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
    batch: Batch = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Find when a sound happens: its start and end in seconds.

    Of a folder each sound file in it gets a line (or a json object), as soon as it is heard; what cannot be heard is
    said, left out, and makes the exit code 1.

    Example: steer-utils locate street.wav "dog bark" --figure street.png

    Example: steer-utils locate recordings "dog bark" --json --labels barks.tsv
    """
    from steer_utils.sound.audio import read_recording
    from steer_utils.sound.decoding import sound_files
    from steer_utils.sound.files import check_target, readable_name
    from steer_utils.sound.labels import Labelled, check_intervals, write_intervals
    from steer_utils.sound.spans import Interval

    if figure is not None:
        check_target(figure, (".png", ".svg"))
        if audio.is_dir():
            raise ValueError(f"a figure shows one sound, and {str(audio)!r} is a folder; pass one file, or no --figure")
    files = sound_files(audio) if audio.is_dir() else [audio]
    if labels is not None:  # with intervals to be found; this is about the names
        span, text = Interval(0.0, 1.0), " ".join(event.split())
        check_intervals(labels, [Labelled(span, text, readable_name(path.name)) for path in files])
    recording = None if audio.is_dir() else read_recording(audio)  # before the model is loaded, which can take minutes
    for warning in recording.warnings if recording else ():
        note(warning)
    from steer_utils.methods.locate import locate as find
    from steer_utils.methods.table import method_named

    method_named(method)
    lm = open_model(model, device, dtype, revision, quantise)
    if recording is None:
        _locate_all(lm, files, event, method, seconds, batch, labels, as_json)
        return
    located = find(
        lm,
        recording,
        event,
        method=method,
        seconds=seconds,
        progress=lambda starts: progress(starts, "window", quiet=None),
    )
    _note_doubts(located, lm)
    typer.echo(json.dumps(located.as_dict()) if as_json else _located_text(located))  # whatever becomes of the files
    if labels is not None:
        label = Labelled(located.interval, located.event, readable_name(audio.name), round(located.presence, 4))
        write_intervals(labels, [label], duration=located.duration)
    if figure is not None:
        from steer_utils.show.plots.located import alt_text_located, located_figure, write_figure

        alt = alt_text_located(located)
        write_figure(located_figure(located), figure, alt, f"Where {model} hears the {located.event}")


def _locate_all(
    lm: AudioLM,
    files: Sequence[Path],
    event: str,
    method: str,
    seconds: float | None,
    batch: int | None,
    labels: Path | None,
    as_json: bool,
) -> None:
    """A line a file, then the labels of all. Exits with code 1 if any was left out."""
    from steer_utils.methods.locate import locate_many
    from steer_utils.sound.audio import AudioWarning
    from steer_utils.sound.files import readable_name
    from steer_utils.sound.labels import Labelled, write_intervals

    missed: list[Path] = []

    def left_out(path: Path, error: ValueError) -> None:
        missed.append(path)
        note(f"{readable_name(path.name)} is left out: {error}")

    found, seconds_of = list[Labelled](), list[float]()
    every = locate_many(lm, files, event, method=method, seconds=seconds, batch=batch, left_out=left_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # they are noted beside the file's line
        for path, located in every:
            name = readable_name(path.name)
            for warning in located.warnings:
                note(warning)
            found.append(Labelled(located.interval, located.event, name, round(located.presence, 4)))
            seconds_of.append(located.duration)
            line = f"{name}: {located.interval}, score {located.score:.2f}, presence {located.presence:.2f}"
            typer.echo(json.dumps({"file": name, **located.as_dict()}) if as_json else line)
    if labels is not None and found:
        write_intervals(labels, found, duration=seconds_of[0] if len(seconds_of) == 1 else None)
    if missed:
        note(f"{len(missed)} of {len(files)} files were left out")
        raise typer.Exit(1)


def _note_doubts(located: Located, lm: AudioLM) -> None:
    if located.windows > 1:
        note(
            f"{located.duration:.1f} s is longer than the {lm.window_seconds:g} s this model hears in one go: "
            f"heard in {located.windows} windows"
        )
    if located.presence < 0.5:
        note(f"the model does not think there is one (presence {located.presence:.2f}); this is only its best guess")


def _located_text(located: Located) -> str:
    from steer_utils.methods.table import METHODS

    return (
        f"{located.event}: {located.interval}\n"
        f"score     {located.score:.2f}\n"
        f"method    {METHODS[located.method].label}\n"
        f"model     {located.model}\n"
        f"presence  {located.presence:.2f}  (probability that it is there at all, by the model's own yes or no)"
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
