"""The same readings with other libraries, each as its own documentation does it: a full forward a reading, or a batch.

A peer does two things: the state of the last prompt token after each block, from which the vectors are made, and the
attention of that token while a vector is added in one block. All of them need eager attention, which forms all T x T
weights. Their inputs (features, token ids) are prepared beforehand and not timed, which is in their favour.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import nn

from benchmarks.shapes import QUESTION
from benchmarks.sweep import Point, Sweep, contrast_prompt

INSTALL = "not installed here: python -m benchmarks.venv FOLDER, then python -m benchmarks --python FOLDER/bin/python"
MODULES = {"nnsight": "nnsight", "transformer-lens": "transformer_lens", "steering-vectors": "steering_vectors"}

Inputs = Mapping[str, torch.Tensor]


class Peer(Protocol):
    """One library. `states`: (blocks, width) of one prompt. `rows`: (readings, blocks, heads, keys), one for each added
    vector (readings, width), whose norm-kept sum replaces the last token's state after `block`."""

    def states(self, inputs: Inputs) -> torch.Tensor: ...

    def rows(self, inputs: Inputs, block: int, added: torch.Tensor) -> torch.Tensor: ...


def missing(names: Sequence[str]) -> dict[str, str]:
    """Those of the named packages that are not installed, each with what to do."""
    return {name: INSTALL for name in names if find_spec(MODULES[name]) is None}


