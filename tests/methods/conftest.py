"""A hearing of one model, for tests in which a model's class plays no part."""

from __future__ import annotations

import numpy as np
import pytest

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM


@pytest.fixture(scope="session")
def one_hearing(one_model: AudioLM, samples: np.ndarray) -> Hearing:
    return one_model.hear(samples, sampling_rate=16_000)
