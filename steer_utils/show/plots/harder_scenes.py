"""Figures of scenes that are less kind: overlap by condition, a panel a method; sounds that are not there, or twice.

figure = conditions_figure(harder_summary(table))
save_figure(figure, Path("figures/conditions"), alt_text_conditions(summary), "Overlap by condition.")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from steer_utils.methods.table import label_of
from steer_utils.show.palette import FILL, FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.dots import chance_mark, dots_frame, dots_legend, grid_behind, interval_dot, percents
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.sound.conditions import PLAIN
from steer_utils.study.harder_scenes import FOUND as WHICH
from steer_utils.study.harder_scenes import MAIN, YES_OR_NO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame, Series

_COLUMNS = 4  # panels side by side
_ROW = 0.2  # inches of a condition
#: A legend under the axis label.
_BELOW: dict[str, Any] = {"loc": "upper center", "borderaxespad": 6, "frameon": False, "fontsize": "x-small"}
_PARTS = ((FOUND, "white"), (FILL, INK), ("white", INK))  # of the bars of which one is found: fill, and ink on it


def conditions_figure(summary: DataFrame) -> Figure:
    """A panel a method: overlap in % with its 95 % interval for each condition, and that condition's own chance. Over
    each stands where the method does worst.

    `summary`: of `harder_summary`.
    """
    placed = summary[summary["overlap"].notna()]
    methods, conditions = list(dict.fromkeys(placed["method"])), list(dict.fromkeys(placed["condition"]))
    columns = min(_COLUMNS, len(methods))
    rows = -(-len(methods) // columns)
    with house_style():
        figure = new_figure(2.2 + 2.05 * columns, 0.5 + rows * (0.9 + _ROW * len(conditions)))
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, method in zip(axes, methods, strict=False):
            overlap = placed[placed["method"] == method].set_index("condition")
            _condition_panel(ax, overlap, conditions)
            lowest = overlap["overlap"].idxmin()
            worst = f"lowest: {100 * overlap.loc[lowest, 'overlap']:.0f} %, {lowest}"
            ax.set_title(f"{label_of(method)}\n{worst}", fontsize="x-small")
        for ax in axes[len(methods) :]:
            ax.set_axis_off()
        for ax in axes[max(0, len(methods) - columns) : len(methods)]:
            ax.set_xlabel("overlap (%)")
            ax.tick_params(labelbottom=True)
        axes[0].set_ylim(len(conditions) - 0.4, -0.6)
        dots_legend(figure, FOUND, "overlap, 95 % interval over scenes", "its chance")
    return figure


def _condition_panel(ax: Axes, rows: DataFrame, conditions: list[str]) -> None:
    for place, condition in enumerate(conditions):
        row = rows.loc[condition]
        interval_dot(ax, place, percents(row), FOUND, size=4, width=1.6, clip_on=False)
        chance_mark(ax, place, 100 * row["chance"], 9)
    ax.set_yticks(range(len(conditions)), conditions, fontsize="x-small")
    dots_frame(ax)
    ax.tick_params(axis="y", length=0)
    seaborn.despine(ax=ax, left=True)


def presence_figure(summary: DataFrame) -> Figure:
    """Left, whether a score tells sounds that are there from those that are not, in plain scenes, by method. Middle,
    the same by condition for steering and for the model's own yes or no. Right, of a class that sounds twice, which one
    each method finds.

    `summary`: of `harder_summary`. A panel whose condition is not there is left empty, and says so.
    """
    plain = summary[summary["condition"] == PLAIN].set_index("method")
    doubled = summary[(summary["condition"] == "twice") & summary["overlap"].notna()].set_index("method")
    conditions = list(dict.fromkeys(summary["condition"]))
    with house_style():
        figure = new_figure(11.0, 1.3 + _ROW * max(len(conditions), 9))
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1))
        for place, (_, row) in enumerate(plain.iterrows()):
            _area(left, place, row, FOUND, "o")
        best = plain["area"].astype(float).idxmax() if plain["area"].notna().any() else None
        told = "" if best is None else f"\nbest: {_name(str(best))}, {plain.loc[best, 'area']:.2f}"
        _areas(left, [_name(method) for method in plain.index], f"there or not? plain scenes, by method{told}")
        ranges = []
        for method, colour, marker, shift in ((MAIN, FOUND, "o", -0.14), (YES_OR_NO, INK, "D", 0.14)):
            rows = summary[summary["method"] == method].set_index("condition")
            ranges.append(_range(method, rows["area"]))
            for place, condition in enumerate(conditions):
                if condition in rows.index:
                    _area(middle, place + shift, rows.loc[condition], colour, marker)
        _areas(middle, conditions, "there or not? by condition\n" + "; ".join(ranges))
        handles = [
            Line2D([], [], color=FOUND, marker="o", markersize=4, label="steering, rise of attention"),
            Line2D([], [], color=INK, marker="D", markersize=4, markerfacecolor="white", label="the model's yes or no"),
        ]
        middle.legend(handles=handles, bbox_to_anchor=(0.5, 0), **_BELOW)
        _which_panel(right, doubled)
    return figure


def _name(method: str) -> str:
    return "the model's yes or no" if method == YES_OR_NO else label_of(method)


def _range(method: str, area: Series) -> str:
    """Between which ROC areas a method lies over conditions."""
    name = "yes or no" if method == YES_OR_NO else "steering"
    return f"{name} {area.min():.2f} to {area.max():.2f}"


def _area(ax: Axes, place: float, row: DataFrame, colour: str, marker: str) -> None:
    if row["area"] == row["area"]:
        ends = [row["area"], row["area_low"], row["area_high"]]
        interval_dot(ax, place, ends, colour, marker=marker, hollow=marker != "o", size=4, width=1.4)


def _areas(ax: Axes, names: list[str], title: str) -> None:
    ax.axvline(0.5, color=TRUE, linewidth=1.4, linestyle="--", zorder=0)
    ax.set_yticks(range(len(names)), names, fontsize="x-small")
    ax.set(xlim=(0.2, 1.02), xlabel="ROC area", ylim=(len(names) - 0.4, -0.6))
    ax.set_title(title, fontsize="small")
    grid_behind(ax)
    ax.tick_params(axis="y", length=0)
    seaborn.despine(ax=ax, left=True)


def _which_panel(ax: Axes, doubled: DataFrame) -> None:
    title = "a class that sounds twice"
    if MAIN in doubled.index and doubled.loc[MAIN, list(WHICH)].notna().all():
        which = doubled.loc[MAIN, list(WHICH)].astype(float)
        title += f"\nsteering finds most often: {which.idxmax()}, {100 * which.max():.0f} %"
    ax.set_title(title, fontsize="small")
    if doubled.empty or WHICH[0] not in doubled:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center")
        ax.set_axis_off()
        return
    for place, (_, row) in enumerate(doubled.iterrows()):
        left = 0.0
        for which, (colour, ink) in zip(WHICH, _PARTS, strict=True):
            share = 100 * float(row[which])
            ax.barh(place, share, left=left, color=colour, edgecolor=SOFT, linewidth=0.6, height=0.7)
            if share >= 9:
                ax.text(
                    left + share / 2, place, f"{share:.0f}", ha="center", va="center", color=ink, fontsize="x-small"
                )
            left += share
    ax.set_yticks(range(len(doubled)), [label_of(str(method)) for method in doubled.index], fontsize="x-small")
    ax.set(xlim=(0, 100), xlabel="queries (%)", ylim=(len(doubled) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    seaborn.despine(ax=ax, left=True)
    parts = zip(WHICH, _PARTS, strict=True)
    handles = [Patch(facecolor=colour, edgecolor=SOFT, label=f"{which} found") for which, (colour, _) in parts]
    ax.legend(handles=handles, bbox_to_anchor=(0.4, 0), ncols=3, **_BELOW)


def alt_text_conditions(summary: DataFrame) -> str:
    """What `conditions_figure` shows, in words: every mean in it."""
    placed = summary[summary["overlap"].notna()]
    said = []
    for method in dict.fromkeys(placed["method"]):
        rows = placed[placed["method"] == method].to_dict("records")
        means = ", ".join(f"{row['condition']} {100 * row['overlap']:.0f}" for row in rows)
        said.append(f"{label_of(method)}: {means}.")
    chances = {row["condition"]: 100 * row["chance"] for row in placed.to_dict("records")}
    listed = ", ".join(f"{condition} {chance:.0f}" for condition, chance in chances.items())
    return f"Overlap in % by condition, a panel a method. {' '.join(said)} Chance: {listed}."


def alt_text_presence(summary: DataFrame) -> str:
    """What `presence_figure` shows, in words: every figure of its outer panels, and the range of the middle one."""
    plain = summary[summary["condition"] == PLAIN].to_dict("records")
    areas = ", ".join(f"{_name(row['method'])} {row['area']:.2f}" for row in plain)
    ranges = []
    for method in (MAIN, YES_OR_NO):
        area = summary.loc[summary["method"] == method, "area"]
        ranges.append(f"{_name(method)} from {area.min():.2f} to {area.max():.2f}")
    doubled = summary[(summary["condition"] == "twice") & summary["overlap"].notna()].to_dict("records")
    which = "; ".join(
        f"{label_of(row['method'])} {', '.join(f'{name} {100 * row[name]:.0f} %' for name in WHICH)}" for row in doubled
    )
    return (
        f"ROC area of sounds that are there against sounds that are not, in plain scenes: {areas}. Over conditions: "
        f"{'; '.join(ranges)}. Of a class that sounds twice is found: {which}."
    )
