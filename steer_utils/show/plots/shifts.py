"""Figures of the attention-ratio analysis and of the causal tests, in the style of `plots`; each with its words.

figure = shift_figure(shift_summary(table))
save_figure(figure, Path("figures/shift"), alt_text_shift(summary), "Steering moves attention within the audio.")
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from steer_utils.show.palette import FILL, FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.dots import beside, grid_behind, interval_dot, legend_below, percents
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.titles import headline, percent, sentence, versus
from steer_utils.study.causality import SWAP_MEASURES, SWAPS, WINDOWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

#: Of each measure of a shift: what it is, its unit, and how many of the unit are 1.
SHIFT_LABELS: dict[str, tuple[str, str, float]] = {
    "mass": ("attention to the audio at all, change", "points", 100.0),
    "js": ("attention moved within the audio", "bits", 1.0),
    "head_js": ("attention moved within the audio, each head alone", "bits", 1.0),
    "entropy": ("spread of attention over the audio, change", "nats", 1.0),
    "head_entropy": ("spread in each head, change", "nats", 1.0),
    "effective": ("tokens looked at, change", "tokens", 1.0),
    "inside": ("share in the queried event, change", "points", 100.0),
    "others": ("share in the other events, change", "points", 100.0),
}
#: Colour, line and marker of conditions in order; they differ in grey too.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": FOUND, "linestyle": "-", "marker": "o"},
    {"color": FOUND, "linestyle": (0, (5, 1.5)), "marker": "o", "markerfacecolor": "white"},
    {"color": TRUE, "linestyle": "-", "marker": "s"},
    {"color": TRUE, "linestyle": (0, (5, 1.5)), "marker": "s", "markerfacecolor": "white"},
    {"color": INK, "linestyle": "-.", "marker": "^"},
    {"color": SOFT, "linestyle": (0, (1, 1)), "marker": "D", "markerfacecolor": "white"},
)
WINDOW_LABELS = {
    "found": "the window read out",
    "random": "another of equal width",
    "true": "the event's true interval",
}
#: Of each measure of an occlusion: what the model does, and the axis.
OCCLUSION_LABELS = {
    "presence": ("says the sound is there", "probability of yes (%)"),
    "listed": ("names it unasked", "answers that name it (%)"),
}
SWAP_LABELS = {
    "named": "names the event",
    "only": "names it alone",
    "first": "names it first",
    "loudness": "says how loud it is",
}

SWAP_MEANT = {
    "named": "name the event",
    "only": "name it alone",
    "first": "name the event first",
    "loudness": "say how loud it is",
}


# -- shifts by block -------------------------------------------------------------------------------------------------
def shift_figure(summary: DataFrame, measures: Sequence[str] = ("mass", "js")) -> Figure:
    """Each measure by decoder block, a row of small panels, one a condition, with 95 % intervals over scenes.

    A row has one scale, and in each panel the first condition stands behind in grey, to be compared with. `summary`: of
    `shift_summary`. Raises ValueError for a measure that it does not have.
    """
    _check_measures(summary, measures)
    conditions = list(dict.fromkeys(summary["condition"]))
    with house_style():
        figure = new_figure(1.0 + 1.45 * len(conditions), 0.8 + 1.75 * len(measures))
        headline(figure, _shift_message(summary, measures))
        axes = figure.subplots(len(measures), len(conditions), sharex=True, sharey="row", squeeze=False)
        for number, measure in enumerate(measures):
            row = axes[number]
            title, unit, scale = SHIFT_LABELS[measure]
            own = {
                name: summary[(summary["measure"] == measure) & (summary["condition"] == name)].sort_values("block")
                for name in conditions
            }
            for place, (ax, condition) in enumerate(zip(row, conditions, strict=True)):
                ax.axhline(0, color=SOFT, linewidth=0.7)
                if place:
                    first = own[conditions[0]]
                    ax.plot(first["block"], scale * first["mean"], color=FILL, linewidth=1.6, zorder=0)
                _line(ax, own[condition], scale, LOOKS[place % len(LOOKS)])
                if number == 0:
                    ax.set_title(condition.replace(" ", "\n"), fontsize="small")
                ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
                seaborn.despine(ax=ax)
            row[0].set_ylabel(f"{textwrap.fill(title, 22)}\n({unit})", fontsize="small")
        figure.supxlabel(f"decoder block; in grey: {conditions[0]}", fontsize="small")
        figure.align_ylabels()
    return figure


def _line(ax: Axes, rows: DataFrame, scale: float, look: dict[str, Any]) -> None:
    bars = scale * rows[["low", "high"]].assign(gap=np.nan)  # one broken line: a deep model has hundreds of intervals
    ax.plot(rows["block"].repeat(3), bars.to_numpy().ravel(), color=look["color"], linewidth=1.1)
    ax.plot(rows["block"], scale * rows["mean"], linewidth=1.0, markersize=3.5, clip_on=False, **look)


def _shift_message(summary: DataFrame, measures: Sequence[str]) -> str:
    """What the first condition does where it does most, and the one of the others that does most, of the measure that
    says most about the event."""
    measure = next((name for name in ("inside", "js") if name in measures), measures[0])
    title, unit, scale = SHIFT_LABELS[measure]
    rows = summary[(summary["measure"] == measure) & summary["mean"].notna()]
    largest = {name: part.loc[part["mean"].abs().idxmax()] for name, part in rows.groupby("condition", sort=False)}
    first, *others = [(f"{name} {_change(row, scale)}", row) for name, row in largest.items()]
    said = f"{sentence(title)}: {first[0]} {unit} in block {first[1]['block']}"
    if not others:
        return said
    words, row = max(others, key=lambda other: abs(float(other[1]["mean"])))
    return f"{said}, {versus(first[1], row)} {words} in block {row['block']}"


def _change(row: Any, scale: float) -> str:
    return f"{scale * float(row['mean']):+.{0 if scale > 1 else 2}f}".replace("-", "−")


def alt_text_shift(summary: DataFrame, measures: Sequence[str] = ("mass", "js")) -> str:
    """What `shift_figure` shows, in words: where each condition does most, by measure."""
    _check_measures(summary, measures)
    said = []
    for measure in measures:
        title, unit, scale = SHIFT_LABELS[measure]
        parts = []
        for condition in dict.fromkeys(summary["condition"]):
            own = summary[(summary["measure"] == measure) & (summary["condition"] == condition)]
            most = own.loc[own["mean"].abs().idxmax()]
            parts.append(f"{condition} {_signed(most, scale)} in block {most['block']}")
        said.append(f"{sentence(title)} ({unit}), where it is largest: {', '.join(parts)}.")
    message = _shift_message(summary, measures)
    return f"{message}. Lines by decoder block for each condition, with 95 % intervals. {' '.join(said)}"


def _check_measures(summary: DataFrame, measures: Sequence[str]) -> None:
    there = [name for name in SHIFT_LABELS if (summary["measure"] == name).any()]
    if not measures or not set(measures) <= set(there):
        raise ValueError(f"measures is {', '.join(measures) or 'empty'}; the summary has {', '.join(there) or 'none'}")


# -- causal tests ----------------------------------------------------------------------------------------------------
def occlusion_figure(summary: DataFrame) -> Figure:
    """What the model says before and after each window is taken away: paired dots, with the interval of the drop.

    `summary`: of `occlusion_summary`.
    """
    rows = summary.set_index(["measure", "window"])
    with house_style():
        figure = new_figure(8.2, 3.3)
        headline(figure, _occlusion_message(rows))
        axes = figure.subplots(1, len(OCCLUSION_LABELS), sharey=True)
        for ax, (measure, (title, axis)) in zip(axes, OCCLUSION_LABELS.items(), strict=True):
            for place, window in enumerate(WINDOWS):
                _pair(ax, place, rows.loc[(measure, window)], FOUND if window == "found" else INK)
            ax.set_title(title, fontsize="small")
            ax.set(xlim=(-4, 104), xticks=range(0, 101, 25))
            beyond = _contrast(rows.loc[(measure, "found - random")]).replace(": ", ":\n")
            ax.set_xlabel(f"{axis}\n{beyond}", fontsize="small")
            grid_behind(ax)
            seaborn.despine(ax=ax)
            ax.tick_params(left=ax is axes[0])
        axes[0].set_yticks(range(len(WINDOWS)), [WINDOW_LABELS[window] for window in WINDOWS])
        axes[0].set_ylim(len(WINDOWS) - 0.5, -0.5)
        handles = [
            Line2D([], [], color=SOFT, marker="o", markerfacecolor="white", linestyle="", label="whole audio"),
            Line2D([], [], color=INK, marker="o", linewidth=2.6, label="without the window, 95 % interval of the drop"),
        ]
        legend_below(figure, handles)
    return figure


def _occlusion_message(rows: DataFrame) -> str:
    """How far "yes" falls without the window found, and whether further than without another. `rows`: by measure and
    window."""
    drop, beyond = rows.loc[("presence", "found")], rows.loc[("presence", "found - random")]
    said = (
        f"Without the window found, “yes, it is there” goes from {percent(drop['before'])} to {percent(drop['after'])}"
    )
    low, high = float(beyond["low"]), float(beyond["high"])
    if not np.isfinite([low, high]).all():
        return said
    than = "no further down than" if low <= 0 <= high else "further down than" if low > 0 else "less far down than"
    return f"{said}, {than} without another window"


def _pair(ax: Axes, place: int, row: Any, color: str) -> None:
    before, after, low, high = percents(row, "before", "after", "low", "high")
    ax.plot([before, after], [place, place], color=SOFT, linewidth=0.9)
    if np.isfinite(low) and np.isfinite(high):
        ax.plot([before - high, before - low], [place, place], color=color, linewidth=2.6)
    ax.plot([before], [place], color=SOFT, marker="o", markersize=7, markerfacecolor="white")
    ax.plot([after], [place], color=color, marker="o", markersize=6)
    beside(ax, place, f"{after - before:+.1f}")


def _contrast(row: Any) -> str:
    return f"beyond another window: {_signed(row, -100.0, 'drop')}, {_p(float(row['p']))}"


def alt_text_occlusion(summary: DataFrame) -> str:
    """What `occlusion_figure` shows, in words: every number in it."""
    rows = summary.set_index(["measure", "window"])
    said = []
    for measure, (title, _) in OCCLUSION_LABELS.items():
        parts = [
            f"without {WINDOW_LABELS[window]} {100 * row['after']:.1f} % instead of {100 * row['before']:.1f} %"
            for window in WINDOWS
            for row in [rows.loc[(measure, window)]]
        ]
        said.append(f"The model {title}: {', '.join(parts)}; {_contrast(rows.loc[(measure, 'found - random')])}.")
    return (
        f"{_occlusion_message(rows)}. What the model says of an event before and after a window is taken out of the "
        f"audio. {' '.join(said)}"
    )


def swap_figure(summary: DataFrame) -> Figure:
    """How often the answer speaks of the steered event, one panel a measure, with 95 % intervals over scenes.

    `summary`: of `swap_summary`.
    """
    rates = summary[summary["against"] == ""]
    measures = [name for name in SWAP_MEASURES if (rates["measure"] == name).any()]
    conditions = [name for name in SWAPS if (rates["condition"] == name).any()]
    if not measures:
        raise ValueError("there is nothing to draw: the summary has no rates")
    with house_style():
        figure = new_figure(1.9 + 1.85 * len(measures), 1.3 + 0.36 * len(conditions))
        headline(figure, _swap_message(rates))
        axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for ax, measure in zip(axes, measures, strict=True):
            own = rates[rates["measure"] == measure].set_index("condition")
            for place, condition in enumerate(conditions):
                ends, steered = percents(own.loc[condition], "mean", "low", "high"), condition == "steering"
                interval_dot(ax, place, ends, FOUND if steered else INK, hollow=not steered)
                beside(ax, place, f"{ends[0]:.0f}")
            ax.set_title(SWAP_LABELS[measure], fontsize="small")
            ax.set(xlim=(-6, 106), xticks=range(0, 101, 50), xlabel="% of answers")
            grid_behind(ax)
            seaborn.despine(ax=ax)
            ax.tick_params(left=ax is axes[0])
        axes[0].set_yticks(range(len(conditions)), [_swap_label(name) for name in conditions])
        axes[0].set_ylim(len(conditions) - 0.5, -0.5)
    return figure


def _swap_message(rates: DataFrame) -> str:
    """How often the answer names the event first, with its own vector, with another's and with none: an answer that
    lists all sounds names it, too. `rates`: by condition."""
    measure = "first" if (rates["measure"] == "first").any() else str(rates["measure"].iloc[0])
    own = rates[rates["measure"] == measure].set_index("condition")
    parts = [(name, own.loc[name]) for name in ("steering", "swapped", "unsteered") if name in own.index]
    (name, row), *others = parts or [(str(own.index[0]), own.iloc[0])]
    said = [f"with {_swap_label(name)} {percent(row['mean'])}"]
    for name, other in others:
        level = versus(other, row).removesuffix(" with")
        vector = "without a vector" if name == "unsteered" else f"with {_swap_label(name)}"
        said.append(f"{vector} {percent(other['mean'])}" + ("" if level == "beside" else f" ({level})"))
    return f"Answers that {SWAP_MEANT[measure]}: {', '.join(said)}"


def alt_text_swap(summary: DataFrame) -> str:
    """What `swap_figure` shows, in words: every number in it."""
    rates = summary[summary["against"] == ""]
    said = []
    for measure in dict.fromkeys(rates["measure"]):
        parts = [
            f"{_swap_label(row.condition)} {100 * row.mean:.0f} %"
            for row in rates[rates["measure"] == measure].itertuples()
        ]
        said.append(f"{sentence(SWAP_LABELS[measure])}: {', '.join(parts)}.")
    message = _swap_message(rates)
    return (
        f"{message}. How often the answer to a question that names no event speaks of the queried one. {' '.join(said)}"
    )


def _swap_label(condition: str) -> str:
    return {"steering": "its vector", "swapped": "another event's vector"}.get(condition, condition)


# -- shared ----------------------------------------------------------------------------------------------------------
def _signed(row: Any, scale: float, mean: str = "mean") -> str:
    """ "+12.3 (10.1 to 14.0)"; without the interval where there is none."""
    digits = 1 if abs(scale) > 1 else 3
    value, *ends = (scale * float(row[name]) for name in (mean, "low", "high"))
    low, high = sorted(ends)
    interval = f" ({low:.{digits}f} to {high:.{digits}f})" if np.isfinite(low) and np.isfinite(high) else ""
    return f"{value:+.{digits}f}{interval}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
