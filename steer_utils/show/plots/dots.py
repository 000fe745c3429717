"""Dots of percent beside their chance: what the figures of methods and of conditions have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import seaborn
from matplotlib.lines import Line2D

from steer_utils.show.palette import GRID, TRUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def dots_frame(ax: Axes) -> None:
    """Percent from left to right, with lines behind the dots. Draw these with clip_on=False: some lie on the edge."""
    ax.set(xlim=(0, 100), xticks=range(0, 101, 25))
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    seaborn.despine(ax=ax)


def dots_legend(figure: Figure, colour: str, dot: str, chance: str) -> None:
    """Under the figure: what a dot with its line is, in the dots' `colour`, and what the upright mark is."""
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=5, label=dot),
        Line2D([], [], color=TRUE, marker="|", markersize=11, markeredgewidth=2, linestyle="", label=chance),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
