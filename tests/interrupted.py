"""Work that is stopped: by Ctrl-C, or by an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


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
