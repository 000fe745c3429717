"""ColumnEstimates: what `cluster_mean` and `sign_flip` say of each measure, for all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.study.statistics import cluster_mean, estimate_columns, sign_flip


def data(scenes: int, columns: int = 4, per: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(scenes)
    values = rng.normal(size=(scenes * per, columns)) + np.linspace(0, 0.4, columns)
    order = rng.permutation(scenes * per)
    return values, np.repeat(np.arange(scenes), per)[order]


@pytest.mark.parametrize("scenes", [2, 5, 40])
def test_intervals_are_those_of_cluster_mean(scenes: int) -> None:
    values, clusters = data(scenes)
    found = estimate_columns(values, clusters, seed=3)
    assert (found.n, found.clusters) == (3 * scenes, scenes)
    for column, own in enumerate(values.T):
        one = cluster_mean(own, clusters, seed=3)
        np.testing.assert_allclose(
            [found.mean[column], found.low[column], found.high[column]], [one.mean, one.low, one.high], atol=1e-12
        )


@pytest.mark.parametrize("scenes", [1, 2, 5, 9])
def test_few_scenes_are_tested_exactly(scenes: int) -> None:
    values, clusters = data(scenes)
    expected = [sign_flip(own, 0 * own, clusters) for own in values.T]
    np.testing.assert_allclose(estimate_columns(values, clusters).p, expected, atol=1e-12)


def test_many_scenes_are_tested_by_the_same_draws() -> None:
    values, clusters = data(40)
    expected = np.array([sign_flip(own, 0 * own, clusters) for own in values.T])
    found = estimate_columns(values, clusters).p
    assert np.all(np.abs(found - expected) < 4 * np.sqrt(2 * expected / 10_000) + 4e-4)
    assert found.min() < 0.05 < found.max()  # the comparison spans both
    doubled = estimate_columns(np.hstack([values, values]), clusters).p
    assert doubled.tolist() == [*found, *found]


def test_no_change_is_no_evidence() -> None:
    for scenes in (3, 40):
        found = estimate_columns(np.zeros((2 * scenes, 2)), np.repeat(np.arange(scenes), 2))
        assert found.p.tolist() == [1.0, 1.0] and found.low.tolist() == found.high.tolist() == [0.0, 0.0]


def test_p_is_uniform_where_nothing_is_there() -> None:
    rng = np.random.default_rng(5)
    signs = np.repeat(rng.choice((-1, 1), size=(30, 200)), 2, axis=0)  # the queries of a scene agree
    p = estimate_columns(np.abs(rng.normal(size=(60, 200))) * signs, np.repeat(np.arange(30), 2), resamples=2000).p
    assert 0.01 < np.mean(p < 0.05) < 0.1 and 0.4 < np.mean(p < 0.5) < 0.6


def test_one_scene_gives_no_interval() -> None:
    found = estimate_columns(np.array([[1.0], [3.0]]), np.array([0, 0]))
    assert found.mean.tolist() == [2.0] and np.isnan(found.low).all() and found.p.tolist() == [1.0]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["shape", "flat", "empty", "resamples", "nan"]), st.sampled_from([np.nan, np.inf]))
def test_bad_input_is_said(kind: str, bad: float) -> None:
    values, clusters, resamples = np.ones((4, 2)), np.arange(4), 100
    if kind == "shape":
        clusters = clusters[:3]
    elif kind == "flat":
        values = values[:, 0]
    elif kind == "empty":
        values = values[:, :0]
    elif kind == "resamples":
        resamples = 0
    else:
        values[1, 1] = bad
    with pytest.raises(ValueError, match="1 of 8 are NaN" if kind == "nan" else "one cluster a query"):
        estimate_columns(values, clusters, resamples=resamples)
