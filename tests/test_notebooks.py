"""The notebooks as a reader meets them: committed executed, and running from top to bottom to the same outputs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile

from steer_utils.course.checks import LESSONS
from steer_utils.course.exercises import exercise_version, tags, version_path
from steer_utils.course.reading_time import minutes, teaching_cells, time_line
from steer_utils.lm.models import MINI_MODELS, pocket_folder
from steer_utils.pocket.assembly import assembled
from steer_utils.runs.lesson_paths import lesson_paths
from steer_utils.runs.parameters import known_parameters

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = lesson_paths(ROOT / "notebooks")  # the core lessons, then the electives
EXERCISES = ROOT / "notebooks" / "exercises"
GPU = sorted((ROOT / "notebooks" / "gpu").glob("*.ipynb"))  # no lesson, but run and compared as one, in smoke form
SKIPPED = {"nbval-ignore-output", "nbval-skip", "raises-exception"}
LARGEST = 1_000_000  # bytes
LEAST_COMPARED = 0.6
MOST_CELLS = 40  # that a reader reads in a core lesson
PARAMETERS = ["preset", "model", "events", "query", "seed", "figures"]  # what every lesson has
#: "**Exercise 04.1** · title · ●●○ medium · 8 minutes"; in an elective "**Exercise 1** · ..."
EXERCISE = re.compile(r"\*\*Exercise (?:(\d\d)\.)?(\d)\*\* · .+ · (●○○ easy|●●○ medium|●●● hard) · (\d+) minutes")
HINT = re.compile(r"<details><summary>Hint (\d)</summary>\n\n(.+?)\n\n</details>", re.DOTALL)
CORE = (
    "start_here the_method_in_forty_lines loading_models capturing_activations "
    "building_contrastive_vectors_and_steering visualising_temporal_attention locating_sounds_and_chance "
    "reproducing_the_benchmarks"
)
ELECTIVES = {
    *"a_real_language_model beyond_the_paper caching_and_memory more_of_steering more_of_vectors".split(),
    *"playground sensitivity statistics where_to_look".split(),
}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def lesson(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=[*NOTEBOOKS, *GPU], ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def markdown(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def test_the_course_is_whole() -> None:
    core = [path.stem for path in NOTEBOOKS if not is_elective(path)]
    assert core == [f"{number:02}_{name}" for number, name in enumerate(CORE.split())]
    assert {path.stem for path in NOTEBOOKS if is_elective(path)} <= ELECTIVES
    for lesson in LESSONS:
        assert (ROOT / "steer_utils" / "course" / "checks" / f"{lesson}.py").is_file()
        test = ROOT / "tests" / "course" / "checks" / f"test_{lesson}.py"
        assert test.is_file(), "right and wrong answers prove a check"


def is_elective(path: Path) -> bool:
    return path.parent.name == "electives"


def test_cells_and_minutes_agree_everywhere() -> None:
    """A lesson's first cell states what the one rule makes of it, and the list of lessons the same, and the plan."""
    listed = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        lesson = nbformat.read(path, as_version=4)
        assert time_line(lesson) in lesson.cells[0].source, path.stem
        (row,) = [
            line
            for line in listed.splitlines()
            if f"({path.relative_to(ROOT / 'notebooks').as_posix()})" in line and line.startswith("|")
        ]
        assert row.rstrip().endswith(f"| {teaching_cells(lesson)} | {minutes(lesson).total} |"), path.stem
    plan = next(text for text in listed.split("\n\n") if text.startswith("**Half a day**"))
    planned = re.findall(r"(\d\d) (?:together|in pairs)[^.(]*\((\d+) minutes\)", plan)
    assert [number for number, _ in planned] == ["00", "01", "04", "06", "07"]
    core = {path.stem[:2]: nbformat.read(path, as_version=4) for path in NOTEBOOKS if not is_elective(path)}
    for number, stated in planned:
        assert int(stated) == minutes(core[number]).total, number
    assert sum(int(stated) for _, stated in planned) <= 4 * 60 - 30, "half a day has four hours, and breaks"


def test_a_core_lesson_is_no_longer_than_a_class() -> None:
    for path in NOTEBOOKS:
        if not is_elective(path):
            assert teaching_cells(nbformat.read(path, as_version=4)) <= MOST_CELLS, path.stem


def test_each_lesson_opens_with_the_method() -> None:
    for path in NOTEBOOKS:
        cells = code_cells(nbformat.read(path, as_version=4))
        assert "install" in tags(cells[0]) and "parameters" in tags(cells[1]), path.stem
        opening = next(place for place, cell in enumerate(cells) if "lessons.begin(" in cell.source)
        assert cells[opening + 1].source.startswith("lesson.show_method("), path.stem


