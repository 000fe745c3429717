"""Figures of the sensitivity grid, in the style of `plots`; each with its words.

figure = plane_figure(summary, "paper")
save_figure(figure, Path("figures/sensitivity"), alt_text_plane(summary, "paper"), "Strength against blocks.")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from steer_utils.show.palette import FOUND, INK, TRUE
from steer_utils.show.plots.dots import beside, chance_mark, grid_behind, interval_dot, legend_below, percents
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.heatmaps import outline_cell, overlap_map
from steer_utils.show.plots.titles import headline, percent, sentence, versus
from steer_utils.study.sensitivity import FACTORS, READS, blocks_order, one_at_a_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

POINTS = {"own": "the model's own settings", "paper": "the paper's method as declared"}
FACTOR_LABELS = {
    "strength": "strength λ",
    "blocks": "steered blocks",
    "positions": "steered positions",
    "rows": "query rows read",
    "norm": "norm of h",
    "read": "read-out",
    "read_blocks": "blocks read",
    "width": "window, in event widths",
}
LEVEL_LABELS = {
    ("positions", "last"): "last token",
    ("positions", "text"): "all text",
    ("positions", "event"): "event's words",
    ("positions", "all"): "all tokens",
    ("positions", "audio"): "audio tokens",
    ("rows", "last"): "last token",
    ("rows", "instruction"): "instruction (text steered)",
    ("read_blocks", "after"): "after the first steered",
}
UNREACHED = "no block read comes after the first steered"
READ_LABELS = {"share": "steered share", "difference": "steered minus unsteered share"}
_ROW = 0.235  # inches of a row of the star


# -- the plane -------------------------------------------------------------------------------------------------------
def plane_figure(summary: DataFrame, around: str = "paper", norm: str | None = None) -> Figure:
    """Overlap by strength and steered blocks, one panel a read-out, and its difference from the settings in points.

    A number stands only where a cell's 95 % interval leaves out what the settings have: a hundred numbers of a few
    scenes invite one to pick the largest. `summary`: of `sensitivity_summary`. `norm`: "kept" or "free", by default as
    in the settings; the other is in a grid made with `thorough`. The cell of the settings themselves is outlined. A
    dash: nothing that is read can have changed. Raises ValueError for a point or a norm mode whose plane is not there.
    """
    cells, point = _plane(summary, around, norm)
    panels = {read: cells[cells["read"] == read] for read in READS}
    star = summary[summary["varied"].isin({"", "blocks"}) & summary["around"].isin({around, "paper"})]
    sets = sorted(star["blocks"].unique(), key=blocks_order)  # the paper's read-out is reached from all of them
    strengths = sorted(cells["strength"].unique())
    with house_style():
        figure = new_figure(3.3 + 0.95 * len(strengths), 1.9 + 0.27 * len(sets))
        headline(figure, _plane_message(cells, point))
        axes = figure.subplots(1, len(panels), sharey=True)
        for ax, (read, table) in zip(axes, panels.items(), strict=True):
            overlap_map(ax, table, sets, strengths, 7.5, against=float(point["overlap"]))
            ax.set(xlabel="strength λ", ylabel="")
            ax.set_title(READ_LABELS[read], fontsize="medium")
            if read == point["read"] and cells["norm"].iloc[0] == point["norm"]:
                outline_cell(ax, sets.index(point["blocks"]), strengths.index(point["strength"]))
        axes[0].set_ylabel("steered blocks")
        axes[1].tick_params(left=False)
        bar = figure.colorbar(axes[1].collections[0], ax=list(axes), pad=0.015, fraction=0.03)
        bar.set_label("overlap (%)")
        bar.outline.set_visible(False)
        empty = "" if len(cells) == len(READS) * len(sets) * len(strengths) else f";  – {UNREACHED}"
        figure.supxlabel(
            f"{_title(cells, point, around)}\n{_scenes(cells)}\nchance {100 * cells['chance'].mean():.1f} %{empty}",
            fontsize="small",
        )
    return figure


def _plane(summary: DataFrame, around: str, norm: str | None) -> tuple[DataFrame, Mapping[str, Any]]:
    """The rows of the plane, and that of the settings it is drawn around."""
    own = one_at_a_time(summary, around)
    point = own[own["chosen"]].iloc[0].to_dict()
    wanted = point["norm"] if norm is None else norm
    fixed = [name for name in FACTORS if name not in ("strength", "blocks", "read", "norm")]
    kept = summary[(summary["around"] == around) & (summary["width"] == 1.0) & (summary["norm"] == wanted)]
    kept = kept[(kept[fixed] == [point[name] for name in fixed]).all(axis=1)]
    if len(kept) < 2:  # one cell alone is a level of the star
        raise ValueError(
            f"norm is {norm!r}; the plane was measured for {point['norm']!r} only: sensitivity_table(thorough=True) "
            "measures both"
        )
    return kept, point


def _plane_message(cells: DataFrame, point: Mapping[str, Any]) -> str:
    """How many cells have an interval above or below what the settings find: where numbers are drawn."""
    mean = float(point["overlap"])
    if not cells["low"].notna().any():
        return f"The settings find {percent(mean)}, the {len(cells)} cells {percent(*cells['overlap'])}: a single scene"
    above, below = int((cells["low"] > mean).sum()), int((cells["high"] < mean).sum())
    return (
        f"The settings find {percent(mean)}; of {len(cells)} cells {above} have their interval above it, {below} below"
    )


def _title(cells: DataFrame, point: Mapping[str, Any], around: str) -> str:
    blocks = LEVEL_LABELS.get(("read_blocks", point["read_blocks"]), point["read_blocks"])
    return f"{POINTS.get(around, around)}: norm {cells['norm'].iloc[0]}, blocks read: {blocks}"


def _scenes(cells: DataFrame) -> str:
    scenes = cells["scenes"].iloc[0]
    if scenes == 1:
        return "a single scene"
    return f"numbers: points above or below the settings, where the 95 % interval over {scenes} scenes leaves them out"


def alt_text_plane(summary: DataFrame, around: str = "paper", norm: str | None = None) -> str:
    """What `plane_figure` shows, in words: for each read-out the best and worst cell and the settings' own."""
    cells, point = _plane(summary, around, norm)
    said = []
    for read in READS:
        table = cells[cells["read"] == read]
        best, worst = (table.loc[table["overlap"].agg(end)] for end in ("idxmax", "idxmin"))
        said.append(f"{READ_LABELS[read].capitalize()}: from {_place(worst)} to {_place(best)}.")
    return (
        f"{_plane_message(cells, point)}. "
        f"Overlap by strength and steered blocks around {_title(cells, point, around)}. "
        f"{' '.join(said)} The settings themselves, outlined, {READ_LABELS[point['read']]}: {_place(point)}. "
        f"Chance {100 * cells['chance'].mean():.1f} %."
    )


