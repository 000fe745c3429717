"""Ask the model itself: when a sound is (`answers` reads what it says), and whether it is there at all."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing, read_together
from steer_utils.lm.plan import Row
from steer_utils.methods.answers import read_time
from steer_utils.methods.base import Localisation, Method, Query
from steer_utils.methods.rounds import Answer, Steps, in_rounds
from steer_utils.methods.settings import Settings


@in_rounds
def asking(hearing: Hearing, query: Query, settings: Settings) -> Steps[Localisation]:
    """Direct prompting: ask when, read the answer strictly, put the window where it says."""
    (answer,) = yield [Answer(hearing, Row(settings.ask.format(event=query.event)))]
    read = read_time(answer, hearing.duration)
    window = read.window(query.seconds, hearing.duration)
    return Localisation(window, float(window is not None), answer=answer, unread="" if window else read.outcome)


def presence_probability(hearing: Hearing, event: str, settings: Settings) -> float:
    """Probability of yes against no as the first token of the answer to "is there a ...?", 0..1. One suffix pass."""
    return probability_of(presence_log_odds([hearing], [event], settings)[0][0])


def presence_log_odds(hearings: Sequence[Hearing], events: Sequence[str], settings: Settings) -> list[list[float]]:
    """Log odds of yes against no to "is there a ...?" for each event in each audio, all read in one go. One suffix pass
    each."""
    rows = [Row(settings.presence.format(event=event)) for event in events]
    log_odds = []
    for hearing, readings in zip(hearings, read_together([(heard, rows) for heard in hearings]), strict=True):
        yes, no = yes_and_no(hearing.checkpoint)
        log_odds.append([float(yes_minus_no(reading.logits, yes, no)) for reading in readings])
    return log_odds


def probability_of(log_odds: float) -> float:
    """1 / (1 + exp(-log odds)), as float32 has it."""
    return float(torch.tensor(log_odds, dtype=torch.float32).sigmoid())


def yes_and_no(checkpoint: Checkpoint) -> tuple[list[int], list[int]]:
    """The ids with which an answer of yes can begin, and those of no."""
    tokenizer = checkpoint.processor.tokenizer

    def first_tokens(*words: str) -> list[int]:
        return sorted({tokenizer(word, add_special_tokens=False).input_ids[0] for word in words})

    return first_tokens("yes", "Yes"), first_tokens("no", "No")


def yes_minus_no(logits: torch.Tensor, yes: list[int], no: list[int]) -> torch.Tensor:
    """The log odds of yes against no, of logits (..., vocab): (...)."""
    return logits[..., yes].logsumexp(-1) - logits[..., no].logsumexp(-1)


METHODS = (Method("asking", "asking when (direct prompting)", asking, "1 + answer tokens", "arXiv 2606.11400"),)
