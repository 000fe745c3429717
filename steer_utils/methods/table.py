"""Ways to find a queried sound in time: each turns (hearing, query, settings) into an interval.

Attention methods make a curve over audio tokens and take the window of the known event width with the largest
sum (the width is an oracle, and declared as one). All of them read the row of the last prompt token and average
heads. `passes` counts forward passes of a short suffix behind the shared prefix, which is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from steer_utils.lm.hearing import Hearing
from steer_utils.methods.asking import asking
from steer_utils.methods.attribution import gradient_input, integrated_gradients, occlusion
from steer_utils.methods.audio_steering import lwvs, mavs, vista
from steer_utils.methods.base import (
    POSITION,
    Finder,
    Localisation,
    Method,
    Query,
    contrast_of,
    localise,
    steered_curve,
    steering_heads,
)
from steer_utils.methods.controls import contrast_prompting, negative, random_vector, swapped
from steer_utils.methods.logit_lens import logit_lens, rollout
from steer_utils.methods.settings import Settings, paper_settings
from steer_utils.sound.audio import rms_curve


def steering(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Steer the neutral question with the contrast of two instructions; read where the attention then is."""
    vector = contrast_of(hearing, query, settings)
    return localise(steered_curve(hearing, vector, settings), hearing, query)


def steering_paper(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """The paper's difference read-out exactly as declared in `settings.PAPER`."""
    return steering(hearing, query, paper_settings(settings))


def prompting(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Attention under the focus instruction itself, before the question that `steering` asks; nothing steered."""
    return localise(hearing.read(settings.focus(query.event)).attention.curve(settings.prompt_blocks), hearing, query)


def prompting_best(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """The same before the question that serves prompting best (chosen on development classes, as its blocks)."""
    instruction = settings.focus(query.event, settings.prompt_question)
    return localise(hearing.read(instruction).attention.curve(settings.prompt_best_blocks), hearing, query)


def unsteered(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """The attention peak under the neutral question: the same window whatever is queried."""
    return localise(hearing.read(settings.question).attention.curve(settings.peak_blocks), hearing, query)


def loudest(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """The loudest window of the audio: no model, the same window whatever is queried. The curve is a share, as
    attention is: RMS of each token over the sum of all."""
    span = hearing.span
    curve = rms_curve(hearing.samples, hearing.checkpoint.sampling_rate, span.seconds_per_token, span.count)
    return localise(curve / max(float(curve.sum()), 1e-12), hearing, query)


def random_window(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """A window placed uniformly at token steps, drawn with the query's seed."""
    width = hearing.span.window_tokens(query.seconds)
    start = int(np.random.default_rng(query.seed).integers(hearing.span.count - width + 1))
    return Localisation(hearing.span.interval(start, start + width), 0.0)


#: The rows that every sceptical reader asks for, in the order of the table.
_STANDARD = (
    Method("steering", "steering (ours)", steering, "3 or 4", "as arXiv 2606.11400, set on development classes"),
    Method("steering-heads", "steering, per-head selection", steering_heads, "3 or 4", "heads chosen on the same"),
    Method("steering-paper", "steering (paper, as declared)", steering_paper, "4", "arXiv 2606.11400"),
    Method("prompting", "prompting only, same question", prompting, "1", "same instruction, no vector"),
    Method("prompting-best", "prompting only, its best question", prompting_best, "1", "chosen for prompting"),
    Method("contrast-prompting", "prompting contrast, no vector", contrast_prompting, "2", "attention(p+) - (p-)"),
    Method("mavs", "audio steering, uniform (MAVS)", mavs, "3, and silence once", "arXiv 2510.12851"),
    Method("lwvs", "audio steering, layer-wise (LWVS)", lwvs, "3, and silence once", "arXiv 2510.12851"),
    Method("vista", "audio steering, VISTA's rule", vista, "3, and silence once", "arXiv 2502.03628"),
    Method("random-vector", "steering, random vector", random_vector, "3 or 4", "equal norm in each block"),
    Method("negative", "steering backwards", negative, "3 or 4", "-lambda"),
    Method("swapped", "steering to another event", swapped, "3 or 4", "scored on the queried event"),
    Method("unsteered", "unsteered attention peak", unsteered, "1", "neutral question, no vector"),
    Method("asking", "asking when (direct prompting)", asking, "1 + answer tokens", "arXiv 2606.11400"),
    Method("loudest", "loudest window", loudest, "0", "RMS per audio token"),
    Method(POSITION, "positional prior", None, "0", "mean steering curve of the other scenes"),
    Method("random", "random window", random_window, "0", "uniform at token steps"),
)
#: Slower ones that look for evidence in other places than a steered attention row.
_FURTHER = (
    Method("gradient-input", "gradient x input", gradient_input, "1 and back", "of the answer yes - no"),
    Method("integrated-gradients", "integrated gradients", integrated_gradients, "16 and back", "arXiv 1703.01365"),
    Method("occlusion", "occlusion", occlusion, "1, and a part each 0.2 s", "window set to the mean"),
    Method("rollout", "attention rollout", rollout, "1 whole", "arXiv 2005.00928"),
    Method("logit-lens", "logit lens per audio token", logit_lens, "1 over the audio", "last block, first token"),
)
STANDARD = tuple(method.name for method in _STANDARD)
FURTHER = tuple(method.name for method in _FURTHER)
METHODS: dict[str, Method] = {method.name: method for method in (*_STANDARD, *_FURTHER)}


def standard_methods(settings: Settings, scenes: int) -> tuple[str, ...]:
    """The names of the standard methods that such a run can have: per-head selection needs heads that were chosen,
    and the mean curve of other scenes needs other scenes."""
    left_out = {"steering-heads"} if settings.read_heads is None else set()
    if scenes < 2:
        left_out.add(POSITION)
    return tuple(name for name in STANDARD if name not in left_out)


def finder(name: str, settings: Settings) -> Finder:
    """How a method finds a sound in one audio. Raises ValueError for an unknown name, and for a method that needs more
    than the audio and the query: other scenes, other events, or heads that were never chosen."""
    find = method_named(name).find
    if find is None or name == "swapped":
        others = "scenes" if find is None else "events"
        raise ValueError(f"{name!r} needs the other {others} of a benchmark; choose another method")
    if name == "steering-heads" and settings.read_heads is None:
        raise ValueError(f"{name!r} needs settings with read_heads (tuning.select_heads); choose another method")
    return find


def in_order(names: Iterable[str]) -> list[str]:
    """The names once each: in the order of the table, those of external methods after them."""
    there = list(dict.fromkeys(names))
    return [name for name in METHODS if name in there] + [name for name in there if name not in METHODS]


def label_of(name: str) -> str:
    """What tables and figures call a method; an external one goes by its name."""
    return METHODS[name].label if name in METHODS else name


def method_named(name: str) -> Method:
    """Raises ValueError listing the methods for a name that is none."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; pass one of {', '.join(METHODS)}")
    return METHODS[name]
