"""Costs from shapes, against counted parameters, counted FLOPs and the bytes that are alive at the peak."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tinies import build
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache
from transformers.models.audioflamingo3 import modeling_audioflamingo3

from steer_utils.lm.caches import CACHE
from steer_utils.lm.costs import Cost, cost_table, estimate
from steer_utils.lm.families import FAMILIES, PAPER_FAMILIES, full_size_config
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.pocket.architecture import Size

ONE: dict[str, Any] = {
    "dtype": torch.bfloat16,
    "scenes": 1,
    "queries": 1,
    "seconds": 17.0,
    "passes_per_query": 1,
    "answer_tokens": 0,
}
SHORT = "Describe the sound."


def cost(config: Any, **options: Any) -> Cost:
    return estimate(config, **{**ONE, **options})


def counted(run: Any) -> int:
    """FLOPs of what `run` does. The plain attention kernel: the fused one for CPUs is not among those counted."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


class AliveBytes(TorchDispatchMode):
    """The most bytes of new tensors that are alive at once, also on the meta device."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())
        return output

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


@pytest.fixture(params=PAPER_FAMILIES)  # at full size: the others are built of the same parts
def model_type(request: pytest.FixtureRequest) -> str:
    return request.param


def on_meta(model_type: str, dtype: torch.dtype = torch.bfloat16) -> tuple[Any, Any]:
    config = full_size_config(model_type)
    with torch.device("meta"):
        model = getattr(transformers, FAMILIES[model_type].model_class)(config)
    return model.to(dtype).eval(), config


def test_parameters_and_weights_are_counted(lm: AudioLM) -> None:
    full = cost(lm.model.config, seconds=2.0, dtype=torch.float32)
    assert full.parameters == sum(parameter.numel() for parameter in lm.model.parameters())
    assert full.weight_bytes == sum(parameter.nbytes for parameter in lm.model.parameters())
    assert cost(lm.model.config, seconds=2.0).weight_bytes * 2 == full.weight_bytes


def test_the_cache_is_as_large_as_the_one_that_is_kept(hearing: Hearing, lm: AudioLM) -> None:
    options = {"seconds": hearing.duration, "dtype": torch.float32, "head_tokens": hearing.span.first}
    ahead = cost(lm.model.config, **options, suffix_tokens=5)
    assert ahead.cache_bytes * hearing.prefix_length == hearing._prefix.shape.cache_bytes * (hearing.prefix_length + 5)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_flops_of_a_pocket_model_within_two_percent(model_type: str) -> None:
    model, processor = build(model_type, Size())
    lm = AudioLM(model.requires_grad_(False), processor, FAMILIES[model_type], "pocket-sized")
    samples = np.random.default_rng(0).normal(size=8 * 16_000).astype(np.float32)
    heard: list[Hearing] = []
    hearing_took = counted(lambda: heard.append(Hearing(lm, samples)))
    hearing = heard[0]
    reading_took = counted(lambda: [hearing.read(SHORT) for _ in range(5)])  # in one call they would be one row
    answering_took = counted(lambda: hearing.answer(SHORT, max_new_tokens=9))
    options = {"seconds": 8.0, "head_tokens": hearing.span.first, "suffix_tokens": len(lm.tokens(SHORT).tail)}

    def flops(passes: int, answer: int) -> int:
        return cost(model.config, **options, passes_per_query=passes, answer_tokens=answer).forward_flops

    assert hearing_took == pytest.approx(flops(0, 0), rel=0.02)
    assert reading_took == pytest.approx(flops(5, 0) - flops(0, 0), rel=0.02)
    assert answering_took == pytest.approx(flops(0, 9) - flops(0, 0), rel=0.02)


def test_flops_of_the_full_model_within_one_percent(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on the meta device: every product of the real model is counted, none is computed."""
    # Its mask is looked into, which tensors without numbers do not allow.
    monkeypatch.setattr(modeling_audioflamingo3, "create_bidirectional_mask", lambda **_: None)
    model, config = on_meta(model_type)
    mask = {} if model_type == "qwen2_audio" else {"input_features_mask": torch.ones(1, 3000, device="meta")}
    width, cache = config.text_config.hidden_size, DynamicCache()

    def states(rows: int, tokens: int) -> torch.Tensor:
        return torch.empty(rows, tokens, width, dtype=torch.bfloat16, device="meta")

    def scene() -> None:
        features = torch.empty(1, 128, 3000, dtype=torch.bfloat16, device="meta")
        model.model.multi_modal_projector(model.model.audio_tower(features, **mask).last_hidden_state)
        model.model.language_model(inputs_embeds=states(1, 20 + 425), use_cache=True, **{CACHE: cache})

    def suffix() -> None:
        output = model.model.language_model(inputs_embeds=states(1, 32), use_cache=True, **{CACHE: cache})
        model.lm_head(output.last_hidden_state[:, -1])

    with torch.no_grad():
        scene_took, suffix_took = counted(scene), counted(suffix)
    without = cost(config, passes_per_query=0).forward_flops
    assert scene_took == pytest.approx(without, rel=0.01)
    assert suffix_took == pytest.approx(cost(config).forward_flops - without, rel=0.01)


