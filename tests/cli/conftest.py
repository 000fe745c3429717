"""What the tests of several commands share: a model, a sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tinies import EVENTS

from steer_utils.lm import loading
from steer_utils.lm.models import AudioLM
from steer_utils.pocket.architecture import save


@pytest.fixture(scope="session")
def folder(one_model: AudioLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model of 4 blocks of width 48 that hears 4 s in one go and was trained on one recording."""
    folder = tmp_path_factory.mktemp("tiny")
    save(one_model.model, one_model.processor, folder, {"events": list(EVENTS), "trained_recordings": ["used.wav"]})
    return folder


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of noise."""
    path = tmp_path_factory.mktemp("sound") / "street.wav"
    soundfile.write(path, (0.1 * np.random.default_rng(0).normal(size=3 * 16_000)).astype(np.float32), 16_000)
    return path


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a 7B model takes minutes: what can be refused before must be."""
    monkeypatch.setattr(loading, "_local_folder", lambda name: pytest.fail("the model was loaded"))
