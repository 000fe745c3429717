"""Writing files so that a reader meets the whole file or none, and refusing a bad target before any work.

Reading folders that others laid out: their tables, their sound files, and where in a folder they begin.

Everything is checked before it is used, so that a loader fails at once with one message, not at file 1700.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import soundfile


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


def find_root(folder: Path, marker: Path) -> Path | None:
    """`folder`, or the only visible folder in it, that holds `marker`; archives unpack to one folder more."""
    if (folder / marker).exists():
        return folder
    inner = [path for path in folder.glob("*") if not path.name.startswith(".") and (path / marker).exists()]
    return inner[0] if len(inner) == 1 else None


def require_root(folder: Path, marker: Path, title: str) -> Path:
    """`find_root`, or a ValueError that says what the folder holds instead."""
    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is not a folder; pass the folder of the unpacked {title}")
    root = find_root(folder, marker)
    if root is None:
        found = ", ".join(sorted(path.name for path in folder.glob("*"))[:6]) or "nothing"
        raise ValueError(
            f"{title} holds {marker.as_posix()}, but {str(folder)!r} does not (it holds {found}); "
            f"pass the folder of the unpacked {title}"
        )
    return root


def read_text(path: Path) -> str:
    """A file's text, line ends as they are. Raises ValueError if it cannot be read or is not in UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not text in UTF-8 ({error})") from error


def read_rows(table: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a csv in UTF-8, values trimmed, column names trimmed and in lower case.

    Raises ValueError for a missing, unreadable or empty table, and for missing columns (naming those found).
    """
    try:
        reader = csv.reader(io.StringIO(read_text(table), newline=""), skipinitialspace=True, strict=True)
        columns = [name.strip().lower() for name in next(reader, [])]
        rows = [dict(zip(columns, map(str.strip, cells), strict=False)) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"{str(table)!r} is not a readable csv ({error})") from error
    lacking = [name for name in required if name not in columns]
    if lacking:
        found = ", ".join(columns) or "none"
        raise ValueError(f"{table.name} lacks the column(s) {', '.join(lacking)}; found: {found}")
    if not rows:
        raise ValueError(f"{str(table)!r} has no rows")
    return [{name: row.get(name, "") for name in columns} for row in rows]


def check_sounds(folder: Path, names: Sequence[str], table: str) -> None:
    """Raises ValueError unless each of `names` is a sound file in `folder`: how many are not, and the first three.

    Only headers are read (under a millisecond a file). `table` is what named the files.
    """
    root = folder.resolve()
    for name in names:
        if not (folder / name).resolve().is_relative_to(root):  # follows links too
            raise ValueError(f"{name!r} in {table} leads out of the folder {str(folder)!r}")
    missing = [name for name in names if not (folder / name).is_file()]
    wrong = missing or [name for name in names if not _is_sound(folder / name)]
    if wrong:
        fault = "are not in" if missing else "cannot be decoded in"
        first = ", ".join(name or "(no name)" for name in wrong[:3])
        raise ValueError(f"{len(wrong)} of the {len(names)} sound files of {table} {fault} {str(folder)!r}: {first}")


def _is_sound(path: Path) -> bool:
    try:
        return bool(soundfile.info(path).frames > 0)
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError):  # the errors that `audio` has met
        return False
