"""Two threads in one model: each gets what it would get alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from steer_utils.lm.checkpoints import alone
from steer_utils.lm.models import AudioLM
from steer_utils.lm.steering import Injection


def test_threads_that_read_and_steer_one_model_do_not_disturb_each_other(lm: AudioLM, samples: np.ndarray) -> None:
    hearing = lm.hear(samples, sampling_rate=16_000)
    vector = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
    steers = [None, Injection(vector, 3.0), Injection(vector, -2.0), None]
    right = [hearing.read("Describe the sound.", steer=each).hidden for each in steers]

    def read(place: int) -> torch.Tensor:
        return hearing.read("Describe the sound.", steer=steers[place % 4]).hidden

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, range(40)))
    for place, each in enumerate(found):
        torch.testing.assert_close(each, right[place % 4], atol=1e-5, rtol=1e-5)


def test_one_lock_a_model_which_may_be_nested(lm: AudioLM) -> None:
    assert alone(lm) is alone(lm)
    with alone(lm), alone(lm):
        pass
