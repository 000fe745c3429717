"""The ways of installing agree, the wheel is whole, rooms import downwards only, and `make setup` does what it says.

The files are the oracle: pyproject.toml says what is allowed, requirements.lock what is installed, environment.yml and
the Makefile only point at them. The set-up logic is run for real, in an empty folder, with a stand-in for Python.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from setuptools import Distribution
from setuptools.command.build_py import build_py

import steer_utils

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = Path("steer_utils/pocket/weights")
MAX_MODEL_BYTES = 16_000_000
CORE = set(
    "torch transformers numpy scipy soundfile soxr safetensors pandas matplotlib seaborn tqdm typer pyyaml pydantic "
    "filelock rich lazy-loader accelerate".split()
)
GPU_EXTRAS = {"quantise"}  # not in the lock, which is not for GPU machines

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK_LINES = re.findall(r"^[^#\n].*", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def lock_pins() -> dict[str, Version]:
    """Locked version of each distribution, by canonical name; every line must be one exact pin."""
    pins: dict[str, Version] = {}
    for line in LOCK_LINES:
        requirement = Requirement(line)
        specifiers = list(requirement.specifier)
        assert len(specifiers) == 1 and specifiers[0].operator == "==", f"not an exact pin: {line}"
        name = canonicalize_name(requirement.name)
        assert name not in pins, f"{name} is locked twice"
        pins[name] = Version(specifiers[0].version)
    return pins


def declared(group: str) -> list[Requirement]:
    """Requirements of "core" or of one extra, without references to the project's own extras."""
    lines = PROJECT["dependencies"] if group == "core" else PROJECT["optional-dependencies"][group]
    return [r for r in map(Requirement, lines) if canonicalize_name(r.name) != canonicalize_name(PROJECT["name"])]


# ---- the lock, the bounds and the other ways of installing ----


def test_core_dependencies_are_the_agreed_few() -> None:
    assert {canonicalize_name(r.name) for r in declared("core")} == CORE


@pytest.mark.parametrize("group", ["core", *sorted(set(PROJECT["optional-dependencies"]) - GPU_EXTRAS)])
def test_lock_pins_every_declared_dependency_within_its_bounds(group: str) -> None:
    pins = lock_pins()
    for requirement in declared(group):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} ({group}) is missing from requirements.lock: run `make lock`"
        assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is outside {requirement.specifier}"
        assert requirement.specifier, f"{name} ({group}) has no lower bound"


def test_lock_holds_the_build_backend() -> None:
    """`make setup` builds without isolation, so what [build-system] asks for has to be locked as well."""
    pins = lock_pins()
    for requirement in map(Requirement, PYPROJECT["build-system"]["requires"]):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_lock_versions_the_project_promises() -> None:
    pins = lock_pins()
    assert pins["torch"] == Version("2.13.0")
    assert pins["transformers"] >= Version("5.23")


def test_lock_is_usable_on_any_machine() -> None:
    """No CUDA packages, local builds (+cpu), index addresses, options or paths: only `name==version ; marker`."""
    for line in LOCK_LINES:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*( ; [^/\\]+)?", line), line
        assert not re.match(r"nvidia-|cuda-|triton", line), line


def test_environment_yml_installs_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip_lines = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip_lines == [["-r requirements.lock", "-e ."]]
    conda_lines = [d for d in environment["dependencies"] if isinstance(d, str)]
    python = [d.split("=")[1] for d in conda_lines if d.startswith("python=")]
    assert len(python) == 1
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python[0] + ".0")
    # Anything else from conda would be a second source of versions.
    assert {d.split("=")[0] for d in conda_lines} == {"python", "pip"}


def test_one_version_number() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (\d+\.\d+\.\d+)", changelog, flags=re.MULTILINE)
    assert latest is not None and latest.group(1) == PROJECT["version"]
    assert f"## {PROJECT['version']} ({citation['date-released']})" in changelog


