"""The command line: answers on stdout, one line on stderr and exit code 2 for what cannot be used."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image
from small_notebooks import write_notebook
from tinies import EVENTS, tiny
from typer.testing import CliRunner

import steer_utils.cli.console
import steer_utils.course.doctor
import steer_utils.lm.models
import steer_utils.methods.locate
import steer_utils.runs.folder
import steer_utils.runs.notebooks
import steer_utils.study.benchmark
from steer_utils.cli.course import _summary
from steer_utils.cli.main import app
from steer_utils.methods.table import METHODS
from steer_utils.pocket.architecture import save
from steer_utils.runs.folder import RunFolder

RATE = 16_000
NOISE = (0.1 * np.random.default_rng(0).normal(size=3 * RATE)).astype(np.float32)
run_cli = CliRunner()


def invoke(*arguments: object) -> Any:
    return run_cli.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model that hears 4 s in one go."""
    lm = tiny("qwen2_audio")
    made = tmp_path_factory.mktemp("tiny")
    save(lm.model, lm.processor, made, {"events": list(EVENTS), "trained_recordings": ["used.wav"]})
    return made


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "street.wav"
    soundfile.write(path, NOISE, RATE)
    return path


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a 7B model takes minutes: what can be refused before must be."""
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: pytest.fail("the model was loaded"))


def refused(result: Any, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("steer-utils: ") and message in result.stderr


# -- locate --------------------------------------------------------------------------------------------------------
def test_locate_says_where(folder: Path, street: Path) -> None:
    result = invoke("locate", street, "Dog  bark", "--model", folder, "--seconds", 1)
    assert result.exit_code == 0, result.output
    lm = steer_utils.lm.models.load(folder)
    found = steer_utils.methods.locate.locate(lm, street, "dog bark", seconds=1.0)
    assert result.stdout.splitlines()[0] == f"dog bark: {found.interval}"
    assert f"{found.score:.2f}" in result.stdout and "steering (ours)" in result.stdout and str(folder) in result.stdout
    assert ("does not think" in result.stderr) == (found.presence < 0.5)


def test_locate_prints_one_json_object(folder: Path, street: Path) -> None:
    result = invoke("locate", street, "bell", "--model", folder, "--json", "--method", "prompting")
    found = json.loads(result.stdout)
    assert 0 <= found["start"] < found["end"] <= 3.0 and 0 <= found["presence"] <= 1
    assert (found["event"], found["method"], found["windows"]) == ("bell", "prompting", 1)


def test_locate_notes_a_sound_that_the_model_does_not_hear(
    folder: Path, street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steer_utils.methods.locate, "presence_probability", lambda *_: 0.25)
    result = invoke("locate", street, "bell", "--model", folder, "--method", "loudest", "--json")
    assert "the model does not think there is one (presence 0.25)" in result.stderr
    assert json.loads(result.stdout)["presence"] == 0.25
    monkeypatch.setattr(steer_utils.methods.locate, "presence_probability", lambda *_: 0.75)
    assert invoke("locate", street, "bell", "--model", folder, "--method", "loudest").stderr == ""


def test_locate_takes_any_rate_channels_and_length(folder: Path, tmp_path: Path) -> None:
    """10 s of stereo at 44.1 kHz, against a model that hears 4 s in one go."""
    samples = 0.1 * np.random.default_rng(1).normal(size=(441_000, 2))
    path = tmp_path / "long.flac"
    soundfile.write(path, samples, 44_100)
    result = invoke("locate", path, "bell", "--model", folder, "--json", "--figure", tmp_path / "f.png",
                    "--labels", tmp_path / "l.txt")  # fmt: skip
    found = json.loads(result.stdout)
    assert found["windows"] == 4 and found["duration"] == 10.0
    assert "10.0 s is longer than the 4 s this model hears in one go: heard in 4 windows" in result.stderr
    ((start, end, label),) = csv.reader((tmp_path / "l.txt").open(), delimiter="\t")
    assert label == "bell" and [round(float(start), 3), round(float(end), 3)] == [found["start"], found["end"]]
    with Image.open(tmp_path / "f.png") as image:
        assert image.format == "PNG" and 600 <= image.width <= 2400 and 300 <= image.height <= 2000
        assert "bell is located at" in image.info["Description"]


def bad_sounds(where: Path) -> dict[str, Path]:
    paths = {name: where / f"{name}.wav" for name in ("missing", "silent", "nan", "text", "empty", "corrupt", "short")}
    soundfile.write(paths["silent"], np.zeros(RATE), RATE)
    soundfile.write(paths["nan"], np.full(RATE, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    soundfile.write(paths["short"], NOISE[:100], RATE)
    soundfile.write(paths["corrupt"], NOISE, RATE)
    paths["corrupt"].write_bytes(paths["corrupt"].read_bytes()[4:60])
    paths["text"].write_text("not a sound\n" * 20)
    paths["empty"].touch()
    return {**paths, "folder": where}


SOUNDS_SAID = {
    "missing": "there is no file", "silent": "silent", "nan": "NaN", "text": "cannot decode",
    "empty": "cannot decode", "corrupt": "cannot decode", "short": "lasts 0.006 s", "folder": "is a folder",
}  # fmt: skip


@pytest.mark.parametrize("kind", SOUNDS_SAID)
def test_sounds_that_cannot_be_heard_are_refused(tmp_path: Path, no_model: None, kind: str) -> None:
    refused(invoke("locate", bad_sounds(tmp_path)[kind], "bell"), SOUNDS_SAID[kind])


def test_locate_refuses_what_it_cannot_use(folder: Path, street: Path) -> None:
    refused(invoke("locate", street, "dog brk", "--model", folder), "It knows: dog bark, bell, siren")
    refused(invoke("locate", street, "bell", "--model", folder, "--seconds", -1), "pass a positive width")
    refused(invoke("locate", street, "bell", "--model", street.parent), "no config.json")
    refused(invoke("locate", street, "bell", "--model", "pocket-nothing"), "there is no pocket model")


def test_locate_refuses_bad_choices_before_loading(street: Path, tmp_path: Path, no_model: None) -> None:
    refused(invoke("locate", street, "bell", "--method", "magic"), "pass one of steering, steering-heads")
    refused(invoke("locate", street, "bell", "--dtype", "int8"), "pass one of auto, float32")
    refused(invoke("locate", street, "bell", "--device", "abacus"), "cannot use the device 'abacus'")
    refused(invoke("locate", street, "bell", "--figure", tmp_path / "a.bmp"), "must end in .png or .svg")
    refused(invoke("locate", street, "bell", "--figure", tmp_path / "no" / "a.png"), "there is no folder")
    refused(invoke("locate", street, "bell", "--labels", tmp_path / "a.doc"), "must end in .txt")
    assert list(tmp_path.iterdir()) == []


def test_errors_that_are_not_ours_are_not_hidden(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: np.zeros(2).reshape(3))
    result = invoke("locate", street, "bell", "--model", "a/b")
    assert isinstance(result.exception, ValueError) and result.exit_code == 1
    monkeypatch.setattr(steer_utils.lm.models, "load", lambda *_, **__: Path("/no/such/file").read_text())
    refused(invoke("locate", street, "bell", "--model", "a/b"), "/no/such/file: No such file")


# -- benchmark -----------------------------------------------------------------------------------------------------
def bench(folder: Path, *more: object, scenes: int = 2) -> Any:
    return invoke("benchmark", "--model", folder, "--scenes", scenes, "--seed", 3, *more)


def test_benchmark_prints_and_writes_the_table(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    result = bench(folder, "--methods", "random,loudest,unsteered", "--out", out)
    assert result.exit_code == 0, result.output
    assert "2 scenes, 6 queries, seed 3, procedural sounds" in result.stdout
    assert all(each in result.stdout for each in ("loudest window", "chance of that slot", "first", "middle", "last"))
    assert "2/2" in result.stderr  # the progress bar
    table = pd.read_parquet(out)
    assert len(table) == 18 and table.attrs["scenes"]["seed"] == 3 and table.attrs["model"] == str(folder)
    assert os.listdir(tmp_path) == ["t.parquet"]


def test_a_saved_benchmark_is_drawn_and_reported_again(folder: Path, tmp_path: Path) -> None:
    table, figure = tmp_path / "t.parquet", tmp_path / "t.png"
    run = bench(folder, "--methods", "random,unsteered", "--out", table)
    again = invoke("draw", table, figure)
    assert again.exit_code == 0 and again.stdout == run.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert invoke("draw", table, tmp_path / "t.pdf").exit_code == 2
    assert invoke("draw", figure, tmp_path / "u.png").exit_code == 2


def test_all_methods_are_those_that_can_run(folder: Path) -> None:
    found = json.loads(bench(folder, "--methods", "all", "--json", scenes=1).stdout)
    assert {row["method"] for row in found["rows"]} == {*METHODS} - {"steering-heads", "position"}


def test_a_preset_is_a_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(steer_utils.cli.main.PRESETS, "smoke", 1)
    result = invoke("benchmark", "--model", folder, "--preset", "smoke", "--methods", "random", "--json")
    assert json.loads(result.stdout)["settings"]["scenes"]["scenes"] == 1
    wrong = invoke("benchmark", "--model", folder, "--preset", "huge")
    assert wrong.exit_code == 2 and "pass one of smoke, course, paper" in wrong.stderr


def test_benchmark_json_is_one_object(folder: Path) -> None:
    result = bench(folder, "--methods", "steering, random", "--json", scenes=1)
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not json"))
    assert found["model"] == str(folder) and found["settings"]["scenes"]["scenes"] == 1
    assert {(row["method"], row["slot"]) for row in found["rows"]} == {
        (method, slot) for method in ("steering", "random") for slot in ("all", "first", "middle", "last")
    }
    assert all(0 <= row["overlap"] <= 1 and row["low"] is None and 0 < row["chance"] < 1 for row in found["rows"])


def test_benchmark_goes_on_after_a_kill(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = ("--methods", "random,unsteered", "--out")
    whole = bench(folder, *choice, tmp_path / "whole.parquet", scenes=3)

    def killed(items: object, unit: str, quiet: bool | None = False) -> object:
        yield from list(items)[:2]  # type: ignore[call-overload]
        raise KeyboardInterrupt

    out = tmp_path / "cut.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(steer_utils.cli.main, "progress", killed)
        cut = bench(folder, *choice, out, scenes=3)
    assert cut.exit_code == 130 and "the same command goes on from here" in cut.stderr
    assert not out.exists() and (tmp_path / ".cut.parquet.partial").exists()
    made: list[int] = []
    rows = steer_utils.study.benchmark._scene_rows
    counted = lambda *given: made.append(given[-1]) or rows(*given)  # noqa: E731
    monkeypatch.setattr(steer_utils.study.benchmark, "_scene_rows", counted)  # type: ignore[func-returns-value]
    resumed = bench(folder, *choice, out, scenes=3)
    assert made == [2] and resumed.stdout == whole.stdout
    first, second = (pd.read_parquet(tmp_path / name) for name in ("whole.parquet", "cut.parquet"))
    pd.testing.assert_frame_equal(first, second)
    assert first.attrs == second.attrs and not (tmp_path / ".cut.parquet.partial").exists()


def test_benchmark_on_recordings_leaves_out_what_was_trained_on(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["filename,category"]
    for name, category in (("a", "bell"), ("b", "siren"), ("c", "dog_bark"), ("used", "bell")):
        soundfile.write(tmp_path / f"{name}.wav", 0.3 * rng.normal(size=2 * RATE), RATE)
        lines.append(f"{name}.wav,{category}")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    result = bench(folder, "--clips", tmp_path, "--methods", "random", "--out", tmp_path / "t.csv")
    assert "3 recordings" in result.stdout and "classes queried: bell, dog bark, siren" in result.stdout
    assert "recordings left out because the model was trained on them: 1" in result.stdout
    assert set(pd.read_csv(tmp_path / "t.csv")["source"]) == {"a.wav", "b.wav", "c.wav"}


def test_benchmark_takes_settings(folder: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "settings.json"
    chosen.write_text(json.dumps({"strength": 0.125}))
    result = bench(folder, "--settings", chosen, "--methods", "random", "--json", scenes=1)
    assert json.loads(result.stdout)["settings"]["strength"] == 0.125


def test_benchmark_refuses_bad_choices_before_loading(tmp_path: Path, no_model: None) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"strenght": 1}')
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    refused(invoke("benchmark", "--scenes", 0), "at least 1 scene")
    refused(invoke("benchmark", "--methods", "steering,magic"), "unknown method 'magic'")
    refused(invoke("benchmark", "--out", tmp_path / "t.xlsx"), "must end in .parquet or .csv")
    refused(invoke("benchmark", "--out", tmp_path / "no" / "t.csv"), "there is no folder")
    refused(invoke("benchmark", "--clips", tmp_path), "exactly one csv")
    refused(invoke("benchmark", "--clips", tmp_path / "no"), "is not a folder")
    refused(invoke("benchmark", "--settings", wrong), "strenght")
    refused(invoke("benchmark", "--settings", broken), "broken.json")
    refused(invoke("benchmark", "--settings", tmp_path / "none.json"), "none.json")


# -- notebooks -----------------------------------------------------------------------------------------------------
@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of two notebooks, and runners that only note what they are given: seed 13 fails, 14 is run elsewhere."""
    for name in ("01_b", "00_a", "helper"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", parameters="preset = 'smoke'\nseed = 0")
    monkeypatch.chdir(tmp_path)

    def noted(path: Path, *, parameters: dict, out: Path) -> Path:
        with (tmp_path / "log").open("a") as log:
            log.write(f"{path} {json.dumps(parameters)}\n")
        return out

    def in_folder(path: Path, parameters: dict, out: Path, *, again: bool, tell: Any) -> RunFolder:
        with (tmp_path / "log").open("a") as log:
            log.write(f"{path} {json.dumps(parameters)} {out}{' again' if again else ''}\n")
        failed, elsewhere = (parameters.get("seed") == seed for seed in (13, 14))
        if failed or elsewhere:
            tell("it was cut off before")
            error = "cell 2 failed" if failed else "it is being run by process 3 on a"
            return RunFolder(out / f"{path.stem}-x", "failed" if failed else "running", ran=failed, error=error)
        return RunFolder(out / f"{path.stem}-x", "complete", ran=again or parameters.get("seed") != 1)

    monkeypatch.setattr(steer_utils.runs.notebooks, "run_notebook", noted)
    monkeypatch.setattr(steer_utils.runs.folder, "run_in_folder", in_folder)
    return tmp_path


def test_course_runs_in_order_and_prints_the_results(course: Path) -> None:
    (course / "figures").mkdir()
    (course / "figures" / "results.md").write_text("| method | overlap |\n")
    result = invoke("course", "--preset", "smoke")
    assert result.exit_code == 0, result.output
    assert (course / "log").read_text().splitlines() == [
        'notebooks/00_a.ipynb {"preset": "smoke"}', 'notebooks/01_b.ipynb {"preset": "smoke"}',
    ]  # fmt: skip
    assert "| method | overlap |" in result.stdout and "make lab" in result.stdout


def test_course_stops_at_the_first_failure(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, *, parameters: dict, out: Path) -> Path:
        raise steer_utils.runs.notebooks.NotebookError(f"cell 2 of {path.name} failed; see it in {out.name}")

    monkeypatch.setattr(steer_utils.runs.notebooks, "run_notebook", fails)
    result = invoke("course")
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == "steer-utils: cell 2 of 00_a.ipynb failed; see it in 00_a.ipynb\n"


def test_run_gives_each_notebook_a_folder_and_counts(course: Path) -> None:
    first = "notebooks/00_a.ipynb"
    result = invoke("run", first, "1", "-p", "seed=4", "--preset", "paper", "--out", "there")
    assert result.exit_code == 0, result.output
    given = '{"seed": 4, "preset": "paper"} there'
    assert (course / "log").read_text() == f"{first} {given}\nnotebooks/01_b.ipynb {given}\n"
    assert result.stdout.splitlines() == [
        "ran               there/00_a-x", "ran               there/01_b-x", "2 ran",
    ]  # fmt: skip
    result = invoke("run", first, "-p", "seed=1")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "1 was there already")
    assert invoke("run", first, "-p", "seed=1", "--again").stdout.splitlines()[-1] == "1 ran"
    assert (course / "log").read_text().endswith('{"seed": 1} runs again\n')


