"""Guesses that are written before the answer shows, and drawn against it at the end of a lesson.

    guess_1 = None  # your guess: the share of the attention that the dog has, in %       a cell after the question
    ...
    predictions.score(                                                                    a cell at the lesson's end
        predictions.Number("share of the dog when prompted, %", guess_1, 100 * share),
        predictions.Choice("which block is best to steer", guess_2, "early", ("early", "late")),
    )

A guess is a variable in a cell of its own. So it is kept in the file and can be handed in, needs no widget and no
kernel to be read, and a run that nobody guessed in goes through. Results are folded until asked for.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from steer_utils.show.palette import FOUND, GRID, INK, SOFT, TRUE
from steer_utils.show.plots.figures import house_style, new_figure, show

NOTHING = "no guess written: put one in place of None in a cell `guess_... = None`, and run this cell again"


@dataclass(frozen=True)
class Number:
    """A guess at a number on a scale from `low` to `high`, by default per cent.

    Raises ValueError for a guess or a result that is no finite number, and a scale that does not rise.
    """

    question: str
    guess: float | None
    result: float
    low: float = 0.0
    high: float = 100.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"{self.question!r}: the scale goes from {self.low:g} to {self.high:g}")
        for what, value in (("guess", self.guess), ("result", self.result)):
            if value is None and what == "guess":
                continue
            if isinstance(value, (bool, str)) or not _finite(value):
                raise ValueError(f"{self.question!r}: the {what} is {value!r}; write a number, such as 40")

    def on_scale(self, value: float | str | None) -> float:
        """Where a value lies on the scale, 0 to 1; what is off it lies at its end."""
        return min(1.0, max(0.0, (float(value or 0) - self.low) / (self.high - self.low)))

    def text(self, value: float | str | None) -> str:
        """A value as it is printed."""
        return "" if value is None else f"{float(value):.3g}"

    def verdict(self) -> str:
        """How far the guess was from the result."""
        assert self.guess is not None
        return f"{abs(float(self.guess) - float(self.result)):.3g} off"


@dataclass(frozen=True)
class Choice:
    """A guess at one of a few `options`.

    Raises ValueError for a guess or a result that is none of them.
    """

    question: str
    guess: str | None
    result: str
    options: Sequence[str]

    def __post_init__(self) -> None:
        for what, value in (("guess", self.guess), ("result", self.result)):
            if value not in self.options and not (value is None and what == "guess"):
                raise ValueError(f"{self.question!r}: the {what} is {value!r}; write one of {', '.join(self.options)}")

    def on_scale(self, value: float | str | None) -> float:
        """Where an option stands in the row of all of them, 0 to 1."""
        return list(self.options).index(str(value)) / max(1, len(self.options) - 1)

    def text(self, value: float | str | None) -> str:
        """An option as it is printed."""
        return str(value)

    def verdict(self) -> str:
        """Whether the guess was right."""
        return "right" if self.guess == self.result else "another"


Prediction = Number | Choice


def score(*predictions: Prediction) -> None:
    """Print and draw the guesses against the results, and show all results folded; of no guess, say so.

    Raises ValueError for no predictions.
    """
    from IPython.display import HTML, display

    if not predictions:
        raise ValueError("there is nothing to score: pass Number(...) or Choice(...)")
    guessed = [each for each in predictions if each.guess is not None]
    for each in guessed:
        print(f"{each.question}: guessed {each.text(each.guess)}, it is {each.text(each.result)} ({each.verdict()})")
    if not guessed:
        print(NOTHING)
    display(HTML(folded(predictions)))
    if guessed:
        show(score_figure(guessed), alt_text_score(guessed), f"{len(guessed)} of {len(predictions)} guessed.")


def folded(predictions: Sequence[Prediction]) -> str:
    """The results as a list that is closed until somebody opens it: plain html, no kernel, no script."""
    items = "".join(
        f"<li>{html.escape(each.question)}: <b>{html.escape(each.text(each.result))}</b></li>" for each in predictions
    )
    return f"<details><summary>The results (open them when you have guessed)</summary><ul>{items}</ul></details>"


def score_figure(predictions: Sequence[Prediction]) -> Figure:
    """A row for each prediction, on its own scale: where the guess was, and where the result is.

    All of them must hold a guess.
    """
    with house_style():
        figure = new_figure(7.5, 0.75 + 0.62 * len(predictions))
        ax = figure.subplots()
        for row, each in enumerate(predictions):
            guess, result = each.on_scale(each.guess), each.on_scale(each.result)
            ax.plot([0, 1], [row, row], color=GRID, linewidth=5, solid_capstyle="round", zorder=1)
            ax.plot([guess, result], [row, row], color=SOFT, linewidth=1.5, zorder=2)
            ax.plot(guess, row, color=TRUE, marker="o", markersize=9, markerfacecolor="white", clip_on=False, zorder=3)
            ax.plot(result, row, color=FOUND, marker="D", markersize=6, clip_on=False, zorder=4)
            ax.text(0, row - 0.36, each.question, fontsize="small", color=INK, va="center")
            ends = (f"{each.low:g}", f"{each.high:g}") if isinstance(each, Number) else ("", "")
            words = f"{each.text(each.guess)}, is {each.text(each.result)}: {each.verdict()}"
            ax.text(-0.02, row, ends[0], fontsize="small", color=SOFT, ha="right", va="center")
            ax.text(1.02, row, f"{ends[1]}   guessed {words}".strip(), fontsize="small", color=INK, va="center")
        ax.plot([], [], "o", color=TRUE, markersize=9, markerfacecolor="white", label="your guess")
        ax.plot([], [], "D", color=FOUND, markersize=6, label="what was measured")
        ax.set(xlim=(0, 1), ylim=(len(predictions) - 0.5, -0.75))
        ax.axis("off")
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize="small")
    return figure


def alt_text_score(predictions: Sequence[Prediction]) -> str:
    """What `score_figure` shows, in words: every guess and every result."""
    rows = (
        f"{each.question}: guessed {each.text(each.guess)}, is {each.text(each.result)} ({each.verdict()})"
        for each in predictions
    )
    return f"Guesses and what was measured, a row each. {'; '.join(rows)}."


def _finite(value: object) -> bool:
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
