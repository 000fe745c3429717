"""Prompting: the instruction alone, with no vector. What steering must beat to be worth its passes."""

from __future__ import annotations

from functools import partial

from steer_utils.lm.hearing import Shown
from steer_utils.lm.plan import Row
from steer_utils.methods.base import Localisation, Method, Query, localise
from steer_utils.methods.rounds import Read, Steps, in_rounds
from steer_utils.methods.settings import Settings


@in_rounds
def prompting(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """Attention under the focus instruction itself, before the question that `steering` asks; nothing steered."""
    (reading,) = yield [Read(hearing, Row(settings.focus(query.event)))]
    return localise(reading.attention.curve(settings.prompt_blocks), hearing, query)


@in_rounds
def prompting_best(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """The same before the question that serves prompting best (chosen on development classes, as its blocks)."""
    (reading,) = yield [Read(hearing, Row(settings.focus(query.event, settings.prompt_question)))]
    return localise(reading.attention.curve(settings.prompt_best_blocks), hearing, query)


@in_rounds
def contrast_prompting(hearing: Shown, query: Query, settings: Settings) -> Steps[Localisation]:
    """The contrast that makes the vector, by prompting alone: attention share under p+ minus that under p-.

    Both instructions stand before `prompt_difference_question`: the one that `steering` asks, or one chosen for this
    method on development classes. Read from `prompt_difference_blocks`, or those of `prompting`.
    """
    question = settings.prompt_difference_question or settings.question
    prompts = (settings.focus(query.event, question), f"{settings.negative} {question}")
    plus, minus = yield [Read(hearing, Row(prompt)) for prompt in prompts]
    blocks = settings.prompt_difference_blocks or settings.prompt_blocks
    return localise((plus.attention - minus.attention).curve(blocks), hearing, query)


def _asks_alike(settings: Settings) -> bool:
    """Whether no other question or blocks serve prompting better than those that `prompting` has."""
    asked = (settings.prompt_question, settings.prompt_best_blocks)
    return asked == (settings.question, settings.prompt_blocks)


_prompting = partial(Method, labels=True, suffixes=1)
METHODS = (
    _prompting("prompting", "prompting only, same question", prompting, "1", "same instruction, no vector"),
    _prompting(
        "prompting-best",
        "prompting only, its best question",
        prompting_best,
        "1",
        "chosen for prompting",
        equals=lambda settings: "prompting" if _asks_alike(settings) else "",
    ),
    Method(
        "contrast-prompting",
        "prompting contrast, no vector",
        contrast_prompting,
        "2",
        "attention(p+) - (p-)",
        labels=True,
        extra="2nd pass",
        suffixes=2,
    ),
)
