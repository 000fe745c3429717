"""Logarithmic axes with numbers that can be read off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator


def plain_ticks(axes: Any, sizes: Sequence[int]) -> None:
    """The sizes themselves below, and 1, 2, 5, 10, ... at the side; no minor ticks."""
    axes.minorticks_off()
    axes.set_xticks(sizes, [f"{size:,}".replace(",", "\u2009") for size in sizes])
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
