"""Files, strictly: text and tables are read whole or refused, folders and targets checked, files written whole.

Everything is checked before it is used, so that a loader fails at once with one message, not at file 1700, and long
work never ends at a place where its result cannot be written.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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


def readable_name(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and written: bytes that are no UTF-8 are read as Latin-1."""
    name = os.fspath(path)
    if name.isprintable():
        return name
    raw = os.fsencode(name)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """`with whole_file(path) as part:` write to `part`; it becomes `path` at the end, or vanishes after an error.

    What the system refuses (a full disk) is an OSError that names `path`.
    """
    path = Path(path)
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        part = Path(name)
        yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner may read
        os.replace(part, path)
    except OSError as error:
        if error.errno is None or (part is not None and error.filename not in (None, str(part))):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        if part is not None:
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
        inside = ", ".join(sorted(path.name for path in folder.glob("*"))[:6]) or "nothing"
        raise ValueError(
            f"{title} holds {marker.as_posix()}, but {str(folder)!r} does not (it holds {inside}); "
            f"pass the folder of the unpacked {title}"
        )
    return root


#: What a file begins with whose text is not in UTF-8, and yet no guess; the longer mark first.
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"} | dict.fromkeys(
    (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"
)


def read_text(path: Path) -> str:
    """A file's text, line ends as they are. It is UTF-8, or what its byte order mark says.

    Raises ValueError if it cannot be read, is in another encoding (naming the line), or holds NUL characters.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error.strerror})") from error
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{str(path)!r} is not text in {encoding.removesuffix('-sig').upper()} (line {line}: {error.reason} "
            f"0x{content[error.start]:02x}); save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{str(path)!r} holds a NUL character in line {line}; if it is UTF-16, save it as UTF-8")
    return text


def read_rows(table: Path, required: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a csv with its values trimmed, each with where it stands: ("esc50.csv line 7", {...}).

    Raises ValueError as `parse_rows` does, and for a table that is missing, unreadable or without rows.
    """
    try:
        text = read_text(table)
    except ValueError as error:
        raise ValueError(f"{table.name} is not a readable csv: {error}") from error
    rows = parse_rows(text, table.name, required)
    if not rows:
        raise ValueError(f"{table.name} has no rows")
    return [(where, {column: value.strip() for column, value in row.items()}) for where, row in rows]


def parse_rows(
    text: str, name: str, required: Sequence[str], *, delimiters: str = ",;\t", short_rows: bool = False
) -> list[tuple[str, dict[str, str]]]:
    """The rows of a table whose first line names its columns, as (where, {column: value}); blank lines are skipped.

    Column names are trimmed and in lower case. Cells are parted by the one of `delimiters` by which the `required`
    columns are there. Raises ValueError, naming the line, for quotes that are not closed, missing columns (naming those
    found), a column that stands twice, values beyond the last column, and, without `short_rows`, rows of fewer cells.
    """
    first = next(filter(str.strip, text.splitlines()), "").replace('"', "")
    headers = {delimiter: set(_columns(first.split(delimiter))) for delimiter in delimiters}
    delimiter = max(headers, key=lambda one: len(headers[one].intersection(required)))
    records = _records(text, name, delimiter)
    columns = _columns(next(records, ("", []))[1])
    if lacking := [column for column in required if column not in columns]:
        listed = ", ".join(columns) or "none"
        raise ValueError(f"{name} lacks the column(s) {', '.join(lacking)}; found: {listed[:200]}")
    if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
        raise ValueError(f"{name} has the column {twice[0]!r} twice; give each column a name of its own")
    rows = []
    for where, cells in records:
        if (len(cells) < len(columns) and not short_rows) or any(cell.strip() for cell in cells[len(columns) :]):
            raise ValueError(f"{where} has {len(cells)} cells for {len(columns)} columns")
        rows.append((where, {**dict.fromkeys(columns, ""), **dict(zip(columns, cells, strict=False))}))
    return rows


def _columns(header: Sequence[str]) -> list[str]:
    return [column.strip().lower() for column in header]


def _records(text: str, name: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """The lines of a table in cells, with where each begins: a quoted cell may go on over several. Blank ones are left
    out. Raises ValueError for quotes that make no sense."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True
    )
    while True:
        where = f"{name} line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cause = "a quote is not closed" if "unexpected end" in str(error) else str(error)
            raise ValueError(f"{where}: {cause}") from error
        if any(cell.strip() for cell in cells):
            yield where, cells


def cell_seconds(where: str, cell: str) -> float:
    """The number of seconds in a cell of a table. Raises ValueError, which begins with `where`, for anything else."""
    try:
        if "_" not in cell:  # which Python takes for a separator of digits
            return float(cell)
    except ValueError:
        pass
    hint = f"; write {cell.strip().replace(',', '.')}" if re.fullmatch(r"\s*-?\d+,\d+\s*", cell) else ""
    raise ValueError(f"{where}: {cell[:40]!r} is no number of seconds{hint}")


def whole_number(where: str, cell: str) -> int:
    """The whole number from 0 in a cell of a table, also as spreadsheets write it beside empty cells: 1.0."""
    if not re.fullmatch(r"[0-9]{1,9}(\.0*)?", cell.strip()):
        raise ValueError(f"{where}: {cell[:40]!r} is no whole number from 0")
    return int(cell.strip().partition(".")[0])


def check_inside(folder: Path, name: str) -> None:
    """Raises ValueError if the path `name` leads out of `folder`, be it by a link, or cannot be that of a file."""
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except (ValueError, RuntimeError) as error:  # a NUL, half a character, links that go round
        raise ValueError(f"{name[:80]!r} cannot be the name of a file") from error
    if not inside:
        raise ValueError(f"{name!r} leads out of the folder {str(folder)!r}; pass paths inside it")


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a file of ours holds. Raises OSError, and ValueError for what is no json."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any, *, indent: int = 2) -> None:
    """Write what json can hold, whole or not at all."""
    write_whole(path, json.dumps(value, indent=indent) + "\n")


class RepeatedKeyError(ValueError):
    """A key that stands twice in one mapping."""


def check_once(keys: Sequence[Any], where: str = "") -> None:
    """Raises RepeatedKeyError for a key that stands twice: most readers let the last one win."""
    if twice := [str(key) for index, key in enumerate(keys) if key in keys[:index]]:
        raise RepeatedKeyError(f"has {', '.join(dict.fromkeys(twice))} twice{where}; give each key once")


def strict_json(text: str) -> Any:
    """What a json text holds. Raises JSONDecodeError, RepeatedKeyError, RecursionError for too many brackets, or
    ValueError for a number that no float holds."""

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        check_once([key for key, _ in pairs])
        return dict(pairs)

    def number(digits: str) -> float:
        if math.isinf(value := float(digits)):
            raise ValueError(f"{digits[:40]} is too large for a number")
        return value

    return json.loads(text, object_pairs_hook=mapping, parse_float=number)


def json_safe(value: Any) -> Any:
    """The same, as strict json can hold it: NaN and infinities become None, in mappings and lists at any depth."""
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
