"""The course from the command line: `course`, `run`, `exercises` and `doctor`. Mounted by `steer_utils.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import note, say

course_app = typer.Typer()

Preset = Annotated[str | None, typer.Option(help="Size of the run: smoke, course or paper.")]


@course_app.command()
def course(
    preset: Preset = "course",
    notebooks: Annotated[Path, typer.Option(help="The folder of the numbered notebooks.")] = Path("notebooks"),
) -> None:
    """Run the course's notebooks in order.

    Prints the result table at the end, and where to look next.

    Example: steer-utils course --preset smoke
    """
    from .runs import RUNS

    paths = sorted(notebooks.glob("[0-9]*.ipynb"))
    if not paths:
        raise ValueError(f"there are no numbered notebooks in {str(notebooks)!r}; pass --notebooks FOLDER")
    root = notebooks.resolve().parent
    _run_all(paths, {}, preset, root / RUNS)
    table = root / "figures" / "results.md"
    if table.is_file():
        typer.echo(f"\n{table.read_text(encoding='utf-8').strip()}")
    typer.echo(
        f"\nWhere to look next: {notebooks}/ (the lessons; `make lab` opens them), figures/ (what they drew), "
        f"{RUNS}/ (the copies just run)"
    )


@course_app.command("run")
def run_notebooks(
    notebooks: Annotated[list[str], typer.Argument(help="Notebooks, by path or by number (06), run in this order.")],
    preset: Preset = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", help="name=value, for a parameter of the notebook.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the executed copies.")] = Path("runs"),
) -> None:
    """Run notebooks with other parameters.

    Example: steer-utils run 06 --preset smoke -p seed=3
    """
    given = {}
    for each in parameter or []:
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"cannot read the parameter {each!r}; write it as name=value")
        given[name.strip()] = value
    _run_all([_lesson(name) for name in notebooks], given, preset, out)


def _lesson(name: str) -> Path:
    """The notebook of a path, or of a lesson's number in notebooks/. Raises ValueError for a number without one."""
    if not name.isdigit():
        return Path(name)
    found = sorted(Path("notebooks").glob(f"{int(name):02d}_*.ipynb"))
    if len(found) != 1:
        there = ", ".join(path.name for path in sorted(Path("notebooks").glob("[0-9]*.ipynb"))) or "none"
        raise ValueError(f"there is no lesson {name} in notebooks/ (there: {there}); run it from the course's folder")
    return found[0]


@course_app.command()
def exercises(
    notebooks: Annotated[Path, typer.Option(help="The folder of the numbered notebooks.")] = Path("notebooks"),
    out: Annotated[Path | None, typer.Option(help="Where they go [default: NOTEBOOKS/exercises].")] = None,
) -> None:
    """Make the exercise versions of the lessons: the solutions are blanked, everything else is the same.

    Example: steer-utils exercises
    """
    from .exercises import write_exercises

    for path in write_exercises(notebooks, out or notebooks / "exercises"):
        typer.echo(str(path))


@course_app.command()
def doctor() -> None:
    """Check that this machine is ready for the course, and say what to do where it is not.

    Python, packages, memory, disk, audio, the models, jupyter, GPU. Exit code 1 if a check fails.

    Example: steer-utils doctor
    """
    from .doctor import examine, healthy

    findings = examine()
    for finding in findings:
        typer.echo(str(finding))
    if not healthy(findings):
        raise typer.Exit(1)
    typer.echo("\nReady. Next: make course, then make lab")


def _run_all(paths: list[Path], given: dict[str, str], preset: str | None, out: Path) -> None:
    from .runs import NotebookError, checked_parameters, parsed_parameters, run_notebook

    named = {**given, **({"preset": preset} if preset is not None else {})}
    values = [checked_parameters(path, parsed_parameters(path, named)) for path in paths]  # all, before the first runs
    for path, own in zip(paths, values, strict=True):
        try:
            written = run_notebook(path, parameters=own, out=out / path.name)
        except NotebookError as error:
            say(f"steer-utils: {error}")
            raise typer.Exit(1) from None
        note(f"{path} ran; the executed copy is {written}")
