"""Reading GGUF: what the package `gguf` writes is read as its own reader reads it, and no file is trusted."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFEndian, GGUFReader, GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steer_utils.lm import gguf_vectors as gguf_files
from steer_utils.lm.gguf_vectors import GgufError, read_gguf

TEXT, ARRAY, UINT8, UINT32 = 8, 9, 0, 4
few = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf_bytes(
    keys: list[bytes], tensors: list[bytes] | None = None, data: bytes = b"", *, version: int = 3,
    key_count: int | None = None, tensor_count: int | None = None,
) -> bytes:  # fmt: skip
    """A GGUF file by hand, with counts that may lie."""
    tensors = tensors or []
    counts = (
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(keys + tensors)
    return head + b"\0" * (-len(head) % 32) + data


def written(path: Path, endianess: GGUFEndian = GGUFEndian.LITTLE) -> Path:
    """A file of the package with a key of every kind."""
    writer = GGUFWriter(path, "made", endianess=endianess)
    writer.add_string("a.text", "Glöckchen")
    writer.add_bool("a.bool", True)
    writer.add_uint8("a.uint8", 200)
    writer.add_int16("a.int16", -300)
    writer.add_uint64("a.uint64", 2**63)
    writer.add_float32("a.float32", 0.5)
    writer.add_float64("a.float64", 0.1)
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_array("a.floats", [0.5, -1.5])
    writer.add_array("a.texts", ["one", "", "drei"])
    rng = np.random.default_rng(0)
    writer.add_tensor("first", rng.normal(size=5).astype(np.float32))  # 20 bytes: the next one is aligned
    writer.add_tensor("second", rng.normal(size=(2, 3)).astype(np.float32))
    writer.add_tensor("half", rng.normal(size=4).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_reads_what_the_package_reads(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gguf")
    found, oracle = read_gguf(path), GGUFReader(path)
    for name, value in found.metadata.items():
        expected = oracle.fields[name].contents()
        assert np.array_equal(value, expected), name
    assert set(found.metadata) == {name for name in oracle.fields if not name.startswith("GGUF.")}
    assert found.metadata["a.texts"] == ["one", "", "drei"] and found.metadata["a.text"] == "Glöckchen"
    assert [info.name for info in found.tensors] == [each.name for each in oracle.tensors]
    for info, each in zip(found.tensors, oracle.tensors, strict=True):
        assert info.shape == tuple(each.shape.tolist()) and info.kind == each.tensor_type
        if info.kind == 0:
            assert np.array_equal(found.floats(info), each.data.reshape(-1))
    with pytest.raises(GgufError, match=r"half of .* is of ggml's type 1, not float32"):
        found.floats(found.tensors[2])


def test_another_alignment(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer = GGUFWriter(path, "made")
    writer.add_custom_alignment(256)
    writer.add_tensor("t", np.arange(3, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_gguf(path)
    assert found.data % 256 == 0 and found.floats(found.tensors[0]).tolist() == [0, 1, 2]


FAULTS = {
    "nothing": (b"", "no GGUF file"),
    "text": (b"not a vector at all\n", "no GGUF file: it does not start with GGUF"),
    "short": (b"GGUF\3\0", "cut short: at byte 4 of 6 it needs 4 more"),
    "version": (gguf_bytes([], version=1), "GGUF version 1; versions read are 2 and 3"),
    "zero": (gguf_bytes([], version=0), "GGUF version 0"),
    "keys": (gguf_bytes([], key_count=2**60), "cut short"),
    "tensors": (gguf_bytes([], tensor_count=2**60), "cut short"),
    "text length": (gguf_bytes([struct.pack("<Q", 2**63)]), "cut short: at byte 32 of .* it needs 9223372036854775808"),
    "array length": (gguf_bytes([key("a", ARRAY, struct.pack("<IQ", UINT8, 2**62))]), "cut short"),
    "array of texts": (gguf_bytes([key("a", ARRAY, struct.pack("<IQ", TEXT, 2**62))]), "cut short"),
    "array of arrays": (gguf_bytes([key("a", ARRAY, struct.pack("<IQ", ARRAY, 1) * 50)]), "value of type 9"),
    "kind": (gguf_bytes([key("a", 77, b"")]), "value of type 77 before byte .*, which is unknown"),
    "letters": (gguf_bytes([key(b"\xff\xfe", UINT32, b"\0" * 4)]), "not UTF-8"),
    "key twice": (gguf_bytes([key("a", UINT32, b"\0" * 4)] * 2), "holds 'a' twice"),
    "tensor twice": (gguf_bytes([], [tensor("t", (1,))] * 2, b"\0" * 32), "holds 't' twice"),
    "axes": (gguf_bytes([], [tensor("t", (1,) * 5)]), "'t' has 5 axes"),
    "alignment": (gguf_bytes([key("general.alignment", UINT32, b"\0" * 4)]), "general.alignment is '0'"),
    "alignment of text": (gguf_bytes([key("general.alignment", TEXT, text("x"))]), "general.alignment is 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_said_at_once(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(FAULTS[fault][0])
    start = time.perf_counter()
    with pytest.raises(GgufError, match=FAULTS[fault][1]):
        read_gguf(path)
    assert time.perf_counter() - start < 2  # GGUFReader never returns from "array length"


def test_data_beyond_the_file(tmp_path: Path) -> None:
    for count, offset in ((9, 0), (2**62, 0), (1, 2**63), (8, 4)):
        path = tmp_path / "a.gguf"
        path.write_bytes(gguf_bytes([], [tensor("t", (count,), offset=offset)], b"\0" * 32))
        found = read_gguf(path)
        with pytest.raises(GgufError, match="cut short: t would end"):
            found.floats(found.tensors[0])


def test_big_endian_files(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="big-endian GGUF file; only little-endian"):
        read_gguf(written(tmp_path / "a.gguf", GGUFEndian.BIG))


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes([key("a", ARRAY, struct.pack("<IQ", TEXT, 4) + text("x") * 4)]))
    assert read_gguf(path).metadata == {"a": ["x"] * 4}
    monkeypatch.setattr(gguf_files, "MAX_ITEMS", 3)
    with pytest.raises(GgufError, match="more than 3 names and texts"):
        read_gguf(path)
    path.write_bytes(gguf_bytes([key("a", TEXT, text("x" * 100))]))
    monkeypatch.setattr(gguf_files, "MAX_BYTES", 50)
    with pytest.raises(GgufError, match="one value of 100 bytes; at most 50 are read"):
        read_gguf(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read_gguf(tmp_path / "missing.gguf")
    assert caught.value.filename is not None  # so that the command line can say it in one line


@few
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = written(tmp_path / "whole.gguf").read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(st.binary(max_size=9))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(whole[:place] + damaged + (whole[place + len(damaged) :] if data.draw(st.booleans()) else b""))
    try:
        found = read_gguf(path)
        for info in found.tensors:
            if info.kind == 0:
                found.floats(info)
    except GgufError:
        pass
