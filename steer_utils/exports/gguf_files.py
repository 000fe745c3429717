"""Reading GGUF files without trusting them: every length is checked against the file before anything is allocated.

The layout is that of the ggml project: "GGUF", version, two counts, key-value pairs, one line a tensor, then the data,
each part aligned. `gguf.GGUFReader` reads the same, but believes what a file says of itself: an array that claims 2^62
entries keeps it busy for ever. Writing is left to that package.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 2 differs from 3 in nothing that is read here
ALIGNMENT = 32  # bytes, unless "general.alignment" says otherwise
MAX_ITEMS = 2_000_000  # keys, tensors and texts together; the vocabulary of a large model has a few hundred thousand
MAX_BYTES = 64 * 2**20  # of one text or one array
FLOAT32 = 0  # ggml's number of the type

_SCALARS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_TEXT, _ARRAY = 8, 9


class GgufError(ValueError):
    """The file cannot be used; the message says what was found."""


@dataclass(frozen=True)
class TensorInfo:
    """What the file says of a tensor: `shape` as ggml counts (the fastest axis first), its `kind` by ggml's number,
    and `offset`, bytes from the start of the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufFile:
    """The head of a GGUF file: `metadata` by key (numbers, texts, lists of texts, arrays (n,)), and its tensors.

    `data` is where the tensors' data starts and `size` where the file ends, in bytes.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    data: int
    size: int

    def floats(self, info: TensorInfo) -> np.ndarray:
        """The values of a float32 tensor, flat: (n,). Raises GgufError for another kind, or data beyond the file."""
        if info.kind != FLOAT32:
            raise GgufError(f"{info.name} of {str(self.path)!r} is of ggml's type {info.kind}, not float32 (0)")
        count, first = math.prod(info.shape), self.data + info.offset
        if first + 4 * count > self.size:
            missing = first + 4 * count - self.size
            raise GgufError(f"{str(self.path)!r} is cut short: {info.name} would end {missing} bytes after it")
        with self.path.open("rb") as file:
            file.seek(first)
            return np.frombuffer(file.read(4 * count), dtype="<f4").astype(np.float32)


def read_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Read the head of a GGUF file. Raises OSError if it cannot be opened; GgufError if it is none, is big-endian, ends
    early, repeats a name, or claims more than such a file can hold."""
    source = Path(path)
    with source.open("rb") as file:
        head = _Head(file, os.fstat(file.fileno()).st_size, str(source))
        if head.size < len(MAGIC) or head.take(len(MAGIC)) != MAGIC:
            raise GgufError(f"{str(source)!r} is no GGUF file: it does not start with {MAGIC.decode()}")
        version = head.scalar("<u4")
        if version and version & 0xFFFF == 0:
            raise GgufError(f"{str(source)!r} is a big-endian GGUF file; only little-endian ones are read")
        if version not in VERSIONS:
            raise GgufError(f"{str(source)!r} is GGUF version {version}; versions read are 2 and 3")
        tensor_count, key_count = head.scalar("<u8"), head.scalar("<u8")
        metadata: dict[str, Any] = {}
        for _ in range(key_count):
            key = head.text()
            head.once(key, metadata)
            metadata[key] = head.value(head.scalar("<u4"))
        tensors: dict[str, TensorInfo] = {}
        for _ in range(tensor_count):
            name = head.text()
            head.once(name, tensors)
            axes = head.scalar("<u4")
            if axes > 4:
                raise GgufError(f"{str(source)!r}: tensor {name[:80]!r} has {axes} axes; ggml's have at most 4")
            shape = tuple(head.scalar("<u8") for _ in range(axes))
            tensors[name] = TensorInfo(name, shape, head.scalar("<u4"), head.scalar("<u8"))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
        raise GgufError(f"{str(source)!r}: general.alignment is {str(alignment)[:40]!r}, which is no alignment")
    start = -(-head.place // alignment) * alignment
    return GgufFile(source, metadata, tuple(tensors.values()), start, head.size)


class _Head:
    """Reads forward from the start of a file, never past its end and never more than the limits."""

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self.file, self.size, self.name = file, size, name
        self.place = 0
        self.items = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.size - self.place:
            raise GgufError(f"{self.name!r} is cut short: at byte {self.place} of {self.size} it needs {count} more")
        if count > MAX_BYTES:
            raise GgufError(f"{self.name!r} holds one value of {count} bytes; at most {MAX_BYTES} are read")
        found = self.file.read(count)
        if len(found) != count:  # the file has shrunk since
            raise GgufError(f"{self.name!r} is cut short at byte {self.place + len(found)}")
        self.place += count
        return found

    def scalar(self, form: str) -> Any:
        """One number (or bool) of a numpy type, as Python has it."""
        kind = np.dtype(form)
        return np.frombuffer(self.take(kind.itemsize), dtype=kind)[0].item()

    def text(self) -> str:
        """A length, and so many bytes of UTF-8."""
        self.items += 1
        if self.items > MAX_ITEMS:
            raise GgufError(f"{self.name!r} holds more than {MAX_ITEMS} names and texts")
        try:
            return self.take(self.scalar("<u8")).decode()
        except UnicodeDecodeError as error:
            raise GgufError(f"{self.name!r} holds a text that is not UTF-8 (before byte {self.place})") from error

    def value(self, kind: int) -> Any:
        """The value of a key: a number, a text, or an array of either."""
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            return self.scalar(self._form(kind))
        element, count = self.scalar("<u4"), self.scalar("<u8")
        if element == _TEXT:
            return [self.text() for _ in range(count)]
        form = np.dtype(self._form(element))
        return np.frombuffer(self.take(count * form.itemsize), dtype=form)

    def once(self, name: str, known: dict[str, Any]) -> None:
        """Raises GgufError if `name` is among `known`."""
        if name in known:
            raise GgufError(f"{self.name!r} holds {name[:80]!r} twice")

    def _form(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise GgufError(f"{self.name!r} holds a value of type {kind} before byte {self.place}, which is unknown")
        return _SCALARS[kind]
