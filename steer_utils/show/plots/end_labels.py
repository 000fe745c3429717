"""Names of curves at their ends, where the eye is, in place of a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BESIDE = 1.05  # where names begin, in widths of the axes
_APART = 3  # pixels


class CurveEnd(NamedTuple):
    """The last point of a curve in the units of its axes, its name (lines are broken at newlines), and its colour."""

    x: float
    y: float
    name: str
    colour: str


def end_labels(ax: Axes, ends: Sequence[CurveEnd]) -> None:
    """Write the names right of the axes, each at the height of its curve's end, moved apart where they would touch; a
    thin line leads to the curve. Call it when all else is drawn: heights are measured."""
    if not ends:
        return
    assert ax.figure is not None
    ax.figure.canvas.draw()
    tall = ax.get_window_extent().height
    points = ax.transAxes.inverted().transform(ax.transData.transform([(end.x, end.y) for end in ends]))
    texts = [
        ax.text(
            _BESIDE, 0, end.name, transform=ax.transAxes, va="center", color=end.colour, fontsize="small", linespacing=1
        )
        for end in ends
    ]
    heights = np.array([text.get_window_extent().height + _APART for text in texts]) / tall
    for text, (x, y), middle in zip(texts, points, apart(points[:, 1], heights), strict=True):
        text.set_y(middle)
        lead = [x + 0.3 * (_BESIDE - x), _BESIDE - 0.005], [y, middle]
        ax.plot(*lead, transform=ax.transAxes, color=text.get_color(), linewidth=0.6, clip_on=False)


def apart(wanted: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Middles of labels of these heights, near the wanted ones and in their order: none touches another, and all stand
    between 0 and 1 if there is room."""
    order = np.argsort(wanted, kind="stable")
    middles, top = np.empty(len(wanted)), -np.inf
    for place in order:
        middles[place] = max(wanted[place], top + heights[place] / 2, heights[place] / 2)
        top = middles[place] + heights[place] / 2
    ceiling = max(1.0, heights.sum())
    for place in order[::-1]:
        middles[place] = min(middles[place], ceiling - heights[place] / 2)
        ceiling = middles[place] - heights[place] / 2
    return middles