def steered(hidden: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """(readings, width): h + v, at the norm of h. Computed in float32, as ours is."""
    before = hidden.float()
    after = before + added
    return (after * before.norm(dim=-1, keepdim=True) / after.norm(dim=-1, keepdim=True)).to(hidden.dtype)


def replaced(hidden: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """A block's output (readings, slots, width) with the state of the last token replaced."""
    changed = hidden.clone()
    changed[:, -1] = steered(hidden[:, -1], added)
    return changed


def repeated(inputs: Inputs, times: int) -> dict[str, torch.Tensor]:
    """The same prompt as so many rows of a batch, audio included."""
    return {name: value.repeat_interleave(times, dim=0) for name, value in inputs.items()}


class Transformers:
    """Plain transformers: `output_hidden_states`, a forward hook, `output_attentions`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.blocks: nn.ModuleList = model.model.language_model.layers

    def states(self, inputs: Inputs) -> torch.Tensor:
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states
        return torch.stack([each[0, -1] for each in hidden[1:]])

    def rows(self, inputs: Inputs, block: int, added: torch.Tensor) -> torch.Tensor:
        hook = self.blocks[block].register_forward_hook(lambda module, given, out: replaced(out, added))
        try:
            weights = self.model(**repeated(inputs, len(added)), output_attentions=True).attentions
        finally:
            hook.remove()
        return torch.stack([each[:, :, -1] for each in weights], dim=1)


class NNsight:
    """nnsight: the block's output and the attention module's weights inside a trace."""

    def __init__(self, model: Any) -> None:
        self.nnsight: Any = import_module("nnsight")
        self.model = self.nnsight.NNsight(model)
        self.count = len(model.model.language_model.layers)

    def states(self, inputs: Inputs) -> torch.Tensor:
        with self.model.trace(**inputs):
            states = self.nnsight.save([])
            for block in range(self.count):
                states.append(self.model.model.language_model.layers[block].output[0, -1])
        return torch.stack(list(states))

    def rows(self, inputs: Inputs, block: int, added: torch.Tensor) -> torch.Tensor:
        with self.model.trace(**repeated(inputs, len(added))):
            rows = self.nnsight.save([])
            for number in range(self.count):
                layer = self.model.model.language_model.layers[number]
                rows.append(layer.self_attn.output[1][:, :, -1])
                if number == block:
                    layer.output = replaced(layer.output, added)
        return torch.stack(list(rows), dim=1)


class TransformerLens:
    """TransformerLens: its bridge to transformers, with `hook_out` of a block and `hook_pattern` of its attention."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        boot: Any = import_module("transformer_lens.model_bridge.sources.transformers.source").boot
        helpers: Any = import_module("transformer_lens.model_bridge.sources.transformers.helpers")
        # It would install torchvision with pip on its way to a processor that is not needed here.
        helpers._ensure_torchvision = lambda: False
        twin = copy.deepcopy(model, {id(each): each for each in model.parameters()})  # it takes the modules apart
        self.bridge: Any = boot(
            model.config.model_type,
            hf_model=twin,
            tokenizer=copy.deepcopy(tokenizer),
            device=str(model.device),
            dtype=model.dtype,
        )
        self.count = len(model.model.language_model.layers)

    def _run(self, inputs: Inputs, hooks: list[tuple[str, Any]]) -> None:
        rest = dict(inputs)
        self.bridge.run_with_hooks(rest.pop("input_ids"), fwd_hooks=hooks, **rest)

    def states(self, inputs: Inputs) -> torch.Tensor:
        states: list[torch.Tensor] = []
        self._run(
            inputs,
            [
                (f"blocks.{block}.hook_out", lambda hidden, hook: states.append(hidden[0, -1]))
                for block in range(self.count)
            ],
        )
        return torch.stack(states)

    def rows(self, inputs: Inputs, block: int, added: torch.Tensor) -> torch.Tensor:
        rows: list[torch.Tensor] = []
        patterns = [
            (f"blocks.{number}.attn.hook_pattern", lambda weights, hook: rows.append(weights[:, :, -1].clone()))
            for number in range(self.count)
        ]
        steer = (f"blocks.{block}.hook_out", lambda hidden, hook: replaced(hidden, added))
        self._run(repeated(inputs, len(added)), [steer, *patterns])
        return torch.stack(rows, dim=1)


@contextmanager
def eager(model: Any) -> Iterator[None]:
    """The decoder forms whole attention matrices, which peers need to read rows from; as before afterwards."""
    config = model.model.language_model.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


class Reader:
    """A peer at work on some points of a sweep. The vectors are made when it is set up: their forwards cost what the
    points' do, so only points are timed."""

    def __init__(self, peer: Peer, sweep: Sweep, points: Sequence[Point]) -> None:
        self.peer, self.sweep, self.points = peer, sweep, list(points)
        self.question = sweep.inputs(QUESTION)
        with torch.inference_mode(), eager(sweep.lm.model):
            states = {
                event: peer.states(sweep.inputs(contrast_prompt(event)))
                for event in (None, *sorted({point.event for point in points}))
            }
        neutral = states[None]
        self.added = torch.stack(
            [point.strength * (states[point.event].float() - neutral.float())[point.block] for point in points]
        )

    @torch.inference_mode()
    def read(self, batch: int, count: int) -> torch.Tensor:
        """Weights on the audio tokens of the first `count` points, (points, blocks, heads, tokens): `batch` points a
        forward, all of one block."""
        made = []
        with eager(self.sweep.lm.model):
            for first in range(0, count, batch):
                chunk = slice(first, min(first + batch, count))
                (block,) = {point.block for point in self.points[chunk]}
                made.append(self.peer.rows(self.question, block, self.added[chunk]))
        return torch.cat(made)[..., self.sweep.audio_columns].float().cpu()


SWEEPERS = ("transformers", "nnsight", "transformer-lens")


def peers_of(sweep: Sweep, names: Sequence[str] = SWEEPERS) -> tuple[dict[str, Peer], dict[str, str]]:
    """Those of the named peers that run here, and the others with the reason."""
    lm = sweep.lm
    makers: dict[str, Callable[[], Peer]] = {
        "transformers": lambda: Transformers(lm.model),
        "nnsight": lambda: NNsight(lm.model),
        "transformer-lens": lambda: TransformerLens(lm.model, lm.processor.tokenizer),
    }
    absent = missing([name for name in names if name in MODULES])
    found: dict[str, Peer] = {}
    for name, make in makers.items():
        if name in absent or name not in names:
            continue
        try:
            found[name] = make()
        except Exception as error:  # another library's own failure: it goes into the table, the others go on
            absent[name] = failure(name, error)
    return found, absent


def failure(name: str, error: Exception) -> str:
    """Why a peer did not run, for the table."""
    said = " ".join(str(error).split())
    return (
        f"{name} {version(name)} does not run with transformers {version('transformers')}: "
        f"{type(error).__name__}: {said[:200]}"
    )
