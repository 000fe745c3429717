"""What the commands share: refusals in one line, notes and progress on stderr."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperGroup

T = TypeVar("T")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # writing itself fails, which names no file


class Commands(TyperGroup):
    """All commands: what was given and cannot be used is said in one line on stderr, with exit code 2.

    That is an error raised by our own checks, or a file that cannot be read or written. Errors of other libraries are
    not. A warning of ours is a note.
    """

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except ValueError as error:
                if not _raised_here(error):
                    raise
                say(f"steer-utils: {error}")
            except OSError as error:
                if error.filename is None and error.errno not in FULL:
                    raise
                say(f"steer-utils: {error.filename or 'a file could not be written'}: {error.strerror}")
            raise typer.Exit(2)


def _raised_here(error: BaseException) -> bool:
    """Whether our own code raised it: a check that failed, not a slip inside a library."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and _is_ours(trace.tb_frame.f_code.co_filename)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Without the line of code that warns, which is for whoever writes it."""
    if _is_ours(filename):
        note(str(message))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(Path(__file__).parents[1])


def progress(items: Iterable[T], unit: str, quiet: bool | None = False) -> Iterable[T]:
    """A bar on stderr; `quiet=None` shows it on terminals only."""
    from tqdm import tqdm

    known: Any = list(items)
    return tqdm(known, unit=unit, file=sys.stderr, disable=True if len(known) == 1 else quiet, dynamic_ncols=True)


def note(text: str) -> None:
    """Something worth knowing, apart from the answer."""
    say(f"note: {text}")


def say(text: str) -> None:
    """One line on stderr."""
    typer.echo(" ".join(text.split()), err=True)
