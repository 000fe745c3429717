"""Low-rank adapters (Hu et al. 2021): a frozen linear layer learns through two thin matrices beside it.

    y = W x + scale * B (A x),   A (rank, in), B (out, rank)

B starts at zero, so the model starts as it was. Merged, W + scale * B A is a plain linear layer again: nothing of this
file is left in a model that is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn import functional

#: The linear layers of a decoder block that get an adapter (Llama and Qwen2 name them alike).
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SCALE = 2.0


class LowRank(nn.Module):
    """A frozen linear layer with a trainable low-rank term in float32."""

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear
        first = torch.randn(rank, linear.in_features, generator=generator) / math.sqrt(linear.in_features)
        self.down = nn.Parameter(first.to(linear.weight.device))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, device=linear.weight.device))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        inner = functional.linear(states, self.down.to(states.dtype))
        return self.linear(states) + functional.linear(inner, (SCALE * self.up).to(states.dtype))


def attach(decoder: nn.Module, rank: int, seed: int) -> dict[str, nn.Parameter]:
    """Put an adapter beside every layer of `LAYERS`; the trainable matrices by name, "layers.0.mlp.up_proj.down"."""
    generator = torch.Generator().manual_seed(seed)
    for parent, name, linear in list(_places(decoder)):
        setattr(parent, name, LowRank(linear, rank, generator))
    return {name: parameter for name, parameter in decoder.named_parameters() if name.endswith((".down", ".up"))}


def detach(decoder: nn.Module) -> None:
    """Take the adapters off again, unmerged."""
    for module in list(decoder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LowRank):
                setattr(module, name, child.linear)


@torch.no_grad()
def merge(decoder: nn.Module, matrices: Mapping[str, torch.Tensor]) -> None:
    """Add trained matrices (as `attach` names them) to the weights of a decoder without adapters, in float32."""
    for name in [name.removesuffix(".down") for name in matrices if name.endswith(".down")]:
        weight = decoder.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        down, up = (matrices[f"{name}.{part}"].to(weight.device, torch.float32) for part in ("down", "up"))
        weight.copy_(weight.float() + SCALE * up @ down)


def _places(decoder: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Parent, name and layer of every linear layer that gets an adapter."""
    for parent in decoder.modules():
        for name, child in parent.named_children():
            if name in LAYERS and isinstance(child, nn.Linear):
                yield parent, name, child
