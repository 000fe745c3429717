"""Linear maps between the states of two models: known maps come back; a vector carried onto its own model is itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from tinies import tiny

from steer_utils.lm.models import AudioLM
from steer_utils.lm.vectors import SteeringVector, VectorMismatchError
from steer_utils.study.alignment import (
    LEAST_PAIRS,
    PENALTIES,
    SharedStates,
    align,
    align_all,
    alignment_scores,
    carried,
    procrustes_map,
    ridge_map,
    shared_states,
)

# -- linear maps -----------------------------------------------------------------------------------------------------
RNG = np.random.default_rng(2)
X = RNG.normal(size=(60, 8)) * np.linspace(3, 0.5, 8) + 5.0
W, SHIFT = RNG.normal(size=(8, 5)), RNG.normal(size=5)


def test_ridge_without_penalty_is_exact_on_linear_data() -> None:
    found = ridge_map(X, X @ W + SHIFT, 0.0)
    np.testing.assert_allclose(found.weights, W, atol=1e-10)
    np.testing.assert_allclose(found(X), X @ W + SHIFT, atol=1e-10)
    assert found.explained(X, X @ W + SHIFT) == pytest.approx(1.0)


@pytest.mark.parametrize("pairs", [60, 12, 10])
def test_ridge_is_the_closed_form(pairs: int) -> None:
    """Also with fewer pairs than dimensions."""
    wide = RNG.normal(size=(pairs, 30))
    y = RNG.normal(size=(pairs, 4))
    centred = wide - wide.mean(axis=0)
    strength = 0.1 * np.trace(centred.T @ centred) / 30
    expected = np.linalg.solve(centred.T @ centred + strength * np.eye(30), centred.T @ (y - y.mean(axis=0)))
    np.testing.assert_allclose(ridge_map(wide, y, 0.1).weights, expected, atol=1e-10)


def test_least_squares_of_the_smallest_norm_where_pairs_are_few() -> None:
    wide, y = RNG.normal(size=(12, 30)), RNG.normal(size=(12, 4))
    expected = np.linalg.pinv(wide - wide.mean(axis=0)) @ (y - y.mean(axis=0))
    np.testing.assert_allclose(ridge_map(wide, y, 0.0).weights, expected, atol=1e-9)


def test_a_larger_penalty_shrinks_and_scale_does_not_matter() -> None:
    y = X @ W + RNG.normal(size=(60, 5))
    norms = [np.linalg.norm(ridge_map(X, y, penalty).weights) for penalty in (0.0, 0.01, 0.1, 1.0, 100.0)]
    assert norms == sorted(norms, reverse=True) and norms[-1] < 0.1 * norms[0]
    np.testing.assert_allclose(ridge_map(1000 * X, y, 0.1)(1000 * X), ridge_map(X, y, 0.1)(X))


def test_procrustes_recovers_a_rotation_with_its_scale() -> None:
    rotation = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
    found = procrustes_map(X, 2.5 * X @ rotation + 3.0)
    np.testing.assert_allclose(found.weights, 2.5 * rotation, atol=1e-10)
    np.testing.assert_allclose(found(X), 2.5 * X @ rotation + 3.0, atol=1e-9)
    y = RNG.normal(size=(60, 8))  # and of what is none, the best: scipy is the oracle
    x, centred = X - X.mean(axis=0), y - y.mean(axis=0)
    best, scale = orthogonal_procrustes(x, centred)
    np.testing.assert_allclose(procrustes_map(X, y).weights, best * scale / np.sum(x**2), atol=1e-10)


@pytest.mark.parametrize("width", [3, 14])
def test_procrustes_between_widths_keeps_angles(width: int) -> None:
    turn = np.linalg.qr(RNG.normal(size=(14, 14)))[0]
    wide = np.pad(X - X.mean(axis=0), ((0, 0), (0, 6))) @ turn
    target = wide[:, :width]
    weights = procrustes_map(X, target).weights
    assert weights.shape == (8, width)
    gram = weights @ weights.T if width > 8 else weights.T @ weights
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(len(gram)), atol=1e-10)
    if width > 8:  # all of it can be had
        assert procrustes_map(X, target).explained(X, target) == pytest.approx(1.0)


def test_explained_knows_bad_from_worse() -> None:
    y = X @ W
    found = ridge_map(X, y, 0.0)
    assert found.explained(X, np.random.default_rng(0).permutation(y)) < 0.1
    assert found.explained(X, -y) < 0


def test_what_cannot_be_fitted_is_refused() -> None:
    y = X @ W
    for fit in (lambda a, b: ridge_map(a, b, 0.1), procrustes_map):
        with pytest.raises(ValueError, match=f"{LEAST_PAIRS - 1} pairs of states are too few"):
            fit(X[: LEAST_PAIRS - 1], y[: LEAST_PAIRS - 1])
        with pytest.raises(ValueError, match="in pairs, got"):
            fit(X, y[:-1])
        with pytest.raises(ValueError, match="in pairs, got"):
            fit(X[:, 0], y[:, 0])
        with pytest.raises(ValueError, match="NaN or infinity"):
            fit(X, y * np.nan)
    for penalty in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="0 or more"):
            ridge_map(X, y, penalty)


# -- alignments and vectors ------------------------------------------------------------------------------------------
PROMPTS = ("Focus on the dog bark.", "Focus on the bell.", "What do you hear?", "How loud is it?")
NEUTRAL = "Listen to the whole audio."


@pytest.fixture(scope="module")
def audios() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [(0.2 * rng.normal(size=32_000)).astype(np.float32) for _ in range(6)]


@pytest.fixture(scope="module")
def models() -> tuple[AudioLM, AudioLM]:
    return tiny("qwen2_audio"), tiny("audioflamingo3")


@pytest.fixture(scope="module")
def states(models: tuple[AudioLM, AudioLM], audios: list[np.ndarray]) -> list[SharedStates]:
    return [shared_states(lm, audios, PROMPTS, NEUTRAL) for lm in models]


def test_shared_states_are_the_readings(
    models: tuple[AudioLM, AudioLM], states: list[SharedStates], audios: list[np.ndarray]
) -> None:
    lm, own = models[0], states[0]
    assert own.hidden.shape == (30, lm.num_blocks, lm.hidden_size) and own.prompts[4] == NEUTRAL
    hearing = lm.hear(audios[2], sampling_rate=16_000)
    np.testing.assert_allclose(own.hidden[11], hearing.read(PROMPTS[1]).hidden.double(), atol=1e-4)
    assert own.scenes[11] == 2 and own.prompts[11] == PROMPTS[1]
    contrast = hearing.contrast(PROMPTS[1], NEUTRAL)
    np.testing.assert_allclose(own.contrasts(2)[9], contrast.directions[2].double(), atol=1e-4)
    assert own.contrasts(2).shape == (24, lm.hidden_size)
    fewer = own.of(PROMPTS[1:2])
    assert fewer.prompts == (PROMPTS[1], NEUTRAL) * 6 and fewer.hidden.shape[0] == 12
    np.testing.assert_array_equal(fewer.contrasts(2), own.contrasts(2)[1::4])


def test_a_model_mapped_onto_itself_returns_the_vector(
    models: tuple[AudioLM, AudioLM], states: list[SharedStates], audios: list[np.ndarray]
) -> None:
    lm, own = models[0], states[0]
    vector = lm.hear(audios[0], sampling_rate=16_000).contrast(PROMPTS[0], NEUTRAL)
    alignments = [align(own, own, block, source_block=block, penalty=0.0) for block in (0, 2)]
    back = carried(vector, alignments, lm, rescale=False)
    assert back.blocks == (0, 2) and alignments[0].held_out <= 1.0
    # The vector lies in the span of the states, because it is a difference of two of them.
    torch.testing.assert_close(back.directions[[0, 2]], vector.directions[[0, 2]], atol=1e-3, rtol=1e-3)
    turned = carried(vector, [align(own, own, 0, kind="rotation", source_block=0)], lm, rescale=False)
    torch.testing.assert_close(turned.directions[0], vector.directions[0], atol=1e-3, rtol=1e-3)


def test_carried_between_widths(
    models: tuple[AudioLM, AudioLM], states: list[SharedStates], audios: list[np.ndarray]
) -> None:
    first, second = models
    narrow = SharedStates("narrow", states[1].hidden[:, :, :31], states[1].scenes, states[1].prompts, NEUTRAL)
    aligned = align(states[0], narrow, 1)
    assert aligned.linear.weights.shape == (first.hidden_size, 31) and aligned.penalty in PENALTIES
    vector = first.hear(audios[0], sampling_rate=16_000).contrast(PROMPTS[0], NEUTRAL)
    with pytest.raises(VectorMismatchError, match="fit it on the states of these two models"):
        carried(vector, [aligned], second)
    fits = align(states[0], states[1], 1)
    moved = carried(vector, [fits], second)
    assert moved.directions.shape == (second.num_blocks, second.hidden_size) and moved.acting_blocks() == (1,)
    assert float(moved.norms()[1]) == pytest.approx(fits.length, rel=1e-5)
    assert float(moved.norm_ratio()[1]) == pytest.approx(fits.length / fits.norm, rel=1e-5)
    assert moved.provenance.model == second.name and first.name in moved.provenance.recipe
    moved.check_fits(second)  # no warning of another family
    reading = second.hear(audios[0], sampling_rate=16_000).read(PROMPTS[2], steer=moved)
    assert torch.isfinite(reading.logits).all()


def test_block_and_penalty_are_the_best_on_held_out_scenes(states: list[SharedStates]) -> None:
    scores = alignment_scores(states[0], states[1], 2)
    assert scores.shape == (states[0].hidden.shape[1], len(PENALTIES))
    chosen = align(states[0], states[1], 2)
    block, penalty = np.unravel_index(np.argmax(scores), scores.shape)
    assert (chosen.source_block, chosen.penalty) == (block, PENALTIES[penalty])
    assert chosen.held_out == pytest.approx(scores.max())
    assert align(states[0], states[1], 2, source_block=0).penalty == PENALTIES[int(np.argmax(scores[0]))]


def test_shuffled_pairs_know_nothing(states: list[SharedStates]) -> None:
    right = align(states[0], states[0], 1)
    mixed = [align(states[0], states[0], 1, source_block=1, penalty=0.1, shuffle=seed) for seed in (0, 1)]
    assert right.held_out > 0.5 > 0.3 > mixed[0].held_out and mixed[0].length == right.length
    assert not np.allclose(mixed[0].linear.weights, mixed[1].linear.weights)


def test_a_map_for_each_block_and_controls_like_it(states: list[SharedStates]) -> None:
    best = align_all(*states, (1, 3))
    assert [each.target_block for each in best] == [1, 3]
    for block, each in zip((1, 3), best, strict=True):
        np.testing.assert_array_equal(each.linear.weights, align(*states, block).linear.weights)
    control = align_all(*states, (1, 3), like=best, shuffle=4)
    assert [(one.source_block, one.penalty) for one in control] == [(one.source_block, one.penalty) for one in best]
    assert not np.allclose(control[0].linear.weights, best[0].linear.weights)
    turned = align_all(*states, (1, 3), like=best, kind="rotation")
    assert [one.source_block for one in turned] == [one.source_block for one in best] and turned[0].penalty is None


def test_what_is_not_shared_is_refused(
    models: tuple[AudioLM, AudioLM], states: list[SharedStates], audios: list[np.ndarray]
) -> None:
    with pytest.raises(ValueError, match="not asked the same"):
        align(states[0], states[1].of(PROMPTS[:2]), 0)
    few = shared_states(models[0], audios[:2], PROMPTS, NEUTRAL)
    with pytest.raises(ValueError, match="2 scenes are too few"):
        align(few, few, 0)
    with pytest.raises(ValueError, match="never asked: Focus on the siren"):
        states[0].of(["Focus on the siren."])
    for prompts in ((), (NEUTRAL,), (PROMPTS[0], PROMPTS[0])):
        with pytest.raises(ValueError, match="differ from each other"):
            shared_states(models[0], audios, prompts, NEUTRAL)
    aligned = align(states[0], states[1], 0)
    with pytest.raises(VectorMismatchError):
        carried(SteeringVector(torch.ones(2, 7), (0,), torch.ones(2)), [aligned], models[1])
