"""A control, no way to locate: the state at the event's name is swapped in from audio in which the event is elsewhere.

On Temporal Binding in Large Audio-Language Models (Primus & Widmer, 2026): states at the tokens of an event's name
carry its coarse time, and swapping them between two audios flips answers of before and after. Does attention follow
such a state? The other audio needs no labels: it is this one, cut at its quietest moment (of the middle half) and its
two parts exchanged, so every sound lies elsewhere and the names stay true. Under one focus prompt over both,

    h_l(name, this audio) := h_l(name, the other)        at the output of block l alone

and the attention of the last prompt token over *this* audio is read. A state at block l reaches the last token in block
l + 1, and moves its attention from block l + 2 on. Three rows, read alike:

    swap-none     nothing swapped: prompting, in the same blocks
    swap-stays    swapped, scored where the event is in this audio
    swap-follows  swapped, scored where the other audio has it: the curve is moved back by the exchange

If the name's state tells attention where to look, swap-follows rises and swap-stays falls. Block, question and what is
read are chosen on development classes so that swap-follows is largest there (`tuning_rivals`).

Cost: the other audio is encoded, once for all queries; then suffix passes: one for each token of the name and audio
(one call for all of them), and the swapped one.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from steer_utils.lm.hearing import Hearing, state_difference
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import event_tokens
from steer_utils.lm.steering import Injection
from steer_utils.methods.base import Localisation, Method, Query, localise
from steer_utils.methods.rounds import Read, Steps, in_rounds
from steer_utils.methods.settings import Settings, StateSwap
from steer_utils.sound.measures import rms_curve


@in_rounds
def swap_none(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """The focus prompt with its own states, read where the swapped ones are read."""
    chosen = settings.state_swap or StateSwap()
    _, blocks = swapped_block(chosen, hearing.checkpoint.num_blocks)
    (reading,) = yield [Read(hearing, Row(settings.focus(query.event, chosen.question)))]
    return localise(reading.attention.curve(blocks), hearing, query)


@in_rounds
def swap_stays(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """The state at the event's name swapped in; the window is where attention then is."""
    return localise((yield from swapped_curve.steps(hearing, query, settings)), hearing, query)


@in_rounds
def swap_follows(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """The same, with the curve moved back by the exchange: the event is found if attention went to where the other
    audio has it."""
    curve = yield from swapped_curve.steps(hearing, query, settings)
    return localise(np.roll(curve, exchange_at(hearing)), hearing, query)


@in_rounds
def swapped_curve(hearing: Hearing, query: Query, settings: Settings) -> Steps[np.ndarray]:
    """Attention share over this audio, (tokens,), under the focus prompt with the other audio's state at the name."""
    chosen = settings.state_swap or StateSwap()
    block, blocks = swapped_block(chosen, hearing.checkpoint.num_blocks)
    instruction = settings.focus(query.event, chosen.question)
    (row,) = yield from rows_with_swapped_states.steps(hearing, exchanged(hearing), instruction, query.event, [block])
    (reading,) = yield [Read(hearing, row)]
    return reading.attention.curve(blocks)


@in_rounds
def rows_with_swapped_states(
    hearing: Hearing, other: Hearing, instruction: str, event: str, blocks: list[int]
) -> Steps[list[Row]]:
    """The rows of `instruction` in which the output of one block at the event's name is that behind `other`: a row for
    each of `blocks`.

    What is added to the own state is the difference of both, token by token, with no norm kept: so the sum is the other
    state, and a swap with itself adds nothing. Raises ValueError where the instruction does not name the event, and for
    audios of different lengths, whose prompts do not match.
    """
    if other.prefix_length != hearing.prefix_length:
        raise ValueError(f"states can be swapped between audios of equal length, got {hearing} and {other}")
    words = event_tokens(hearing.checkpoint.tokens(instruction), event)
    slots = [hearing.prefix_length + word for word in words]
    reads = [Read(place, Row(instruction, hidden_at=[slot])) for place in (hearing, other) for slot in slots]
    readings = yield reads
    recipe = f"the state at {event!r} behind another audio"
    differences = [
        state_difference(hearing.checkpoint, there, here, recipe, "event")
        for here, there in zip(readings[: len(slots)], readings[len(slots) :], strict=True)
    ]
    return [
        Row(
            instruction,
            tuple(
                Injection(difference.select([block]), 1.0, [slot])
                for difference, slot in zip(differences, slots, strict=True)
            ),
            keep_norm=False,
        )
        for block in blocks
    ]


def swapped_block(chosen: StateSwap, num_blocks: int) -> tuple[int, tuple[int, ...]]:
    """The block whose output is swapped, and the blocks that are read. Raises ValueError where none can change."""
    block = min(num_blocks // 2, num_blocks - 3) if chosen.block is None else chosen.block
    if not 0 <= block < num_blocks - 2:
        raise ValueError(
            f"a name's state after block {block} moves no attention of the last token: of {num_blocks} blocks, swap "
            f"after one of 0 to {num_blocks - 3}"
        )
    return block, chosen.read_blocks or tuple(range(block + 2, num_blocks))


def exchanged(hearing: Hearing) -> Hearing:
    """The same model on the same audio with its two parts exchanged; shared by those who hold it."""

    def make() -> Hearing:
        cut = round(exchange_at(hearing) * hearing.span.seconds_per_token * hearing.checkpoint.sampling_rate)
        return Hearing(hearing.checkpoint, np.roll(hearing.samples, -cut))

    return hearing.sharing("exchanged", make)


def exchange_at(hearing: Hearing) -> int:
    """The audio token at which the two parts meet: the quietest of the middle half, over 0.2 s."""
    span = hearing.span
    level = rms_curve(hearing.samples, hearing.checkpoint.sampling_rate, span.seconds_per_token, span.count)
    smooth = np.convolve(level, np.ones(span.window_tokens(0.2)), mode="same")
    first, stop = max(1, span.count // 4), max(2, 3 * span.count // 4)
    return first + int(smooth[first:stop].argmin()) if span.count > 1 else 0


_swapped = partial(
    Method,
    passes="1, 2 a token of the name, other audio once",
    source="after Primus & Widmer 2026",
    labels=True,
    extra="2nd audio",
    suffixes=5,  # of a name of two tokens
    standard=False,
)
METHODS = (
    Method(
        "swap-none",
        "event state kept (control)",
        swap_none,
        "1",
        "prompting in the blocks of the swap",
        labels=True,
        suffixes=1,
        standard=False,
    ),
    _swapped("swap-stays", "event state swapped, scored here (control)", swap_stays),
    _swapped("swap-follows", "event state swapped, scored there (control)", swap_follows),
)
