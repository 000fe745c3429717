"""The figure of a training: what is answered right and where the model listens, step by step.

figure = over_steps_figure(rows, answers)
save_figure(figure, Path("figures/over_steps"), alt_text_over_steps(rows, answers), "When it learns to be steered.")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import seaborn
from matplotlib.figure import Figure

from steer_utils.show.palette import FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.dots import grid_behind
from steer_utils.show.plots.end_labels import CurveEnd, end_labels
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.titles import headline, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

#: Methods in the order of the legend; they differ in grey too.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "steering": ("steering", {"color": FOUND, "marker": "o"}),
    "prompting-best": (
        "prompting, its best question",
        {"color": INK, "marker": "D", "markerfacecolor": "white", "linestyle": (0, (5, 1.5))},
    ),
    "prompting": (
        "prompting, same question",
        {"color": INK, "marker": "s", "markerfacecolor": "white", "linestyle": ":"},
    ),
    "unsteered": ("unsteered peak", {"color": SOFT, "marker": "v"}),
    "random-vector": ("random vector", {"color": SOFT, "marker": "x", "linestyle": "-."}),
}
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "listing": ("lists all sounds in order", {"color": FOUND, "marker": "o"}),
    "order": ("which is first, second, third", {"color": INK, "marker": "s", "linestyle": ":"}),
    "presence": ("is it there?", {"color": SOFT, "marker": "v", "linestyle": "-."}),
    "describe": (
        "describes a named one",
        {"color": INK, "marker": "D", "markerfacecolor": "white", "linestyle": (0, (5, 1.5))},
    ),
}


def over_steps_figure(rows: DataFrame, answers: DataFrame) -> Figure:
    """Above, the share of questions answered to the letter; below, overlap by method with its 95 % interval and chance.

    `rows`: columns step, method, overlap, low, high, chance (0..1). `answers`: columns step, and right, a dict from the
    kind of question to a share.
    """
    with house_style():
        figure = new_figure(7.4, 6.4)
        headline(figure, _message(rows))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.5))
        answers = answers.sort_values("step")
        ends: dict[Axes, list[CurveEnd]] = {upper: [], lower: []}
        for kind, (label, look) in ANSWERS.items():
            shares = [100 * right[kind] for right in answers["right"]]
            upper.plot(answers["step"], shares, markersize=4.5, linewidth=1.3, **look)
            ends[upper].append(CurveEnd(answers["step"].iloc[-1], shares[-1], label, look["color"]))
        upper.set_ylabel("answered right (%)")
        for place, (method, (label, look)) in enumerate(METHODS.items()):
            part = rows[rows["method"] == method].sort_values("step")
            at = part["step"] + 3.0 * (place - 2)  # so that intervals do not hide each other
            lower.vlines(at, 100 * part["low"], 100 * part["high"], color=look["color"], linewidth=1)
            lower.plot(at, 100 * part["overlap"], markersize=4.5, linewidth=1.3, **look)
            if len(part):
                ends[lower].append(CurveEnd(at.iloc[-1], 100 * part["overlap"].iloc[-1], label, look["color"]))
        chance = 100 * float(rows["chance"].mean())
        lower.axhline(chance, color=TRUE, linestyle="--", linewidth=1.3)
        ends[lower].append(CurveEnd(rows["step"].max(), chance, f"chance, {chance:.0f} %", TRUE))
        lower.set(xlabel="steps of training", ylabel="overlap (%)")
        for ax in (upper, lower):
            ax.set_ylim(-3, 103)
            grid_behind(ax, "y")
        seaborn.despine(figure)
        for ax in (upper, lower):
            end_labels(ax, ends[ax])
    return figure


def _message(rows: DataFrame) -> str:
    """From which step on each method's interval lies above chance, to the last."""
    said = []
    for method in ("steering", "prompting-best"):
        part = rows[rows["method"] == method].sort_values("step")
        below = part.loc[~(part["low"] > part["chance"]), "step"]
        late = part[part["step"] > (below.iloc[-1] if len(below) else -1)]
        when = f"from step {late['step'].iloc[0]} on" if len(late) else "not at the end"
        if len(part):
            said.append(f"{METHODS[method][0]} {when}, {percent(part['overlap'].iloc[-1])} at last")
    return f"Above chance: {'; '.join(said)}"


def alt_text_over_steps(rows: DataFrame, answers: DataFrame) -> str:
    """What `over_steps_figure` shows, in words: every mean in it."""
    said = []
    for kind, (label, _) in ANSWERS.items():
        parts = [
            f"{100 * right[kind]:.0f} at {step}" for step, right in zip(answers["step"], answers["right"], strict=True)
        ]
        said.append(f"Answered right, {label}, % at step: {', '.join(parts)}.")
    for method, (label, _) in METHODS.items():
        part = rows[rows["method"] == method].sort_values("step")
        parts = [f"{100 * overlap:.0f} at {step}" for step, overlap in zip(part["step"], part["overlap"], strict=True)]
        said.append(f"Overlap, {label}: {', '.join(parts)}.")
    return (
        f"{_message(rows)}. Two panels over the steps of a training. {' '.join(said)} "
        f"Chance {100 * float(rows['chance'].mean()):.0f} %."
    )
