"""Dots with their intervals, one row a mean: what the figures of methods, of conditions and of settings share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import seaborn
from matplotlib.lines import Line2D

from steer_utils.show.palette import GRID, TRUE

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def percents(row: Mapping[Any, Any], *names: str) -> list[float]:
    """Columns of a row, shares in 0..1, in per cent; by default an overlap and both ends of its interval."""
    return [100 * float(row[name]) for name in names or ("overlap", "low", "high")]


def interval_dot(
    ax: Axes,
    place: float,
    ends: Sequence[float],
    colour: str,
    *,
    marker: str = "o",
    hollow: bool = False,
    size: float = 6.0,
    width: float = 2.0,
    clip_on: bool = True,
) -> None:
    """A dot at a mean and a line over its interval; none where there is no interval, as for a single scene.

    `ends`: mean, low, high in units of the axis. `size` of the dot and `width` of the line in points.
    """
    mean, low, high = ends
    if np.isfinite(low) and np.isfinite(high):
        ax.plot([low, high], [place, place], color=colour, linewidth=width)
    face = "white" if hollow else colour
    ax.plot([mean], [place], color=colour, marker=marker, markersize=size, markerfacecolor=face, clip_on=clip_on)


def chance_mark(ax: Axes, place: float, chance: float, size: float = 14.0) -> None:
    """An upright mark at the chance of a row."""
    ax.plot([chance], [place], color=TRUE, marker="|", markersize=size, markeredgewidth=2)


def beside(ax: Axes, place: float, words: str, fontsize: str = "small", x: float = 1.02) -> None:
    """Words right of the axes (`x` in their widths), at the height of a row."""
    ax.text(x, place, words, transform=ax.get_yaxis_transform(), va="center", fontsize=fontsize)


def grid_behind(ax: Axes, axis: Literal["x", "y"] = "x") -> None:
    """Thin lines at the ticks of one axis, behind what is drawn."""
    ax.grid(axis=axis, color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)


def dots_frame(ax: Axes) -> None:
    """Percent from left to right, with lines behind the dots. Draw these with clip_on=False: some lie on the edge."""
    ax.set(xlim=(0, 100), xticks=range(0, 101, 25))
    grid_behind(ax)
    seaborn.despine(ax=ax)


def legend_below(figure: Figure, handles: Sequence[Artist] | None = None, ncols: int = 2) -> None:
    """A legend under the figure, by default of what was drawn with a label."""
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False, fontsize="small")


def dots_legend(figure: Figure, colour: str, dot: str, chance: str) -> None:
    """Under the figure: what a dot with its line is, in the dots' `colour`, and what the upright mark is."""
    mark = Line2D([], [], color=TRUE, marker="|", markersize=11, markeredgewidth=2, linestyle="", label=chance)
    legend_below(figure, [Line2D([], [], color=colour, marker="o", markersize=5, label=dot), mark])
