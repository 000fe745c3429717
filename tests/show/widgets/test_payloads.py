"""Payloads: bytes that can be read back, no larger than promised, and json of what labels there are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listenings import BASE, NOISE, OTHER, RATE, RNG, SPAN, picture

from steer_utils.show.widgets import payloads
from steer_utils.show.widgets.listening import PLAIN, SHIFT, STEERED, Listening
from steer_utils.sound.audio import mel_spectrogram
from steer_utils.sound.spans import AudioSpan, Interval


def test_sound_is_16_bit_and_no_faster_than_16_khz() -> None:
    sent = np.frombuffer(payloads.sound_bytes(picture()), "<i2")
    assert sent / 32767 == pytest.approx(NOISE, abs=0.5 / 32767 + 1e-7) and payloads.played_rate(picture()) == RATE
    fast = picture(samples=np.repeat(NOISE, 3), rate=3 * RATE)
    assert payloads.played_rate(fast) == RATE
    assert len(payloads.sound_bytes(fast)) == pytest.approx(2 * len(NOISE), abs=4)
    slow = picture(samples=NOISE[::2], rate=RATE // 2)
    assert payloads.played_rate(slow) == RATE // 2 and len(payloads.sound_bytes(slow)) == len(NOISE)
    loud = np.frombuffer(payloads.sound_bytes(picture(samples=NOISE * 100)), "<i2")
    assert loud.max() == 32767 and loud.min() == -32767 and (np.sign(loud) == np.sign(NOISE)).mean() > 0.99


def test_the_picture_of_the_sound_is_the_spectrogram_of_the_figures() -> None:
    data, bands, frames = payloads.mel_bytes(picture())
    mel = mel_spectrogram(NOISE, RATE)
    assert (bands, frames) == mel.shape and len(data) == mel.size
    levels = np.frombuffer(data, np.uint8).reshape(mel.shape)
    assert levels / 255 * 80 - 80 == pytest.approx(mel, abs=0.5 * 80 / 255 + 1e-5) and levels.max() == 255
    long = picture(samples=np.tile(NOISE, 100), rate=RATE)
    assert 5900 < payloads.mel_bytes(long)[2] < 6100


def test_curves_come_back_in_even_shares_and_the_difference_is_not_sent() -> None:
    one = picture()
    assert payloads.differences(one) == {SHIFT: (STEERED, PLAIN)}
    sent = np.frombuffer(payloads.curve_bytes(one), "<f2").astype(float).reshape(2, 4, 3, 50)
    assert sent[0] == pytest.approx(50 * BASE, rel=1e-3, abs=1e-6)
    assert sent[1] - sent[0] == pytest.approx(50 * (OTHER - BASE), rel=1e-3, abs=0.02)
    other = picture(curves={PLAIN: BASE, SHIFT: OTHER - BASE}, read="")
    assert payloads.differences(other) == {} and len(payloads.curve_bytes(other)) == 2 * 2 * BASE.size
    none = Listening(NOISE, RATE, SPAN)
    assert payloads.curve_bytes(none) == b"" and payloads.details(none, 1, 1)["curves"] == []


def test_a_scene_of_eight_seconds_stays_under_a_megabyte() -> None:
    """Of a model with 28 blocks of 28 heads (Audio Flamingo 3, 7B), as the docstring says."""
    span, sound = AudioSpan(0, 200), np.tile(NOISE, 4)
    wide = RNG.random((28, 28, 200), dtype=np.float32) / 100
    more = RNG.random((28, 28, 200), dtype=np.float32) / 100
    one = Listening(sound, RATE, span, {PLAIN: wide, STEERED: more, SHIFT: more - wide})
    mel, bands, frames = payloads.mel_bytes(one)
    text = json.dumps(payloads.details(one, bands, frames))
    parts = [len(payloads.sound_bytes(one)), len(mel), len(payloads.curve_bytes(one))]
    assert parts == [256_000, 51_200, 627_200] and sum(parts) + len(text) < 1_000_000


def test_details_are_json_and_labels_stay_as_they_are() -> None:
    found = json.loads(json.dumps(payloads.details(picture(), 64, 200), allow_nan=False))
    assert found["events"] == [["dog bark", 0.5, 1.1], ["<b>bell</b>", 1.2, 1.9]] and found["truth"] == [0.5, 1.1]
    assert [(each["label"], each["gained"], each["minus"]) for each in found["curves"]] == [
        (PLAIN, False, []), (STEERED, False, []), (SHIFT, True, [STEERED, PLAIN])]  # fmt: skip
    assert found["read_cells"] == [[b, h] for b in (1, 2) for h in range(3)] and found["duration"] == 2.0
    assert found["answers"] == [[PLAIN, "one"], [STEERED, "a dog"]]
    still = payloads.details(picture(curves={STEERED: BASE, SHIFT: 0 * BASE}, read=""), 1, 1)["curves"]
    assert [each["gained"] for each in still] == [False, True]  # no shift at all is still a difference


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-4, 4, width=32), min_size=50, max_size=50), st.text(max_size=40))
def test_any_label_and_any_values_can_be_sent(values: list[float], label: str) -> None:
    curves = {label: np.array(values, np.float32)[None, None]}
    one = Listening(NOISE, RATE, SPAN, curves, title=label, events=((label, Interval(0, 1)),))
    sent = np.frombuffer(payloads.curve_bytes(one), "<f2").astype(float)
    assert sent == pytest.approx(50 * np.array(values), rel=1e-3, abs=1e-4)
    assert json.loads(json.dumps(payloads.details(one, 1, 1)))["title"] == label
