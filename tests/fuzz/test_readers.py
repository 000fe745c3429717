"""Damaged files: each is read, or refused in one line. Any other outcome is a fault.

The short round is part of the suite. A long one goes on from there; what it found is told in docs/promises.md.

    FUZZ_INPUTS=10000 python -m pytest tests/fuzz -q

An input that is a fault is kept in corpus/<reader>/, and read again by each later run: commit it with what mends it.
"""

from __future__ import annotations

import os
import random
import traceback
import warnings
from pathlib import Path

import pytest
from fuzz_readers import CORPUS, READERS, examine, whole_files

INPUTS = int(os.environ.get("FUZZ_INPUTS", "25"))
NUMBERS = (b"\0", b"\xff", b"\x7f", b"\x80", b"0", b"-1", b"1e308", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\n", b" ")
LENGTHS = (1, 1, 2, 4, 8, 40, 400, 10**6)
MOST_BYTES = 10**5


def damaged(name: str, folder: Path, number: int) -> tuple[str, bytes]:
    """Input `number` of a reader: a whole file with a few places changed, cut out, doubled, or filled with what means
    something; sometimes with a piece of another whole file. The same number gives the same input."""
    rng, wholes = random.Random(f"{name} {number}"), whole_files(name, folder)
    file = rng.choice(sorted(wholes))
    data = wholes[file]
    for _ in range(rng.randint(1, 5)):
        start = rng.randrange(len(data) + 1)
        stop = min(len(data), start + rng.choice(LENGTHS))
        other = rng.choice(list(wholes.values()))
        word = rng.choice((*READERS[name].words, *NUMBERS, rng.randbytes(4), other[rng.randrange(len(other)) :][:60]))
        data = rng.choice(
            (
                data[:start] + word + data[stop:],
                data[:start] + word + data[start:],
                data[:start] + data[stop:],
                data[:stop] + data[start:stop] * rng.randint(1, 3) + data[stop:],
            )
        )
    return file, data[:MOST_BYTES]


@pytest.fixture(scope="module", params=list(READERS))
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Each reader in turn, with a folder for its files."""
    return request.param, tmp_path_factory.mktemp("fuzz")


def test_whole_files_are_read(reader: tuple[str, Path]) -> None:
    name, folder = reader
    for file, data in whole_files(name, folder).items():
        assert examine(name, file, data, folder) == "", file


def test_damaged_files_are_read_or_refused(reader: tuple[str, Path]) -> None:
    name, folder = reader
    faults: dict[str, str] = {}
    for number in range(INPUTS):
        file, data = damaged(name, folder, number)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)  # of numpy: a number that is none
                examine(name, file, data, folder)
        except Exception as error:
            where = traceback.extract_tb(error.__cause__.__traceback__ if error.__cause__ else error.__traceback__)[-1]
            kind = f"{where.filename}:{where.lineno} {type(error).__name__} {str(error)[:60]}"
            if kind not in faults:  # one of each kind is kept
                kept = CORPUS / name / f"new{number}-{Path(file).name}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(data)
                faults[kind] = f"{kept.relative_to(CORPUS)}: {str(error)[:300]}"
    assert not faults, "\n".join(faults.values())


KEPT = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: str(path.relative_to(CORPUS)))
def test_what_was_a_fault_is_none_any_more(path: Path, tmp_path: Path) -> None:
    """Names are corpus/<reader>/<why>-<name of the file>."""
    name, file = path.parent.name, path.name.rpartition("-")[2]
    (seed,) = (seed for seed in whole_files(name, tmp_path) if Path(seed).name == file)
    examine(name, seed, path.read_bytes(), tmp_path)
