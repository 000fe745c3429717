"""Writing files so that a reader meets the whole file or none, and refusing a bad target before any work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def check_target(path: Path, suffixes: Sequence[str]) -> None:
    """Raises ValueError if a file cannot be written at `path`: no such folder, a folder itself, another suffix.

    Called before long work, whose result would otherwise have nowhere to go.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"cannot write {str(path)!r}; its name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; pass the name of a file")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {str(path.parent)!r} to write {path.name} in; make it first")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"the folder {str(path.parent)!r} cannot be written to")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """`with whole_file(path) as part:` write to `part`; it becomes `path` at the end, or vanishes after an error."""
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner may read
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
