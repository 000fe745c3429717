"""GGUF control vectors: a round trip is equal, the package and the other programs agree, no file is trusted."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFWriter, quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steer_utils.lm import gguf_vectors
from steer_utils.lm.gguf_vectors import (
    MAX_BLOCKS,
    MAX_HIDDEN,
    ControlVectorError,
    GgufError,
    check_gguf_target,
    from_gguf,
    read_gguf,
    to_gguf,
)
from steer_utils.lm.models import AudioLM
from steer_utils.lm.vectors import Provenance, SteeringVector, VectorMismatchError

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
many = settings(few, max_examples=300)


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# -- the head of a file ------------------------------------------------------------------------------------------------
TEXT, ARRAY, UINT8, UINT32 = 8, 9, 0, 4


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor_info(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf_bytes(
    keys: list[bytes],
    tensors: list[bytes] | None = None,
    data: bytes = b"",
    *,
    version: int = 3,
    key_count: int | None = None,
    tensor_count: int | None = None,
) -> bytes:
    """A GGUF file by hand, with counts that may lie."""
    tensors = tensors or []
    counts = (
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(keys + tensors)
    return head + b"\0" * (-len(head) % 32) + data


def with_every_kind(path: Path, endianess: GGUFEndian = GGUFEndian.LITTLE) -> Path:
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
    finish(writer)
    return path


def test_it_reads_what_the_package_reads(tmp_path: Path) -> None:
    path = with_every_kind(tmp_path / "a.gguf")
    file, oracle = read_gguf(path), GGUFReader(path)
    for name, value in file.metadata.items():
        expected = oracle.fields[name].contents()
        assert np.array_equal(value, expected), name
    assert set(file.metadata) == {name for name in oracle.fields if not name.startswith("GGUF.")}
    assert file.metadata["a.texts"] == ["one", "", "drei"] and file.metadata["a.text"] == "Glöckchen"
    assert [info.name for info in file.tensors] == [tensor.name for tensor in oracle.tensors]
    for info, expected in zip(file.tensors, oracle.tensors, strict=True):
        assert info.shape == tuple(expected.shape.tolist()) and info.kind == expected.tensor_type
        if info.kind == 0:
            assert np.array_equal(file.floats(info), expected.data.reshape(-1))
    with pytest.raises(GgufError, match=r"half of .* is of ggml's type 1, not float32"):
        file.floats(file.tensors[2])


def test_another_alignment(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer = GGUFWriter(path, "made")
    writer.add_custom_alignment(256)
    writer.add_tensor("t", np.arange(3, dtype=np.float32))
    finish(writer)
    file = read_gguf(path)
    assert file.data % 256 == 0 and file.floats(file.tensors[0]).tolist() == [0, 1, 2]


HEAD_FAULTS = {
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
    "tensor twice": (gguf_bytes([], [tensor_info("t", (1,))] * 2, b"\0" * 32), "holds 't' twice"),
    "axes": (gguf_bytes([], [tensor_info("t", (1,) * 5)]), "'t' has 5 axes"),
    "alignment": (gguf_bytes([key("general.alignment", UINT32, b"\0" * 4)]), "general.alignment is '0'"),
    "alignment of text": (gguf_bytes([key("general.alignment", TEXT, text("x"))]), "general.alignment is 'x'"),
}


@pytest.mark.parametrize("fault", HEAD_FAULTS)
def test_faults_are_said_at_once(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(HEAD_FAULTS[fault][0])
    start = time.perf_counter()
    with pytest.raises(GgufError, match=HEAD_FAULTS[fault][1]):
        read_gguf(path)
    assert time.perf_counter() - start < 2  # GGUFReader never returns from "array length"


def test_data_beyond_the_file(tmp_path: Path) -> None:
    for count, offset in ((9, 0), (2**62, 0), (1, 2**63), (8, 4)):
        path = tmp_path / "a.gguf"
        path.write_bytes(gguf_bytes([], [tensor_info("t", (count,), offset=offset)], b"\0" * 32))
        file = read_gguf(path)
        with pytest.raises(GgufError, match="cut short: t would end"):
            file.floats(file.tensors[0])


def test_big_endian_files(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="big-endian GGUF file; only little-endian"):
        read_gguf(with_every_kind(tmp_path / "a.gguf", GGUFEndian.BIG))


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes([key("a", ARRAY, struct.pack("<IQ", TEXT, 4) + text("x") * 4)]))
    assert read_gguf(path).metadata == {"a": ["x"] * 4}
    monkeypatch.setattr(gguf_vectors, "MAX_ITEMS", 3)
    with pytest.raises(GgufError, match="more than 3 names and texts"):
        read_gguf(path)
    path.write_bytes(gguf_bytes([key("a", TEXT, text("x" * 100))]))
    monkeypatch.setattr(gguf_vectors, "MAX_BYTES", 50)
    with pytest.raises(GgufError, match="one value of 100 bytes; at most 50 are read"):
        read_gguf(path)


@many
@given(st.data())
def test_a_damaged_head_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = with_every_kind(tmp_path / "whole.gguf").read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(st.binary(max_size=9))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(whole[:place] + damaged + (whole[place + len(damaged) :] if data.draw(st.booleans()) else b""))
    with suppress(GgufError):
        file = read_gguf(path)
        for info in file.tensors:
            if info.kind == 0:
                file.floats(info)


# -- vectors -----------------------------------------------------------------------------------------------------------
ABOUT = Provenance(
    model="pocket",
    family="qwen2_audio",
    positive='Focus on the "dog".\n',
    negative="ü",
    recipe="v",
    versions={"torch": "2.13"},
)


def vector(seed: int = 0, blocks: int = 5, hidden: int = 8, active: tuple[int, ...] = (1, 2, 3, 4)) -> SteeringVector:
    generator = torch.Generator().manual_seed(seed)
    return SteeringVector(
        torch.randn(blocks, hidden, generator=generator), active, torch.rand(blocks, generator=generator) + 1, ABOUT
    )


def same(one: SteeringVector, two: SteeringVector) -> bool:
    return (
        torch.equal(one.directions, two.directions)
        and torch.equal(one.hidden_norms, two.hidden_norms)
        and (one.blocks, one.provenance) == (two.blocks, two.provenance)
    )


def foreign(
    path: Path,
    directions: dict[str, Any],
    *,
    arch: str = "controlvector",
    count: int | None = None,
    hint: str = "qwen2",
) -> Path:
    """A file as repeng and llama.cpp's cvector-generator write it."""
    writer = GGUFWriter(path, arch)
    writer.add_string("controlvector.model_hint", hint)
    writer.add_uint32("controlvector.layer_count", len(directions) if count is None else count)
    for name, direction in directions.items():
        writer.add_tensor(name, np.asarray(direction))
    finish(writer)
    return path


