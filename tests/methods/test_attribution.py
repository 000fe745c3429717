"""Gradients and occlusion: each against a full forward through the unmodified model, and against known answers."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from watched_work import failed

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods import attribution
from steer_utils.methods.asking import presence_probability
from steer_utils.methods.attribution import (
    FORWARD_ROWS,
    GRADIENT_ROWS,
    PresenceLogit,
    covering_mean,
    gradient_input,
    gradients,
    integrated,
    integrated_gradients,
    occluded_drops,
    occlusion,
    presence_logit,
    sliding_windows,
)
from steer_utils.methods.base import Query
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import AudioSpan

OWN = Settings(presence="Is there a {event} in the audio? Answer yes or no.")
QUERY = Query("dog bark", 0.5)
METHODS = (gradient_input, integrated_gradients, occlusion)


@pytest.fixture
def question(hearing: Hearing) -> PresenceLogit:
    return presence_logit(hearing, QUERY, OWN)


@pytest.fixture
def one_question(one_hearing: Hearing) -> PresenceLogit:
    return presence_logit(one_hearing, QUERY, OWN)


@contextmanager
def entering(lm: AudioLM, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """What enters the decoder is changed: the way into an unmodified full forward."""

    def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "inputs_embeds": change(kwargs["inputs_embeds"])}

    handle = lm.decoder.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def log_odds(lm: AudioLM, inputs: dict[str, Any]) -> torch.Tensor:
    """yes - no of one full, uncached forward; the tiny tokenizers are lower case and know one token for each."""
    yes, no = (lm.processor.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    logits = lm.model(**inputs, use_cache=False).logits[0, -1]
    return logits[yes] - logits[no]


@dataclass(frozen=True, eq=False)
class Known:
    """A function of embeddings with known gradients, in place of a `PresenceLogit`: f(x) = Σ w x + c Σ x²."""

    weights: torch.Tensor
    audio: torch.Tensor
    baseline: torch.Tensor
    curvature: float = 0.0

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def logits(self, audio: torch.Tensor, unchanged: int | None = None) -> torch.Tensor:
        return (audio * self.weights).sum(dim=(1, 2)) + self.curvature * audio.square().sum(dim=(1, 2))


def known(curvature: float) -> Any:
    generator = torch.Generator().manual_seed(0)
    weights, audio, baseline = torch.randn(3, 10, 4, generator=generator, dtype=torch.float64)
    return Known(weights, audio, baseline, curvature)


# The quantity explained ---------------------------------------------------------------------------------------------


def test_it_is_the_log_odds_that_presence_reads(hearing: Hearing, question: PresenceLogit) -> None:
    value = question.logits(question.audio[None])
    assert float(value.sigmoid()) == pytest.approx(presence_probability(hearing, "dog bark", OWN), abs=1e-5)
    assert question.audio.shape == (hearing.span.count, hearing.checkpoint.hidden_size)
    other = presence_logit(hearing, Query("bell", 0.5), OWN)
    assert abs(float(other.logits(other.audio[None]) - value)) > 1e-2


def test_unchanged_tokens_come_from_the_shared_prefix(question: PresenceLogit) -> None:
    generator = torch.Generator().manual_seed(1)
    count = len(question.audio)
    for unchanged in (0, 1, 20, count):
        audio = question.audio.repeat(3, 1, 1)
        audio[1:, unchanged:] += torch.randn(2, count - unchanged, audio.shape[2], generator=generator)
        full = question.logits(audio)
        torch.testing.assert_close(question.logits(audio, unchanged), full, atol=2e-4, rtol=1e-4)
        assert unchanged == count or float(full.max() - full.min()) > 1e-2


# Gradients ----------------------------------------------------------------------------------------------------------


def test_gradients_equal_those_of_a_full_forward(
    lm: AudioLM, hearing: Hearing, question: PresenceLogit, samples: np.ndarray, full_inputs: Any
) -> None:
    span = slice(hearing.span.first, hearing.span.stop)
    leaves: list[torch.Tensor] = []

    def leaf(entered: torch.Tensor) -> torch.Tensor:
        leaves.append(entered.detach().clone().requires_grad_(True))
        return leaves[0]

    with entering(lm, leaf):
        value = log_odds(lm, full_inputs(lm, (OWN.presence.format(event="dog bark"), samples)))
    value.backward()
    assert leaves[0].grad is not None
    expected, heard = leaves[0].grad[0, span], leaves[0].detach()[0, span]
    found_value, found = gradients(question, question.audio[None])
    assert float(found_value) == pytest.approx(float(value.detach()), abs=1e-4)
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-3)
    curve = gradient_input(hearing, QUERY, OWN).curve
    assert curve is not None and curve.max() > 1e-3
    np.testing.assert_allclose(curve, (expected * heard).sum(dim=1).abs().numpy(), atol=1e-3, rtol=1e-3)


def test_gradients_equal_finite_differences(lm: AudioLM, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Any, states: torch.Tensor) -> torch.Tensor:  # as in transformers, without its float32 inside
        return self.weight * states * (states.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()

    monkeypatch.setattr(Qwen2RMSNorm, "forward", forward)
    wide = AudioLM(copy.deepcopy(lm.model).double(), lm.processor, lm.family, "double")
    question = presence_logit(wide.hear(samples, sampling_rate=16_000), QUERY, OWN)
    audio = question.audio.clone()
    assert audio.dtype == torch.float64
    _, slopes = gradients(question, audio[None])
    generator = torch.Generator().manual_seed(2)
    directions = torch.randn(4, *audio.shape, generator=generator, dtype=torch.float64)
    directions[0] = 0
    directions[0, 30, 5] = 1  # one number of one token
    directions /= directions.flatten(1).norm(dim=1)[:, None, None]
    step = 1e-5
    with torch.no_grad():
        numeric = (question.logits(audio + step * directions) - question.logits(audio - step * directions)) / (2 * step)
    expected = (slopes * directions).sum(dim=(1, 2))
    torch.testing.assert_close(numeric, expected, rtol=1e-5, atol=1e-8)
    assert expected.abs().min() > 1e-6


def test_many_rows_equal_rows_alone(one_question: PresenceLogit) -> None:
    generator = torch.Generator().manual_seed(3)
    audio = one_question.audio + 0.3 * torch.randn(GRADIENT_ROWS + 1, *one_question.audio.shape, generator=generator)
    values, slopes = gradients(one_question, audio)
    assert values.shape == (GRADIENT_ROWS + 1,) and slopes.shape == audio.shape
    for row in range(len(audio)):
        value, slope = gradients(one_question, audio[row : row + 1])
        torch.testing.assert_close(value[0], values[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(slope[0], slopes[row], atol=1e-4, rtol=1e-3)
    assert float(values.max() - values.min()) > 1e-2


# Integrated gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("curvature", "steps"), [(0.0, 1), (0.7, 1), (0.7, 16)])
def test_integrated_gradients_are_exact_where_the_gradient_is_linear(curvature: float, steps: int) -> None:
    function = known(curvature)
    x, base = function.audio, function.baseline
    expected = (function.weights * (x - base) + curvature * (x.square() - base.square())).sum(dim=1)
    torch.testing.assert_close(integrated(function, steps), expected)


def test_completeness(one_question: PresenceLogit) -> None:
    with torch.no_grad():
        change = float(one_question.logits(one_question.audio[None]) - one_question.logits(one_question.baseline[None]))
    errors = {steps: abs(float(integrated(one_question, steps).sum()) - change) for steps in (1, 16, 64)}
    assert abs(change) > 0.05
    assert errors[64] < 0.02 * abs(change)
    assert errors[64] < errors[1]


def test_the_baseline_is_the_mean_and_explains_nothing(one_question: PresenceLogit) -> None:
    base = one_question.baseline
    assert base.shape == one_question.audio.shape
    torch.testing.assert_close(base[7], one_question.audio.mean(dim=0))
    embeddings = one_question.prefix.embeddings.clone()
    embeddings[0, one_question.prefix.span.first :] = base
    flat = replace(one_question, prefix=replace(one_question.prefix, embeddings=embeddings))
    assert float(integrated(flat, 2).abs().max()) < 1e-4


def test_the_method_takes_sixteen_signed_steps(one_hearing: Hearing, one_question: PresenceLogit) -> None:
    curve = integrated_gradients(one_hearing, QUERY, OWN).curve
    assert curve is not None and curve.min() < 0 < curve.max()
    np.testing.assert_allclose(curve, integrated(one_question, 16).numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="steps is 0"):
        integrated(one_question, 0)


def test_captum_agrees(one_question: PresenceLogit) -> None:
    captum = pytest.importorskip("captum.attr")
    path = captum.IntegratedGradients(lambda audio: one_question.logits(audio))
    audio, base = one_question.audio.clone()[None], one_question.baseline.clone()[None]
    made = path.attribute(audio, base, n_steps=16, method="gausslegendre", internal_batch_size=4)
    torch.testing.assert_close(integrated(one_question, 16), made[0].sum(dim=1).float(), atol=1e-3, rtol=1e-3)


# Occlusion ----------------------------------------------------------------------------------------------------------


def test_occlusion_equals_full_forwards(lm: AudioLM, hearing: Hearing, samples: np.ndarray, full_inputs: Any) -> None:
    first, count, width = hearing.span.first, hearing.span.count, 12
    starts = [0, 5, 10, 15, 20, 25, 30, 35, 38]
    assert len(starts) > FORWARD_ROWS and starts[-1] + width == count
    inputs = full_inputs(lm, (OWN.presence.format(event="dog bark"), samples))

    def without(start: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def change(entered: torch.Tensor) -> torch.Tensor:
            changed = entered.clone()
            changed[:, first + start : first + start + width] = entered[:, first : first + count].mean(1, keepdim=True)
            return changed

        return change

    with torch.no_grad():
        heard = float(log_odds(lm, inputs))
        drops = []
        for start in starts:
            with entering(lm, without(start)):
                drops.append(heard - float(log_odds(lm, inputs)))
    assert max(drops) - min(drops) > 1e-2
    found = occlusion(hearing, QUERY, OWN)
    tokens = [
        np.mean([drop for start, drop in zip(starts, drops, strict=True) if start <= token < start + width])
        for token in range(count)
    ]
    assert found.curve is not None
    np.testing.assert_allclose(found.curve, tokens, atol=5e-4)


def test_windows_of_any_chunk_equal_windows_alone(one_question: PresenceLogit) -> None:
    starts = [0, 3, 9, 9, 20, 22, 30, 31, 40, 44]
    together = occluded_drops(one_question, starts, 6)
    alone = [occluded_drops(one_question, [start], 6)[0] for start in starts]
    np.testing.assert_allclose(together, alone, atol=2e-4)
    everything = occluded_drops(one_question, [0], len(one_question.audio))
    with torch.no_grad():
        change = one_question.logits(one_question.audio[None]) - one_question.logits(one_question.baseline[None])
    assert float(everything[0]) == pytest.approx(float(change), abs=2e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.floats(0.01, 40.0), st.floats(0.01, 5.0))
def test_windows_cover_every_token(count: int, seconds: float, stride: float) -> None:
    span = AudioSpan(3, count)
    starts, width = sliding_windows(span, seconds, stride)
    assert width == span.window_tokens(seconds)
    assert starts[0] == 0 and starts[-1] == count - width
    steps = np.diff(starts)
    assert ((steps > 0) & (steps <= min(width, span.window_tokens(stride)))).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.floats(0.04, 3.0), st.integers(0, 2**32 - 1))
def test_the_covering_mean_stays_within_its_windows(count: int, seconds: float, seed: int) -> None:
    starts, width = sliding_windows(AudioSpan(0, count), seconds)
    values = np.random.default_rng(seed).normal(size=len(starts))
    curve = covering_mean(values, starts, width, count)
    assert curve.shape == (count,)
    assert curve[0] == pytest.approx(values[0]) and curve[-1] == pytest.approx(values[-1])
    for token in range(count):
        covering = [value for start, value in zip(starts, values, strict=True) if start <= token < start + width]
        assert min(covering) - 1e-12 <= curve[token] <= max(covering) + 1e-12
    np.testing.assert_allclose(covering_mean(np.full(len(starts), 2.5), starts, width, count), 2.5)


# All methods --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_curve_depends_on_the_query_and_not_on_the_mode(one_hearing: Hearing, method: Any) -> None:
    found, again = (method(one_hearing, QUERY, OWN) for _ in range(2))
    np.testing.assert_array_equal(found.curve, again.curve)
    other = method(one_hearing, Query("bell", 0.5), OWN).curve
    assert np.abs(other - found.curve).max() > 1e-3 * np.abs(found.curve).max()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            np.testing.assert_allclose(method(one_hearing, QUERY, OWN).curve, found.curve, atol=1e-5)


def test_no_graph_stays_in_memory(one_hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every output that held a graph is gone as soon as the method returns, without the garbage collector."""
    made: list[weakref.ref[torch.Tensor]] = []
    held: list[bool] = []
    logits = PresenceLogit.logits

    def watched(self: PresenceLogit, audio: torch.Tensor, unchanged: int | None = None) -> torch.Tensor:
        value = logits(self, audio, unchanged)
        made.append(weakref.ref(value))
        held.append(value.grad_fn is not None)
        return value

    monkeypatch.setattr(PresenceLogit, "logits", watched)
    kept = [method(one_hearing, QUERY, OWN) for method in METHODS]
    assert len(kept) == 3 and len(held) > 5 and any(held)
    assert all(value() is None for value in made)
    assert not one_hearing._prefix.embeddings.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_errors_come_before_the_model_runs(
    lm: AudioLM, hearing: Hearing, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(lm.blocks[0]), "forward", failed)
    with pytest.raises(ValueError, match="a special token"):
        method(hearing, Query(f"dog {lm.processor.audio_token}", 0.5), OWN)
    with pytest.raises(RuntimeError, match="stopped"):
        method(hearing, QUERY, OWN)
    monkeypatch.setattr(attribution, "yes_and_no", lambda checkpoint: ([1], [1]))  # <unk> for both
    with pytest.raises(ValueError, match="no tokens of its own for yes and no"):
        method(hearing, QUERY, OWN)


def test_bfloat16(lm: AudioLM, samples: np.ndarray) -> None:
    half = AudioLM(copy.deepcopy(lm.model).to(torch.bfloat16), lm.processor, lm.family, "half")
    hearing = half.hear(samples, sampling_rate=16_000)
    for method in METHODS:
        curve = method(hearing, QUERY, OWN).curve
        assert curve is not None and np.isfinite(curve).all() and np.abs(curve).max() > 0
