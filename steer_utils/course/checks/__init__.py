"""Answer checks of the course's exercises, one module a lesson: `checks.start`, `checks.loading` and so on.

A check says what is right, or raises `Wrong` with a hint at the likely mistake; the mistakes it knows stand in its
code. It works out the right answer by itself, offline, and needs nothing but what it is given. `answers` has what all
checks share.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from steer_utils.course.checks.answers import Wrong as Wrong

#: One module a lesson, in the lessons' order. Each is imported when it is first used.
LESSONS = (
    *"start loading activations contrasts steering attention locating benchmarks beyond".split(),
    *"playground language_model pictures reasoning method sensitivity".split(),
)


def __getattr__(name: str) -> ModuleType:
    if name in LESSONS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
