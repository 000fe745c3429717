"""Figures of the read-out: the window that slides over a curve, and what a window placed at random would score.

figure = window_figure(curve, hearing.span, truth.duration, truth)
figure = chance_figure([Layout("5 s clips, 1 s gaps", span, events)])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from steer_utils.show.palette import FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.dots import grid_behind, legend_below
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.located import MARKS, mark
from steer_utils.sound.spans import AudioSpan, Interval, best_window
from steer_utils.study.statistics import random_overlap


@dataclass(frozen=True)
class Layout:
    """Events in order of time in one audio, each sought with a window of its own width.

    simulated   the mean overlap that placing windows at random gave for each event, 0..1 (none: not simulated)
    """

    title: str
    span: AudioSpan
    events: tuple[Interval, ...]
    simulated: tuple[float, ...] = ()

    def chances(self) -> list[float]:
        """The chance of each event, 0..1."""
        return [random_overlap(event, self.span, event.duration) for event in self.events]


def window_figure(curve: np.ndarray, span: AudioSpan, seconds: float, truth: Interval) -> Figure:
    """A curve (tokens,) of attention, and below it the sum under a window of `seconds` by where the window begins.

    The sum is in even shares of the window: 1 (for a difference: 0) is what a flat curve has. Raises ValueError as
    `spans.best_window` does.
    """
    found, _ = best_window(curve, span, seconds)
    times, sums = _sums(curve, span, seconds)
    with house_style():
        figure = new_figure(7.5, 4.2)
        top, below = figure.subplots(2, 1, sharex=True)
        for ax, x, y, label in (
            (top, span.centers(), np.asarray(curve) * span.count, "each token\n(times even share)"),
            (below, times, sums, "mean of the window\nthat begins here"),
        ):
            ax.axhline(0, color=SOFT, linewidth=0.7)
            ax.plot(x, y, color=INK, linewidth=1.3)
            ax.set_ylabel(label)
            seaborn.despine(ax=ax)
        top.axvspan(found.start, found.end, color=FOUND, alpha=0.16, linewidth=0)
        below.plot([found.start], [sums.max()], color=FOUND, marker="o", markersize=7)
        below.annotate(
            f"largest at {found.start:.2f} s",
            (found.start, float(sums.max())),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=FOUND,
            fontsize="small",
        )
        below.axvspan(times[-1], span.duration, facecolor="none", edgecolor=SOFT, hatch="////", alpha=0.4, linewidth=0)
        below.set(xlabel="time (s); hatched: here a window would hang over the end", xlim=(0, span.duration))
        low, high = below.get_ylim()
        below.set_ylim(low, high + 0.12 * (high - low))
        figure.align_ylabels()
        mark(top, [(found, "found", "located"), (truth, "true", "true")])
    return figure


def alt_text_window(curve: np.ndarray, span: AudioSpan, seconds: float, truth: Interval) -> str:
    """What `window_figure` shows, in words."""
    found, _ = best_window(curve, span, seconds)
    _, sums = _sums(curve, span, seconds)
    peak = float(span.centers()[int(np.argmax(curve))])
    return (
        f"A curve over {span.duration:.2f} s of audio, its largest token at {peak:.2f} s. Below, the mean under a "
        f"window of {found.duration:.2f} s by where it begins: largest, {sums.max():.1f} times the even share, at "
        f"{found.start:.2f} s. Found {found}, true {truth}, overlap {100 * found.covers(truth):.0f} %."
    )


def chance_figure(layouts: Sequence[Layout]) -> Figure:
    """Expected overlap of a window placed at random, by where the event lies: one panel a layout, its events marked.

    Raises ValueError for no layouts, or one without events.
    """
    if not layouts or not all(layout.events for layout in layouts):
        raise ValueError("there is nothing to draw: pass at least one layout, each with events")
    with house_style():
        figure = new_figure(3.75 * len(layouts), 3.5)
        axes = figure.subplots(1, len(layouts), sharey=True, squeeze=False)[0]
        for ax, layout in zip(axes, layouts, strict=True):
            _chance_panel(ax, layout)
        axes[0].set_ylabel("overlap by chance (%)")
        handles = [
            Line2D([], [], color=INK, linewidth=1.3, label="computed"),
            Line2D([], [], color=TRUE, marker="s", markersize=6, linestyle="", label="the three events"),
        ]
        if any(layout.simulated for layout in layouts):
            circle: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "linestyle": ""}
            handles.append(Line2D([], [], color=INK, label="simulated", **circle))
        legend_below(figure, handles, ncols=3)
    return figure


def _chance_panel(ax: Axes, layout: Layout) -> None:
    width = layout.events[0].duration
    starts = np.linspace(0.0, layout.span.duration - width, 200)
    line = [100 * random_overlap(Interval(start, start + width), layout.span, width) for start in starts]
    ax.plot(starts + width / 2, line, color=INK, linewidth=1.3)
    chances = layout.chances()
    for place, (event, chance) in enumerate(zip(layout.events, chances, strict=True)):
        ax.plot([event.center], [100 * chance], color=TRUE, marker="s", markersize=6)
        if layout.simulated:
            ax.plot(
                [event.center],
                [100 * layout.simulated[place]],
                color=INK,
                marker="o",
                markersize=11,
                markerfacecolor="none",
            )
        ax.annotate(
            f"{100 * chance:.1f}",
            (event.center, 100 * chance),
            xytext=(0, -9),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize="small",
        )
        ax.plot(
            [event.start, event.end],
            [2, 2],
            **{**MARKS["true"], "linestyle": "-", "linewidth": 4},
            solid_capstyle="butt",
        )
        for edge in (event.start, event.end):
            ax.plot([edge, edge], [0, 4], color=TRUE, linewidth=1.0)
    ax.set_title(f"{layout.title}: mean {100 * float(np.mean(chances)):.1f} %", fontsize="medium")
    ax.set(xlim=(0, layout.span.duration), ylim=(0, 62), xlabel="middle of the event (s)")
    grid_behind(ax, "y")
    seaborn.despine(ax=ax)


def alt_text_chance(layouts: Sequence[Layout]) -> str:
    """What `chance_figure` shows, in words: every number in it."""
    said = []
    for layout in layouts:
        chances = [f"{100 * chance:.1f} %" for chance in layout.chances()]
        simulated = [f"{100 * overlap:.1f} %" for overlap in layout.simulated]
        beside = f" (simulated {', '.join(simulated)})" if simulated else ""
        mean = 100 * float(np.mean(layout.chances()))
        said.append(f"{layout.title}: events in order {', '.join(chances)}{beside}, mean {mean:.1f} %.")
    return f"Overlap that a window placed at random has, by the place of the event. {' '.join(said)}"


def _sums(curve: np.ndarray, span: AudioSpan, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Where each placement of the window begins, in seconds, and the mean of the curve in it, in even shares."""
    width = span.window_tokens(seconds)
    sums = np.convolve(np.asarray(curve, dtype=float), np.ones(width), mode="valid")
    return np.arange(len(sums)) * span.seconds_per_token, sums * span.count / width
