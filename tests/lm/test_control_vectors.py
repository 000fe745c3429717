"""GGUF control vectors: a round trip is equal, the package and the other programs agree, bad files are refused."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steer_utils.lm import gguf_vectors as control_vectors
from steer_utils.lm.gguf_vectors import (
    MAX_BLOCKS,
    MAX_HIDDEN,
    ControlVectorError,
    GgufError,
    check_gguf_target,
    from_gguf,
    to_gguf,
)
from steer_utils.lm.models import AudioLM
from steer_utils.lm.vectors import Provenance, SteeringVector, VectorMismatchError

ABOUT = Provenance(
    model="pocket", family="qwen2_audio", positive="Focus on the \"dog\".\n", negative="ü", recipe="v",
    versions={"torch": "2.13"},
)  # fmt: skip
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ones(*blocks: int, width: int = 8) -> dict[str, np.ndarray]:
    return {f"direction.{block}": np.full(width, block + 0.5, dtype=np.float32) for block in blocks}


def with_keys(path: Path, made: SteeringVector, **changed: Any) -> Path:
    """Our own file, with some of our keys changed (None: left out)."""
    keys: dict[str, Any] = {
        "format": "steer_utils.SteeringVector.1", "num_blocks": made.num_blocks, "blocks": list(made.blocks),
        "hidden_norms": made.hidden_norms.tolist(), "provenance": json.dumps(asdict(made.provenance)), **changed,
    }  # fmt: skip
    writer = GGUFWriter(path, "controlvector")
    for name, value in keys.items():
        add = {str: writer.add_string, int: writer.add_uint32, list: writer.add_array}.get(type(value))
        if add is not None:
            add(f"steer_utils.{name}", value)
    for block in made.blocks:
        writer.add_tensor(f"direction.{block}", made.directions[block].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# -- round trips -------------------------------------------------------------------------------------------------------
@few
@given(
    st.integers(0, 99), st.integers(2, 9), st.integers(1, 70), st.data(),
    st.builds(Provenance, model=st.none() | st.text(), family=st.none() | st.text(max_size=9), recipe=st.text(),
              positive=st.none() | st.text(), versions=st.dictionaries(st.text(), st.text(), max_size=3)),
)  # fmt: skip
def test_a_round_trip_is_equal(
    tmp_path: Path, seed: int, blocks: int, hidden: int, data: st.DataObject, about: Provenance
) -> None:
    active = data.draw(st.sets(st.integers(1, blocks - 1), min_size=1))
    made = replace(vector(seed, blocks, hidden, tuple(active)), provenance=about)
    to_gguf(made, tmp_path / "v.gguf")
    assert same(from_gguf(tmp_path / "v.gguf"), made)


def test_a_vector_of_a_model_goes_through(lm: AudioLM, samples: np.ndarray, tmp_path: Path) -> None:
    made = lm.hear(samples, sampling_rate=16_000).contrast("Focus on the bell.", "Listen to the whole audio.").late()
    to_gguf(made, tmp_path / "v.gguf")
    again = from_gguf(tmp_path / "v.gguf", num_blocks=lm.num_blocks)
    assert same(again, made)
    again.check_fits(lm)
    to_gguf(again, tmp_path / "v.gguf", model_hint="qwen2")  # over an existing file
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.gguf"]
    narrow = from_gguf(foreign(tmp_path / "narrow.gguf", ones(1, 2, 3)))
    with pytest.raises(VectorMismatchError, match=r"\(4, 8\) \(blocks, hidden\), but tiny.* needs \(4, 48\)"):
        narrow.check_fits(lm)


def test_a_zero_block_0_is_kept_active(tmp_path: Path) -> None:
    made = vector(active=(0, 1, 2)) - vector(active=(0, 1, 2))
    to_gguf(made, tmp_path / "v.gguf")
    assert same(from_gguf(tmp_path / "v.gguf"), made) and made.blocks == (0, 1, 2)


# -- the other programs ------------------------------------------------------------------------------------------------
def test_the_package_reads_what_we_write(tmp_path: Path) -> None:
    made = vector(active=(1, 3))
    to_gguf(made, tmp_path / "v.gguf")
    reader = GGUFReader(tmp_path / "v.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector" and fields["controlvector.model_hint"] == "qwen2_audio"
    assert fields["controlvector.layer_count"] == 2
    assert {each.name: each.tensor_type.name for each in reader.tensors} == {"direction.1": "F32", "direction.3": "F32"}
    for each in reader.tensors:
        assert each.data.shape == (8,)
        assert np.array_equal(each.data, made.directions[int(each.name.split(".")[1])].numpy())


def test_llama_cpp_adds_each_direction_where_we_do(tmp_path: Path) -> None:
    """Its two steps: direction.N goes to row N - 1 of a buffer, and block b (from 1 on) adds row b - 1."""
    made = vector(active=(1, 2, 4))
    to_gguf(made, tmp_path / "v.gguf")
    buffer = np.zeros((4, 8), dtype=np.float32)
    for each in GGUFReader(tmp_path / "v.gguf").tensors:
        number = int(each.name.removeprefix("direction."))
        assert number >= 1 and each.tensor_type == 0 and each.data.ndim == 1  # it refuses the file otherwise
        buffer[number - 1] += each.data
    for block in range(1, 5):
        assert np.array_equal(buffer[block - 1], made.directions[block].numpy())


def test_files_of_repeng_and_llama_cpp_are_read(tmp_path: Path) -> None:
    made = from_gguf(foreign(tmp_path / "happy.gguf", ones(3, 1, 2)))  # in any order
    assert made.directions[:, 0].tolist() == [0, 1.5, 2.5, 3.5] and made.blocks == (1, 2, 3)
    assert made.hidden_norms.tolist() == [1.0] * 4 and torch.equal(made.norm_ratio(), made.norms())
    assert made.provenance == Provenance(family="qwen2", recipe="happy.gguf")
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
    monkeypatch.setattr(control_vectors, "find_spec", lambda name: None)
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
}  # fmt: skip


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
    from gguf import GGMLQuantizationType, quantize

    quantised = GGMLQuantizationType.Q8_0
    path = tmp_path / "v.gguf"
    writer = GGUFWriter(path, "controlvector")
    writer.add_tensor("direction.1", quantize(np.ones(32, dtype=np.float32), quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
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
}  # fmt: skip


@pytest.mark.parametrize("fault", OWN_FAULTS)
def test_our_keys_are_not_trusted(tmp_path: Path, fault: str) -> None:
    changed, message = OWN_FAULTS[fault]
    path = with_keys(tmp_path / "v.gguf", vector())
    assert same(from_gguf(path), vector())
    with pytest.raises(ControlVectorError, match=message):
        from_gguf(with_keys(path, vector(), **changed))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        from_gguf(tmp_path / "missing.gguf")
