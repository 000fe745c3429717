"""A checkpoint of one's own: `verify` that it does here what plain transformers does with it, `contribute` what was
measured. Mounted by `cli.main`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from steer_utils.cli.console import note
from steer_utils.cli.options import Device, Dtype, Json, Quantise, Revision, open_model

checkpoints_app = typer.Typer()

Named = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or a model that ships.")]


@checkpoints_app.command()
def verify(
    model: Named,
    seconds: Annotated[float, typer.Option(help="Length of the audio that is used.")] = 5.0,
    out: Annotated[Path | None, typer.Option(help="Write the report as .json.")] = None,
    as_json: Json = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    quantise: Quantise = None,
) -> None:
    """Check that a checkpoint is read rightly on this machine.

    Compares what the library reads with plain transformers: where the audio stands in the prompt, attention rows,
    logits, a steered row and an answer; and measures memory and seconds. Run it once on a checkpoint before you trust
    figures of it. Exit code 0: all is OK; 1: something is off, and the report says what.

    Example: steer-utils verify Qwen/Qwen2-Audio-7B-Instruct --out verify.json
    """
    from steer_utils.sound.files import check_target, write_whole

    if out is not None:
        check_target(out, (".json",))
    if not seconds >= 1.0:
        raise ValueError(f"seconds is {seconds}; pass at least 1")
    lm = open_model(model, device, dtype, revision, quantise)
    from steer_utils.lm.verification import verify as compare

    report = compare(lm, seconds=seconds)
    if out is not None:
        write_whole(out, json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n")
        note(f"the report is in {out}")
    typer.echo(json.dumps(report.as_dict(), allow_nan=False) if as_json else report.text())
    if not report.ok:
        raise typer.Exit(1)


@checkpoints_app.command()
def contribute(
    table: Annotated[Path, typer.Argument(metavar="RUN", help="The .parquet of steer-utils benchmark --out.")],
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The .json of steer-utils verify --out.")],
    name: Annotated[str, typer.Option(help="What the run is called, such as qwen2-audio-nf4.")],
    folder: Annotated[Path | None, typer.Option("--into", help="Another folder than the project's results/.")] = None,
) -> None:
    """Put a run of a published checkpoint into results/.

    Checks that the table and the report are of one checkpoint and one commit, that nothing private is in them, and
    leaves out curves and answers. The tables of the README and of lesson 07 then show it.

    Example: steer-utils contribute run.parquet verify.json --name qwen2-audio-nf4
    """
    from steer_utils.study.contributed import RESULTS
    from steer_utils.study.contributed import contribute as put

    run = put(table, report, name, RESULTS if folder is None else folder)
    note(f"in {RESULTS if folder is None else folder} now: {run.title}")
