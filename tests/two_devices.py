"""Two GPUs for tests, on a machine without any: CPU tensors that are told apart by where they would be.

    with spread(checkpoint, second_from=2):
        checkpoint.hear(...)

Each tensor has a place, the CPU or one of two GPUs, and `tensor.device` is that place. Every call of torch is looked
at: tensors of two places in one call are refused as CUDA refuses them, with its words; new ones are where torch would
put them. Numbers are computed on the CPU, as without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from accelerate.utils import send_to_device
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from steer_utils.lm.checkpoints import Checkpoint

CPU, FIRST, SECOND = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)
TO_THE_HOST: set[Any] = {torch.Tensor.numpy, torch.Tensor.__array__}
#: What copies from one place to another; the result is where the first of its arguments is.
COPIES: set[Any] = {torch.Tensor.copy_}


def place_of(tensor: torch.Tensor) -> torch.device:
    return getattr(tensor, "_place", CPU)


def _placed(tensor: Any, place: torch.device) -> Any:
    tensor._place = place
    return tensor


class TwoDevices(TorchFunctionMode):
    """As a context: torch with two GPUs that are none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == torch.Tensor.device.__get__:
            return place_of(args[0])
        if func is torch.Tensor.cpu:
            return self._moved(args[0], CPU)
        if func is torch.Tensor.to:
            return self._to(*args, **kwargs)
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if func in TO_THE_HOST and place_of(given[0]) != CPU:
            raise TypeError(f"can't convert {place_of(given[0])} device type tensor to numpy; use Tensor.cpu()")
        asked = kwargs.pop("device", None)
        where = self._common(func, args, given) if asked is None else torch.device(asked)
        result = func(*args, **kwargs)
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and not any(value is other for other in given):
                _placed(value, where)
        return result

    def _to(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        target = place_of(tensor)
        rest = []
        for value in args:
            if isinstance(value, torch.Tensor):
                target = place_of(value)
                rest.append(value.dtype)
            elif isinstance(value, (torch.device, str, int)) and not isinstance(value, bool):
                target = torch.device("cuda", value) if isinstance(value, int) else torch.device(value)
            elif value is not None:
                rest.append(value)
        if (device := kwargs.pop("device", None)) is not None:
            target = torch.device(device)
        converted: Any = tensor
        result = converted.to(*rest, **kwargs) if rest or kwargs else tensor
        return self._moved(tensor, target) if result is tensor else _placed(result, target)

    def _moved(self, tensor: torch.Tensor, target: torch.device) -> torch.Tensor:
        if place_of(tensor) == target:
            return tensor
        return _placed(tensor.detach().clone(), target)

    def _common(self, func: Any, args: Any, given: list[torch.Tensor]) -> torch.device:
        """Where the call computes. Single numbers of the CPU go anywhere; so do indices of the CPU in brackets."""
        if func in COPIES:
            return place_of(args[0])
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = [value for value in tree_leaves(args[1]) if isinstance(value, torch.Tensor)]
            into = place_of(args[0])
            if not index and func is torch.Tensor.__setitem__:
                return into  # a slice is copied into
            given = [value for value in given if not (place_of(value) == CPU and any(value is part for part in index))]
        places = {place_of(value) for value in given if value.ndim or place_of(value) != CPU}
        if len(places) > 1:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, "
                f"{' and '.join(sorted(map(str, places)))}! (in {getattr(func, '__name__', func)})"
            )
        return places.pop() if places else CPU


class _Arriving(ModelHook):
    """As accelerate's hook at a module: what it is given is sent to where it computes."""

    def __init__(self, place: torch.device) -> None:
        super().__init__()
        self.execution_device = place

    def pre_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)


@contextmanager
def spread(checkpoint: Checkpoint, second_from: int | None) -> Iterator[None]:
    """`with spread(lm, 2):` blocks from that one on, the last norm and the head are on the second GPU, the rest on the
    first, as `device_map="balanced"` puts them; None: the whole on the first, where no hook sends anything."""
    family, model = checkpoint.family, checkpoint.model
    last: list[torch.nn.Module] = [checkpoint.decoder.norm, family.head(model)]
    second = [] if second_from is None else [*checkpoint.blocks[second_from:], *last]
    held = [*model.parameters(), *model.buffers()]
    late = {id(tensor) for module in second for tensor in [*module.parameters(), *module.buffers()]}
    for tensor in held:
        _placed(tensor, SECOND if id(tensor) in late else FIRST)
    hooked = [*checkpoint.blocks, *last] if second else []
    for module in hooked:
        add_hook_to_module(module, _Arriving(SECOND if any(module is other for other in second) else FIRST))
    try:
        with TwoDevices():
            yield
    finally:
        for module in hooked:
            remove_hook_from_module(module)
            del module.__dict__["forward"]  # accelerate leaves the method bound, and then no class can be patched
        for tensor in held:
            del tensor.__dict__["_place"]
