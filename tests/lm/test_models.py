"""load, AudioLM, and the names of the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import steer_utils
import steer_utils.lm
from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import POCKET_MODELS, AudioLM, load
from steer_utils.sound.audio import AudioError


def test_load_a_folder_and_hear_a_file(one_folder: Path, samples: np.ndarray, tmp_path: Path) -> None:
    lm = load(one_folder)
    assert isinstance(lm, AudioLM) and isinstance(lm, Checkpoint)
    assert lm.name == str(one_folder)
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.stack([samples, samples], axis=1), 16_000)
    hearing = lm.hear(path)
    assert isinstance(hearing, Hearing)
    assert hearing.duration == pytest.approx(2.0)
    assert hearing.span.count == 50


def test_an_array_needs_its_rate(one_model: AudioLM, samples: np.ndarray) -> None:
    assert one_model.hear(samples[::2], sampling_rate=8_000).span.count == 50
    with pytest.raises(AudioError):
        one_model.hear(samples)


def test_too_long_is_refused_with_the_limit(lm: AudioLM, samples: np.ndarray) -> None:
    most = round(lm.window_seconds)
    long = np.tile(samples, most // 2 + 1)
    with pytest.raises(AudioError, match=rf"{most + 2}\.0 s long.*at most {most} s.*locate"):
        lm.hear(long, sampling_rate=16_000)
    if most < 100:
        assert lm.hear(long[: most * 16_000], sampling_rate=16_000).span.count == 25 * most


@pytest.mark.parametrize("name", ["pocket-qwen3", "pocket"])
def test_unknown_pocket_names_list_the_known(name: str) -> None:
    with pytest.raises(CheckpointError, match="pocket-qwen2-audio, pocket-audio-flamingo-3"):
        load(name)


@pytest.mark.parametrize("name", POCKET_MODELS)
def test_shipped_models_load_or_say_that_they_are_missing(name: str) -> None:
    from steer_utils.lm.models import WEIGHTS

    if not (WEIGHTS / name / "config.json").is_file():
        with pytest.raises(CheckpointError, match="not installed"):
            load(name)
        return
    lm = load(name)
    assert lm.name == name
    assert lm.events and "dog bark" in lm.events


def test_every_public_name_can_be_used() -> None:
    for name in steer_utils.__all__:
        assert getattr(steer_utils, name) is not None, name
    assert set(steer_utils.__all__) <= set(dir(steer_utils))
    assert isinstance(steer_utils.__version__, str)
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = steer_utils.nothing


def test_importing_the_package_loads_no_torch() -> None:
    code = (
        "import sys, steer_utils; assert 'torch' not in sys.modules;"
        "from steer_utils.sound import audio, recordings, scenes, sounds, spans;"
        "from steer_utils.lm import blocks, environment; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_room_names_each_of_its_files() -> None:
    files = {path.stem for path in Path(steer_utils.lm.__path__[0]).glob("*.py")} - {"__init__"}
    named = re.findall(r"`(\w+)`[: (]", str(steer_utils.lm.__doc__))
    assert files <= set(named)
