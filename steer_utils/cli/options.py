"""Options that several commands take, and what they open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steer_utils.cli.console import note

if TYPE_CHECKING:
    from pandas import DataFrame

    from steer_utils.lm.models import AudioLM
    from steer_utils.methods.settings import Settings
    from steer_utils.sound.recordings import ClipBank

QUANTISATIONS = ("int8", "nf4", "torchao-int8")  # those of `lm.loading`, which imports torch

Model = Annotated[str, typer.Option(help="A pocket model (see `steer-utils models`), a folder, or a hub id.")]
Device = Annotated[
    str | None,
    typer.Option(help="Where the model runs: cpu, cuda:1, or auto (spread, CPU too); else the first GPU with room."),
]
Dtype = Annotated[
    str | None,
    typer.Option(help="Number type of the weights: auto (as stored), float32, bfloat16, float16; else what suits."),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")]
Quantise = Annotated[
    str | None, typer.Option(help=f"Weights in 8 or 4 bits: {', '.join(QUANTISATIONS)} (pip install '.[quantise]').")
]
Batch = Annotated[
    int | None, typer.Option(help="How many audios are heard at once; else what suits model and machine.", min=1)
]
Json = Annotated[bool, typer.Option("--json", help="Print one json object and nothing else on stdout.")]
Clips = Annotated[
    Path | None,
    typer.Option(help="A folder of recordings with one csv (filename, category, ...); else procedural sounds."),
]
Own = Annotated[Path | None, typer.Option(help="A settings file (json) in place of the model's own.")]
Out = Annotated[Path | None, typer.Option(help="Write every row as .parquet or .csv.")]


def check_scenes(scenes: int, seed: int) -> None:
    """Raises ValueError for no scenes or a negative seed."""
    if scenes < 1 or seed < 0:
        raise ValueError(f"scenes is {scenes} and seed {seed}; pass at least 1 scene and a seed of 0 or more")


def open_model(
    model: str, device: str | None, dtype: str | None, revision: str | None, quantise: str | None
) -> AudioLM:
    """The model that is named. Raises ValueError as `load` does."""
    from steer_utils.lm.models import load

    return load(model, dtype=dtype, device=device, revision=revision, quantise=quantise)  # type: ignore[arg-type]


def read_settings(path: Path | None) -> Settings | None:
    """The settings of a file; None for no file. Raises ValueError for a file that holds none."""
    from steer_utils.methods.settings import Settings

    if path is None:
        return None
    try:
        return Settings.load(path)
    except (json.JSONDecodeError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a settings file: {error}") from error


def tuned_file(model: str, beside: Path | None) -> Path:
    """Where `steer-utils tune` keeps what it chose for a model: in the folder of a run's --out, or the current one."""
    return (Path() if beside is None else beside.parent) / f"{Path(model).name}.settings.json"


def settings_of(lm: AudioLM, given: Settings | None, beside: Path | None) -> Settings:
    """The settings given; else those that `steer-utils tune` left beside the run; else the model's own.

    Raises ValueError for tuned settings of other weights.
    """
    from steer_utils.methods.settings import Settings, model_settings

    tuned = tuned_file(lm.name, beside)
    if given is not None or not tuned.is_file():
        return given or model_settings(lm)
    settings = Settings.load(tuned)
    if settings.chosen_on.get("revision") != lm.revision:
        raise ValueError(
            f"{tuned} was chosen for revision {settings.chosen_on.get('revision')}, this model is {lm.revision}; "
            f"run `steer-utils tune {lm.name}` again, pass --settings FILE, or move it away"
        )
    note(f"settings of {tuned}, chosen on {', '.join(settings.development_events)}")
    return settings


def open_bank(clips: Path | None) -> ClipBank | None:
    """The recordings of a folder; None for procedural sounds. Raises ValueError for a folder that holds none."""
    if clips is None:
        return None
    from steer_utils.sound.datasets import open_clips
    from steer_utils.sound.recordings import ClipBank

    return ClipBank(open_clips(clips))


def finished_table(
    make: Callable[[Path | None], DataFrame], out: Path | None, report: Callable[[DataFrame], str | None]
) -> DataFrame:
    """The table of a long run: its report is printed, then it is written to `out`. `make` takes the file beside `out`
    that keeps what is finished. A report of None prints nothing.

    Stopped by Ctrl-C it says how to go on, and exits with code 130.
    """
    resume_file = None if out is None else out.with_name(f".{out.name}.partial")
    try:
        table = make(resume_file)
    except KeyboardInterrupt:
        note("stopped" + (": the same command goes on from here" if resume_file is not None else ""))
        raise typer.Exit(130) from None
    if (said := report(table)) is not None:
        typer.echo(said)
    if out is not None and resume_file is not None:
        from steer_utils.study.report import write_table

        write_table(table, out)
        resume_file.unlink(missing_ok=True)
        note(f"every row is in {out}")
    return table