@pytest.mark.parametrize("rows", [2, 18])  # 18: the most that the library takes of Qwen2-Audio's caches
def test_the_peak_is_what_is_alive_at_once(model_type: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never less than is alive in the real model's two kinds of call, and at most a quarter more."""
    # A fused kernel, as on a GPU: it returns the output and keeps no scores.
    fused = lambda query, *_, **__: torch.empty_like(query)  # noqa: E731
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", fused)
    model, config = on_meta(model_type)
    estimated = cost(config, rows=rows)
    width, cache = config.text_config.hidden_size, DynamicCache()
    with torch.no_grad(), AliveBytes(model) as alive:
        prefix = torch.empty(1, 445, width, dtype=torch.bfloat16, device="meta")
        model.model.language_model(inputs_embeds=prefix, use_cache=True, **{CACHE: cache})
        kept = [(layer.keys, layer.values) for layer in cache.layers]
        for layer, (keys, values) in zip(cache.layers, kept, strict=True):
            layer.keys, layer.values = keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)
        output = model.model.language_model(
            inputs_embeds=torch.empty(rows, 32, width, dtype=torch.bfloat16, device="meta"),
            attention_mask=torch.ones(rows, 1, 32, 477, dtype=torch.bool, device="meta"),
            use_cache=True,
            **{CACHE: cache},
        )
        model.lm_head(output.last_hidden_state[:, -1]).float()
    assert alive.peak <= estimated.peak_bytes - estimated.weight_bytes <= 1.25 * alive.peak


def test_scenes_queries_and_passes_add_up(one_model: AudioLM) -> None:
    def with_options(**options: Any) -> Cost:
        return cost(one_model.model.config, **{"seconds": 2.0, **options})

    empty, one, two = with_options(passes_per_query=0), with_options(), with_options(passes_per_query=2)
    assert two.forward_flops - one.forward_flops == one.forward_flops - empty.forward_flops > 0
    many = with_options(scenes=7, queries=2)
    assert many.forward_flops == 7 * two.forward_flops
    assert (many.passes, many.read_bytes) == (7 * two.passes, 7 * two.read_bytes)
    assert many.peak_bytes == one.peak_bytes and many.weight_bytes == one.weight_bytes
    # A word is a suffix and nothing more; each further one is a pass of one token.
    assert with_options(passes_per_query=0, answer_tokens=1).forward_flops == one.forward_flops
    assert (empty.passes, one.passes, with_options(answer_tokens=32).passes) == (1, 2, 34)
    assert with_options(seconds=4.0).peak_bytes > one.peak_bytes > with_options(rows=1).peak_bytes


def test_a_longer_audio_takes_more_windows(tiny_models: dict[str, AudioLM]) -> None:
    config = tiny_models["audioflamingo3"].model.config  # windows of 4 s
    flops = [cost(config, seconds=seconds, passes_per_query=0).forward_flops for seconds in (3.96, 4.0, 4.04, 80.0)]
    assert flops[2] - flops[1] > 10 * (flops[1] - flops[0]) > 0  # one window more, and always a whole one
    assert flops[3] > 20 * flops[1]
    with pytest.raises(ValueError, match=r"0\.1 to 80 s"):
        cost(config, seconds=80.1)


def test_hours() -> None:
    run = Cost(1, 2, 3, 4, forward_flops=36 * 10**15, read_bytes=18 * 10**14, passes=1)
    assert run.hours_at(tflops=10) == pytest.approx(1.0)
    assert run.hours_at(10, gigabytes_per_second=500) == pytest.approx(2.0)
    for rates in ((0.0,), (-1.0,), (math.nan,), (10.0, 0.0), (math.inf,)):
        with pytest.raises(ValueError, match="positive number"):
            run.hours_at(*rates)


def test_the_table_names_both_checkpoints_and_says_that_nothing_was_run() -> None:
    table = cost_table(passes_per_query=34)
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert [tuple(cell.strip() for cell in row.split("|")[1:4]) for row in rows] == [
        ("Qwen/Qwen2-Audio-7B-Instruct", "bfloat16", "16.8 GB"),
        ("Qwen/Qwen2-Audio-7B-Instruct", "float32", "33.6 GB"),
        ("nvidia/audio-flamingo-3-hf", "bfloat16", "16.5 GB"),
        ("nvidia/audio-flamingo-3-hf", "float32", "33.1 GB"),
    ]
    assert "not run here" in table and "300 scenes of 17 s" in table and "assumed" in table


def test_the_configuration_is_left_as_it_was(one_model: AudioLM) -> None:
    config = one_model.model.config
    before, state = config.to_dict(), torch.random.get_rng_state()
    cost(config, seconds=2.0)
    assert config.to_dict() == before and torch.equal(torch.random.get_rng_state(), state)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["scenes", "queries", "rows", "suffix_tokens", "passes_per_query", "answer_tokens"]),
    value=st.one_of(st.integers(max_value=-1), st.floats(), st.booleans(), st.none(), st.text(max_size=3)),
)
def test_numbers_that_count_nothing(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is .* whole number"):
        cost(None, **{name: value})  # before the configuration is looked at


@pytest.mark.parametrize("seconds", [0.0, 0.05, -1.0, 4.02, math.nan, math.inf])
def test_audio_that_does_not_fit(tiny_models: dict[str, AudioLM], seconds: float) -> None:
    with pytest.raises(ValueError, match=r"Qwen2-Audio of this size takes 0\.1 to 4 s"):
        cost(tiny_models["qwen2_audio"].model.config, seconds=seconds)


def test_other_models_and_numbers() -> None:
    with pytest.raises(UnsupportedModelError, match="'gpt2' is not supported"):
        cost(transformers.GPT2Config())
    for dtype in (torch.int8, "bfloat16", None):
        with pytest.raises(ValueError, match=r"dtype is .*torch\.bfloat16"):
            cost(None, dtype=dtype)
