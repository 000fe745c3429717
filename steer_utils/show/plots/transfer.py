"""The figure of transfer: what vectors from elsewhere find, and how it grows with what the map has seen.

figure = transfer_figure({"to B": vector_summary(...)}, {"to B": curve})
save_figure(figure, Path("figures/transfer"), alt_text_transfer(...), "Vectors carried to another model.")
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn
from matplotlib.figure import Figure

from steer_utils.show.palette import FOUND, INK, TRUE
from steer_utils.show.plots.dots import beside, chance_mark, dots_legend, grid_behind, interval_dot, percents
from steer_utils.show.plots.end_labels import CurveEnd, end_labels
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.titles import headline, percent, versus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

#: One for each panel's curve; they differ in grey too.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": FOUND, "linestyle": "-", "marker": "o"},
    {"color": INK, "linestyle": (0, (5, 1.5)), "marker": "s", "markerfacecolor": "white"},
    {"color": TRUE, "linestyle": "-.", "marker": "^"},
)
TITLE_WIDTH = 32  # characters of a line
_CARRIED = "carried"  # vectors whose name begins so are drawn filled


def transfer_figure(panels: Mapping[str, DataFrame], curves: Mapping[str, DataFrame]) -> Figure:
    """Above, one panel for each direction of transfer: overlap of each vector, its interval, and chance. Below, how
    overlap grows with the number of names that the map was fitted on, one line for each direction.

    `panels`: title -> `vector_summary`, the same vectors in all. `curves`: title -> columns names, overlap, low, high.
    Raises ValueError for no panels, or panels with other vectors.
    """
    vectors = _vectors(panels)
    with house_style():
        figure = new_figure(3.0 + 2.5 * len(panels), 3.7 + 0.34 * len(vectors))
        headline(figure, _message(panels))
        grid = figure.add_gridspec(2, len(panels), height_ratios=(0.34 * len(vectors) + 0.6, 2.1))
        tops = [figure.add_subplot(grid[0, place]) for place in range(len(panels))]
        for ax, (title, table) in zip(tops, panels.items(), strict=True):
            _dots(ax, table.set_index("vector"), vectors, labels=ax is tops[0])
            ax.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize="small")
        growth = figure.add_subplot(grid[1, :])
        _growth(growth, curves)
        dots_legend(figure, INK, "mean, 95 % interval over scenes", "chance")
        end_labels(growth, _ends(curves))
    return figure


def _message(panels: Mapping[str, DataFrame]) -> str:
    """Of each panel the best carried vector beside the best of the others."""
    said = []
    for title, table in panels.items():
        carried = table["vector"].str.startswith(_CARRIED)
        parts = [table[own] for own in (carried, ~carried) if own.any()]
        best = [part.loc[part["overlap"].idxmax()] for part in parts]
        names = [f"“{row['vector']}”, {percent(row['overlap'])}" for row in best]
        words = f"{names[0]}, {versus(*best)} {names[1]}" if len(best) > 1 else names[0]
        said.append(f"{title}: {words}")
    return "; ".join(said)


def _vectors(panels: Mapping[str, DataFrame]) -> list[str]:
    lists = [list(table["vector"]) for table in panels.values()]
    if not lists or not lists[0] or any(names != lists[0] for names in lists):
        raise ValueError("panels must hold the same vectors in the same order, at least one")
    return lists[0]


def _dots(ax: Axes, table: DataFrame, vectors: list[str], *, labels: bool) -> None:
    for place, name in enumerate(vectors):
        ends, filled = percents(table.loc[name]), name.startswith(_CARRIED)
        chance_mark(ax, place, 100 * table.loc[name, "chance"])
        interval_dot(ax, place, ends, FOUND if filled else INK, hollow=not filled)
        beside(ax, place, f"{ends[0]:.0f}")
    ax.set(xlim=(-3, 103), xticks=range(0, 101, 25), xlabel="overlap (%)", ylim=(len(vectors) - 0.5, -0.5))
    ax.set_yticks(range(len(vectors)), vectors if labels else [])
    ax.tick_params(left=labels)
    grid_behind(ax)
    seaborn.despine(ax=ax)


def _growth(ax: Axes, curves: Mapping[str, DataFrame]) -> None:
    for place, curve in enumerate(curves.values()):
        look, aside = LOOKS[place % len(LOOKS)], 0.12 * (place - (len(curves) - 1) / 2)
        names = curve["names"].to_numpy(float) + aside  # so that the intervals of two lines do not hide each other
        for at, low, high in zip(names, curve["low"], curve["high"], strict=True):
            if np.isfinite(low) and np.isfinite(high):
                ax.plot([at, at], [100 * low, 100 * high], color=look["color"], linewidth=1.1)
        ax.plot(names, 100 * curve["overlap"], linewidth=1.2, markersize=5, **look)
    ax.set(xlabel="names of sounds that the map was fitted on (the tested one never among them)", ylabel="overlap (%)")
    ax.set_ylim(0, 100)
    ticks = sorted({int(count) for curve in curves.values() for count in curve["names"]})
    ax.set_xticks(ticks, [str(count) for count in ticks])
    grid_behind(ax, "y")
    seaborn.despine(ax=ax)


def _ends(curves: Mapping[str, DataFrame]) -> list[CurveEnd]:
    ends = []
    for place, (title, curve) in enumerate(curves.items()):
        x, y = float(curve["names"].iloc[-1]), 100 * float(curve["overlap"].iloc[-1])
        ends.append(CurveEnd(x, y, textwrap.fill(title, TITLE_WIDTH // 2), LOOKS[place % len(LOOKS)]["color"]))
    return ends


def alt_text_transfer(panels: Mapping[str, DataFrame], curves: Mapping[str, DataFrame]) -> str:
    """What `transfer_figure` shows, in words: every mean in it."""
    _vectors(panels)
    said = []
    for title, table in panels.items():
        parts = [f"{row.vector} {100 * row.overlap:.0f} %" for row in table.itertuples()]
        said.append(f"{title}: {', '.join(parts)}; chance {100 * float(table['chance'].mean()):.0f} %.")
    for title, curve in curves.items():
        parts = [f"{100 * row.overlap:.0f} % with {row.names:g}" for row in curve.itertuples()]
        said.append(f"{title}, by the number of names that the map was fitted on: {', '.join(parts)}.")
    message = _message(panels)
    return (
        f"{message}. Overlap of the window found with the true interval, by the vector that is added. {' '.join(said)}"
    )
