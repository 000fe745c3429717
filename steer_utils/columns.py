"""Intervals and tests of many measures of the same queries at once, one measure a column.

`cluster_mean` and `sign_flip` draw anew for every measure, which takes minutes for some hundred of them (measure x
condition x block). Here scenes are drawn, and signs flipped, once for all columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from .statistics import DRAWS, RESAMPLES

AT_ONCE = 1000  # random sign patterns held at a time


@dataclass(frozen=True, eq=False)
class Columns:
    """For each column, (columns,): mean with its 95 % interval, and the two-sided p of the mean against zero."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    n: int
    clusters: int


def estimate_columns(values: np.ndarray, clusters: np.ndarray, *, resamples: int = DRAWS, seed: int = 0) -> Columns:
    """What `cluster_mean` and `sign_flip` say of each column of `values` (queries, columns); `clusters` (queries,).

    Intervals are the same numbers. p is of the same test: exact where there are no more than `resamples` patterns of
    signs, else with patterns drawn once for all columns. One cluster gives no interval (NaN) and p = 1.
    Raises ValueError for no values, values that are not finite, shapes that do not match, or fewer than one resample.
    """
    values, clusters = np.asarray(values, float), np.asarray(clusters)
    if values.ndim != 2 or clusters.shape != values.shape[:1] or not values.size or resamples < 1:
        raise ValueError(
            f"values {values.shape}, clusters {clusters.shape}, resamples {resamples}; pass values (queries, columns), "
            "one cluster a query, and at least one resample"
        )
    if bad := int(np.count_nonzero(~np.isfinite(values))):
        raise ValueError(f"need finite values to average, {bad} of {values.size} are NaN or infinite")
    _, index = np.unique(clusters, return_inverse=True)
    counts = np.bincount(index)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, index, values)
    mean = values.mean(axis=0)
    if len(counts) < 2:
        none = np.full(len(mean), np.nan)
        return Columns(mean, none, none, np.ones(len(mean)), len(values), len(counts))
    times = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    low, high = np.percentile((times @ sums) / (times @ counts)[:, None], (2.5, 97.5), axis=0)
    return Columns(
        mean=mean,
        low=np.minimum(low, mean),  # where all scenes agree, resampled means differ from the mean by rounding only
        high=np.maximum(high, mean),
        p=_flipped(sums, resamples, seed),
        n=len(values),
        clusters=len(counts),
    )


def _flipped(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Two-sided p of each column's total under signs of the clusters (clusters, columns): all patterns, or drawn."""
    observed, above, below = sums.sum(axis=0), np.zeros(sums.shape[1]), np.zeros(sums.shape[1])
    slack = 1e-12 * np.abs(sums).sum(axis=0)  # an equal total counts, however its sum was rounded
    exact = 2 ** len(sums) <= resamples
    for signs in _patterns(len(sums)) if exact else _drawn(len(sums), resamples, np.random.default_rng(seed)):
        totals = signs @ sums
        above += (totals >= observed - slack).sum(axis=0)
        below += (totals <= observed + slack).sum(axis=0)
    fewer = np.minimum(above, below)
    return np.minimum(1.0, 2 * fewer / 2 ** len(sums) if exact else 2 * (fewer + 1) / (resamples + 1))


def _patterns(clusters: int) -> Iterator[np.ndarray]:
    """All 2^clusters patterns of signs."""
    yield np.array(list(product((-1.0, 1.0), repeat=clusters)))


def _drawn(clusters: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """So many random patterns, AT_ONCE at a time."""
    for first in range(0, resamples, AT_ONCE):
        yield rng.choice((-1.0, 1.0), size=(min(AT_ONCE, resamples - first), clusters))