# -- the form of a lesson ------------------------------------------------------------------------------------------
def test_a_notebook_says_what_for_how_long_and_what_it_needs(notebook: nbformat.NotebookNode) -> None:
    first = notebook.cells[0].source
    assert re.match(r"# (\d\d|GPU|Elective) · ", first)
    for part in ("**After this notebook you can**", "**Time**", "**You need**"):
        assert part in first


def test_a_lesson_ends_with_a_summary_and_makes_its_reader_predict(lesson: nbformat.NotebookNode) -> None:
    texts = markdown(lesson)
    headings = [line for text in texts for line in text.splitlines() if line.startswith("## ")]
    assert headings[-2:] == ["## Summary", "## Reading"]
    assert sum("**Predict.**" in text for text in texts) >= 2, "the reader predicts before it is shown"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_guesses_are_scored_where_the_reading_ends(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.source.strip()]
    places = [place for place, cell in enumerate(cells) if "score" in tags(cell)]
    assert len(places) == 1
    for place in places:
        assert cells[place].source.count("predictions.score(") == 1 and "guess_1" in "".join(
            cell.source for cell in cells[:place]
        )
        assert "## Summary" in cells[place + 1].source


def test_exercises_are_a_task_a_solution_and_a_check(lesson: nbformat.NotebookNode) -> None:
    number = numbered[1] if (numbered := re.match(r"# (\d\d) · ", lesson.cells[0].source)) else None
    kinds = [tags(cell) & {"exercise", "solution", "check"} for cell in lesson.cells]
    places = [place for place, kind in enumerate(kinds) if kind == {"exercise"}]
    assert 2 <= len(places) <= 4
    for count, place in enumerate(places, start=1):
        assert kinds[place + 1 : place + 3] == [{"solution"}, {"check"}]
        title = EXERCISE.match(lesson.cells[place].source)
        assert title and title[1] == number and title[2] == str(count), lesson.cells[place].source[:80]
        hints = HINT.findall(lesson.cells[place].source)
        assert [name for name, _ in hints] == ["1", "2"] and all(len(text) > 30 for _, text in hints), title[0]
        assert lesson.cells[place + 1].metadata["jupyter"]["source_hidden"], "a solution is folded in JupyterLab"
        assert "hide-input" in tags(lesson.cells[place + 1]), "and on a page"
        check = lesson.cells[place + 2]
        assert re.match(r"checks\.\w+\.\w+\(", check.source), check.source
        assert check.outputs and check.outputs[0].text.startswith("Correct")
    assert sum(bool(kind) for kind in kinds) == 3 * len(places)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_exercise_version_is_that_of_the_lesson(path: Path) -> None:
    """Made again it is the same: `make exercises` was run after the last change."""
    target, back = version_path(path, ROOT / "notebooks", EXERCISES)
    expected = exercise_version(nbformat.read(path, as_version=4), back)
    committed = nbformat.read(target, as_version=4)
    assert committed == expected
    for cell in code_cells(committed):
        ast.parse(cell.source)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_blank_answer_reaches_its_check(path: Path) -> None:
    """Whoever runs a check before answering gets its hint, not a NameError: all names that it uses are set."""
    known: set[str] = set()
    for cell in code_cells(exercise_version(nbformat.read(path, as_version=4), f"../{path.name}")):
        tree = ast.parse(cell.source)
        if "check" in tags(cell):
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert used <= known, f"{cell.source}: {', '.join(used - known)}"
        known |= _bound(tree)


