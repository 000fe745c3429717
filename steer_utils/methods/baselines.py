"""Baselines that ask no model: the loudest window, a random one, and where other scenes' curves lie (made later)."""

from __future__ import annotations

import numpy as np

from steer_utils.lm.hearing import Hearing
from steer_utils.methods.base import Localisation, Method, Need, Query, localise
from steer_utils.methods.settings import Settings
from steer_utils.sound.measures import rms_curve

POSITION = "position"  # `study.benchmark.positional_prior` makes it from the curves of a finished run


def loudest(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """The loudest window of the audio: no model, the same window whatever is queried.

    The curve is a share, as attention is: RMS of each token over the sum of all.
    """
    span = hearing.span
    curve = rms_curve(hearing.samples, hearing.checkpoint.sampling_rate, span.seconds_per_token, span.count)
    return localise(curve / max(float(curve.sum()), 1e-12), hearing, query)


def random_window(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """A window placed uniformly at token steps, drawn with the query's seed."""
    width = hearing.span.window_tokens(query.seconds)
    start = int(np.random.default_rng(query.seed).integers(hearing.span.count - width + 1))
    return Localisation(hearing.span.interval(start, start + width), 0.0)


OTHER_SCENES = Need("the curves of other scenes", lambda settings, others, scenes: scenes > 1)

METHODS = (
    Method("loudest", "loudest window", loudest, "0", "RMS per audio token"),
    Method(
        POSITION,
        "positional prior",
        None,
        "0",
        "mean steering curve of the other scenes",
        labels=True,
        extra="2nd audio",
        needs=OTHER_SCENES,
    ),
    Method("random", "random window", random_window, "0", "uniform at token steps"),
)
