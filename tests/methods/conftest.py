"""One model and its hearing, for tests in which a model's class plays no part."""

from __future__ import annotations

import numpy as np
import pytest

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM


@pytest.fixture(scope="session")
def one_model(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return tiny_models["qwen2_audio"]


@pytest.fixture(scope="session")
def one_hearing(one_model: AudioLM, samples: np.ndarray) -> Hearing:
    return one_model.hear(samples, sampling_rate=16_000)