def test_run_goes_on_after_a_failure_and_names_it_at_the_end(course: Path) -> None:
    """Exit code 1 too where another process is at it: what was asked for is not there yet."""
    result = invoke("run", "0", "1", "-p", "seed=13")
    assert result.exit_code == 1 and result.stdout.splitlines()[-1] == "2 failed: 00_a, 01_b"
    assert len((course / "log").read_text().splitlines()) == 2, "the second one still runs"
    assert "note: it was cut off before" in result.stderr and "steer-utils: 00_a: cell 2 failed" in result.stderr
    result = invoke("run", "0", "-p", "seed=14")
    assert result.exit_code == 1 and "it is being run by process 3 on a" in result.stderr
    assert result.stdout.splitlines()[-1] == "1 being run by another process: 00_a"


def test_run_sums_up() -> None:
    ended = {"ran": ["a", "b"], "there already": ["c"], "failed": ["d"], "running elsewhere": []}
    assert _summary(ended) == "2 ran, 1 was there already, 1 failed: d"
    assert _summary({**ended, "ran": [], "there already": ["a", "c"]}) == "2 were there already, 1 failed: d"


def test_run_reads_parameters_from_a_file(course: Path) -> None:
    (course / "p.yaml").write_text("seed: 4\npreset: smoke\n")
    assert invoke("run", "0", "--params", "p.yaml").exit_code == 0
    assert invoke("run", "0", "--params", "p.yaml", "-p", "seed=5", "--preset", "course").exit_code == 0
    assert [line.partition(" ")[2] for line in (course / "log").read_text().splitlines()] == [
        '{"seed": 4, "preset": "smoke"} runs', '{"seed": 5, "preset": "course"} runs',
    ]  # fmt: skip
    (course / "log").unlink()
    for text, message in (
        ("sede: 4", "no parameter sede; it has: preset='smoke', seed=0"),
        ("seed: 1.5", "seed of notebooks/00_a.ipynb is int (default 0), got 1.5"),
        ("preset: smok", "pass one of smoke, course, paper"),
        ("- seed: 1\n- seed: 2", "for many runs use `steer-utils sweep`"),
        ("", "holds nothing"),
    ):
        (course / "p.yaml").write_text(text)
        refused(invoke("run", "0", "--params", "p.yaml"), message)
    refused(invoke("run", "0", "--params", "none.yaml"), "cannot read parameters from 'none.yaml'")
    assert not (course / "log").exists()


