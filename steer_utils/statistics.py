"""Intervals and known answers for localisation figures.

The unit is the scene, not the query: three queries share one audio, so scenes are what is drawn again in the
bootstrap. Chance is computed, not simulated: the mean overlap of a window placed uniformly on the token grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .spans import AudioSpan, Interval

RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over `n` queries in `clusters` scenes."""

    mean: float
    low: float
    high: float
    n: int
    clusters: int


def random_overlap(truth: Interval, span: AudioSpan, seconds: float) -> float:
    """Expected overlap |W ∩ E| / |E| of a window of `seconds` placed uniformly at token steps, in 0..1.

    Enumerates the placements: O(tokens). A middle event has twice the chance of an edge one (41.7 against 20.8 % for
    5 s clips with 1 s gaps), so a figure per slot means something only beside its chance. Raises ValueError for a
    width that is not a positive number.
    """
    width = span.window_tokens(seconds)
    starts = np.arange(span.count - width + 1) * span.seconds_per_token
    shared = np.minimum(starts + width * span.seconds_per_token, truth.end) - np.maximum(starts, truth.start)
    return float(np.clip(shared, 0, None).mean() / truth.duration)


def cluster_mean(values: np.ndarray, clusters: np.ndarray, *, seed: int = 0) -> Estimate:
    """Mean of `values` (n,) with a percentile bootstrap over the clusters (n,) they come from: scenes are drawn again.

    Raises ValueError for no values, values that are not finite, or another number of clusters than of values. One
    cluster gives no interval: low = high = NaN.
    """
    values, clusters = np.asarray(values, float), np.asarray(clusters)
    if values.ndim != 1 or clusters.shape != values.shape:
        raise ValueError(f"values {values.shape} and clusters {clusters.shape} must be lists of one length")
    if values.size == 0 or not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"need finite values to average, got {values.size} values, {bad} of them NaN or infinite")
    _, index = np.unique(clusters, return_inverse=True)
    sums, counts = np.bincount(index, weights=values), np.bincount(index)
    mean = float(values.mean())
    if len(sums) < 2:
        return Estimate(mean, float("nan"), float("nan"), values.size, len(sums))
    rng = np.random.default_rng(seed)
    # How often each cluster is drawn: the same as drawing them with replacement one by one, and summing.
    times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    low, high = np.percentile((times @ sums) / (times @ counts), (2.5, 97.5))
    # Where all scenes agree the resampled means differ from `mean` by rounding only; the mean stays inside.
    return Estimate(mean, min(float(low), mean), max(float(high), mean), values.size, len(sums))


def paired_difference(first: np.ndarray, second: np.ndarray, clusters: np.ndarray, *, seed: int = 0) -> Estimate:
    """Mean of first - second over the same queries, with the bootstrap of `cluster_mean`.

    Raises ValueError for unequal shapes, and as `cluster_mean` does.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape:
        raise ValueError(f"paired values need equal shapes, got {first.shape} and {second.shape}")
    return cluster_mean(first - second, clusters, seed=seed)


def chance_corrected(overlap: float, chance: float) -> float:
    """(o - c) / (1 - c): 0 at chance, 1 for a perfect window. NaN where the chance is 1: the window is the audio."""
    if not 0.0 <= chance <= 1.0:
        raise ValueError(f"chance is {chance}; pass a number from 0 to 1")
    if chance == 1.0:
        return float("nan")
    return (overlap - chance) / (1.0 - chance)
