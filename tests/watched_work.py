"""Work that is stopped, by Ctrl-C or by an error, and progress that is noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def stopped(*_: object, **__: object) -> None:
    """In place of a function that works."""
    raise KeyboardInterrupt


def failed(*_: object, **__: object) -> None:
    """The same with an error."""
    raise RuntimeError("stopped")


def stopping(after: int) -> Callable[[Iterable[int]], Iterator[int]]:
    """Progress that is stopped once `after` units are done."""

    def steps(units: Iterable[int]) -> Iterator[int]:
        for done, unit in enumerate(units):
            if done == after:
                raise KeyboardInterrupt
            yield unit

    return steps


def noting(units: list) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """Progress that appends each unit that is begun to `units`."""

    def steps(every: Iterable[Any]) -> Iterator[Any]:
        for unit in every:
            units.append(unit)
            yield unit

    return steps
