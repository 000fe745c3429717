"""The figure of `locate` on field recordings: precision and recall of each method, by four criteria.

figure = field_figure(field_summary(table))
save_figure(figure, Path("figures/field"), alt_text_field(summary), "Precision and recall on field recordings.")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from steer_utils.show.palette import FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.dots import grid_behind, interval_dot, legend_below, percents
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.titles import headline, percent, sentence, versus
from steer_utils.study.field import CRITERIA, LOUDNESS

if TYPE_CHECKING:
    from pandas import DataFrame

#: How each method is drawn: what it is called here, colour, marker, whether the marker is filled.
LOOKS = {
    "steering": ("steering", FOUND, "o", True),
    "prompting-best": ("prompting, best question", INK, "D", False),
    "loudest": ("the model's yes or no, loudest stretch", TRUE, "s", False),
    LOUDNESS: ("loudness alone", SOFT, "^", True),
}
_PLACED = "IoU 0.5"  # the criterion of the title
_OTHER = (SOFT, "v", False)  # of a method from outside, such as CLAP
SAID = {
    "presence": "it is there",
    "IoU 0.5": "IoU of 0.5 or more",
    "within 0.5 s": "within 0.5 s",
    "within 0.2 s": "within 0.2 s",
}


def _look(method: str) -> tuple[str, str, str, bool]:
    return LOOKS.get(method, (method, *_OTHER))


def field_figure(summary: DataFrame) -> Figure:
    """Precision (left) and recall (right) in %, with 95 % intervals over files: a group of rows a criterion, a row a
    method. `summary`: of `study.field.field_summary`.
    """
    methods = list(dict.fromkeys(summary["method"]))
    step = 0.8 / len(methods)
    with house_style():
        figure = new_figure(8.0, 1.3 + 0.2 * len(CRITERIA) * (len(methods) + 1))
        headline(figure, _message(summary))
        axes = figure.subplots(1, 2, sharey=True)
        for ax, measure in zip(axes, ("precision", "recall"), strict=True):
            for row in summary.to_dict("records"):
                _, colour, marker, filled = _look(row["method"])
                place = float(CRITERIA.index(row["criterion"]))
                place += step * (methods.index(row["method"]) - (len(methods) - 1) / 2)
                ends = percents(row, measure, f"{measure}_low", f"{measure}_high")
                interval_dot(ax, place, ends, colour, marker=marker, hollow=not filled, size=5, width=1.4)
            ax.set(xlim=(-2, 102), xticks=range(0, 101, 25), xlabel=f"{measure} (%)")
            grid_behind(ax)
            ax.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(CRITERIA)), [SAID[criterion] for criterion in CRITERIA])
        axes[0].set_ylim(len(CRITERIA) - 0.45, -0.55)
        handles = [
            Line2D(
                [], [], color=tone, marker=sign, markersize=5, markerfacecolor=tone if full else "white", label=label
            )
            for label, tone, sign, full in map(_look, methods)
        ]
        legend_below(figure, handles)
        seaborn.despine(figure, left=True)
    return figure


def _message(summary: DataFrame) -> str:
    """Of what steering (or else the first method) reports, how much is placed well, beside the best of the others."""
    placed = summary[(summary["criterion"] == _PLACED) & summary["precision"].notna()].set_index("method")
    if placed.empty:
        return f"Nothing is reported by any of {summary['method'].nunique()} methods"
    main = "steering" if "steering" in placed.index else str(placed.index[0])
    row = placed.loc[main]
    said = f"{sentence(_look(main)[0])}: of what it reports {percent(row['precision'])} has an {SAID[_PLACED]}"
    others = placed.drop(main)
    if not others.empty:
        best = others.loc[others["precision"].idxmax()]
        ends = [{end: line[f"precision_{end}"] for end in ("low", "high")} for line in (row, best)]
        said += f", {versus(*ends)} {_look(str(best.name))[0]}, {percent(best['precision'])}"
    return f"{said}; it finds {percent(row['recall'])} so"


def alt_text_field(summary: DataFrame) -> str:
    """What `field_figure` shows, in words: every mean in it."""
    lines = []
    for criterion in CRITERIA:
        rows = summary[summary["criterion"] == criterion].to_dict("records")
        parts = [f"{_look(row['method'])[0]} {_percent(row['precision'])} / {_percent(row['recall'])}" for row in rows]
        lines.append(f"{SAID[criterion]}: {', '.join(parts)}.")
    return f"{_message(summary)}. Precision / recall in %, by what counts as found. {' '.join(lines)}"


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.0f}"
