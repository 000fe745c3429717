"""How long a lesson is: its cells, and the minutes it takes, by one rule from words, cells and what exercises state.

    time_line(notebook)         # "**Time** 35 minutes to read, 20 for the exercises."
    minutes(notebook)           # Minutes(reading=35, exercises=20)
    teaching_cells(notebook)    # 37

130 words a minute is slow reading, with thought; half a minute goes to each cell of code that a reader looks at. Hints
are read, if at all, in the minutes of their exercise.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from steer_utils.course.exercises import tags

WORDS_A_MINUTE = 130
MINUTES_A_CELL = 0.5
STEP = 5  # minutes are said to the nearest so many
UNREAD = {"install", "parameters", "hide-cell", "solution", "check", "predict"}  # tags of cells that nobody studies
HINT = re.compile(r"<details>.*?</details>", re.DOTALL)
STATED = re.compile(r"^\*\*Exercise .* · (\d+) minutes$", re.MULTILINE)


class Minutes(NamedTuple):
    """For reading and looking, and for the exercises."""

    reading: int
    exercises: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.reading + self.exercises


def minutes(notebook: Any) -> Minutes:
    """By the rule above; reading to the nearest five minutes, exercises as they state."""
    words = cells = stated = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = HINT.sub("", cell.source.split("## Reading")[0])  # a list of papers is not read in class
            words += len(text.split())
            stated += sum(int(number) for number in STATED.findall(text))
        elif cell.source.strip() and not tags(cell) & UNREAD:
            cells += 1
    reading = words / WORDS_A_MINUTE + MINUTES_A_CELL * cells
    return Minutes(max(STEP, STEP * round(reading / STEP)), stated)


def teaching_cells(notebook: Any) -> int:
    """Cells that a reader reads: all but set-up, hidden assertions, boxes for guesses, solutions and their checks."""
    return sum(bool(cell.source.strip()) and not tags(cell) & UNREAD for cell in notebook.cells)


def time_line(notebook: Any) -> str:
    """What a lesson's first cell says of its time."""
    reading, exercises = minutes(notebook)
    return f"**Time** {reading} minutes to read, {exercises} for the exercises."
