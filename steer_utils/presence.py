"""Is a sound there at all? The model's own yes or no, as one number."""

from __future__ import annotations

import torch

from .checkpoints import Checkpoint
from .hearing import Hearing
from .settings import Settings


def presence(hearing: Hearing, event: str, settings: Settings) -> float:
    """Probability of yes against no as the first token of the answer to "is there a ...?", 0..1. One suffix pass."""
    reading = hearing.read(settings.presence.format(event=event))
    return float(yes_minus_no(reading.logits, *yes_and_no(hearing.checkpoint)).sigmoid())


def yes_and_no(checkpoint: Checkpoint) -> tuple[list[int], list[int]]:
    """The ids with which an answer of yes can begin, and those of no."""
    tokenizer = checkpoint.processor.tokenizer

    def first_tokens(*words: str) -> list[int]:
        return sorted({tokenizer(word, add_special_tokens=False).input_ids[0] for word in words})

    return first_tokens("yes", "Yes"), first_tokens("no", "No")


def yes_minus_no(logits: torch.Tensor, yes: list[int], no: list[int]) -> torch.Tensor:
    """The log odds of yes against no, of logits (..., vocab): (...)."""
    return logits[..., yes].logsumexp(-1) - logits[..., no].logsumexp(-1)
