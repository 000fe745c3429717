"""`make site`: the lessons, their exercise pages, docs/ and the API reference as a website in build/site, offline.

    python -m website.build [--out build/site]

Sphinx reads a copy of the repository's pages with the landing page at its top (MyST would follow links to where the
files are), and the pages of the API reference, which are written from `steer_utils/__init__.pyi`.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from textwrap import indent

from sphinx.cmd.build import main as sphinx_build
from sphinx.pycode import ModuleAnalyzer

import steer_utils

ROOT = Path(__file__).resolve().parents[1]
#: What pages are made of, or lead to.
READ = (
    "*.md CITATION.cff LICENSE docs/**/* figures/* notebooks/**/*.md notebooks/**/*.ipynb results/* benchmarks/* "
    "steer_utils/pocket/**/*.md"
).split()
ROOMS = {
    "sound": "Audio files, scenes, seconds and tokens",
    "lm": "A model: load, hear, steer, read attention",
    "methods": "Ways to locate a sound",
    "study": "The benchmark",
}


def public_names() -> dict[str, list[tuple[str, str]]]:
    """Room -> (name, module that defines it) of the public names, in the order of `__init__.pyi`."""
    stub = ast.parse((ROOT / "steer_utils" / "__init__.pyi").read_text(encoding="utf-8"))
    names: dict[str, list[tuple[str, str]]] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            room = node.module.partition(".")[0]
            names.setdefault(room, []).extend((alias.name, f"steer_utils.{node.module}") for alias in node.names)
    return names


def entry(name: str, module: str) -> str:
    """The directive that documents one public name."""
    value = getattr(steer_utils, name)
    if isinstance(value, type):
        return f".. autoclass:: steer_utils.{name}\n   :members:\n"
    if callable(value):
        return f".. autofunction:: steer_utils.{name}\n"
    comments = ModuleAnalyzer.for_module(module).find_attr_docs()
    text = comments.get(("", name), [])
    return f".. py:data:: steer_utils.{name}\n\n" + indent("\n".join(text), "   ") + "\n"


def api_pages(names: Mapping[str, list[tuple[str, str]]]) -> dict[str, str]:
    """File name -> text of the pages of the API reference. Raises KeyError for a room without a title."""
    pages = {}
    for room, members in names.items():
        about = (
            (import_module(f"steer_utils.{room}").__doc__ or "").partition("\n")[0].partition(" In reading order")[0]
        )
        # Of a table autosummary would tell what a dict is.
        table = "\n".join(f"   steer_utils.{name}" for name, _ in members if callable(getattr(steer_utils, name)))
        entries = "\n".join(entry(*member) for member in members)
        title = f"{ROOMS[room]} ({room}/)"
        pages[f"{room}.rst"] = (
            f"{title}\n{'=' * len(title)}\n\n{about}\n\n.. autosummary::\n   :nosignatures:\n\n{table}\n\n{entries}"
        )
    return pages


def stage(folder: Path) -> None:
    """Lay out what Sphinx reads in `folder`, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = {path: path.relative_to(ROOT) for pattern in READ for path in ROOT.glob(pattern)}
    pages |= {path: path.relative_to(ROOT / "website") for path in (ROOT / "website").glob("**/*.md")}
    for path, target in pages.items():
        if path.is_file():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / target)
    for name, text in api_pages(public_names()).items():
        (folder / "api" / name).write_text(text, encoding="utf-8")


def build(out: Path) -> int:
    """Write the site to `out`, made anew; Sphinx's exit code. A warning is an error."""
    source = out.with_name(f"{out.name}-source")
    shutil.rmtree(out, ignore_errors=True)
    stage(source)
    options = ["-b", "html", "-c", str(ROOT / "website"), "-d", str(out.with_name(f"{out.name}-doctrees")), "-j", "2"]
    return sphinx_build(["-q", "-W", "--keep-going", *options, str(source), str(out)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the website, offline; a warning is an error.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    target = parser.parse_args().out.resolve()
    code = build(target)
    print(
        f"the site: {target / 'index.html'}" if code == 0 else "the site was not built without warnings",
        file=sys.stderr,
    )
    sys.exit(code)
