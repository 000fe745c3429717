"""Audio-based steering, the paper's comparison: the vector is what the audio adds to silence, not an instruction.

    v_l = h_l(audio, q) - h_l(silence of equal length, q)       at the last prompt token

It is added at the last prompt token and at every generated one, the norm restored (AVS, arXiv 2510.12851: MAVS with
one strength for all blocks, LWVS with two), or by VISTA's rule (arXiv 2502.03628).

Neither source locates anything, so how to read it is ours to declare. q names the event ("Focus on the dog bark.
Describe the sound."); the same q is read with the vector and without it; the curve is the share of attention with
minus without, over the blocks after the first steered one. What prompting alone does drops out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

from steer_utils.lm.hearing import Hearing, Reading, state_difference
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Rule
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.base import Localisation, Method, Query, localise, steered_row
from steer_utils.methods.rounds import Read, Steps, in_rounds
from steer_utils.methods.settings import Settings


@dataclass(frozen=True)
class AudioSteering:
    """One form of audio-based steering.

    strength  λ
    beta      how far LWVS moves strength into the boosted blocks, 0..1; 0: one strength for all blocks
    rule      how the vector is added (`lm.steering`)

    Raises ValueError for a strength that is not finite, a beta outside 0..1, or beta with VISTA's rule, which looks at
    directions only and would not see it.
    """

    strength: float = 0.05
    beta: float = 0.0
    rule: Rule = "add"

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength):
            raise ValueError(f"strength must be a finite number, got {self.strength}")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta must lie in 0..1, got {self.beta}")
        if self.beta and self.rule == "vista":
            raise ValueError(f'beta is {self.beta}, but the rule "vista" has one strength for all blocks; pass beta=0')


MAVS = AudioSteering()
LWVS = AudioSteering(beta=0.5)
VISTA = AudioSteering(strength=0.17, rule="vista")  # λ as commonly run with LLaVA-1.5; ours to declare for audio


@in_rounds
def mavs(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """AVS with λ = 0.05 in every block."""
    return (yield from audio_steered.steps(hearing, query, settings, MAVS))


@in_rounds
def lwvs(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """AVS layer by layer: λ = 0.05 on average, more of it in the boosted blocks (beta = 0.5)."""
    return (yield from audio_steered.steps(hearing, query, settings, LWVS))


@in_rounds
def vista(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """The same vector, added as VISTA adds it, in every block."""
    return (yield from audio_steered.steps(hearing, query, settings, VISTA))


@in_rounds
def audio_steered(hearing: Hearing, query: Query, settings: Settings, form: AudioSteering) -> Steps[Localisation]:
    """The window where this form of audio-based steering raises the attention share most.

    Of `settings` only the words count. With λ = 0 (or a vector of zeros, as of a silent audio) nothing is steered: the
    curve is zero everywhere, and the window is the first one. Raises ValueError for a model of one block.
    """
    steered, base = yield from audio_readings.steps(hearing, query, settings, form)
    return localise((steered.attention - base.attention).curve(), hearing, query)


@in_rounds
def audio_readings(
    hearing: Hearing, query: Query, settings: Settings, form: AudioSteering = MAVS
) -> Steps[tuple[Reading, Reading]]:
    """q read with the vector, and without it. Cost: three suffix passes, and once a hearing the encoding of silence."""
    instruction = settings.focus(query.event)
    base, silent = yield [Read(place, Row(instruction)) for place in (hearing, hearing.silence)]
    vector = _difference(hearing, base, silent)
    scaled = vector.scaled_by_block(block_factors(vector.num_blocks, form.beta))
    as_declared = replace(settings, question=instruction, strength=form.strength, keep_norm=True)
    (steered,) = yield [Read(hearing, steered_row(as_declared, scaled, rule=form.rule))]
    return steered, base


def audio_contrast(hearing: Hearing, instruction: str) -> SteeringVector:
    """v_l = h_l(audio, instruction) - h_l(equal-length silence, instruction), at the last prompt token, all blocks."""
    return _difference(hearing, hearing.read(instruction), hearing.silence.read(instruction))


def block_factors(num_blocks: int, beta: float) -> tuple[float, ...]:
    """λ_l / λ for each block (AVS): 1 + beta |dec| / |inc| where boosted, 1 - beta elsewhere. Their mean is 1."""
    boosted = boosted_blocks(num_blocks)
    gain = 1 + beta * (num_blocks - len(boosted)) / len(boosted)
    return tuple(gain if block in boosted else 1 - beta for block in range(num_blocks))


def boosted_blocks(num_blocks: int) -> range:
    """The blocks that LWVS boosts: 14 to 29 of 32 (AVS for Qwen2-Audio, taken as counted from 0), scaled.

    The rule for other depths is ours: from round(14 L / 32) to round(30 L / 32) - 1, as 12 to 25 of 28, 4 to 7 of 8.
    """
    return range(round(14 * num_blocks / 32), round(30 * num_blocks / 32))


def _difference(hearing: Hearing, heard: Reading, silent: Reading) -> SteeringVector:
    return state_difference(hearing.checkpoint, heard, silent, f"audio - silence, both {heard.instruction!r}")


_form = partial(Method, passes="3, and silence once", extra="2nd audio", suffixes=3)
METHODS = (
    _form("mavs", "audio steering, uniform (MAVS)", mavs, source="arXiv 2510.12851"),
    _form("lwvs", "audio steering, layer-wise (LWVS)", lwvs, source="arXiv 2510.12851"),
    _form("vista", "audio steering, VISTA's rule", vista, source="arXiv 2502.03628"),
)