def test_one_address() -> None:
    """Buttons, the first cell of a lesson and the metadata name one repository; OWNER until it has an address."""
    (address,) = (url.removeprefix("https://github.com/") for url in PROJECT["urls"].values())
    assert re.fullmatch(r"[\w.-]+/steer_utils", address)
    texts = [ROOT / "README.md", *(ROOT / "notebooks").rglob("[!.]*.ipynb")]
    named = {name for path in texts for name in re.findall(r"[\w.-]+/steer_utils(?=[\"/\\ ])", path.read_text("utf-8"))}
    assert {name for name in named if not name.startswith(".")} <= {address}


def test_binder_installs_what_the_makefile_does() -> None:
    makefile, binder = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "binder/postBuild"))
    installed = re.findall(r"-m pip install (.+)", binder)
    assert len(installed) == 3 and all(f"$(PIP) {options})" in makefile for options in installed)
    assert (ROOT / "binder" / "postBuild").stat().st_mode & 0o111
    environment = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text(encoding="utf-8"))
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["dependencies"][0] == conda["dependencies"][0]


def test_licence_is_named_alike_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text


def test_contributing_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = [path for path in re.findall(r"`((?:steer_utils|tests|docs)/[^`]*)`", text) if "<" not in path]
    assert len(paths) >= 8 and not [path for path in paths if not (ROOT / path).exists()]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)(?=`| +#)", text)) <= set(targets)


# ---- what goes into the wheel ----


def wheel_files() -> set[Path]:
    """Every source file of the wheel, relative to the root, as the build backend itself lists them."""
    distribution = Distribution({"script_name": "setup.py"})
    distribution.parse_config_files([str(ROOT / "pyproject.toml")])
    command = distribution.get_command_obj("build_py")
    assert isinstance(command, build_py)
    command.ensure_finalized()
    modules = {Path(path) for _, _, path in command.find_all_modules()}
    return modules | {Path(folder, name) for _, folder, _, names in command.data_files for name in names}


def on_disk(pattern: str) -> set[Path]:
    return {p.relative_to(ROOT) for p in ROOT.glob(pattern) if p.is_file() and "__pycache__" not in p.parts}


def test_wheel_holds_the_whole_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the backend finds packages from the current folder
    files = wheel_files()
    assert on_disk("steer_utils/**/*.py") <= files
    assert {Path("steer_utils/__init__.pyi"), Path("steer_utils/py.typed")} <= files
    assert not {f for f in files if f.parts[0] != "steer_utils"}


def test_every_public_name_is_what_the_stub_says() -> None:
    """`__init__.pyi` is the one list of public names: each comes from the module that stands there."""
    stub = ast.parse((ROOT / "steer_utils" / "__init__.pyi").read_text(encoding="utf-8"))
    names = []
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            module = import_module(f"steer_utils.{node.module}")
            for alias in node.names:
                assert alias.asname == alias.name and node.level == 1
                assert getattr(steer_utils, alias.name) is getattr(module, alias.name)
                names.append(alias.name)
    assert sorted(names) == sorted(steer_utils.__all__) and len(set(names)) == len(names) > 30


def test_rooms_import_only_from_floors_below() -> None:
    """The contract is [tool.importlinter] in pyproject.toml; a new room must be given its floor there."""
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    # A process of its own: it would switch off the loggers of this one.
    checked = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_wheel_holds_the_pocket_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = on_disk(f"{WEIGHTS}/**/*")
    assert {p.parts[3] for p in weights if p.suffix == ".safetensors"} == {
        "pocket-qwen2-audio",
        "pocket-audio-flamingo-3",
        "pocket-qwen2-audio-half",
        "mini-smollm2-audio",
        "mini-smollm2-audio-flamingo",
        "pocket-llava",
    }, f"{WEIGHTS} must hold one folder of safetensors for each model that ships"
    monkeypatch.chdir(ROOT)
    assert weights <= wheel_files()


def test_weights_are_not_ignored_by_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    probe = WEIGHTS / "pocket-qwen2-audio" / "model.safetensors"
    ignored = subprocess.run(["git", "check-ignore", "-q", "--no-index", str(probe)], cwd=ROOT, check=False)
    assert ignored.returncode == 1, f"{probe} would be left out of a commit by .gitignore"


def test_each_pocket_model_is_small() -> None:
    folders = [p for p in (ROOT / WEIGHTS).glob("*") if p.is_dir() and p.name != "__pycache__"]
    assert folders, f"{WEIGHTS} holds no model"
    for folder in folders:
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        assert size <= MAX_MODEL_BYTES, f"{folder.name} is {size / 1e6:.1f} MB; at most 16 MB a model"


# ---- the Makefile ----


@needs_make
def test_help_lists_every_target() -> None:
    targets = set(re.findall(r"^([A-Za-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    listing = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^make (\S+) +\S", listing, re.MULTILINE)) == targets
    assert set("help setup course test test-slow lab lint pocket clean".split()) <= targets
    # `make` alone shows the list too, instead of starting something.
    assert subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout == listing


def test_ci_calls_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    assert "make test" in script.read_text(encoding="utf-8")
    if sys.platform != "win32":
        assert script.stat().st_mode & 0o111, ".ci/run is not executable"


def test_a_release_is_checked_and_tried_before_it_is_kept() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    steps = [step.get("run", "") for step in job["steps"]]
    order = [
        next(n for n, step in enumerate(steps) if what in step)
        for what in ("cffconvert", "build==", "twine", "locate", "gh release")
    ]
    assert order == sorted(order) and not any("upload" in step for step in steps)


def test_the_site_is_published_from_what_make_site_builds() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert {"run": "make site"} in job["steps"]
    assert any(step.get("with") == {"path": "build/site"} for step in job["steps"])


def test_github_runs_the_tests_on_pushes_and_the_slow_ones_at_night() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    assert {"push", "pull_request", "schedule"} <= set(workflow[True])  # yaml 1.1 reads the key `on` as true
    (job,) = workflow["jobs"].values()
    assert job["env"]["PIP_EXTRA_INDEX_URL"].endswith("/whl/cpu")
    *_, last = job["steps"]
    assert last["run"] == "make ${{ github.event_name == 'schedule' && 'test-slow' || 'test' }}"


# A stand-in for Python: notes each command in calls.log, "creates" an environment by copying itself into it, and
# fails at the step named by the file fail-at, as a killed install would.
FAKE_PYTHON = """#!/bin/sh
case "$*" in *"pip install"*) echo "Collecting numpy==2.4.6 (from -r requirements.lock (line 3))" ;; esac
case "$*" in *"$(cat fail-at)"*) echo "ERROR: no such version"; exit 7 ;; esac
case "$*" in
-V) echo "Python {version}" ;;
*version_info*) exit {too_old} ;;
*"-m venv"*) echo "venv" >> calls.log; mkdir -p .venv/bin; touch .venv/leftover; cp "$0" .venv/bin/python ;;
*"-r requirements.lock"*) echo "lock" >> calls.log ;;
*"-e ."*) echo "package" >> calls.log ;;
esac
"""

Make = Callable[..., "tuple[int, list[str], str]"]
EVERYTHING = ["venv", "lock", "package"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone with a space in its path."""
    folder = tmp_path / "fresh clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def make_setup(clone: Path) -> Make:
    """`make setup` in the clone -> (exit code, steps taken, what was printed)."""

    def run(
        folder: Path = clone, *, fail_at: str = "nothing", version: str = "3.11.7", named: str = ""
    ) -> tuple[int, list[str], str]:
        fakes = folder.parent / f"bin-{version}"
        fakes.mkdir(exist_ok=True)
        python = fakes / (named or "python3")
        too_old = int(Version(version) < Version("3.11"))
        python.write_text(FAKE_PYTHON.format(version=version, too_old=too_old), encoding="utf-8")
        python.chmod(0o755)
        (folder / "fail-at").write_text(fail_at, encoding="utf-8")
        log = folder / "calls.log"
        log.write_text("", encoding="utf-8")
        command = ["make", "setup", *([f"PYTHON={named}"] if named else [])]
        path = f"{fakes}:/usr/local/bin:/usr/bin:/bin"
        done = subprocess.run(command, cwd=folder, env={"PATH": path}, capture_output=True, text=True)
        return done.returncode, log.read_text(encoding="utf-8").split(), done.stdout + done.stderr

    return run


@needs_make
@pytest.mark.parametrize("fail_at", ["-m venv", "-r requirements.lock", "-e ."])
def test_setup_recovers_from_a_killed_install_and_happens_once(make_setup: Make, clone: Path, fail_at: str) -> None:
    assert make_setup(fail_at=fail_at)[0] != 0
    half_made = clone / ".venv" / "half-written"
    half_made.parent.mkdir(exist_ok=True)
    half_made.touch()
    assert make_setup()[:2] == (0, EVERYTHING)
    assert not half_made.exists()
    assert make_setup()[:2] == (0, [])


@needs_make
@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_setup_follows_the_lock_and_the_metadata(make_setup: Make, clone: Path, name: str) -> None:
    assert make_setup()[:2] == (0, EVERYTHING)
    with (clone / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert make_setup()[:2] == (0, ["lock", "package"])  # the environment is kept and updated
    assert make_setup()[:2] == (0, [])
    with (clone / name).open("a", encoding="utf-8") as file:
        file.write("# changed again\n")
    assert make_setup(fail_at="-r requirements.lock")[0] != 0
    assert make_setup()[:2] == (0, EVERYTHING)  # after an update that failed, nothing in it can be trusted


@needs_make
def test_setup_keeps_the_installer_quiet_and_shows_the_end_of_what_failed(make_setup: Make, clone: Path) -> None:
    code, _, printed = make_setup()
    assert code == 0 and "Collecting" not in printed
    assert re.search(r"Installing the locked versions\n  done in \d+ s\n", printed)
    assert (clone / ".venv" / "setup.log").read_text(encoding="utf-8").count("Collecting") == 3
    (clone / ".venv" / ".made-from").unlink()
    code, _, printed = make_setup(fail_at="--require-hashes")
    assert code != 0 and "The end of .venv/setup.log:" in printed and "ERROR: no such version" in printed
    assert "Error 7" in printed, "make names the exit code of what failed"


@needs_make
@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
def test_setup_shows_a_bar_on_a_terminal(make_setup: Make, clone: Path) -> None:
    import pty

    make_setup()
    (clone / ".venv" / ".made-from").unlink()
    (clone / "fail-at").write_text("nothing", encoding="utf-8")
    terminal, end = pty.openpty()
    command = ["make", "setup"]
    path = f"{clone.parent / 'bin-3.11.7'}:/usr/local/bin:/usr/bin:/bin"
    subprocess.run(command, cwd=clone, env={"PATH": path}, stdout=end, stderr=end, check=True)
    os.close(end)
    shown = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert re.search(r"\[ +\] 1 of \d{3}", shown) and "Collecting" not in shown


@needs_make
def test_setup_makes_a_copied_folder_its_own_environment(make_setup: Make, clone: Path) -> None:
    make_setup()
    shutil.copytree(clone, clone.parent / "copy")
    assert make_setup(clone.parent / "copy")[:2] == (0, EVERYTHING)


@needs_make
def test_setup_replaces_an_environment_whose_python_is_gone(make_setup: Make, clone: Path) -> None:
    make_setup()
    (clone / ".venv" / "bin" / "python").unlink()
    assert make_setup()[:2] == (0, EVERYTHING)


@needs_make
def test_setup_takes_the_python_it_is_given(make_setup: Make) -> None:
    make_setup()
    assert make_setup(version="3.12.1", named="python3.12")[:2] == (0, EVERYTHING)
    assert make_setup(version="3.12.1", named="python3.12")[:2] == (0, [])
    # Afterwards a plain `make` stays with it, although `python3` is another one.
    assert make_setup()[:2] == (0, [])


@needs_make
def test_setup_refuses_an_old_python_in_plain_words(make_setup: Make) -> None:
    code, steps, printed = make_setup(version="3.9.6")
    assert (code != 0, steps) == (True, [])
    assert "Python 3.11 or newer is needed, but 'python3' is Python 3.9.6" in printed
    assert "make setup PYTHON=" in printed
