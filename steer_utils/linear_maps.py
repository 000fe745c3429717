"""Linear maps between the states of two models: ridge regression, and a rotation (Procrustes).

    fitted = ridge_map(source, target, penalty=0.01)       # states (pairs, a) and (pairs, b) on the same inputs
    fitted(source), fitted.explained(held_out_source, held_out_target)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import orthogonal_procrustes

LEAST_PAIRS = 10  # fewer pairs of states say nothing of a map between spaces of a hundred dimensions or more


@dataclass(frozen=True, eq=False)
class LinearMap:
    """y = (x - source_mean) @ weights + target_mean. `weights`: (source width, target width)."""

    weights: np.ndarray
    source_mean: np.ndarray
    target_mean: np.ndarray

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """States (pairs, source width) as the other model would have them, (pairs, target width)."""
        return (states - self.source_mean) @ self.weights + self.target_mean

    def explained(self, source: np.ndarray, target: np.ndarray) -> float:
        """R²: the share of the variance of `target` (pairs, width) about its own mean that the map predicts.

        1 is perfect, 0 no better than that mean; below 0, worse.
        """
        rest = np.sum((target - self(source)) ** 2)
        return float(1.0 - rest / np.sum((target - target.mean(axis=0)) ** 2))


def ridge_map(source: np.ndarray, target: np.ndarray, penalty: float) -> LinearMap:
    """Ridge regression of `target` (pairs, b) on `source` (pairs, a), both centred, in closed form:

        W = (XᵀX + λI)⁻¹ XᵀY,     λ = penalty · trace(XᵀX) / a

    so that `penalty` means the same whatever the scale of the states. 0 is least squares (of the smallest norm, where
    there are fewer pairs than dimensions). Cost: one SVD of X. Raises ValueError as `_checked` does, and for a penalty
    that is negative or not finite.
    """
    if not (np.isfinite(penalty) and penalty >= 0):
        raise ValueError(f"penalty is {penalty}; pass a number of 0 or more")
    source, target = _checked(source, target)
    x, y = source - source.mean(axis=0), target - target.mean(axis=0)
    left, values, right = np.linalg.svd(x, full_matrices=False)
    strength = penalty * np.sum(values**2) / x.shape[1]
    kept = values > values.max() * max(x.shape) * np.finfo(float).eps  # directions that the pairs do not have
    shrunk = np.where(kept, values / np.where(kept, values**2 + strength, 1.0), 0.0)
    return LinearMap((right.T * shrunk) @ (left.T @ y), source.mean(axis=0), target.mean(axis=0))


def procrustes_map(source: np.ndarray, target: np.ndarray) -> LinearMap:
    """The best rotation (with reflection) of centred `source` onto centred `target`, and one scale (Schönemann 1966).

    It can turn the space but not bend it: no direction is stretched more than another, so it has far fewer ways to fit
    than ridge. The narrower of two widths is padded with zeros. Raises ValueError as `_checked` does.
    """
    source, target = _checked(source, target)
    x, y = source - source.mean(axis=0), target - target.mean(axis=0)
    width = max(x.shape[1], y.shape[1])
    padded = [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in (x, y)]
    rotation = orthogonal_procrustes(*padded)[0][: x.shape[1], : y.shape[1]]
    turned = x @ rotation
    scale = np.sum(turned * y) / max(float(np.sum(turned**2)), 1e-30)
    return LinearMap(scale * rotation, source.mean(axis=0), target.mean(axis=0))


def _checked(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64. Raises ValueError unless they are finite (pairs, width), of as many pairs, and enough."""
    source, target = np.asarray(source, float), np.asarray(target, float)
    if source.ndim != 2 or target.ndim != 2 or len(source) != len(target):
        raise ValueError(f"pass states (pairs, width) in pairs, got {source.shape} and {target.shape}")
    if len(source) < LEAST_PAIRS:
        raise ValueError(f"{len(source)} pairs of states are too few to fit a map; pass at least {LEAST_PAIRS}")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError("the states hold NaN or infinity")
    return source, target
