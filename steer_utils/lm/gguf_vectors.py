"""Steering vectors as GGUF control vectors, the files of llama.cpp and repeng.

    to_gguf(focus.select(range(1, focus.num_blocks)), "focus.gguf")
    focus = from_gguf("focus.gguf")

The layout: general.architecture is "controlvector", and tensor `direction.N`, float32 (hidden,), is what is added to
the output of decoder block N, counted from 0. So N is our block number. llama.cpp begins with block 1 and refuses a
whole file with a direction.0, so a vector that acts on block 0 has no GGUF form, and is refused rather than moved to
another block or cut. (repeng reads direction.0 as block 0; so does `from_gguf`.)

What the numbers do there: llama.cpp and repeng add the scaled direction at every token and keep no norm, as
`Injection(vector, strength, positions="all")` in a row with keep_norm=False does here.

What GGUF has no word for (blocks, norms of the states, provenance) stands in keys "steer_utils.*", which the others
pass over. A file without them says neither how many blocks its model has nor how long its states were.

A file may come from anywhere, so every length is checked against the file before anything is allocated. The layout is
that of the ggml project: "GGUF", version, two counts, key-value pairs, one line a tensor, then the data, each part
aligned. `gguf.GGUFReader` reads the same, but believes what a file says of itself: an array that claims 2^62 entries
keeps it busy for ever. Writing is left to that package.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from steer_utils.lm.vectors import FORMAT, Provenance, SteeringVector
from steer_utils.sound.files import check_target, whole_file

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 2 differs from 3 in nothing that is read here
ALIGNMENT = 32  # bytes, unless "general.alignment" says otherwise
MAX_ITEMS = 2_000_000  # keys, tensors and texts together; the vocabulary of a large model has a few hundred thousand
MAX_BYTES = 64 * 2**20  # of one text or one array
FLOAT32 = 0  # ggml's number of the type

ARCHITECTURE = "controlvector"
MODEL_HINT, LAYER_COUNT = f"{ARCHITECTURE}.model_hint", f"{ARCHITECTURE}.layer_count"
FORMAT_KEY, COUNT_KEY, BLOCKS_KEY = "steer_utils.format", "steer_utils.num_blocks", "steer_utils.blocks"
NORMS_KEY, PROVENANCE_KEY = "steer_utils.hidden_norms", "steer_utils.provenance"
UNKNOWN = "unknown"  # the model hint of a vector that does not say where it came from

MAX_BLOCKS, MAX_HIDDEN = 1024, 65536  # beyond any model: what a file may make us allocate is 268 MB
REMEDY = "a .gguf file is written with gguf: pip install 'steer-utils[gguf]'; or write .safetensors"

# ggml's numbers of the types of values; 8 and 9 have no fixed size.
_SCALARS = dict(enumerate("<u1 <i1 <u2 <i2 <u4 <i4 <f4 ?".split())) | {10: "<u8", 11: "<i8", 12: "<f8"}
_TEXT, _ARRAY = 8, 9
_DIRECTION = re.compile(r"direction\.(0|[1-9][0-9]{0,8})")


class GgufError(ValueError):
    """The file cannot be used; the message says what was found."""


class ControlVectorError(GgufError):
    """A control vector cannot be written, or the file holds none that can be used; the message says why."""


# -- the head of a file ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class TensorInfo:
    """What the file says of a tensor.

    `shape` as ggml counts (the fastest axis first), `kind` by ggml's number, `offset` in bytes from the start of the
    data.
    """

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
    """Read the head of a GGUF file.

    Raises OSError if it cannot be opened, and GgufError for a file of another kind, or one that is big-endian, ends
    early, repeats a name, or claims more than such a file can hold.
    """
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
        data = self.file.read(count)
        if len(data) != count:  # the file has shrunk since
            raise GgufError(f"{self.name!r} is cut short at byte {self.place + len(data)}")
        self.place += count
        return data

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


# -- writing -----------------------------------------------------------------------------------------------------------
def check_gguf_target(path: str | os.PathLike[str]) -> None:
    """Raises ValueError, before any work, if no .gguf can be written to `path`, or the package gguf is missing."""
    check_target(Path(path), (".gguf",))
    if find_spec("gguf") is None:
        raise ControlVectorError(REMEDY)


def check_gguf_blocks(blocks: Iterable[int], num_blocks: int) -> None:
    """Raises ControlVectorError for acting blocks that GGUF cannot name: block 0."""
    if 0 in blocks:
        raise ControlVectorError(
            f"the vector acts on block 0, where llama.cpp adds nothing and GGUF has no direction; leave it out with "
            f"vector.select(range(1, {num_blocks})), on the command line --blocks 1-{num_blocks - 1}"
        )


def to_gguf(vector: SteeringVector, path: str | os.PathLike[str], *, model_hint: str | None = None) -> None:
    """Write `vector` as a control vector, whole or not at all; `from_gguf` gives back an equal one.

    `model_hint`: the architecture that llama.cpp and repeng are told (None: the model family of the vector). Raises
    ControlVectorError for a vector that acts on block 0 or has no other block, ValueError for a path that cannot be
    written, and without the package gguf.
    """
    check_gguf_target(path)
    check_gguf_blocks(vector.acting_blocks(), vector.num_blocks)
    stored = [block for block in vector.blocks if block > 0]  # a block 0 that is zero adds nothing there either
    if not stored:
        raise ControlVectorError("the vector has no block but 0, and GGUF names blocks from 1 on")
    from gguf import GGUFWriter

    with whole_file(Path(path)) as part:
        writer = GGUFWriter(part, ARCHITECTURE)
        try:
            writer.add_string(MODEL_HINT, model_hint or vector.provenance.family or UNKNOWN)
            writer.add_uint32(LAYER_COUNT, len(stored))
            writer.add_string(FORMAT_KEY, FORMAT)
            writer.add_uint32(COUNT_KEY, vector.num_blocks)
            writer.add_array(BLOCKS_KEY, list(vector.blocks))
            writer.add_array(NORMS_KEY, vector.hidden_norms.tolist())
            writer.add_string(PROVENANCE_KEY, vector.provenance.to_json())
            for block in stored:
                writer.add_tensor(f"direction.{block}", vector.directions[block].contiguous().numpy())
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


# -- reading -----------------------------------------------------------------------------------------------------------
def from_gguf(path: str | os.PathLike[str], *, num_blocks: int | None = None) -> SteeringVector:
    """Read a control vector of this library, repeng or llama.cpp; the package gguf is not needed.

    `num_blocks`: how many decoder blocks the model has, for a file that does not say (None: one more than the last
    block it names, which is right for a vector of all blocks). Without norms of the states, `hidden_norms` is 1
    throughout, so that `norm_ratio` is the norm itself; the model hint then stands as the provenance's family.

    Raises OSError for no such file, GgufError for what is no whole GGUF file, ControlVectorError for another
    architecture, tensors that are no float32 directions of one width, missing ones, or NaN and infinity.
    """
    file = read_gguf(path)
    name = repr(str(file.path))
    architecture = file.metadata.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise ControlVectorError(f"{name} is no control vector: its architecture is {str(architecture)[:80]!r}")
    if num_blocks is not None and not 1 <= num_blocks <= MAX_BLOCKS:
        raise ControlVectorError(f"num_blocks is {num_blocks}; pass how many decoder blocks the model has")
    directions = _directions(file)
    if FORMAT_KEY in file.metadata:
        return _of_this_library(file, directions, num_blocks)
    _check_count(file, directions, num_blocks)
    last = max(directions)
    count = last + 1 if num_blocks is None else num_blocks
    if last >= count:
        raise ControlVectorError(f"{name} names block {last}, but num_blocks is {count} (counted from 0)")
    hint = file.metadata.get(MODEL_HINT)
    family = hint if isinstance(hint, str) and hint not in ("", UNKNOWN) else None
    provenance = Provenance(family=family, recipe=file.path.name)
    return SteeringVector(_stacked(file, directions, count), tuple(directions), torch.ones(count), provenance)


def _directions(file: GgufFile) -> dict[int, TensorInfo]:
    """The tensors by block, in order, all checked before one is read."""
    name, directions = repr(str(file.path)), {}
    for info in file.tensors:
        match = _DIRECTION.fullmatch(info.name)
        if match is None or int(match.group(1)) >= MAX_BLOCKS:
            raise ControlVectorError(
                f"{name} holds a tensor {info.name[:80]!r}; those of a control vector are direction.1 to "
                f"direction.{MAX_BLOCKS - 1}"
            )
        if info.kind != FLOAT32 or len(info.shape) != 1 or not 0 < info.shape[0] <= MAX_HIDDEN:
            raise ControlVectorError(
                f"{info.name} of {name} is of ggml's type {info.kind} and shape {info.shape}; directions are float32 "
                f"(type 0), with one axis of 1 to {MAX_HIDDEN}: export it again unquantised"
            )
        directions[int(match.group(1))] = info
    if not directions:
        raise ControlVectorError(f"{name} holds no direction")
    widths = {info.shape[0] for info in directions.values()}
    if len(widths) > 1:
        raise ControlVectorError(f"the directions of {name} have different widths: {sorted(widths)}")
    return dict(sorted(directions.items()))


def _stacked(file: GgufFile, directions: dict[int, TensorInfo], count: int) -> torch.Tensor:
    """All directions in one tensor, (count, hidden); zero where the file has none."""
    rows = np.zeros((count, next(iter(directions.values())).shape[0]), dtype=np.float32)
    for block, info in directions.items():
        rows[block] = file.floats(info)
        if not np.isfinite(rows[block]).all():
            raise ControlVectorError(f"{info.name} of {str(file.path)!r} holds NaN or infinity")
    return torch.from_numpy(rows)


def _check_count(file: GgufFile, directions: dict[int, TensorInfo], num_blocks: int | None) -> None:
    """repeng and llama.cpp write how many directions there are: another number of them is a file that lost some."""
    count = file.metadata.get(LAYER_COUNT)
    if num_blocks is None and count is not None and count != len(directions):
        raise ControlVectorError(
            f"{str(file.path)!r} says that it has {str(count)[:40]} directions, and holds {len(directions)}; if it is "
            "whole, pass num_blocks, the number of blocks of its model (on the command line --num-blocks)"
        )


# -- what this library adds ----------------------------------------------------------------------------------------
def _of_this_library(file: GgufFile, directions: dict[int, TensorInfo], num_blocks: int | None) -> SteeringVector:
    name, metadata = repr(str(file.path)), file.metadata
    if metadata[FORMAT_KEY] != FORMAT:
        raise ControlVectorError(
            f"{name} is of format {str(metadata[FORMAT_KEY])[:80]!r}; this version reads {FORMAT!r}"
        )
    count = metadata.get(COUNT_KEY)
    blocks, norms = _numbers(file, BLOCKS_KEY, "iu"), _numbers(file, NORMS_KEY, "f").astype(np.float32)
    if not isinstance(count, int) or not 1 <= count <= MAX_BLOCKS or len(norms) != count:
        raise ControlVectorError(f"{name} does not say how many blocks its model has, or has other {NORMS_KEY}")
    if num_blocks is not None and num_blocks != count:
        raise ControlVectorError(f"{name} is for a model of {count} blocks, but num_blocks is {num_blocks}")
    acting = sorted({int(block) for block in blocks})
    if set(directions) != set(acting) - {0}:
        raise ControlVectorError(f"{name} acts on blocks {acting}, but holds directions of {sorted(directions)}")
    if not 0 <= acting[0] <= acting[-1] < count:
        raise ControlVectorError(f"{name} acts on blocks {acting} of {count}")
    if not (np.isfinite(norms) & (norms >= 0)).all():
        raise ControlVectorError(f"{NORMS_KEY} of {name} holds NaN, infinity or negative numbers")
    try:
        provenance = Provenance.from_json(metadata.get(PROVENANCE_KEY))
    except ValueError as error:
        raise ControlVectorError(f"{PROVENANCE_KEY} of {name} is {error}") from error
    return SteeringVector(_stacked(file, directions, count), tuple(acting), torch.tensor(norms), provenance)


def _numbers(file: GgufFile, key: str, kinds: str) -> np.ndarray:
    values = file.metadata.get(key)
    if not isinstance(values, np.ndarray) or not 0 < len(values) <= MAX_BLOCKS or values.dtype.kind not in kinds:
        raise ControlVectorError(f"{str(file.path)!r} lacks {key}, or holds something else in it")
    return values