def _bound(tree: ast.Module) -> set[str]:
    """The names that a cell sets at its top level, in loops and `with` too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


@pytest.mark.parametrize("path", [*NOTEBOOKS, *GPU], ids=lambda path: path.stem)
def test_small_and_valid(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    nbformat.validate(nbformat.read(path, as_version=4))


def test_executed_in_order_without_errors(notebook: nbformat.NotebookNode) -> None:
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]


def test_no_widget_is_left_without_its_kernel(notebook: nbformat.NotebookNode) -> None:
    """A committed notebook shows static twins; a widget would only say "model not found" (`twins.static_outputs`)."""
    assert "widgets" not in notebook.metadata
    kinds = {kind for cell in code_cells(notebook) for output in cell.outputs for kind in output.get("data", {})}
    assert not [kind for kind in kinds if "widget" in kind]


def test_one_parameters_cell(notebook: nbformat.NotebookNode) -> None:
    assert sum("parameters" in tags(cell) for cell in code_cells(notebook)) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_parameters_are_those_of_the_course(path: Path) -> None:
    known = known_parameters(path)
    assert [name for name in known if name in PARAMETERS] == PARAMETERS
    about = {
        "05_visualising_temporal_attention": "mini-smollm2-audio",
        "06_locating_sounds_and_chance": "mini-smollm2-audio",
        "07_reproducing_the_benchmarks": "mini-smollm2-audio",
        "a_real_language_model": "mini-smollm2-audio",
        "where_to_look": "pocket-llava",
    }
    assert known["preset"] == "course" and known["model"] == about.get(path.stem, "pocket-qwen2-audio")


def test_enough_outputs_are_compared(notebook: nbformat.NotebookNode) -> None:
    with_output = [cell for cell in code_cells(notebook) if cell.outputs]
    compared = [cell for cell in with_output if not tags(cell) & SKIPPED]
    assert len(compared) / len(with_output) >= LEAST_COMPARED


def test_figures_have_alt_text_and_a_caption(notebook: nbformat.NotebookNode) -> None:
    figures = 0
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                figures += 1
                assert len(output.metadata.get("image/png", {}).get("alt", "")) > 40
                others = [other for other in cell.outputs if "image/png" not in other.get("data", {})]
                printed = "".join(
                    other.get("text", "") or other.get("data", {}).get("text/plain", "") for other in others
                )
                assert printed.strip(), "a figure needs its caption printed under it"
    assert figures


@pytest.mark.parametrize("path", [*NOTEBOOKS, *GPU], ids=lambda path: path.stem)
def test_links_are_well_formed(path: Path) -> None:
    text = "\n".join(markdown(nbformat.read(path, as_version=4)))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            assert re.fullmatch(r"https://[\w.-]+(/[\w./-]*)?", target), target
        else:
            assert (path.parent / target.split("#")[0]).exists(), target


def test_nothing_of_this_machine_is_in_it(notebook: nbformat.NotebookNode) -> None:
    assert str(ROOT) not in json.dumps(notebook) and str(Path.home()) not in json.dumps(notebook)


@pytest.mark.notebooks
@pytest.mark.parametrize("path", [*NOTEBOOKS, *GPU], ids=lambda path: path.stem)
def test_nbval(path: Path, tmp_path: Path) -> None:
    """Run again in a fresh kernel; every output that can be compared is as committed (nbval, strict)."""
    model = known_parameters(path)["model"]
    if model in MINI_MODELS and (parts := pocket_folder(model)) is not None:
        assembled(parts, quiet=True)  # the bar of a model's first use on a machine is in no committed notebook
    copy = tmp_path / path.relative_to(ROOT)  # its figures must not replace the committed ones
    copy.parent.mkdir(parents=True)
    copy.write_bytes(path.read_bytes())
    options = "--nbval --nbval-current-env -q -p no:cacheprovider --nbval-cell-timeout=600 --rootdir".split()
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path), str(copy)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.notebooks
@pytest.mark.parametrize(
    "model", [pytest.param("pocket-qwen2-audio", marks=pytest.mark.slow), "pocket-audio-flamingo-3"]
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_with_other_parameters(path: Path, model: str, tmp_path: Path) -> None:
    """papermill, the smoke preset, another scene and query, either model (`test_nbval` runs the first one too)."""
    import papermill

    scene = {"events": "helicopter, bird, alarm", "query": "bird"}
    if path.stem == "where_to_look":  # the one model that sees, and what it can see
        scene = {"events": "blue triangle, white circle, purple cross", "query": "white circle"}
        model = "pocket-llava"
    parameters = {"preset": "smoke", "model": model, **scene, "figures": str(tmp_path / "figures")}
    out = tmp_path / path.name
    papermill.execute_notebook(path, out, parameters=parameters, progress_bar=False, cwd=str(tmp_path))
    outputs = [output for cell in nbformat.read(out, as_version=4).cells for output in cell.get("outputs", [])]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert list((tmp_path / "figures").glob("*.png"))


@pytest.mark.notebooks
def test_the_gpu_notebook_takes_a_folder_and_a_recording(
    six_classes: Path, tmp_path: Path, samples: np.ndarray
) -> None:
    """Smoke form, on the folder of a tiny model: verified, located, cut and taken up again, drawn."""
    import papermill

    soundfile.write(tmp_path / "mine.wav", samples, 16_000)
    parameters = {"model": str(six_classes), "audio": "mine.wav", "query": "bell", "scenes": 2, "out": "kept"}
    for path in GPU:
        assert set(parameters) <= set(known_parameters(path)) and known_parameters(path)["preset"] == "smoke"
        done = papermill.execute_notebook(
            path, tmp_path / path.name, parameters=parameters, progress_bar=False, cwd=str(tmp_path)
        )
        printed = "".join(output.get("text", "") for cell in done.cells for output in cell.get("outputs", []))
        assert "cut: 1 of 2 scenes are kept" in printed and "2 scenes, " in printed
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"run.parquet", "run.partial", "verify.json"}


def test_the_gpu_notebook_refuses_a_machine_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (path,) = GPU
    cell = code_cells(nbformat.read(path, as_version=4))[2]
    with pytest.raises(RuntimeError, match="torch sees no GPU here"):
        exec(cell.source, {"preset": "gpu"})
    with pytest.raises(ValueError, match="pass 'smoke' or 'gpu'"):
        exec(cell.source, {"preset": "course"})