def ones(*blocks: int, width: int = 8) -> dict[str, np.ndarray]:
    return {f"direction.{block}": np.full(width, block + 0.5, dtype=np.float32) for block in blocks}


def with_keys(path: Path, focus: SteeringVector, **changed: Any) -> Path:
    """Our own file, with some of our keys changed (None: left out)."""
    keys: dict[str, Any] = {
        "format": "steer_utils.SteeringVector.1",
        "num_blocks": focus.num_blocks,
        "blocks": list(focus.blocks),
        "hidden_norms": focus.hidden_norms.tolist(),
        "provenance": json.dumps(asdict(focus.provenance)),
        **changed,
    }
    writer = GGUFWriter(path, "controlvector")
    for name, value in keys.items():
        add = {str: writer.add_string, int: writer.add_uint32, list: writer.add_array}.get(type(value))
        if add is not None:
            add(f"steer_utils.{name}", value)
    for block in focus.blocks:
        writer.add_tensor(f"direction.{block}", focus.directions[block].numpy())
    finish(writer)
    return path


# -- round trips -------------------------------------------------------------------------------------------------------
@few
@given(
    st.integers(0, 99),
    st.integers(2, 9),
    st.integers(1, 70),
    st.data(),
    st.builds(
        Provenance,
        model=st.none() | st.text(),
        family=st.none() | st.text(max_size=9),
        recipe=st.text(),
        positive=st.none() | st.text(),
        versions=st.dictionaries(st.text(), st.text(), max_size=3),
    ),
)
def test_a_round_trip_is_equal(
    tmp_path: Path, seed: int, blocks: int, hidden: int, data: st.DataObject, about: Provenance
) -> None:
    active = data.draw(st.sets(st.integers(1, blocks - 1), min_size=1))
    focus = replace(vector(seed, blocks, hidden, tuple(active)), provenance=about)
    to_gguf(focus, tmp_path / "v.gguf")
    assert same(from_gguf(tmp_path / "v.gguf"), focus)


