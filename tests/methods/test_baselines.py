"""Baselines without a model: the loudest window, and a random one."""

from __future__ import annotations

import numpy as np
import pytest
from localising import OWN, find

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query
from steer_utils.methods.settings import PAPER
from steer_utils.sound.spans import Interval
from steer_utils.study.statistics import random_overlap


def test_loudest_finds_a_burst(one_model: AudioLM) -> None:
    samples = 0.01 * np.random.default_rng(0).normal(size=3 * 16_000)
    samples[24_000:32_000] *= 50
    interval = find("loudest", one_model.hear(samples, sampling_rate=16_000)).interval
    assert interval is not None
    assert (interval.start, interval.end) == pytest.approx((1.5, 2.0), abs=0.05)


def test_random_is_decided_by_its_seed_and_uniform(one_hearing: Hearing) -> None:
    windows = [find("random", one_hearing, OWN, Query("bell", 0.48, seed)).interval for seed in range(1000)]
    again = [find("random", one_hearing, PAPER, Query("siren", 0.48, seed)).interval for seed in range(10)]
    assert windows[:10] == again
    starts = {round(window.start / 0.04) for window in windows if window}
    assert starts == set(range(50 - 12 + 1))
    truth = Interval(0.8, 1.28)
    mean = np.mean([window.covers(truth) for window in windows if window])
    assert mean == pytest.approx(random_overlap(truth, one_hearing.span, 0.48), abs=0.03)


def test_random_and_loudest_do_not_ask_the_model(one_hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked")

    for name in ("read", "read_rows", "answer", "answers", "contrast"):
        monkeypatch.setattr(Hearing, name, fail)
    assert find("random", one_hearing).interval and find("loudest", one_hearing).interval
    with pytest.raises(AssertionError, match="asked"):
        find("unsteered", one_hearing)
