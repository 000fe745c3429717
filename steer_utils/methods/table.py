"""The table of all methods: each turns (hearing, query, settings) into an interval.

Attention methods make a curve over audio tokens and take the window of the known event width with the largest sum (the
width is an oracle, and declared as one). All of them read the row of the last prompt token and average heads.

A new method is a file with its `METHODS`, and its name in the list below.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from steer_utils.methods import (
    activation_swap,
    asking,
    attention_scaling,
    attribution,
    audio_steering,
    baselines,
    controls,
    event_vector,
    logit_lens,
    prompting,
    specialist_heads,
    steering,
    text_vector,
)
from steer_utils.methods.base import Finder, Method
from steer_utils.methods.settings import PAPER, Settings

#: In the order of tables and figures: standard ones first, then the rivals of 2026, then the slower ones.
_STANDARD = (steering, prompting, audio_steering, controls, asking, baselines)
_RIVALS = (attention_scaling, specialist_heads, text_vector, event_vector, activation_swap)
_SLOWER = (attribution, logit_lens)

METHODS: dict[str, Method] = {
    method.name: method for file in (*_STANDARD, *_RIVALS, *_SLOWER) for method in file.METHODS
}
STANDARD = tuple(name for name, method in METHODS.items() if method.standard)
RIVALS = tuple(method.name for file in _RIVALS for method in file.METHODS)
FURTHER = tuple(name for name, method in METHODS.items() if not method.standard and name not in RIVALS)


def standard_methods(settings: Settings, scenes: int) -> tuple[str, ...]:
    """The names of the standard methods that a benchmark of so many scenes with several events can run."""
    return tuple(name for name in STANDARD if not METHODS[name].lacks(settings, others=True, scenes=scenes))


def standard_passes() -> int:
    """Suffix passes a query of the standard methods with the paper's settings, without answers (for `lm.costs`)."""
    return sum(METHODS[name].suffixes for name in without_equal_rows(standard_methods(PAPER, 2), PAPER)[0])


def without_equal_rows(names: Sequence[str], settings: Settings) -> tuple[list[str], dict[str, str]]:
    """The names without those that find the same as another of them, as long as nothing was chosen for a model; and for
    each that is left out which that is: {"steering-paper": "steering"} where the settings are the paper's.

    Settings that were chosen keep all rows: where two come out equal, that is a result.
    """
    if settings.chosen_on:
        return list(names), {}
    equal = {name: METHODS[name].equals(settings) for name in names if name in METHODS}
    equal = {name: other for name, other in equal.items() if other in names}
    return [name for name in names if name not in equal], equal


def finder(name: str, settings: Settings, *, others: bool = False) -> Finder:
    """How a method finds a sound in one audio. `others`: whether the query will name the other events in it.

    Raises ValueError for an unknown name, and for a method that needs more than that.
    """
    method = method_named(name)
    if lacking := method.lacks(settings, others=others):
        raise ValueError(f"{name!r} needs {lacking}; choose another method")
    assert method.find is not None  # only those that need other scenes have none
    return method.find


def in_order(names: Iterable[str]) -> list[str]:
    """The names once each: in the order of the table, those of external methods after them."""
    once = list(dict.fromkeys(names))
    return [name for name in METHODS if name in once] + [name for name in once if name not in METHODS]


def label_of(name: str) -> str:
    """What tables and figures call a method; an external one goes by its name."""
    return METHODS[name].label if name in METHODS else name


def method_named(name: str) -> Method:
    """Raises ValueError listing the methods for a name that is none."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; pass one of {', '.join(METHODS)}")
    return METHODS[name]
