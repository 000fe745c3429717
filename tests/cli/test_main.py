"""The program itself: help, exit codes, version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer
from command_line import invoke

from steer_utils.cli.main import app


def test_help_teaches_each_command() -> None:
    program = typer.main.get_command(app)
    assert "..." not in invoke("--help").stdout.partition("Commands:")[2], "a summary is cut off"
    names = [[name] for name in program.commands if name != "pocket"]
    names += [["pocket", name] for name in program.commands["pocket"].commands]
    assert len(names) == 35
    for name in names:
        assert f"Example: steer-utils {' '.join(name)}" in " ".join(invoke(*name, "--help").stdout.split())


def program(*arguments: str) -> subprocess.CompletedProcess:
    code = "from steer_utils.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, steer_utils.cli.main\n"
        "heavy = ('torch', 'numpy', 'transformers', 'pandas', 'pydantic', 'rich', 'distributed')\n"
        "print([name for name in heavy if name in sys.modules])"
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
