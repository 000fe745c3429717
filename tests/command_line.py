"""The command line as a user meets it, for the tests of its commands."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from steer_utils.cli.main import app


def invoke(*arguments: object) -> Any:
    """What `steer-utils` with these arguments does: exit code, stdout, stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(result: Any) -> str:
    """What it printed, after exit code 0."""
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Any, message: str) -> None:
    """Exit code 2, nothing on stdout, and on stderr one line that holds `message`, after notes at most."""
    assert result.exit_code == 2, result.output
    *notes, last = result.stderr.splitlines()
    assert result.stdout == "" and all(note.startswith("note: ") for note in notes), result.output
    assert last.startswith("steer-utils: ") and message in last, result.stderr
