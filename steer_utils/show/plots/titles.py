"""What a figure says, as a title over it; made of the numbers that are drawn, so that it is true of every run.

message = f"Steering finds {percent(0.96)}, {versus(steering, prompting)} prompting, {percent(0.95)}"
headline(figure, message)

Of two means whose 95 % intervals overlap none is called the larger.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from steer_utils.methods.table import label_of

_LETTERS = 11.6  # of a title on an inch
_LINE = 0.19  # inches of a line of it


def headline(figure: Figure, message: str) -> None:
    """Write the message over the figure, which grows by the lines that it takes. Call it before `located.mark`."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(message.replace("$", r"\$"), int(_LETTERS * width), break_on_hyphens=False)
    figure.set_size_inches(width, height + _LINE * len(lines))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize="medium", linespacing=1.15)


def percent(*shares: float) -> str:
    """Shares (0..1) in whole per cent: "96 %", or the least and the largest of several, "54 to 96 %"."""
    low, high = round(100 * float(np.nanmin(shares))), round(100 * float(np.nanmax(shares)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def versus(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> str:
    """How one mean stands to another by their intervals `low` to `high`: "above", "below", "about level with"; "beside"
    where one has none."""
    ends = [float(row[end]) for row in (one, other) for end in ("low", "high")]
    if not np.isfinite(ends).all():
        return "beside"
    low, high, other_low, other_high = ends
    return "above" if low > other_high else "below" if high < other_low else "about level with"


def method_words(name: str) -> str:
    """A method's label inside a sentence: "steering", "prompting only (its best question)", "MAVS"."""
    label = label_of(name).removesuffix(" (ours)")
    if short := re.search(r"\(([A-Z]{3,})\)$", label):
        return short[1]
    return label if "(" in label else re.sub(r", (.*)$", r" (\1)", label)


def listed(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c" """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def sentence(words: str) -> str:
    """The words with a capital letter in front."""
    return words[:1].upper() + words[1:]
