"""A Python for the peers: a virtual environment that takes everything of this Python and adds the peers to it.

    python -m benchmarks.venv .venv-peers
    python -m benchmarks --python .venv-peers/bin/python

torch and transformers are those of this Python, so ours and theirs run on the same ones, and nothing here is changed.
The peers are installed without their dependencies' own wishes (`--no-deps`, exact versions in requirements.txt):
steering-vectors asks for transformers 4, and runs on 5 all the same.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SAME = ("torch", "transformers")


def make(folder: Path) -> Path:
    """Make it; its Python. Raises ValueError if the folder is there already or a peer brought its own torch."""
    if folder.exists():
        raise ValueError(f"{str(folder)!r} is there already; remove it, or use it: {folder / 'bin' / 'python'}")
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["install", "--no-deps", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    subprocess.run([python, "-m", "pip", *install], check=True)
    for package in SAME:
        said = "import importlib.metadata as m; print(m.version('" + package + "'))"
        ours, theirs = (
            subprocess.run([each, "-c", said], check=True, capture_output=True, text=True).stdout.strip()
            for each in (sys.executable, python)
        )
        if ours != theirs:
            raise ValueError(f"{package} is {ours} here and {theirs} in {folder}: the comparison would not be fair")
    return python


def main(arguments: Sequence[str]) -> int:
    """Of the command line: one folder."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    try:
        print(make(Path(arguments[0])))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
