"""SteeringVector: identities of its algebra, its file, and what it refuses."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from steer_utils.lm.environment import library_versions
from steer_utils.lm.models import AudioLM
from steer_utils.lm.vectors import Provenance, SteeringVector, VectorMismatchError


def vector(seed: int = 0, blocks: int = 4, hidden: int = 8, active: tuple[int, ...] | None = None) -> SteeringVector:
    generator = torch.Generator().manual_seed(seed)
    return SteeringVector(
        torch.randn(blocks, hidden, generator=generator),
        tuple(range(blocks)) if active is None else active,
        torch.rand(blocks, generator=generator) + 1,
        Provenance(model="m", family="qwen2_audio", positive="p", negative="n", recipe=f"v{seed}"),
    )


@given(st.integers(0, 99), st.integers(0, 99), st.floats(-100, 100, allow_nan=False))
def test_algebra(a: int, b: int, factor: float) -> None:
    v, w = vector(a), vector(b)
    zero = 0 * v
    assert not zero.directions.any() and not zero.acting_blocks()
    assert not (v - v).directions.any()
    opposite = -v
    assert (-opposite).allclose(v)
    assert (v + w).allclose(w + v)
    assert (v - w).allclose(v + (-w))
    assert (factor * v).allclose(v * factor)
    assert (factor * (v + w)).allclose(factor * v + factor * w, tolerance=1e-4)
    if abs(factor) > 1e-3:
        assert ((v * factor) / factor).allclose(v, tolerance=1e-5)
        assert torch.allclose((factor * v).norms(), abs(factor) * v.norms(), rtol=1e-5)


def test_numpy_numbers_multiply_from_either_side() -> None:
    v = vector()
    for half in (np.float32(0.5), np.float64(0.5), np.array([0.5])[0]):
        assert (half * v).allclose(v * 0.5) and (v * half).allclose(v * 0.5)


def test_each_block_may_have_its_own_factor() -> None:
    v = vector(active=(0, 1, 3))
    scaled = v.scaled_by_block([2, 0, 5, -0.5])
    assert torch.equal(scaled.directions, v.directions * torch.tensor([[2.0], [0.0], [5.0], [-0.5]]))
    assert (scaled.blocks, scaled.acting_blocks()) == ((0, 1, 3), (0, 3))
    assert scaled.provenance.recipe == "[2, 0, 5, -0.5] * (v0)"
    assert v.scaled_by_block(np.full(4, 3.0)).allclose(3 * v)
    for wrong in ([1, 2, 3], [1, 2, 3, float("nan")], []):
        with pytest.raises(ValueError, match="factors must be 4 finite numbers"):
            v.scaled_by_block(wrong)


def test_vectors_do_not_change() -> None:
    v = vector()
    before = v.directions.clone()
    _ = v.late(), 2 * v, v.normalised(), -v, v + v
    assert torch.equal(v.directions, before)
    with pytest.raises(FrozenInstanceError):
        v.blocks = (0,)  # type: ignore[misc]


def test_halves_make_the_whole() -> None:
    v = vector(blocks=5)
    assert v.early().blocks == (0, 1)
    assert v.late().blocks == (2, 3, 4)
    assert (v.early() + v.late()).allclose(v)
    assert (v.early() + v.late()).blocks == v.blocks


def test_select() -> None:
    v = vector()
    assert v.select([3, 1, 1]).blocks == (1, 3)
    assert v.select(-1).blocks == (3,)
    assert v.select(slice(1, 3)).blocks == v.select(range(1, 3)).blocks == (1, 2)
    assert not v.select([1]).directions[[0, 2, 3]].any()
    assert v.select(2).select([1, 2]).blocks == (2,)
    with pytest.raises(ValueError, match="acts on blocks 2; none of 0"):
        v.select(2).select(0)
    for wrong in (4, -5, [], [True], [1.7], 1.7, ["2"], "2", None):
        with pytest.raises(ValueError, match=r"blocks (has|is) .*(the model has blocks 0 to 3|pass block numbers)"):
            v.select(wrong)


def test_norms() -> None:
    v = vector(active=(1, 2))
    assert torch.allclose(v.norms(), torch.tensor([0.0, v.directions[1].norm(), v.directions[2].norm(), 0.0]))
    assert torch.allclose(v.norm_ratio(), v.norms() / v.hidden_norms)
    assert torch.allclose(v.normalised().norms(), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    assert (0 * v).normalised().allclose(0 * v)


def test_cosine() -> None:
    v, w = vector(0), vector(1)
    assert torch.allclose(v.cosine(v), torch.ones(4), atol=1e-6)
    assert torch.allclose(v.cosine(-2 * v), -torch.ones(4), atol=1e-6)
    assert torch.allclose(v.cosine(w), w.cosine(v))
    assert torch.equal(v.cosine(0 * v), torch.zeros(4))


def test_random_like_has_the_norms_and_nothing_else() -> None:
    v = vector(hidden=2000, active=(0, 3))
    control = v.random_like(seed=5)
    assert torch.allclose(control.norms(), v.norms(), rtol=1e-5)
    assert control.cosine(v).abs().max() < 0.1
    assert control.allclose(v.random_like(seed=5))
    assert not control.allclose(v.random_like(seed=6))


def test_round_trip(tmp_path: Path) -> None:
    v = 0.5 * vector().late()
    path = tmp_path / "deep" / "focus.safetensors"
    v.save(path)
    v.save(path)  # over an existing file
    again = SteeringVector.load(path)
    assert torch.equal(again.directions, v.directions)
    assert torch.equal(again.hidden_norms, v.hidden_norms)
    assert (again.blocks, again.provenance) == (v.blocks, v.provenance)
    assert [entry.name for entry in path.parent.iterdir()] == ["focus.safetensors"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.safetensors"
    vector(0).save(path)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("steer_utils.lm.vectors.save", fail)
    with pytest.raises(OSError, match="disk full"):
        vector(1).save(path)
    assert SteeringVector.load(path).allclose(vector(0))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("blocks", "provenance"),
    [("[1", "{}"), ("[" * 100_000, "{}"), ("no json", "{}"), ("[1.5]", "{}"), ("[0]", '{"recipe": 5}'), ("[0]", "[]")],
)
def test_a_damaged_header_is_named_as_such(tmp_path: Path, blocks: str, provenance: str) -> None:
    tensors = {"directions": torch.zeros(2, 2), "hidden_norms": torch.ones(2)}
    header = {"format": "steer_utils.SteeringVector.1", "blocks": blocks, "provenance": provenance}
    save_file(tensors, tmp_path / "v.safetensors", metadata=header)
    with pytest.raises(ValueError, match="is not a steering vector file"):
        SteeringVector.load(tmp_path / "v.safetensors")


def test_files_that_are_not_vectors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        SteeringVector.load(tmp_path / "missing")
    pickled = tmp_path / "v.pt"
    pickled.write_bytes(pickle.dumps(vector().directions))
    foreign, damaged = tmp_path / "foreign.safetensors", tmp_path / "damaged.safetensors"
    save_file({"directions": torch.zeros(2, 2)}, foreign)
    save_file({"directions": torch.zeros(2, 2)}, damaged, metadata={"format": "steer_utils.SteeringVector.1"})
    for path in (pickled, foreign, damaged):
        with pytest.raises(ValueError, match=r"not a steering vector|no steering vector"):
            SteeringVector.load(path)


@given(st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.integers(0, 31))
def test_only_finite_numbers(bad: float, place: int) -> None:
    directions = torch.zeros(4, 8)
    directions.view(-1)[place] = bad
    with pytest.raises(ValueError, match="finite"):
        SteeringVector(directions, (0,), torch.ones(4))
    with pytest.raises(ValueError, match="finite"):
        _ = vector() * bad


def test_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(num_blocks, hidden\), got \(4,\)"):
        SteeringVector(torch.zeros(4), (0,), torch.ones(4))
    with pytest.raises(ValueError, match="hidden_norms"):
        SteeringVector(torch.zeros(4, 8), (0,), torch.ones(3))
    for operation in (SteeringVector.__add__, SteeringVector.__sub__, SteeringVector.cosine, SteeringVector.allclose):
        with pytest.raises(VectorMismatchError, match=r"\(4, 8\), the other \(4, 9\)"):
            operation(vector(), vector(hidden=9))
    with pytest.raises(TypeError):
        _ = vector() + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = vector() * vector()  # type: ignore[operator]


def test_a_vector_must_fit_the_model(tiny_models: dict[str, AudioLM]) -> None:
    with pytest.raises(VectorMismatchError, match=r"\(4, 8\).*needs \(4, 48\)"):
        vector().check_fits(tiny_models["qwen2_audio"])
    fitting = vector(hidden=48)
    fitting.check_fits(tiny_models["qwen2_audio"])
    replace(fitting, provenance=Provenance()).check_fits(tiny_models["audioflamingo3"])
    with pytest.warns(UserWarning, match="qwen2_audio model, not audioflamingo3"):
        fitting.check_fits(tiny_models["audioflamingo3"])


def test_provenance_follows_the_algebra() -> None:
    v, w = vector(0), vector(1)
    assert (0.5 * v.late()).provenance.recipe == "0.5 * ((v0)[2-3])"
    both = v + w
    assert both.provenance.recipe == "(v0) + (v1)"
    assert both.provenance.positive == "p"  # shared by both
    other = replace(w, provenance=replace(w.provenance, positive="q"))
    assert (v + other).provenance.positive is None
    assert (v + other).provenance.negative == "n"
    assert set(library_versions()) == {"steer-utils", "transformers", "torch"}