def _place(row: Mapping[str, Any]) -> str:
    blocks = row["blocks"]
    return f"{_percent(row)} at strength {row['strength']:g} in block{'' if blocks.isdigit() else 's'} {blocks}"


# -- the star --------------------------------------------------------------------------------------------------------
def star_figure(summary: DataFrame, around: str = "paper") -> Figure:
    """One factor at a time around a point: overlap with its 95 % interval and its chance, a row a level.

    `summary`: of `sensitivity_summary`. Filled dots are the settings, in every factor the same result. Beside the
    widths stands the IoU too: a wider window covers more of the event and hits it less well. Raises ValueError for a
    point that is not there.
    """
    star = one_at_a_time(summary, around)
    sizes = star.groupby("factor", sort=False).size()
    with house_style():
        figure = new_figure(6.6, 1.1 + _ROW * len(star) + 0.12 * len(sizes))
        headline(figure, _star_message(star))
        axes = figure.subplots(len(sizes), 1, sharex=True, height_ratios=[size + 0.6 for size in sizes])
        for ax, factor in zip(axes, sizes.index, strict=True):
            levels = star[star["factor"] == factor].reset_index(drop=True)
            for place, row in enumerate(levels.to_dict("records")):
                _dot(ax, place, row)
            names = [LEVEL_LABELS.get((factor, level), level) for level in levels["level"]]
            ax.set_yticks(range(len(levels)), names, fontsize="small")
            ax.set(xlim=(0, 100), xticks=range(0, 101, 25), ylim=(len(levels) - 0.4, -0.6))
            ax.set_title(FACTOR_LABELS[factor], loc="left", fontsize="small", fontweight="bold", pad=2)
            grid_behind(ax)
            ax.tick_params(length=0, bottom=False)
            seaborn.despine(ax=ax, left=True, bottom=ax is not axes[-1])
        axes[-1].set_xlabel("overlap (%)")
        handles = [
            Line2D([], [], color=FOUND, marker="o", markersize=6, label=POINTS.get(around, around)),
            Line2D([], [], color=INK, marker="o", markerfacecolor="white", label="one factor changed, 95 % interval"),
            Line2D([], [], color=TRUE, marker="|", markersize=10, markeredgewidth=2, linestyle="", label="chance"),
        ]
        legend_below(figure, handles, ncols=3)
    return figure


