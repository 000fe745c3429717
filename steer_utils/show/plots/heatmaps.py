"""Heat maps of overlap: each cell holds its mean and half of its interval, and can be read in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import seaborn
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from steer_utils.show.palette import DARK, HEAT, INK, TRUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


def overlap_map(
    ax: Axes, cells: DataFrame, blocks: list[str], strengths: list[float], fontsize: float, against: float | None = None
) -> None:
    """Overlap in % by steered blocks (rows) and strength (columns): "62 ±4", a dash where nothing was measured.

    `cells`: one row a cell, with blocks, strength, overlap, low, high (0..1; NaN bounds for a single scene). `against`:
    an overlap (0..1); a cell then holds its difference in points, "+12", and only where its interval leaves that out.
    """
    wide = cells.astype({"blocks": str}).pivot(index="blocks", columns="strength", values=["overlap", "low", "high"])
    means = 100 * wide["overlap"].reindex(index=blocks, columns=strengths)
    low, high = (100 * wide[end].reindex(index=blocks, columns=strengths) for end in ("low", "high"))
    if against is None:
        words = np.vectorize(_cell_text, otypes=[str])(means, 0.5 * (high - low))
    else:
        words = np.vectorize(_difference_text, otypes=[str])(means, low, high, 100 * against)
    seaborn.heatmap(
        means,
        ax=ax,
        annot=words,
        fmt="",
        cmap=HEAT,
        vmin=0,
        vmax=100,
        cbar=False,
        linewidths=0.5,
        annot_kws={"fontsize": fontsize},
        xticklabels=[f"{strength:g}" for strength in strengths],
        yticklabels=blocks,
    )
    # seaborn's own switch leaves white on middle blue; this one keeps a contrast of 4.5 : 1 or more
    colours = np.atleast_2d(ax.collections[0].get_facecolor())[means.notna().to_numpy().ravel()]
    for text, colour in zip(ax.texts, colours, strict=True):
        text.set_color("black" if seaborn.utils.relative_luminance(colour) > DARK else "white")
    for row, column in np.argwhere(means.isna().to_numpy()):
        ax.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color=INK, fontsize=fontsize)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)


def outline_cell(ax: Axes, row: float, column: float, linewidth: float = 2.2) -> None:
    """A frame around the cell of the chosen setting, whose upper left corner is given; `linewidth` in points."""
    frame = Rectangle((column, row), 1, 1, fill=False, edgecolor=TRUE, linewidth=linewidth, clip_on=False, zorder=5)
    frame.set_path_effects([withStroke(linewidth=2 * linewidth, foreground="white")])
    ax.add_patch(frame)


def _cell_text(mean: float, half: float) -> str:
    """ "62 ±4"; without the interval of a single scene."""
    return f"{mean:.0f} ±{half:.0f}" if np.isfinite(half) else f"{mean:.0f}"


def _difference_text(mean: float, low: float, high: float, against: float) -> str:
    """ "+12"; nothing where the interval holds `against`, or there is none."""
    apart = np.isfinite([low, high]).all() and not low <= against <= high
    return f"{mean - against:+.0f}".replace("-", "−") if apart else ""
