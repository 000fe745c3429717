"""A GPU that torch cannot use: what is wrong, and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from steer_utils.lm import environment
from steer_utils.lm.environment import gpu_fault

LISTED = "GPU 0: Tesla T4 (UUID: GPU-1)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\n"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose NVIDIA driver lists two GPUs, and no CUDA_VISIBLE_DEVICES."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\nprint({LISTED!r}, end='')\n")
    program.chmod(0o755)
    monkeypatch.setattr(environment, "which", lambda name: str(program))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    environment._nvidia_gpus.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def forgotten() -> None:
    environment._nvidia_gpus.cache_clear()


def test_a_torch_without_cuda(driver: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built without CUDA and cannot use Tesla T4: install one from https://pytorch" in str(gpu_fault())


def test_a_driver_that_is_too_old(driver: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "is built for CUDA 13.0 and cannot use Tesla T4: update the NVIDIA driver" in str(gpu_fault())


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_was_hidden_on_purpose(driver: None, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert gpu_fault() is None


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(environment, "which", lambda name: None)
    assert gpu_fault() is None
    environment._nvidia_gpus.cache_clear()
    monkeypatch.setattr(environment, "which", lambda name: "nvidia-smi")

    def stuck(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 10)

    monkeypatch.setattr(environment, "run", stuck)
    assert gpu_fault() is None


@pytest.mark.parametrize(
    ("capability", "built", "usable"),
    [
        ((7, 5), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 6), ["sm_80", "sm_90"], True),  # code of a major version runs on its later minor ones
        ((6, 0), ["sm_75", "sm_80", "compute_90"], False),
        ((8, 0), ["sm_86"], False),
        ((12, 0), ["sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),  # compiled for it when it is first needed
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a"], False),  # for exactly that one
        ((10, 3), ["sm_100f"], True),
        ((8, 0), [], True),
    ],
)
def test_code_for_a_gpu(
    capability: tuple[int, int], built: list[str], usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "A card")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    assert (gpu_fault() is None) is usable
    if not usable:
        name = "".join(map(str, capability))
        assert f"has no code for A card (sm_{name}; it has {', '.join(built)}): install a torch" in str(gpu_fault())
