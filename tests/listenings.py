"""One small picture for the tests of what is made from it: four blocks of three heads, plain, steered and shift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steer_utils.show.widgets.listening import PLAIN, SHIFT, STEERED, Listening
from steer_utils.sound.spans import AudioSpan, Interval

RATE = 16_000
SPAN = AudioSpan(5, 50)
RNG = np.random.default_rng(0)
NOISE = (0.1 * RNG.normal(size=2 * RATE)).astype(np.float32)


def shares(*shape: int) -> np.ndarray:
    drawn = RNG.gamma(0.5, size=(*shape, SPAN.count)).astype(np.float32)
    return drawn / drawn.sum(axis=-1, keepdims=True)


BASE, OTHER = shares(4, 3), shares(4, 3)


def picture(**changes: object) -> Listening:
    curves = {PLAIN: BASE, STEERED: OTHER, SHIFT: OTHER - BASE}
    one = Listening(
        NOISE,
        RATE,
        SPAN,
        curves,
        "dog bark",
        Interval(0.4, 1.0),
        Interval(0.5, 1.1),
        (("dog bark", Interval(0.5, 1.1)), ("<b>bell</b>", Interval(1.2, 1.9))),
        read_blocks=(1, 2),
        answers={PLAIN: "one", STEERED: "a dog"},
    )
    return replace(one, **changes)  # type: ignore[arg-type]
