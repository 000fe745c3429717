"""Intervals, tests and known answers for localisation figures over many queries.

The unit is the scene, not the query: three queries share one audio, so scenes are what is drawn again in the
bootstrap, rotated in the null test, and flipped in the paired test. Chance is computed, not simulated: the mean
overlap of a window placed uniformly on the token grid.

`cluster_mean` and `sign_flip` are for one measure. `estimate_columns` gives the same for hundreds of measures of the
same queries (measure x condition x block), one a column: scenes are drawn, and signs flipped, once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu, permutation_test

from steer_utils.sound.spans import AudioSpan, Interval, window_overlaps
from steer_utils.study.metrics import rotated_overlaps
from steer_utils.study.resume import Record

RESAMPLES = 4000
DRAWS = 10_000  # of the tests: the smallest p is 1e-4, and one of 0.05 has a standard error of 0.002
FLIPS_AT_ONCE = 1000  # patterns of signs held at a time


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over `n` queries in `clusters` scenes."""

    mean: float
    low: float
    high: float
    n: int
    clusters: int

    @property
    def half_width(self) -> float:
        """Half the interval: the ± of the mean. NaN with one scene.

        What to expect of q queries in each of S scenes: 1.96 sd √((1 + (q - 1) r) / (q S)), with sd the spread of one
        query and r the correlation of the queries of a scene. Assuming sd = 0.42 (overlaps that are mostly hits or
        misses, 0.5 to 0.6 on average), 200 scenes x 3 queries give ±3.4 points if r = 0, and ±4.0 if r = 0.2.
        """
        return 0.5 * (self.high - self.low)


@dataclass(frozen=True, eq=False)
class ColumnEstimates:
    """For each column, (columns,): mean with its 95 % interval, and the two-sided p of the mean against zero."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    n: int
    clusters: int


@dataclass(frozen=True)
class NullTest:
    """A mean overlap beside what it would be by chance: the null's mean, its central 95 %, and the one-sided p."""

    observed: float
    null_mean: float
    null_low: float
    null_high: float
    p: float


def random_overlap(truth: Interval, span: AudioSpan, seconds: float) -> float:
    """Expected overlap |W ∩ E| / |E| of a window of `seconds` placed uniformly at token steps, in 0..1.

    Enumerates the placements: O(tokens). A middle event has twice the chance of an edge one (41.7 against 20.8 % for
    5 s clips with 1 s gaps), so a figure per slot means something only beside its chance. Raises ValueError for a
    width that is not a positive number.
    """
    width = span.window_tokens(seconds)
    return float(window_overlaps(np.arange(span.count - width + 1), width, span, truth).mean())


def cluster_mean(values: np.ndarray, clusters: np.ndarray, *, seed: int = 0) -> Estimate:
    """Mean of `values` (n,) with a percentile bootstrap over the clusters (n,) they come from: scenes are drawn again.

    Raises ValueError for no values, values that are not finite, or another number of clusters than of values. One
    cluster gives no interval: low = high = NaN.
    """
    values = np.asarray(values, float)
    sums, counts = _by_cluster(values, _one_each(values, clusters))
    mean = values.mean()
    low, high = _bootstrap(sums, counts, mean, seed)
    return Estimate(float(mean), float(low), float(high), values.size, len(sums))


def paired_difference(first: np.ndarray, second: np.ndarray, clusters: np.ndarray, *, seed: int = 0) -> Estimate:
    """Mean of first - second over the same queries, with the bootstrap of `cluster_mean`.

    Raises ValueError for unequal shapes, and as `cluster_mean` does.
    """
    return cluster_mean(_paired(first, second), clusters, seed=seed)


