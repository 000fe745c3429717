"""Checks on vectors: a vector by subtraction, the cosine of two blocks, a pair of one's own, the longest vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from steer_utils.course.checks.answers import Wrong, answered, correct, judge, number, refuse, values
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.vectors import SteeringVector

Pair = tuple[str, str]


def subtraction(answer: Any, hearing: Hearing, positive: str, negative: str, question: str) -> None:
    """V = h(positive question) - h(negative question), (blocks, width), from two readings."""
    plus, minus = (_states(hearing, f"{instruction} {question}") for instruction in (positive, negative))
    given = values(answer.directions if isinstance(answer, SteeringVector) else answer, plus.shape)
    expected = plus - minus
    if _same(given, expected):
        ratio = np.linalg.norm(expected[0]) / (0.5 * np.linalg.norm(plus[0]) + 0.5 * np.linalg.norm(minus[0]))
        return correct(f"After block 0 the two states differ by {ratio:.2f} of their length, over the same audio.")
    without_question = _states(hearing, positive) - _states(hearing, negative)
    mistakes = (
        (plus, "that is the positive state alone: the negative one must be taken away"),
        (minus, "that is the negative state alone: it must be taken away from the positive one"),
        (-expected, "the sign: this is negative minus positive, which would steer away from the sound"),
        (plus + minus, "this is the sum of the two states; only a difference removes what they share"),
        (without_question, "the question is missing: both instructions must stand before it"),
    )
    refuse(given, mistakes, same=_same)
    if _same(_unit(given), _unit(expected)):
        raise Wrong("the direction is right, the length is not: keep it, strengths are chosen for this length")
    raise Wrong(f"read {f'{positive} {question}'!r} and {f'{negative} {question}'!r}, take `.hidden`, and subtract")


def block_cosine(answer: Any, vector: SteeringVector, first: int, second: int) -> None:
    """The cosine between the directions of two blocks of one vector."""
    given = number(answer)
    one, other = vector.directions[first].double().numpy(), vector.directions[second].double().numpy()
    product = float(one @ other)
    expected = product / float(np.linalg.norm(one) * np.linalg.norm(other))
    angle = "that is the angle; asked for is its cosine"
    mistakes = (
        (product, "that is the dot product; a cosine is that divided by both lengths"),
        (1.0, "1 is the cosine of a direction with itself: take the rows of two different blocks"),
        (np.arccos(expected), angle),
        (np.degrees(np.arccos(expected)), angle),
        (1 - expected, "that is the cosine distance, 1 minus the cosine"),
    )
    otherwise = f"take `vector.directions[{first}]` and `vector.directions[{second}]`: their product over both lengths"
    if abs(given) > 1 + 1e-6:
        otherwise = f"a cosine lies between -1 and 1, this is {given:.3g}: divide by both lengths"
    judge(given, expected, mistakes, otherwise, 1e-3)
    last = vector.num_blocks - 1
    late = torch.nn.functional.cosine_similarity(vector.directions[last - 1], vector.directions[last], dim=0)
    correct(f"The last two blocks have {late:.2f}: the residual stream carries on what a block has written.")


def own_pair(
    answer: Any, hearing: Hearing, event: str, vector: SteeringVector, given: Pair, question: str, at_least: float = 0.9
) -> None:
    """A pair of instructions in other words, all known to the model, whose vector points the same way as `vector` in
    every block."""
    pair = answered(answer)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise Wrong("a pair is two sentences: (positive, negative)")
    positive, negative = (" ".join(text.split()) for text in pair)
    if not positive or not negative:
        raise Wrong("one of the two sentences is empty; the negative one has to say something too")
    if {positive.casefold(), negative.casefold()} & {sentence.casefold() for sentence in given}:
        raise Wrong("use your own words: one of these sentences is the lesson's")
    if event.casefold() not in positive.casefold():
        turned = "the two may be the wrong way round" if event.casefold() in negative.casefold() else "say what to hear"
        raise Wrong(f"the positive sentence does not name the {event}: {turned}")
    if event.casefold() in negative.casefold():
        raise Wrong(f"both sentences name the {event}, so the name drops out of the difference")
    if question.casefold() in f"{positive} {negative}".casefold():
        raise Wrong("leave the question out: it is added to both sentences")
    if scraps := [sentence for sentence in (positive, negative) if len(sentence.split()) < 3]:
        raise Wrong(f"{scraps[0]!r} is no instruction: say in a sentence what to do")
    for sentence in (positive, negative):
        _refuse_unknown_words(sentence, hearing)
    cosine = float(hearing.contrast(positive, negative, prompt=question).cosine(vector).min())
    if cosine < at_least:
        raise Wrong(f"in the block where they agree least the cosine is {cosine:.2f}; {at_least:g} is asked for")
    correct(f"A cosine of at least {cosine:.2f} in every block, without a sentence of the lesson's.")


def _refuse_unknown_words(sentence: str, hearing: Hearing) -> None:
    checkpoint = hearing.checkpoint
    unknown = checkpoint.tokens(sentence).words_of(checkpoint.processor.tokenizer.unk_token_id)
    if unknown:
        raise Wrong(
            f"{checkpoint.name} does not know {unknown[0]!r}: all unknown words are the same word to it, so it cannot "
            "follow this sentence. Use words that it was taught, such as those of the lesson's sentences"
        )


def longest(answer: Any, hearing: Hearing, candidates: Mapping[str, Pair], block: int) -> None:
    """The name of the candidate (positive, negative) whose vector has the largest ‖v‖/‖h‖ in `block`."""
    name = answered(answer)
    if not isinstance(name, str) or name not in candidates:
        raise Wrong(f"the answer is a name, one of: {', '.join(candidates)}")
    ratios = {candidate: hearing.contrast(*pair).norm_ratio() for candidate, pair in candidates.items()}
    here = {candidate: float(ratio[block]) for candidate, ratio in ratios.items()}
    best = max(here, key=here.__getitem__)
    if name == best:
        return correct(
            f"{best!r}, {here[best]:.2f} of ‖h‖: the states are far apart, but about what? See what it finds."
        )
    if name == min(here, key=here.__getitem__):
        raise Wrong(f"{name!r} is the shortest of them: use max, not min")
    if name == max(ratios, key=lambda candidate: float(ratios[candidate][-1])):
        raise Wrong(f"{name!r} is the longest in the last block; asked for is block {block}")
    raise Wrong(f"{name!r} has {here[name]:.2f} in block {block}, and another has more: see `norm_ratio()[{block}]`")


def _states(hearing: Hearing, instruction: str) -> np.ndarray:
    return np.asarray(hearing.read(instruction).hidden.double().numpy())


def _unit(directions: np.ndarray) -> np.ndarray:
    return directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-30)


def _same(given: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for the noise of reading a row alone or in a batch."""
    return bool(np.linalg.norm(given - expected) <= 1e-2 * np.linalg.norm(expected))
