"""The figure of how much it takes: overlap over strength, pairs and other audios averaged, over wording and language.

figure = curves_figure(curve_summary(table))
save_figure(figure, Path("figures/curves"), alt_text_curves(summary), "What it takes.")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from steer_utils.show.palette import FOUND, GRID, INK, TRUE
from steer_utils.show.plots.dots import interval_dot, legend_below, percents
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.study.sample_curves import METHODS, OWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_NUMBERS = {
    "strength": "strength",
    "pairs": "contrast pairs averaged",
    "other audios": "other audios whose vectors are averaged",
}
_LOOK = {"steering": (FOUND, "o", FOUND, -0.16), "prompting": (INK, "D", "white", 0.16)}


def curves_figure(summary: DataFrame) -> Figure:
    """Above, overlap in % over numbers, with 95 % intervals; below, over words. Dashed: chance. Dotted: the settings as
    they are. Prompting is before the same question.

    `summary`: of `curve_summary`.
    """
    own = summary[summary["axis"] == OWN].set_index("method")["overlap"] * 100
    chance = 100 * float(summary["chance"].mean())
    languages = bool((summary["axis"] == "language").any())
    with house_style():
        figure = new_figure(10.6, 8.0)
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.45), squeeze=True)  # type: ignore[misc]
        axes = above.subplots(1, 3, sharey=True)
        for ax, (axis, label) in zip(axes, _NUMBERS.items(), strict=True):
            _numbers(ax, summary[summary["axis"] == axis])
            _lines(ax.axhline, own if axis == "pairs" else own[[METHODS[0]]], chance)
            ax.set(xlabel=label, ylim=(-3, 103), yticks=range(0, 101, 25))
        axes[0].set_ylabel("overlap (%)")
        names = ["wording", "language"] if languages else ["wording"]
        for ax, axis in zip(below.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            rows = summary[summary["axis"] == axis]
            _words(ax, rows)
            _lines(ax.axvline, own, chance)
            ranges = 100 * rows.groupby("method", sort=False)["overlap"].agg(["min", "max"])
            said = "; ".join(f"{name} {row['min']:.0f} to {row['max']:.0f} %" for name, row in ranges.iterrows())
            ax.set_title(f"{axis}: {said}", fontsize="small")
        handles = [
            Line2D([], [], color=_LOOK[name][0], marker=_LOOK[name][1], markerfacecolor=_LOOK[name][2], label=name)
            for name in METHODS
        ]
        handles += [
            Line2D([], [], color=FOUND, linestyle=":", label="settings as they are"),
            Line2D([], [], color=TRUE, linestyle="--", label="chance"),
        ]
        legend_below(figure, handles, ncols=4)
    return figure


def _numbers(ax: Axes, rows: DataFrame) -> None:
    levels = list(dict.fromkeys(rows["level"]))
    for method, part in rows.groupby("method"):
        colour, marker, face, _ = _LOOK[str(method)]
        places = [float(level) for level in part["level"]]
        below, over = (100 * (part["overlap"] - part["low"]).abs(), 100 * (part["high"] - part["overlap"]).abs())
        ax.errorbar(
            places,
            100 * part["overlap"],
            yerr=[below, over],
            color=colour,
            marker=marker,
            markersize=4,
            markerfacecolor=face,
            linewidth=1.2,
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks([float(level) for level in levels], levels, fontsize="x-small")
    ax.minorticks_off()
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    seaborn.despine(ax=ax)


def _words(ax: Axes, rows: DataFrame) -> None:
    levels = list(dict.fromkeys(rows["level"]))
    for method, part in rows.groupby("method"):
        colour, marker, face, shift = _LOOK[str(method)]
        for row in part.to_dict("records"):
            place = levels.index(row["level"]) + shift
            interval_dot(ax, place, percents(row), colour, marker=marker, hollow=face == "white", size=4, width=1.2)
    ax.set_yticks(range(len(levels)), [level.replace("{event}", "…") for level in levels], fontsize="x-small")
    ax.set(xlim=(-3, 103), xticks=range(0, 101, 25), xlabel="overlap (%)", ylim=(len(levels) - 0.4, -0.6))
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.tick_params(axis="y", length=0)
    seaborn.despine(ax=ax, left=True)


def _lines(draw: object, own: DataFrame, chance: float) -> None:
    for method, value in own.items():
        draw(value, color=_LOOK[str(method)][0], linewidth=1.0, linestyle=":", zorder=0)  # type: ignore[operator]
    draw(chance, color=TRUE, linewidth=1.4, linestyle="--", zorder=0)  # type: ignore[operator]


def alt_text_curves(summary: DataFrame) -> str:
    """What `curves_figure` shows, in words: every mean in it."""
    said = []
    for (axis, method), rows in summary.groupby(["axis", "method"], sort=False):
        listed = ", ".join(f"{row['level']} {100 * row['overlap']:.0f}" for row in rows.to_dict("records"))
        said.append(f"{axis}, {method}: {listed}." if axis != OWN else f"As they are, {method}: {listed[4:]}.")
    return f"Overlap in %. {' '.join(said)} Chance {100 * float(summary['chance'].mean()):.0f}."
