"""What all checks share: `correct` prints, `Wrong` is raised with a hint, and a blank is told from a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Mistakes = Iterable[tuple[Any, str]]


class Wrong(AssertionError):
    """An answer is not right yet; the message is a hint. Notebooks show the hint alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython calls this in place of its own
        return [f"Not yet: {self}"]


def correct(meaning: str) -> None:
    """Say that the answer is right, and what it means."""
    print(f"Correct. {meaning}")


def answered(answer: Any) -> Any:
    """The answer itself. Raises Wrong for a blank: `...`, None, or an array or list that holds one."""
    if answer is None or answer is ...:
        raise Wrong("nothing is here yet: replace the ... in the cell above, run it, then run this cell again")
    if isinstance(answer, (list, tuple)):
        for part in answer:
            answered(part)
    return answer


def number(answer: Any) -> float:
    """The answer as one number. Raises Wrong for a blank, and for anything but one finite number."""
    value = answered(answer)
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise Wrong(f"this must be a number, not {type(value).__name__}") from None
    if array.size != 1 or not np.isfinite(array).all():
        raise Wrong(f"this must be one finite number, not {array.size} values" if array.size != 1 else "this is NaN")
    return float(array.reshape(()))


def near(value: float, expected: float, tolerance: float = 1e-6) -> bool:
    """Whether two numbers agree to `tolerance`, relative and absolute."""
    return bool(abs(value - expected) <= tolerance * max(1.0, abs(expected)))


def values(answer: Any, shape: Sequence[int]) -> np.ndarray:
    """The answer as an array of numbers of this shape. Raises Wrong for a blank, NaN or another shape."""
    value = answered(answer)
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu().float().numpy()
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise Wrong(f"this must be an array of numbers, not {type(value).__name__}") from None
    if array.shape != tuple(shape):
        raise Wrong(f"the shape is {array.shape}; it should be {tuple(shape)}")
    if not np.isfinite(array).all():
        raise Wrong("there is NaN or infinity in it")
    return array


def called(answer: Any, *arguments: Any) -> Any:
    """What the reader's function returns. Raises Wrong for a blank, what is no function, and an error inside it."""
    function = answered(answer)
    if not callable(function):
        raise Wrong(f"this must be a function, not {type(function).__name__}: pass its name without brackets")
    try:
        return answered(function(*arguments))
    except Wrong:
        raise
    except Exception as error:
        raise Wrong(f"your function stopped with {type(error).__name__}: {error}") from error


def refuse(
    given: Any, mistakes: Mistakes, tolerance: float = 1e-6, *, same: Callable[[Any, Any], bool] | None = None
) -> None:
    """Raise Wrong with the hint of the first of `mistakes`, (what a mistake gives, hint), that the answer equals.

    `same(given, wrong)` says what equals; by default two numbers that are `near` each other to `tolerance`.
    """
    for wrong, hint in mistakes:
        if same(given, wrong) if same else near(given, float(wrong), tolerance):
            raise Wrong(hint)


def judge(
    given: Any,
    expected: Any,
    mistakes: Mistakes,
    otherwise: str,
    tolerance: float = 1e-6,
    *,
    same: Callable[[Any, Any], bool] | None = None,
) -> None:
    """Return if the answer is right; else raise Wrong, as `refuse` does for known mistakes, `otherwise` for others."""
    if not (same(given, expected) if same else near(given, float(expected), tolerance)):
        refuse(given, mistakes, tolerance, same=same)
        raise Wrong(otherwise)