def _star_message(star: DataFrame) -> str:
    """How many single changes leave the interval of the settings, and which of them changes most. The window's width is
    left out: it changes chance, too."""
    point = star[star["chosen"]].iloc[0].to_dict()
    changed = [row for row in star.to_dict("records") if not row["chosen"] and row["factor"] != "width"]
    beyond = [row for row in changed if versus(row, point) in ("above", "below")]
    start = f"The settings find {percent(point['overlap'])}"
    if not np.isfinite(point["low"]):
        return f"{start}, {len(changed)} single changes {percent(*(row['overlap'] for row in changed))}"
    if not beyond:
        return f"{start}; none of {len(changed)} single changes leaves their interval"
    most = max(beyond, key=lambda row: abs(row["overlap"] - point["overlap"]))
    level = LEVEL_LABELS.get((most["factor"], most["level"]), most["level"])
    said = f"{len(beyond)} of {len(changed)} single changes leave their interval, most {FACTOR_LABELS[most['factor']]}"
    return f"{start}; {said}: {level}, {percent(most['overlap'])}"


def _dot(ax: Axes, place: int, row: Mapping[str, Any]) -> None:
    ends, chosen = percents(row), row["chosen"]
    chance_mark(ax, place, 100 * row["chance"], 9)
    interval_dot(ax, place, ends, FOUND if chosen else INK, hollow=not chosen, size=5, width=1.8, clip_on=False)
    iou = f"   IoU {100 * row['iou']:.1f}" if row["factor"] == "width" else ""
    beside(ax, place, f"{ends[0]:.1f}{iou}")


def alt_text_star(summary: DataFrame, around: str = "paper") -> str:
    """What `star_figure` shows, in words: every number in it."""
    star = one_at_a_time(summary, around)
    point = star[star["chosen"]].iloc[0]
    said = []
    for factor in star["factor"].unique():
        rows = star[(star["factor"] == factor) & ~star["chosen"]].to_dict("records")
        parts = [
            f"{LEVEL_LABELS.get((factor, row['level']), row['level'])} {_percent(row)}"
            + (f", IoU {100 * row['iou']:.1f} %" if factor == "width" else "")
            for row in rows
        ]
        said += [f"{sentence(FACTOR_LABELS[factor])}: {', '.join(parts)}."] if parts else []
    return (
        f"{_star_message(star)}. "
        f"Overlap around {POINTS.get(around, around)} ({_percent(point)}; chance {100 * point['chance']:.1f} %), one "
        f"factor changed at a time. {' '.join(said)}"
    )


def _percent(row: Mapping[str, Any]) -> str:
    mean, low, high = percents(row)
    return f"{mean:.1f} % ({low:.1f} to {high:.1f})" if np.isfinite(low) and np.isfinite(high) else f"{mean:.1f} %"
