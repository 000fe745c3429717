"""Progress files: bit for bit, of the right stage and shape, and whole even when a save is cut short."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from steer_utils.pocket.checkpointing import load_progress, save_progress

Parameters = dict[str, torch.nn.Parameter]


def start(seed: int = 0, width: int = 3) -> tuple[Parameters, torch.optim.AdamW]:
    generator = torch.Generator().manual_seed(seed)
    parameters = {
        "tower.weight": torch.nn.Parameter(torch.randn(4, width, generator=generator)),
        "tagger.bias": torch.nn.Parameter(torch.randn(4, generator=generator)),
    }
    return parameters, torch.optim.AdamW(parameters.values(), lr=0.1, fused=True)


def step(parameters: Parameters, optimizer: torch.optim.AdamW, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        loss = (parameters["tower.weight"] ** 3).sum() + (parameters["tagger.bias"] ** 2).sum()
        loss.backward()
        optimizer.step()


def everything(parameters: Parameters, optimizer: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    found = {name: value.detach().clone() for name, value in parameters.items()}
    for name, parameter in parameters.items():
        found |= {f"{name} {key}": value.clone() for key, value in optimizer.state[parameter].items()}
    return found


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_round_trip_bit_for_bit_with_the_moments(tmp_path: Path) -> None:
    parameters, optimizer = start()
    step(parameters, optimizer, 3)
    save_progress(tmp_path / "a.safetensors", parameters, optimizer, 3, "encoder")
    other, other_optimizer = start(seed=1)
    assert load_progress(tmp_path / "a.safetensors", other, other_optimizer, "encoder") == 3
    before = everything(parameters, optimizer)
    assert len(before) == 2 * 4  # value, step and two moments of each
    assert same(before, everything(other, other_optimizer))
    step(parameters, optimizer, 2)
    step(other, other_optimizer, 2)
    assert same(everything(parameters, optimizer), everything(other, other_optimizer))
    assert not same(before, everything(other, other_optimizer))
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_without_a_file_nothing_is_done_yet(tmp_path: Path) -> None:
    parameters, optimizer = start()
    before = everything(parameters, optimizer)
    assert load_progress(tmp_path / "none.safetensors", parameters, optimizer, "encoder") == 0
    assert same(before, everything(parameters, optimizer))


def test_another_stage_or_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    parameters, optimizer = start()
    step(parameters, optimizer, 1)
    save_progress(path, parameters, optimizer, 1, "encoder")
    with pytest.raises(ValueError, match="holds stage 'encoder', not 'language'"):
        load_progress(path, parameters, optimizer, "language")
    with pytest.raises(ValueError, match=r"tower.weight has shape \(4, 3\), the recipe \(4, 5\)"):
        load_progress(path, *start(width=5), "encoder")


@pytest.mark.parametrize("failing", ["write", "rename"])
def test_a_kill_during_a_save_leaves_the_old_file(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    parameters, optimizer = start()
    step(parameters, optimizer, 1)
    save_progress(path, parameters, optimizer, 1, "encoder")
    kept = path.read_bytes()
    step(parameters, optimizer, 1)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if failing == "write":
            patch.setattr("steer_utils.pocket.checkpointing.save_file", killed)
        else:
            patch.setattr(os, "replace", killed)
        save_progress(path, parameters, optimizer, 2, "encoder")
    assert path.read_bytes() == kept
    assert load_progress(path, *start(), "encoder") == 1
    save_progress(path, parameters, optimizer, 2, "encoder")  # what the kill left behind is no obstacle
    assert load_progress(path, *start(), "encoder") == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
