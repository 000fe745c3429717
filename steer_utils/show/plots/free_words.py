"""The figure of free words: each text's overlap by steering and by prompting, grouped by sound.

figure = words_figure(word_summary(table, by="text"))
save_figure(figure, Path("figures/words"), alt_text_words(summary), "Words that the model was never trained with.")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from steer_utils.show.palette import FOUND, INK, TRUE
from steer_utils.show.plots.dots import beside, grid_behind, interval_dot, legend_below, percents
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.titles import headline, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_ROW = 0.19  # inches of a text


def words_figure(summary: DataFrame) -> Figure:
    """One row a text: overlap by steering (filled, with its 95 % interval) and by prompting before its best question
    (open), and beside it the area under the ROC curve of "is it there?". A sound's own name comes first, in bold.

    `summary`: of `word_summary(table, by="text")`. The sounds stand in two columns, as long as each other.
    """
    sounds = sorted(set(summary["event"]))
    sizes = {sound: int((summary["event"] == sound).sum()) for sound in sounds}
    left: list[str] = []
    while sounds and sum(sizes[sound] for sound in left) < sum(sizes.values()) / 2:
        left.append(sounds.pop(0))
    columns = [column for column in (left, sounds) if column]
    rows = max(sum(sizes[sound] + 0.6 for sound in column) for column in columns)
    with house_style():
        figure = new_figure(4.6 * len(columns), 1.1 + _ROW * rows)
        headline(figure, _message(summary))
        for ax, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
            _column(ax, summary, column, rows)
        handles = [
            Line2D([], [], color=FOUND, marker="o", markersize=5, label="steering, 95 % interval"),
            Line2D(
                [], [], color=INK, marker="D", markersize=5, markerfacecolor="white", linestyle="", label="prompting"
            ),
            Line2D([], [], color=TRUE, linewidth=1.4, linestyle="--", label="chance"),
        ]
        legend_below(figure, handles, ncols=3)
    return figure


def _column(ax: Axes, summary: DataFrame, sounds: list[str], rows: float) -> None:
    place, places, names = 0.0, list[float](), list[str]()
    for sound in sounds:
        for row in summary[summary["event"] == sound].to_dict("records"):
            ends = percents(row, "steering", "steering_low", "steering_high")
            interval_dot(ax, place, ends, FOUND, size=4, width=1.4)
            prompted = [100 * row["prompting-best"]]
            ax.plot(prompted, [place], color=INK, marker="D", markersize=4, markerfacecolor="white")
            beside(ax, place, f"{row['auc']:.2f}", "x-small")
            places.append(place)
            names.append(str(row["text"]))
            place += 1
        place += 0.6
    ax.set_yticks(places, names, fontsize="x-small")
    for label, name in zip(ax.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if name in sounds else "normal")
    ax.axvline(100 * float(summary["chance"].mean()), color=TRUE, linewidth=1.4, linestyle="--", zorder=0)
    ax.set(xlim=(-2, 102), xticks=range(0, 101, 25), xlabel="overlap (%)", ylim=(rows - 0.5, -0.8))
    beside(ax, -1, "ROC area", "x-small")
    grid_behind(ax)
    ax.tick_params(axis="y", length=0)
    seaborn.despine(ax=ax, left=True)


def _message(summary: DataFrame) -> str:
    """By how many names, and how many other words, steering finds more than chance: its whole interval lies above."""
    names = summary["text"] == summary["event"]
    above = summary["steering_low"] > summary["chance"]
    groups = (("name", names), ("other text", ~names))
    if summary["steering_low"].notna().any():
        said = [f"{int(above[own].sum())} of {int(own.sum())} {what}s" for what, own in groups if own.any()]
        return f"Steering finds more than chance by {' and '.join(said)}"
    said = [f"{percent(summary.loc[own, 'steering'].mean())} by {what}s" for what, own in groups if own.any()]
    return f"Steering finds {' and '.join(said)}"


def alt_text_words(summary: DataFrame) -> str:
    """What `words_figure` shows, in words: every mean in it."""
    said = []
    for sound in sorted(set(summary["event"])):
        rows = summary[summary["event"] == sound].to_dict("records")
        parts = [f"{row['text']} {100 * row['steering']:.0f} / {100 * row['prompting-best']:.0f}" for row in rows]
        said.append(f"{sound}: {', '.join(parts)}.")
    return (
        f"{_message(summary)}. Overlap in % by steering / by prompting, for each text that stands for a sound. "
        f"{' '.join(said)} Chance {100 * float(summary['chance'].mean()):.0f} %."
    )
