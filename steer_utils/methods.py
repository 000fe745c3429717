"""Ways to find a queried sound in time: each turns (hearing, query, settings) into an interval.

Attention methods make a curve over audio tokens and take the window of the known event width with the largest
sum (the width is an oracle, and declared as one). All of them read the row of the last prompt token and average
heads. `passes` counts forward passes of a short suffix behind the shared prefix, which is computed once.
"""

from __future__ import annotations

import numpy as np

from .asking import asking
from .audio import rms_curve
from .batches import Row
from .hearing import Hearing
from .queries import Found, Method, Query, windowed
from .settings import Settings, paper_settings
from .steering import Injection


def steering(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """Steer the neutral question with the contrast of two instructions; read where the attention then is."""
    vector = hearing.contrast(
        settings.positive.format(event=query.event), settings.negative, prompt=settings.question
    ).select(settings.steered_blocks(hearing.checkpoint.num_blocks))
    steered = Row(settings.question, steer=(Injection(vector, settings.strength),), keep_norm=settings.keep_norm)
    if settings.read == "share":
        (reading,) = hearing.read_rows([steered])
        return windowed(reading.attention.curve(settings.read_blocks), hearing, query)
    reading, base = hearing.read_rows([steered, Row(settings.question)])
    return windowed((reading.attention - base.attention).curve(settings.read_blocks), hearing, query)


def steering_paper(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """The paper's difference read-out exactly as declared in `settings.PAPER`."""
    return steering(hearing, query, paper_settings(settings))


def prompting(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """Attention under the focus instruction itself, before the question that `steering` asks; nothing steered."""
    instruction = f"{settings.positive.format(event=query.event)} {settings.question}"
    return windowed(hearing.read(instruction).attention.curve(settings.prompt_blocks), hearing, query)


def prompting_best(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """The same before the question that serves prompting best (chosen on development classes, as its blocks)."""
    instruction = f"{settings.positive.format(event=query.event)} {settings.prompt_question}"
    return windowed(hearing.read(instruction).attention.curve(settings.prompt_best_blocks), hearing, query)


def unsteered(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """The attention peak under the neutral question: the same window whatever is queried."""
    return windowed(hearing.read(settings.question).attention.curve(settings.peak_blocks), hearing, query)


def loudest(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """The loudest window of the audio: no model, the same window whatever is queried. The curve is a share, as
    attention is: RMS of each token over the sum of all."""
    span = hearing.span
    curve = rms_curve(hearing.samples, hearing.checkpoint.sampling_rate, span.seconds_per_token, span.count)
    return windowed(curve / max(float(curve.sum()), 1e-12), hearing, query)


def random_window(hearing: Hearing, query: Query, settings: Settings) -> Found:
    """A window placed uniformly at token steps, drawn with the query's seed."""
    width = hearing.span.window_tokens(query.seconds)
    start = int(np.random.default_rng(query.seed).integers(hearing.span.count - width + 1))
    return Found(hearing.span.interval(start, start + width), 0.0)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("steering", "steering (ours)", steering, "3 or 4", "as arXiv 2606.11400, set on development classes"),
        Method("steering-paper", "steering (paper, as declared)", steering_paper, "4", "arXiv 2606.11400"),
        Method("prompting", "prompting only, same question", prompting, "1", "same instruction, no vector"),
        Method("prompting-best", "prompting only, its best question", prompting_best, "1", "chosen for prompting"),
        Method("unsteered", "unsteered attention peak", unsteered, "1", "neutral question, no vector"),
        Method("asking", "asking when (direct prompting)", asking, "1 + answer tokens", "arXiv 2606.11400"),
        Method("loudest", "loudest window", loudest, "0", "RMS per audio token"),
        Method("random", "random window", random_window, "0", "uniform at token steps"),
    )
}


def method_named(name: str) -> Method:
    """Raises ValueError listing the methods for a name that is none."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; pass one of {', '.join(METHODS)}")
    return METHODS[name]