def sign_flip(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray, *, resamples: int = DRAWS, seed: int = 0
) -> float:
    """Two-sided p of the mean of first - second over the same queries: the paired sign-flip permutation test.

    If two methods are alike, a scene's differences might as well have the other sign, all of them at once: its queries
    share one audio. Exact where the scenes have no more than `resamples` patterns of signs (1 for a single scene),
    else at least 2 / (resamples + 1). Raises ValueError for unequal shapes, fewer than one resample, and as
    `cluster_mean` does.
    """
    _check_resamples(resamples)
    gaps = _paired(first, second)
    sums, _ = _by_cluster(gaps, _one_each(gaps, clusters))
    if len(sums) < 2:  # scipy refuses one; both its signs give a mean as far from 0
        return 1.0
    # The mean difference is the sum of these over a number that no flip changes. `random_state` is what all scipy
    # versions from 1.13 on take.
    test = permutation_test(
        (sums,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=FLIPS_AT_ONCE,
        random_state=seed,
    )
    return float(test.pvalue)


def estimate_columns(
    values: np.ndarray, clusters: np.ndarray, *, resamples: int = DRAWS, seed: int = 0
) -> ColumnEstimates:
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
    sums, counts = _by_cluster(values, clusters)
    mean = values.mean(axis=0)
    low, high = _bootstrap(sums, counts, mean, seed)
    p = np.ones(len(mean)) if len(sums) < 2 else _flip_p(sums, resamples, seed)
    return ColumnEstimates(mean, low, high, p, len(values), len(sums))


def mean_record(values: pd.Series) -> Record:
    """`cluster_mean` of `values`, indexed by scene and what else names a query, as columns of a summary; p is NaN."""
    return _record(cluster_mean(values.to_numpy(), _scenes(values)), float("nan"))


def difference_record(first: pd.Series, second: pd.Series) -> Record:
    """`paired_difference` of first - second over the same queries, and its sign-flip p, as columns of a summary."""
    pair = first.to_numpy(), second.to_numpy(), _scenes(first)
    return _record(paired_difference(*pair), sign_flip(*pair))


def roc_area(scores: np.ndarray, there: np.ndarray) -> float:
    """Area under the ROC curve of `scores` (n,) for `there` (n,): the chance that what is there scores higher than what
    is not, 0..1, ties half. NaN where one of the two is missing."""
    values, truth = np.asarray(scores, float), np.asarray(there, bool)
    if truth.all() or not truth.any():
        return float("nan")
    return float(mannwhitneyu(values[truth], values[~truth]).statistic / (truth.sum() * (~truth).sum()))


def circular_shift_null(
    curves: Sequence[np.ndarray],
    truths: Sequence[Interval],
    spans: AudioSpan | Sequence[AudioSpan],
    scenes: Sequence[int] | np.ndarray,
    *,
    resamples: int = DRAWS,
    seed: int = 0,
) -> NullTest:
    """Is the mean overlap more than the same curves would have by chance, had they no relation to when events are?

    `curves`: one (tokens,) a query, of any lengths; `truths`: its event; `spans`: its audio tokens, or one for all;
    `scenes`: the scene it comes from. In a draw each scene's curves are rotated in time by one random shift (they share
    an audio), and the window of the event's width with the largest sum is searched again: no window wraps round the
    end. p = (1 + draws at or above the observed) / (1 + draws), one-sided.

    A habit of position is not chance here: curves that always peak in the middle beat their rotations where events
    lie there more than elsewhere. Read it beside the positional prior and the chance of each slot.

    Cost: the overlaps of all shifts are tabled once, O(Q T²) for Q queries of T tokens; a draw then is a look-up a
    scene. Raises ValueError for no queries, lists of unequal lengths, curves that are not finite or do not fit their
    span, an event outside its audio, queries of a scene with different audio tokens, and fewer than one resample.
    """
    _check_resamples(resamples)
    spans = [spans] * len(curves) if isinstance(spans, AudioSpan) else list(spans)
    lengths = {"curves": len(curves), "truths": len(truths), "spans": len(spans), "scenes": len(scenes)}
    if len(curves) == 0 or len(set(lengths.values())) > 1:
        found = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise ValueError(f"got {found}; pass one of each for every query, and at least one query")
    tables: dict[object, np.ndarray] = {}  # scene -> (tokens,), the sum of its queries' overlaps after each shift
    for number, (curve, truth, span, scene) in enumerate(zip(curves, truths, spans, scenes, strict=True)):
        overlaps = _shift_overlaps(number, curve, span, truth)
        if len(tables.setdefault(scene, np.zeros(span.count))) != span.count:
            raise ValueError(
                f"query {number} of scene {scene} has {span.count} audio tokens, an earlier one "
                f"{len(tables[scene])}; the queries of a scene share one audio"
            )
        tables[scene] += overlaps
    rng = np.random.default_rng(seed)
    observed, draws = 0.0, np.zeros(resamples)
    for table in tables.values():
        observed += float(table[0])
        draws += table[rng.integers(len(table), size=resamples)]
    observed, draws = observed / len(curves), draws / len(curves)
    low, high = np.percentile(draws, (2.5, 97.5))
    reached = int(np.count_nonzero(draws >= observed - 1e-12))  # an equal draw counts, however its sum was rounded
    return NullTest(observed, float(draws.mean()), float(low), float(high), (1 + reached) / (1 + resamples))


def roc_estimate(scores: np.ndarray, there: np.ndarray, clusters: np.ndarray, *, seed: int = 0) -> Estimate:
    """`roc_area` with the bootstrap of `cluster_mean`: scenes are drawn again, not scores.

    Pairs are made across scenes, as a threshold for all of them would meet. NaN where one of the two is missing; no
    interval (NaN) for a single cluster. Raises ValueError as `cluster_mean` does. Cost: O(n²).
    """
    scores, there = np.asarray(scores, float), np.asarray(there, bool)
    clusters = _one_each(scores, clusters)
    if there.shape != scores.shape or not np.isfinite(scores).all() or not scores.size:
        raise ValueError(f"scores {scores.shape} and there {there.shape} must be lists of one length, scores finite")
    index = np.unique(clusters, return_inverse=True)[1]
    size = int(index.max()) + 1
    wins = np.zeros((size, size))  # [scene of what is there, scene of what is not]
    pairs = 0.5 * (1.0 + np.sign(scores[there][:, None] - scores[~there][None, :]))
    np.add.at(wins, (index[there][:, None], index[~there][None, :]), pairs)
    present, absent = (np.bincount(index[part], minlength=size) for part in (there, ~there))

    def area(times: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return ((times @ wins) * times).sum(axis=-1) / ((times @ present) * (times @ absent))

    mean, low, high = roc_area(scores, there), float("nan"), float("nan")
    if size > 1 and np.isfinite(mean):
        times = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
        low, high = np.nanpercentile(area(times), (2.5, 97.5))
    return Estimate(mean, float(low), float(high), len(scores), size)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values adjusted for being a family of comparisons (Holm 1979), by the same names in the same order.

    The i-th smallest of m (from 0) is multiplied by m - i, made no smaller than the one before, and capped at 1.
    Rejecting what is below α then keeps the chance of any false rejection below α, however the tests depend.
    Raises ValueError for no p values, or one that is not a number from 0 to 1.
    """
    bad = [f"{name}: {p}" for name, p in p_values.items() if not 0.0 <= p <= 1.0]
    if bad or not p_values:
        raise ValueError(f"p values are numbers from 0 to 1, at least one; got {', '.join(bad) or 'none'}")
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * float(p_values[name])))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def chance_corrected(overlap: float, chance: float) -> float:
    """(o - c) / (1 - c): 0 at chance, 1 for a perfect window. NaN where the chance is 1: the window is the audio."""
    if not 0.0 <= chance <= 1.0:
        raise ValueError(f"chance is {chance}; pass a number from 0 to 1")
    if chance == 1.0:
        return float("nan")
    return (overlap - chance) / (1.0 - chance)


def _paired(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape:
        raise ValueError(f"paired values need equal shapes, got {first.shape} and {second.shape}")
    return first - second


def _shift_overlaps(number: int, curve: np.ndarray, span: AudioSpan, truth: Interval) -> np.ndarray:
    if truth.end <= 0.0 or truth.start >= span.duration:
        raise ValueError(f"query {number}: the event at {truth} lies outside the audio of {span.duration:.2f} s")
    try:
        return rotated_overlaps(curve, span, truth)
    except ValueError as error:
        raise ValueError(f"query {number}: {error}") from error


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; pass at least 1")


def _scenes(values: pd.Series) -> np.ndarray:
    return np.asarray(values.index.get_level_values("scene"))


def _record(estimate: Estimate, p: float) -> Record:
    return {
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "scenes": estimate.clusters,
        "p": p,
    }


def _one_each(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The clusters of a list of values, one each."""
    clusters = np.asarray(clusters)
    if values.ndim != 1 or clusters.shape != values.shape:
        raise ValueError(f"values {values.shape} and clusters {clusters.shape} must be lists of one length")
    return clusters


def _by_cluster(values: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values (queries, ...) of every cluster, (clusters, ...), and how many queries it has, (clusters,)."""
    if values.size == 0 or not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"need finite values to average, got {values.size} values, {bad} of them NaN or infinite")
    _, index = np.unique(clusters, return_inverse=True)
    counts = np.bincount(index)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums, counts


def _bootstrap(sums: np.ndarray, counts: np.ndarray, mean: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends of the 95 % interval of `mean` (...), clusters drawn again; NaN for a single cluster."""
    if len(counts) < 2:
        none = np.full_like(mean, np.nan)
        return none, none
    # How often each cluster is drawn: the same as drawing them with replacement one by one, and summing.
    times = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    resampled = ((times @ sums).T / (times @ counts)).T
    low, high = np.percentile(resampled, (2.5, 97.5), axis=0)
    # Where all scenes agree the resampled means differ from `mean` by rounding only; the mean stays inside.
    return np.minimum(low, mean), np.maximum(high, mean)


def _flip_p(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Two-sided p of each column's total under signs of the clusters (clusters, columns): all patterns, or drawn."""
    observed, above, below = sums.sum(axis=0), np.zeros(sums.shape[1]), np.zeros(sums.shape[1])
    slack = 1e-12 * np.abs(sums).sum(axis=0)  # an equal total counts, however its sum was rounded
    exact = 2 ** len(sums) <= resamples
    patterns: Iterable[np.ndarray] = _drawn_signs(len(sums), resamples, seed)
    if exact:
        patterns = [np.array(list(product((-1.0, 1.0), repeat=len(sums))))]
    for signs in patterns:
        totals = signs @ sums
        above += (totals >= observed - slack).sum(axis=0)
        below += (totals <= observed + slack).sum(axis=0)
    fewer = np.minimum(above, below)
    return np.minimum(1.0, 2 * fewer / 2 ** len(sums) if exact else 2 * (fewer + 1) / (resamples + 1))


def _drawn_signs(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """So many random patterns, FLIPS_AT_ONCE at a time."""
    rng = np.random.default_rng(seed)
    for first in range(0, resamples, FLIPS_AT_ONCE):
        yield rng.choice((-1.0, 1.0), size=(min(FLIPS_AT_ONCE, resamples - first), clusters))