def test_run_stopped_by_hand_says_how_to_go_on(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(steer_utils.runs.folder, "run_in_folder", stopped)
    result = invoke("run", "0")
    assert result.exit_code == 130 and "the same command goes on from here" in result.stderr


def test_run_takes_the_number_of_a_lesson(course: Path) -> None:
    assert invoke("run", "01", "0").exit_code == 0
    assert [line.split()[0] for line in (course / "log").read_text().splitlines()] == [
        "notebooks/01_b.ipynb", "notebooks/00_a.ipynb",
    ]  # fmt: skip
    refused(invoke("run", "7"), "there is no lesson 7 in notebooks/ (there: 00_a.ipynb, 01_b.ipynb)")


def test_exercises_are_written_beside_the_lessons(course: Path) -> None:
    assert invoke("exercises").exit_code == 0 and not list(course.glob("notebooks/exercises/*"))
    lesson = nbformat.read(course / "notebooks" / "00_a.ipynb", as_version=4)
    source = "# solution: begin\na = 1\n# solution: end"
    lesson.cells += [nbformat.v4.new_code_cell(source, metadata={"tags": ["solution"]})]
    nbformat.write(lesson, course / "notebooks" / "00_a.ipynb")
    assert invoke("exercises").stdout == "notebooks/exercises/00_a.ipynb\n"
    assert "a = 1" not in (course / "notebooks" / "exercises" / "00_a.ipynb").read_text()
    refused(invoke("exercises", "--notebooks", course / "log"), "no numbered notebooks")


def test_doctor_fails_when_a_check_does(monkeypatch: pytest.MonkeyPatch) -> None:
    well = steer_utils.course.doctor.Finding("python", "OK", "3.11")
    ill = steer_utils.course.doctor.Finding("audio", "FAIL", "no sound", "make setup")
    monkeypatch.setattr(steer_utils.course.doctor, "examine", lambda: [well])
    assert "Ready. Next: make course" in invoke("doctor").stdout
    monkeypatch.setattr(steer_utils.course.doctor, "examine", lambda: [well, ill])
    found = invoke("doctor")
    assert found.exit_code == 1 and "→ make setup" in found.stdout and "Ready" not in found.stdout


def test_run_refuses_before_the_first_notebook_starts(course: Path) -> None:
    first = "notebooks/00_a.ipynb"
    refused(invoke("run", first, "-p", "sede=4"), "no parameter sede; it has: preset='smoke', seed=0")
    refused(invoke("run", first, "-p", "seed"), "write it as name=value")
    refused(invoke("run", first, "notebooks/none.ipynb"), "there is no notebook")
    write_notebook(course / "notebooks" / "02_c.ipynb", parameters="model = 'pocket-nothing'")
    refused(invoke("run", first, "2"), "there is no pocket model 'pocket-nothing'")
    refused(invoke("course", "--preset", "smok"), "pass one of smoke, course, paper")
    refused(invoke("course", "--notebooks", course / "log"), "no numbered notebooks")
    assert not (course / "log").exists()


# -- the program ---------------------------------------------------------------------------------------------------
def test_help_teaches_each_command() -> None:
    listing = invoke("--help").stdout
    single = ("locate", "benchmark", "draw", "results", "models", "course", "run", "exercises", "doctor", "analyse",
              "questions", "datasets", "fetch", "cost")  # fmt: skip
    for command in (*single, "pocket"):
        assert command in listing
    for command in ([name] for name in single):
        assert "Example: steer-utils " in invoke(*command, "--help").stdout
    for command in (["pocket", each] for each in ("train", "evaluate", "ablate", "repeats")):
        assert "Example: steer-utils " in invoke(*command, "--help").stdout


def test_models_lists_what_ships() -> None:
    listing = invoke("models").stdout
    assert all(name in listing for name in steer_utils.lm.models.POCKET_MODELS)


def program(*arguments: str) -> subprocess.CompletedProcess:
    code = "from steer_utils.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, steer_utils.cli.main\n"
        "print([name for name in ('torch', 'numpy', 'transformers', 'pandas', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_exit_codes_of_the_program(tmp_path: Path) -> None:
    missing = program("locate", str(tmp_path / "none.wav"), "bell")
    assert missing.returncode == 2 and missing.stdout == ""
    assert missing.stderr == f"steer-utils: there is no file {str(tmp_path / 'none.wav')!r}\n"
    assert program("locate").returncode == 2
    version = program("--version")
    assert version.returncode == 0 and version.stdout.startswith("steer-utils ")
