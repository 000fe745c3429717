"""The command line: `steer-utils locate street.wav "dog bark"` and the rest. torch is imported by commands only.

Answers go to stdout, notes and progress to stderr. Exit code 0: done; 1: a notebook or a check failed; 2: something
given cannot be used, said in one line. Anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from steer_utils.cli.analyses import analyses_app
from steer_utils.cli.checkpoints import checkpoints_app
from steer_utils.cli.console import Commands
from steer_utils.cli.course import course_app
from steer_utils.cli.data import data_app
from steer_utils.cli.locate import locate_app
from steer_utils.cli.pocket import pocket_app
from steer_utils.cli.sweep import sweep_app
from steer_utils.cli.vectors import vectors_app
from steer_utils.lm.threads import polite

app = typer.Typer(
    name="steer-utils",
    cls=Commands,
    help="Steer where audio-language models listen, and read the moment out of their attention, in seconds.",
    epilog='Begin with: steer-utils locate street.wav "dog bark". The --help of each command has an example.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for group in (locate_app, analyses_app, checkpoints_app, sweep_app, vectors_app, data_app, course_app):
    app.add_typer(group)  # without a name: its commands stand beside the others
app.add_typer(pocket_app, name="pocket")


def main() -> None:
    """What the installed command `steer-utils` calls."""
    os.environ.update(polite(os.environ))  # before torch is loaded; kernels and workers have it from here
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
