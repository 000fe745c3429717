"""How fast this machine multiplies matrices, at the very shapes that a model multiplies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from benchmarks.common import synchronise

MOST_ROWS = 1024  # the rate no longer grows beyond: longer products are timed at this length and scaled
LEAST_SECONDS, LEAST_CALLS = 0.1, 5


@dataclass(frozen=True)
class Product:
    """(rows, inner) x (inner, outer)."""

    rows: int
    inner: int
    outer: int

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inner * self.outer


@dataclass
class Rates:
    """Measured seconds of products, each distinct one timed once; `best` is the highest rate met, in FLOPs a second."""

    device: str
    dtype: torch.dtype
    least_seconds: float = LEAST_SECONDS  # of timing a product
    best: float = 0.0
    _seconds: dict[Product, float] = field(default_factory=dict)

    def seconds(self, product: Product) -> float:
        """The median of some calls; 0 for a product without rows."""
        if not product.rows:
            return 0.0
        timed = Product(min(product.rows, MOST_ROWS), product.inner, product.outer)
        if timed not in self._seconds:
            self._seconds[timed] = self._time(timed)
            self.best = max(self.best, timed.flops / self._seconds[timed])
        return self._seconds[timed] * product.rows / timed.rows

    def _time(self, product: Product) -> float:
        left = torch.randn(product.rows, product.inner, device=self.device, dtype=self.dtype)
        weight = torch.randn(product.outer, product.inner, device=self.device, dtype=self.dtype)
        taken: list[float] = []
        with torch.inference_mode():
            nn.functional.linear(left, weight)
            while sum(taken) < self.least_seconds or len(taken) < LEAST_CALLS:
                synchronise(self.device)
                start = time.perf_counter()
                nn.functional.linear(left, weight)
                synchronise(self.device)
                taken.append(time.perf_counter() - start)
        return sorted(taken)[len(taken) // 2]


def products_of(module: nn.Module) -> list[tuple[int, int]]:
    """(inner, outer) of every linear layer inside, in order."""
    return [(each.in_features, each.out_features) for each in module.modules() if isinstance(each, nn.Linear)]


@contextmanager
def counted_products(module: nn.Module) -> Iterator[list[Product]]:
    """Collect the product of every linear layer and one-dimensional convolution that runs inside `module`."""
    found: list[Product] = []

    def linear(layer: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        found.append(Product(out.numel() // layer.out_features, layer.in_features, layer.out_features))

    def convolution(layer: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        # As a product: each output frame sees kernel x channels inputs.
        found.append(Product(out.shape[0] * out.shape[2], layer.in_channels * layer.kernel_size[0], layer.out_channels))

    kinds: dict[type, Callable[..., None]] = {nn.Linear: linear, nn.Conv1d: convolution}
    handles = [each.register_forward_hook(kinds[type(each)]) for each in module.modules() if type(each) in kinds]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
