"""The website as the tests see it: built once, its pages, and what stands in them."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]


def built_site(base: Path) -> Path:
    """The site in a folder of `base`, built as `make site` does if nobody has. Raises AssertionError, with Sphinx's
    words, for any warning."""
    with FileLock(base / "site.lock"):
        whole = base / "site.whole"
        if not whole.exists():
            command = [sys.executable, "-m", "website.build", "--out", str(base / "site")]
            environment = {name: value for name, value in os.environ.items() if name != "GITHUB_REPOSITORY"}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            whole.touch()
    return base / "site"


def pages(site: Path) -> list[str]:
    """The names of all pages, without .html."""
    return sorted(
        path.relative_to(site).with_suffix("").as_posix()
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    )


class Elements(HTMLParser):
    """The elements of a page, in order: name and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.all: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, {name: value or "" for name, value in attrs}))

    def named(self, *tags: str) -> list[dict[str, str]]:
        """The attributes of the elements with these names."""
        return [attributes for tag, attributes in self.all if tag in tags]