def test_a_vector_of_a_model_goes_through(one_model: AudioLM, samples: np.ndarray, tmp_path: Path) -> None:
    focus = (
        one_model.hear(samples, sampling_rate=16_000)
        .contrast("Focus on the bell.", "Listen to the whole audio.")
        .late()
    )
    to_gguf(focus, tmp_path / "v.gguf")
    again = from_gguf(tmp_path / "v.gguf", num_blocks=one_model.num_blocks)
    assert same(again, focus)
    again.check_fits(one_model)
    to_gguf(again, tmp_path / "v.gguf", model_hint="qwen2")  # over an existing file
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.gguf"]
    narrow = from_gguf(foreign(tmp_path / "narrow.gguf", ones(1, 2, 3)))
    with pytest.raises(VectorMismatchError, match=r"\(4, 8\) \(blocks, hidden\), but tiny.* needs \(4, 48\)"):
        narrow.check_fits(one_model)


def test_a_zero_block_0_is_kept_active(tmp_path: Path) -> None:
    focus = vector(active=(0, 1, 2)) - vector(active=(0, 1, 2))
    to_gguf(focus, tmp_path / "v.gguf")
    assert same(from_gguf(tmp_path / "v.gguf"), focus) and focus.blocks == (0, 1, 2)


# -- the other programs ------------------------------------------------------------------------------------------------
def test_the_package_reads_what_we_write(tmp_path: Path) -> None:
    focus = vector(active=(1, 3))
    to_gguf(focus, tmp_path / "v.gguf")
    reader = GGUFReader(tmp_path / "v.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector" and fields["controlvector.model_hint"] == "qwen2_audio"
    assert fields["controlvector.layer_count"] == 2
    assert {tensor.name: tensor.tensor_type.name for tensor in reader.tensors} == {
        "direction.1": "F32",
        "direction.3": "F32",
    }
    for tensor in reader.tensors:
        assert tensor.data.shape == (8,)
        assert np.array_equal(tensor.data, focus.directions[int(tensor.name.split(".")[1])].numpy())


def test_llama_cpp_adds_each_direction_where_we_do(tmp_path: Path) -> None:
    """Its two steps: direction.N goes to row N - 1 of a buffer, and block b (from 1 on) adds row b - 1."""
    focus = vector(active=(1, 2, 4))
    to_gguf(focus, tmp_path / "v.gguf")
    buffer = np.zeros((4, 8), dtype=np.float32)
    for tensor in GGUFReader(tmp_path / "v.gguf").tensors:
        number = int(tensor.name.removeprefix("direction."))
        assert number >= 1 and tensor.tensor_type == 0 and tensor.data.ndim == 1  # it refuses the file otherwise
        buffer[number - 1] += tensor.data
    for block in range(1, 5):
        assert np.array_equal(buffer[block - 1], focus.directions[block].numpy())


def test_files_of_repeng_and_llama_cpp_are_read(tmp_path: Path) -> None:
    focus = from_gguf(foreign(tmp_path / "happy.gguf", ones(3, 1, 2)))  # in any order
    assert focus.directions[:, 0].tolist() == [0, 1.5, 2.5, 3.5] and focus.blocks == (1, 2, 3)
    assert focus.hidden_norms.tolist() == [1.0] * 4 and torch.equal(focus.norm_ratio(), focus.norms())
    assert focus.provenance == Provenance(family="qwen2", recipe="happy.gguf")
    assert from_gguf(tmp_path / "happy.gguf", num_blocks=32).directions.shape == (32, 8)
    middle = from_gguf(foreign(tmp_path / "middle.gguf", ones(0, 2)), num_blocks=4)  # repeng has a block 0
    assert middle.blocks == (0, 2) and middle.directions[0, 0] == 0.5
    assert from_gguf(foreign(tmp_path / "v.gguf", ones(1), hint="unknown")).provenance.family is None
    one = foreign(tmp_path / "one.gguf", ones(1, 2), count=33)  # whole, but its writer counted otherwise
    assert from_gguf(one, num_blocks=32).blocks == (1, 2)


def test_reading_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_gguf(vector(), tmp_path / "v.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert same(from_gguf(tmp_path / "v.gguf"), vector())


# -- what cannot be written --------------------------------------------------------------------------------------------
def test_block_0_has_no_direction(tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    whole = vector(active=(0, 1, 2, 3, 4))
    with pytest.raises(ControlVectorError, match=r"acts on block 0.*vector.select\(range\(1, 5\)\).*--blocks 1-4"):
        to_gguf(whole, path)
    with pytest.raises(ControlVectorError, match="no block but 0"):
        to_gguf(0 * vector(active=(0,)), path)
    assert not path.exists()
    to_gguf(whole.select(range(1, 5)), path)
    assert from_gguf(path).blocks == (1, 2, 3, 4)


def test_bad_places_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for attempt in (check_gguf_target, lambda path: to_gguf(vector(), path)):
        with pytest.raises(ValueError, match=r"must end in .gguf"):
            attempt(tmp_path / "v.bin")
        with pytest.raises(ValueError, match="there is no folder"):
            attempt(tmp_path / "no" / "v.gguf")
    monkeypatch.setattr(gguf_vectors, "find_spec", lambda name: None)
    with pytest.raises(ControlVectorError, match=r"pip install 'steer-utils\[gguf\]'"):
        to_gguf(vector(), tmp_path / "v.gguf")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.gguf"
    to_gguf(vector(0), path)

    def fail(self: GGUFWriter, *_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(GGUFWriter, "write_tensors_to_file", fail)
    with pytest.raises(OSError, match="disk full"):
        to_gguf(vector(1), path)
    assert same(from_gguf(path), vector(0)) and os.listdir(tmp_path) == ["v.gguf"]


# -- what cannot be read -----------------------------------------------------------------------------------------------
def bad(values: list[float]) -> dict[str, np.ndarray]:
    return {**ones(1), "direction.2": np.array(values + [0.0] * (8 - len(values)), dtype=np.float32)}


FOREIGN_FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a model": (ones(1), {"arch": "llama"}, "no control vector: its architecture is 'llama'"),
    "no direction": ({}, {}, "holds no direction"),
    "another tensor": ({**ones(1), "token_embd.weight": np.ones(8, np.float32)}, {}, "holds a tensor 'token_embd.weig"),
    "no number": ({"direction.one": np.ones(8, np.float32)}, {}, "holds a tensor 'direction.one'"),
    "twice a block": ({**ones(1), "direction.01": np.ones(8, np.float32)}, {}, "holds a tensor 'direction.01'"),
    "a far block": ({"direction.999999999": np.ones(8, np.float32)}, {}, f"direction.1 to direction.{MAX_BLOCKS - 1}"),
    "half": ({"direction.1": np.ones(8, np.float16)}, {}, r"ggml's type 1 and shape \(8,\); directions are float32"),
    "matrix": ({"direction.1": np.ones((2, 4), np.float32)}, {}, r"shape \(4, 2\); directions are float32"),
    "too wide": ({"direction.1": np.ones(MAX_HIDDEN + 1, np.float32)}, {}, f"one axis of 1 to {MAX_HIDDEN}"),
    "widths": ({**ones(1), **ones(2, width=9)}, {}, r"different widths: \[8, 9\]"),
    "nan": (bad([0.0, float("nan")]), {}, "direction.2 of .* holds NaN or infinity"),
    "infinity": (bad([float("inf")]), {}, "direction.2 of .* holds NaN or infinity"),
    "missing": (ones(1, 2, 4), {"count": 4}, "says that it has 4 directions, and holds 3; if it is whole"),
}


@pytest.mark.parametrize("fault", FOREIGN_FAULTS)
def test_faults_of_a_file(tmp_path: Path, fault: str) -> None:
    directions, options, message = FOREIGN_FAULTS[fault]
    path = foreign(tmp_path / "v.gguf", directions, **options)
    with pytest.raises(ControlVectorError, match=message):
        from_gguf(path)


def test_the_number_of_blocks_must_be_right(tmp_path: Path) -> None:
    path = foreign(tmp_path / "v.gguf", ones(1, 2, 3))
    with pytest.raises(ControlVectorError, match="names block 3, but num_blocks is 3"):
        from_gguf(path, num_blocks=3)
    for wrong in (0, -1, MAX_BLOCKS + 1):
        with pytest.raises(ControlVectorError, match=f"num_blocks is {wrong}; pass how many"):
            from_gguf(path, num_blocks=wrong)
    to_gguf(vector(), path)
    with pytest.raises(ControlVectorError, match="for a model of 5 blocks, but num_blocks is 6"):
        from_gguf(path, num_blocks=6)


def test_quantised_and_other_files(tmp_path: Path) -> None:
    quantised = GGMLQuantizationType.Q8_0
    path = tmp_path / "v.gguf"
    writer = GGUFWriter(path, "controlvector")
    writer.add_tensor("direction.1", quantize(np.ones(32, dtype=np.float32), quantised), raw_dtype=quantised)
    finish(writer)
    with pytest.raises(ControlVectorError, match=r"of ggml's type 8 .*export it again unquantised"):
        from_gguf(path)
    vector().save(tmp_path / "v.safetensors")
    with pytest.raises(GgufError, match="no GGUF file"):
        from_gguf(tmp_path / "v.safetensors")


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    to_gguf(vector(), path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(GgufError, match=r"cut short|no GGUF file"):
            from_gguf(path)


@few
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=9))
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, place: int, damaged: bytes) -> None:
    path = tmp_path / "v.gguf"
    to_gguf(vector(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: place % len(whole)] + damaged + whole[place % len(whole) + len(damaged) :])
    with suppress(GgufError):
        assert isinstance(from_gguf(path), SteeringVector)


OWN_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "format": ({"format": "steer_utils.SteeringVector.9"}, "is of format 'steer_utils.SteeringVector.9'"),
    "no blocks": ({"blocks": None}, "lacks steer_utils.blocks"),
    "blocks of text": ({"blocks": ["1"]}, "lacks steer_utils.blocks, or holds something else"),
    "blocks of fractions": ({"blocks": [1.0, 2.0, 3.0, 4.0]}, "lacks steer_utils.blocks, or holds something else"),
    "missing": ({"blocks": [1, 2, 3]}, r"acts on blocks \[1, 2, 3\], but holds directions of \[1, 2, 3, 4\]"),
    "other": ({"blocks": [1, 2, 3, 4, 6]}, r"but holds directions of \[1, 2, 3, 4\]"),
    "outside": ({"num_blocks": 4, "hidden_norms": [1.0] * 4}, r"acts on blocks \[1, 2, 3, 4\] of 4"),
    "no count": ({"num_blocks": None}, "does not say how many blocks"),
    "huge count": ({"num_blocks": 2**31}, "does not say how many blocks"),
    "norms": ({"hidden_norms": [1.0] * 4}, "does not say how many blocks its model has, or has other"),
    "no norms": ({"hidden_norms": None}, "lacks steer_utils.hidden_norms"),
    "norms of NaN": ({"hidden_norms": [float("nan")] * 5}, "holds NaN, infinity or negative"),
    "negative norms": ({"hidden_norms": [-1.0] * 5}, "holds NaN, infinity or negative"),
    "no provenance": ({"provenance": None}, "is no provenance"),
    "bad json": ({"provenance": "{"}, "is no provenance"),
    "deep json": ({"provenance": "[" * 100_000}, "is no provenance"),
    "a list": ({"provenance": "[]"}, "is no provenance"),
    "unknown": ({"provenance": '{"recipe": "v", "author": "me"}'}, r"is no provenance \(unknown: author"),
    "numbers": ({"provenance": '{"recipe": 5}'}, "its values must be text"),
    "no recipe": ({"provenance": '{"recipe": null}'}, "its values must be text"),
    "versions": ({"provenance": '{"versions": {"torch": 2}}'}, "its versions must be text"),
}


@pytest.mark.parametrize("fault", OWN_FAULTS)
def test_our_keys_are_not_trusted(tmp_path: Path, fault: str) -> None:
    changed, message = OWN_FAULTS[fault]
    path = with_keys(tmp_path / "v.gguf", vector())
    assert same(from_gguf(path), vector())
    with pytest.raises(ControlVectorError, match=message):
        from_gguf(with_keys(path, vector(), **changed))


@pytest.mark.parametrize("read", [read_gguf, from_gguf])
def test_no_file(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read(tmp_path / "missing.gguf")
    assert caught.value.filename is not None  # so that the command line can say it in one line
