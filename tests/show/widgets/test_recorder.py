"""Recorder and uploader on the side of the kernel: their limits, and that what arrives (memoryviews) becomes sound."""

from __future__ import annotations

import numpy as np
import pytest

from steer_utils.lm.models import AudioLM
from steer_utils.show.widgets.intake import MOST_BYTES, recorded
from steer_utils.show.widgets.recorder import MOST_SECONDS, STATIC, Recorder, Uploader


def test_a_recording_arrives(one_model: AudioLM) -> None:
    recorder, heard = Recorder(longest=4.0), []
    recorder.observe(lambda _: heard.append(recorded(recorder.pcm, recorder.rate, one_model)), "take")
    samples = np.sin(np.arange(48_000, dtype=np.float32) / 20)
    recorder.set_state({"pcm": memoryview(samples.astype("<f4").tobytes()), "rate": 48_000, "take": 1})
    (sound,) = heard
    assert sound.duration == pytest.approx(1.0) and repr(recorder) == "Recorder(at most 4 s, 1 recorded)"


def test_its_longest_recording_fits_one_message() -> None:
    assert Recorder(600.0).longest == MOST_SECONDS
    assert 4 * 48_000 * MOST_SECONDS <= MOST_BYTES
    for longest in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="pass a positive number of seconds"):
            Recorder(longest)


def test_a_file_arrives() -> None:
    uploader, taken = Uploader(), []
    assert repr(uploader) == "Uploader(nothing yet)" and uploader.most == MOST_BYTES and ".flac" in uploader.formats
    uploader.observe(lambda _: taken.append((uploader.content, uploader.name)), "take")
    uploader.set_state({"content": memoryview(b"RIFF"), "name": "<b>.wav", "take": 1, "status": "Handed over."})
    assert taken == [(b"RIFF", "<b>.wav")] and repr(uploader) == "Uploader('<b>.wav', 4 bytes)"


@pytest.mark.parametrize("name", ["recorder.js", "uploader.js"])
def test_the_page_holds_no_markup_of_others_and_fetches_nothing(name: str) -> None:
    script = (STATIC / name).read_text(encoding="utf-8")
    assert "innerHTML" not in script and "http" not in script.replace("https pages", "")
