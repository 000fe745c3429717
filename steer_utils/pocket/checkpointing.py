"""Resume a training after a kill: parameters, Adam's moments and the step, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from steer_utils.sound.files import whole_file


def save_progress(
    path: Path, parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, step: int, stage: str
) -> None:
    """Write atomically: a kill leaves the file before or the file after, never half of one."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"value.{name}"] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as part:
        save_file(contiguous, part, metadata={"step": str(step), "stage": stage})


def load_progress(
    path: Path, parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, stage: str
) -> int:
    """Fill parameters and optimizer from `path`; the number of steps done (0 where there is no file)."""
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("stage") != stage:
            raise ValueError(f"{path} holds stage {metadata.get('stage')!r}, not {stage!r}; delete it to start again")
        for name, parameter in parameters.items():
            value = file.get_tensor(f"value.{name}")
            if value.shape != parameter.shape:
                raise ValueError(f"{path}: {name} has shape {tuple(value.shape)}, the recipe {tuple(parameter.shape)}")
            with torch.no_grad():
                parameter.copy_(value)
            optimizer.state[parameter] = {
                key: file.get_tensor(f"{key}.{name}").to(parameter.device)  # a fused optimizer keeps its step there too
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        return int(metadata["step"])
