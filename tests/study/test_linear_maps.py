"""Linear maps between states: known maps come back, penalties shrink, and what cannot be fitted is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from steer_utils.study.transfer import LEAST_PAIRS, procrustes_map, ridge_map

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
