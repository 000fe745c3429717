"""Prompting: the instruction alone, with no vector. What steering must beat to be worth its passes."""

from __future__ import annotations

from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Localisation, Method, Query, localise
from steer_utils.methods.settings import Settings


def prompting(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """Attention under the focus instruction itself, before the question that `steering` asks; nothing steered."""
    return localise(hearing.read(settings.focus(query.event)).attention.curve(settings.prompt_blocks), hearing, query)


def prompting_best(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """The same before the question that serves prompting best (chosen on development classes, as its blocks)."""
    instruction = settings.focus(query.event, settings.prompt_question)
    return localise(hearing.read(instruction).attention.curve(settings.prompt_best_blocks), hearing, query)


def contrast_prompting(hearing: Hearing, query: Query, settings: Settings) -> Localisation:
    """The contrast that makes the vector, by prompting alone: attention share under p+ minus that under p-.

    Both instructions stand before the question that `steering` asks. Read from `settings.prompt_blocks`.
    """
    neutral = f"{settings.negative} {settings.question}"
    plus, minus = hearing.read_rows([Row(settings.focus(query.event)), Row(neutral)])
    return localise((plus.attention - minus.attention).curve(settings.prompt_blocks), hearing, query)


METHODS = (
    Method("prompting", "prompting only, same question", prompting, "1", "same instruction, no vector", suffixes=1),
    Method(
        "prompting-best", "prompting only, its best question", prompting_best, "1", "chosen for prompting", suffixes=1
    ),
    Method(
        "contrast-prompting",
        "prompting contrast, no vector",
        contrast_prompting,
        "2",
        "attention(p+) - (p-)",
        suffixes=2,
    ),
)
