"""A `Listening` as the bytes and the dict that a player sends to a browser.

All arrays are little-endian and in C order, so that typed arrays can be laid over them. An 8 s scene of a pocket model
(6 blocks of 6 heads) takes 0.34 MB: sound 256 kB, picture 51 kB, curves 29 kB; of a model with 28 blocks of 28 heads,
0.93 MB; with 32 of 32, 1.13 MB.
"""

from __future__ import annotations

import numpy as np
import soxr

from steer_utils.show.plots.located import LONG
from steer_utils.show.widgets.listening import Listening
from steer_utils.sound.audio import TARGET_RATE, mel_band, mel_spectrogram

FLOOR = -80.0  # dB, where `mel_spectrogram` ends
TICKS = (250, 1000, 2500, 6000)  # Hz


def played_rate(listening: Listening) -> int:
    """Samples a second that are sent: the sound's own rate, at most 16 kHz, which is all that the models hear."""
    return min(int(listening.rate), TARGET_RATE)


def sound_bytes(listening: Listening) -> bytes:
    """Mono 16-bit PCM at `played_rate`: 2 bytes a sample, 32 kB a second. Peaks above 1 are clipped."""
    samples, rate = listening.samples, played_rate(listening)
    if rate != listening.rate:
        samples = soxr.resample(samples, listening.rate, rate, quality="HQ")
    return np.round(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def mel_bytes(listening: Listening) -> tuple[bytes, int, int]:
    """(bytes, bands, frames) of the spectrogram that the figures draw: uint8, 0 (-80 dB) to 255, low bands first.

    64 bands, 100 frames a second (6.4 kB a second), about 6000 frames for any sound longer than a minute.
    """
    mel = mel_spectrogram(listening.samples, listening.rate, hop=0.01 * max(1.0, listening.duration / LONG))
    levels = np.round(255 * (1 - mel / FLOOR)).astype(np.uint8)
    return levels.tobytes(), *levels.shape


def curve_bytes(listening: Listening) -> bytes:
    """The curves that cannot be had as a difference of others (`differences`), in even shares, as float16.

    Share times tokens, so 1 is the even share: (curves, blocks, heads, tokens), 2 bytes a value.
    """
    derived = differences(listening)
    kept = [values for label, values in listening.curves.items() if label not in derived]
    return b"".join((values * listening.span.count).astype("<f2").tobytes() for values in kept)


def differences(listening: Listening) -> dict[str, tuple[str, str]]:
    """Curves that are the difference of two others: label -> (first, second). They need not be sent."""
    shares = {label: values for label, values in listening.curves.items() if not gained(values)}
    found = {}
    for label, values in listening.curves.items():
        pairs = [(a, b) for a in shares for b in shares if label not in (a, b) and a != b]
        pair = next((pair for pair in pairs if np.array_equal(values, shares[pair[0]] - shares[pair[1]])), None)
        if label not in shares and pair:
            found[label] = pair
    return found


def gained(values: np.ndarray) -> bool:
    """Whether a curve is a difference of shares (its neutral level is 0) and not a share (1 is even)."""
    return bool(values.min() < 0 or values.mean() <= 0)


def details(listening: Listening, bands: int, frames: int) -> dict[str, object]:
    """Everything else, as json can hold it: axes, labels, intervals, the default read-out. A few kB.

    Labels are text; whoever shows them must never take them for markup.
    """
    blocks, heads = listening.shape
    derived = differences(listening)
    rate = played_rate(listening)
    return {
        "title": listening.title,
        "duration": listening.duration,
        "rate": rate,
        "tokens": listening.span.count,
        "token_seconds": listening.span.seconds_per_token,
        "blocks": blocks,
        "heads": heads,
        "bands": bands,
        "frames": frames,
        "ticks": [[hz, mel_band(hz, listening.rate, bands)] for hz in TICKS if hz < listening.rate / 2],
        "curves": [
            {"label": label, "gained": gained(values), "minus": list(derived.get(label, ()))}
            for label, values in listening.curves.items()
        ],
        "read": listening.read,
        "read_cells": [list(cell) for cell in listening.cells()],
        "truth": None if listening.truth is None else [listening.truth.start, listening.truth.end],
        "events": [[name, interval.start, interval.end] for name, interval in listening.events],
        "answers": [[label, text] for label, text in listening.answers.items()],
    }
