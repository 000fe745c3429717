"""One sound, one model: `locate` an event, list the `models`. Mounted by `cli.main`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.console import note, progress
from steer_utils.cli.options import Device, Dtype, Json, Model, open_model

if TYPE_CHECKING:
    from steer_utils.lm.models import AudioLM
    from steer_utils.methods.locate import Located

locate_app = typer.Typer()


@locate_app.command()
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
    located = find(
        lm,
        samples,
        event,
        method=method,
        seconds=seconds,
        sampling_rate=TARGET_RATE,
        progress=lambda starts: progress(starts, "window", quiet=None),
    )
    _note_doubts(located, lm)
    if labels is not None:
        label = Labelled(located.interval, located.event, audio.name, round(located.presence, 4))
        write_intervals(labels, [label], duration=located.duration)
    if figure is not None:
        from steer_utils.show.plots.located import alt_text_located, located_figure, write_figure

        alt = alt_text_located(located)
        write_figure(located_figure(located), figure, alt, f"Where {model} hears the {located.event}")
    typer.echo(json.dumps(located.as_dict()) if as_json else _located_text(located))


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
    )


@locate_app.command()
def models() -> None:
    """List the models that ship and the sounds they know.

    Example: steer-utils models
    """
    from steer_utils.lm.checkpoints import known_events
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
