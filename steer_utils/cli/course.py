"""The course from the command line: run it, exercises, quizzes, grading, the doctor. Mounted by `cli.main`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from steer_utils.cli.console import note, say

course_app = typer.Typer()

Preset = Annotated[str | None, typer.Option(help="Size of the run: smoke, course or paper.")]


@course_app.command()
def course(
    preset: Preset = "course",
    notebooks: Annotated[Path, typer.Option(help="The folder of the numbered notebooks.")] = Path("notebooks"),
) -> None:
    """Run the course: its core lessons in order, then the electives.

    Prints the result table at the end, which figures changed, and where to look next. A figure is written only where
    its picture changed visibly.

    Example: steer-utils course --preset smoke
    """
    from steer_utils.runs.lesson_paths import lesson_paths
    from steer_utils.runs.notebooks import RUNS
    from steer_utils.show.plots.figures import changed_files, files_of

    paths = lesson_paths(notebooks)
    root = notebooks.resolve().parent
    figures, before = root / "figures", files_of(root / "figures")
    _run_all(paths, preset, root / RUNS)
    for line in changed_files(before, figures):
        note(f"changed: {figures.name}/{line}")
    table = figures / "results.md"
    if table.is_file():
        typer.echo(f"\n{table.read_text(encoding='utf-8').strip()}")
    typer.echo(
        f"\nWhere to look next: {notebooks}/ (the lessons; `make lab` opens them), figures/ (what they drew), "
        f"{RUNS}/ (the copies just run)"
    )


@course_app.command("run")
def run_notebooks(
    notebooks: Annotated[
        list[str], typer.Argument(help="By number (06), elective (playground) or path, run in this order.")
    ],
    preset: Preset = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", help="name=value, for a parameter of the notebook.")
    ] = None,
    params: Annotated[
        Path | None, typer.Option(help="A yaml or json file of parameters, one mapping; -p and --preset win over it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the folders of the runs go.")] = Path("runs"),
    again: Annotated[bool, typer.Option("--again", help="Repeat also what is complete, from nothing.")] = False,
) -> None:
    """Run notebooks with other parameters, each in its folder.

    OUT/<notebook>-<hash>/ has the executed notebook, its figures, result.json and run.json. The hash is of parameters,
    notebook, lock and model: a complete run is not repeated, and one that was cut off or failed is taken up there.
    Exit code 1 if a notebook failed (those after it still run), or another process is at it.

    Example: steer-utils run 06 --preset smoke -p seed=3
    """
    given: dict[str, Any] = {}
    if params is not None:
        from steer_utils.runs.parameters import read_parameters

        given = read_parameters(params)
    for text in parameter or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"cannot read the parameter {text!r}; write it as name=value")
        given[name.strip()] = value
    from steer_utils.runs.lesson_paths import lesson_path

    paths = [lesson_path(name) for name in notebooks]
    if not _run_each(paths, _checked(paths, given, preset), out, again):
        raise typer.Exit(1)


@course_app.command()
def exercises(
    notebooks: Annotated[Path, typer.Option(help="The folder of the numbered notebooks.")] = Path("notebooks"),
    out: Annotated[Path | None, typer.Option(help="Where they go [default: NOTEBOOKS/exercises].")] = None,
) -> None:
    """Make the exercise versions of the lessons.

    The solutions are blanked, everything else is the same.

    Example: steer-utils exercises
    """
    from steer_utils.course.exercises import write_exercises

    for path in write_exercises(notebooks, out or notebooks / "exercises"):
        typer.echo(str(path))


@course_app.command()
def quizzes(
    source: Annotated[Path, typer.Option(help="The folder of the questions (yaml).")] = Path("docs/quizzes/source"),
    out: Annotated[Path | None, typer.Option(help="Where the pages go [default: beside SOURCE].")] = None,
) -> None:
    """Make the pages of the quizzes.

    Five questions a lesson, with the answers folded.

    Example: steer-utils quizzes
    """
    from steer_utils.course.quizzes import write_quizzes

    for path in write_quizzes(source, out or source.parent):
        typer.echo(str(path))


@course_app.command()
def slides(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help="Executed lessons, by number, elective or path [default: all].")
    ] = None,
    out: Annotated[Path, typer.Option(help="The html file to write.")] = Path("slides.html"),
) -> None:
    """Make slides from lessons, in one html file.

    Their aims, their predictions and the figures that they drew.

    Arrow keys go through it; printed from a browser it is a pdf with a slide a page.

    Example: steer-utils slides 04 05 --out week3.html
    """
    from steer_utils.course.slides import write_slides
    from steer_utils.runs.lesson_paths import lesson_path, lesson_paths

    paths = [lesson_path(name) for name in notebooks] if notebooks else lesson_paths()
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"cannot write {str(out)!r}; its name must end in .html")
    note(f"{out}: {write_slides(paths, out)} slides of {len(paths)} lessons")


@course_app.command()
def grade(
    folder: Annotated[Path, typer.Argument(help="Notebooks named by student, or a folder for each student.")],
    notebooks: Annotated[Path, typer.Option(help="The folder of the lessons.")] = Path("notebooks"),
    out: Annotated[Path | None, typer.Option(help="A csv file [default: print it].")] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Execute a copy of each first, with the lesson's checks: students' code.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that one notebook may take with --run.")] = 600.0,
) -> None:
    """Make a class table of the notebooks that students handed in.

    By exercise: passed, wrong, not run, edited, stale, missing or blank; how many guesses were written, how many cells
    failed, and what a marker should look at. Nothing is executed without --run.

    Example: steer-utils grade handed_in --out grades.csv
    """
    from steer_utils.course.grade import grade_folder, lessons_of, table_text, write_table

    grades = grade_folder(folder, lessons_of(notebooks), run=run, timeout=timeout)
    if out is None:
        typer.echo(table_text(grades), nl=False)
        return
    write_table(grades, out)
    remarked = sum(bool(each.remarks) for each in grades)
    note(
        f"{out}: {len(grades)} notebooks of {len({each.student for each in grades})} students, {remarked} with remarks"
    )


@course_app.command()
def doctor() -> None:
    """Check that this machine is ready for the course.

    And say what to do where it is not: Python, packages, memory, disk, audio, the models, jupyter, GPU. Exit code 1 if
    a check fails.

    Example: steer-utils doctor
    """
    from steer_utils.course.doctor import examine, healthy

    findings = examine()
    for finding in findings:
        typer.echo(str(finding))
    if not healthy(findings):
        raise typer.Exit(1)
    typer.echo("\nReady. Next: make course, then make lab")


def _checked(paths: list[Path], given: dict[str, Any], preset: str | None) -> list[dict[str, Any]]:
    """The parameters of each notebook: all are checked before the first one runs."""
    from steer_utils.runs.parameters import checked_parameters, parsed_parameters

    named = {**given, **({"preset": preset} if preset is not None else {})}
    return [checked_parameters(path, parsed_parameters(path, named)) for path in paths]


def _run_each(paths: list[Path], values: list[dict[str, Any]], out: Path, again: bool) -> bool:
    """Each notebook in its own folder, whatever becomes of the others. Prints a line for each, and one for all.

    Whether all are complete now.
    """
    from steer_utils.runs.folder import run_in_folder
    from steer_utils.runs.identity import run_identity
    from steer_utils.runs.parameters import short_path

    for path, own in zip(paths, values, strict=True):
        run_identity(path, own)  # refuses a model that there is not, before the first one runs
    ended: dict[str, list[str]] = {"ran": [], "there already": [], "failed": [], "running elsewhere": []}
    for path, own in zip(paths, values, strict=True):
        try:
            run = run_in_folder(path, own, out, again=again, tell=note)
        except KeyboardInterrupt:
            note("stopped: the same command goes on from here")
            raise typer.Exit(130) from None
        done = "ran" if run.ran else "there already"
        state = {"complete": done, "failed": "failed", "running": "running elsewhere"}[run.status]
        ended[state].append(path.stem)
        typer.echo(f"{state:<18}{short_path(run.path)}")
        if run.error is not None:
            say(f"steer-utils: {path.stem}: {run.error}")
    typer.echo(_summary(ended))
    return not ended["failed"] and not ended["running elsewhere"]


def _summary(ended: dict[str, list[str]]) -> str:
    """Such as "2 ran, 1 was there already, 1 failed: 07_reproducing_the_benchmarks"."""
    there = len(ended["there already"])
    words = {
        "ran": "ran",
        "there already": f"{'was' if there == 1 else 'were'} there already",
        "failed": f"failed: {', '.join(ended['failed'])}",
        "running elsewhere": f"being run by another process: {', '.join(ended['running elsewhere'])}",
    }
    return ", ".join(f"{len(names)} {words[state]}" for state, names in ended.items() if names)


AT_ONCE = 4  # notebooks on a machine with as many cores; one takes up to 2 GB


def _run_all(paths: list[Path], preset: str | None, out: Path) -> None:
    """Every notebook, one a core. With the preset `paper`, of a full-size checkpoint, one after the other.

    What has not begun when one fails stays undone; exit code 1.
    """
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    from tqdm import tqdm

    from steer_utils.lm.environment import usable_cores
    from steer_utils.runs.notebooks import NotebookError, run_notebook

    calls = [(path, own, out / path.name) for path, own in zip(paths, _checked(paths, {}, preset), strict=True)]
    workers = 1 if preset == "paper" else min(usable_cores(), AT_ONCE)
    try:
        if workers == 1:
            for path, own, target in calls:
                run_notebook(path, parameters=own, out=target)
                note(f"{path} ran; the executed copy is {target}")
            return
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            runs = {
                pool.submit(run_notebook, path, parameters=own, out=target, progress=False): (path, target)
                for path, own, target in calls
            }
            try:
                with tqdm(total=len(runs), desc=f"course, {workers} at once", unit="notebook") as bar:
                    for run in as_completed(runs):
                        run.result()
                        bar.update()
                        tqdm.write("note: {} ran; the executed copy is {}".format(*runs[run]), file=sys.stderr)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except NotebookError as error:
        say(f"steer-utils: {error}")
        raise typer.Exit(1) from None
