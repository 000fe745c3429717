"""Figures of steering itself, in the style of `plots`: what it reaches, how strongly, from which block, against noise.

    figure = strength_figure(strengths, shares, limits)
    save_figure(figure, Path("figures/strength"), alt_text_strength(strengths, shares, limits), "Share by strength.")

Each figure has its words (`alt_text_...`). Shares are given as 0..1 and drawn in %; changes of a share in points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from steer_utils.show.palette import DARK, FOUND, GRID, HEAT, INK, SOFT, TRUE
from steer_utils.show.plots.end_labels import CurveEnd, end_labels
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.titles import headline, percent, sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

#: Colour, line and marker of events in order of time; they differ in grey too.
EVENT_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": INK, "linestyle": (0, (5, 1.5)), "marker": "s"},
    {"color": FOUND, "linestyle": "-", "marker": "o"},
    {"color": TRUE, "linestyle": "-.", "marker": "^"},
    {"color": SOFT, "linestyle": (0, (1, 1)), "marker": "D"},
)
WRITTEN = 12  # columns or rows up to which every cell holds its number
#: Of each panel of `control_figure`: its title, its axis, how many of the unit are 1, and its digits.
CONTROL_LABELS: dict[str, tuple[str, str, float, int]] = {
    "share": ("where it listens", "attention share in the event (%)", 100.0, 0),
    "kl": ("what it is about to say", "change of the next word (KL, nats)", 1.0, 1),
}


# -- what a steered block reaches ------------------------------------------------------------------------------------
def reach_figure(change: np.ndarray) -> Figure:
    """Change of a share by steered block (a row) and read block (a column), `change` (blocks, blocks), 0..1.

    A cell in which nothing at all changed stays empty. Raises ValueError for a matrix that is not square.
    """
    if change.ndim != 2 or change.shape[0] != change.shape[1]:
        raise ValueError(f"change must have shape (blocks, blocks), got {change.shape}")
    blocks = [str(block) for block in range(len(change))]
    with house_style():
        figure = new_figure(5.6, 1.1 + 0.36 * min(len(blocks), WRITTEN))
        headline(figure, _reach_message(change))
        ax = figure.subplots()
        drawn = _cells(ax, np.where(change == 0, np.nan, 100 * change), blocks, blocks)
        ax.set(xlabel="block in which attention is read", ylabel="block whose output is steered")
        edges = np.arange(len(blocks) + 1) - 0.5
        ax.hlines(edges, edges[0], edges[-1], color=GRID, linewidth=0.6)
        ax.vlines(edges, edges[0], edges[-1], color=GRID, linewidth=0.6)
        _bar(figure, ax, drawn, "change of the share (points)")
    return figure


def _reach_message(change: np.ndarray) -> str:
    """Where a steered block moves the share most."""
    if not change.any():
        return "No block changes the share"
    steered, read = np.unravel_index(int(np.argmax(np.abs(change))), change.shape)
    points = f"{100 * change[steered, read]:+.0f}".replace("-", "−")
    return f"Largest change: block {steered} steered, block {read} read, {points} points"


def alt_text_reach(change: np.ndarray) -> str:
    """What `reach_figure` shows, in words: where nothing changes, and the largest change of each row."""
    parts = []
    for block, row in enumerate(100 * change):
        most = int(np.argmax(np.abs(row)))
        parts.append(f"of block {block} {row[most]:+.1f} in block {most}" if row.any() else f"of block {block} none")
    return (
        f"{_reach_message(change)}. "
        f"Change of the attention share in the event, in points, by steered and by read block: cells up to the steered "
        f"block are empty. Largest change when steering the output {'; '.join(parts)}."
    )


# -- how strongly ----------------------------------------------------------------------------------------------------
def strength_figure(
    strengths: Sequence[float], shares: Mapping[str, Sequence[float]], limits: Mapping[str, tuple[float, float]]
) -> Figure:
    """Attention share in each event by strength λ, negative ones too.

    `shares`: for each event, one share a strength. `limits`: for each event, what λ → -∞ and λ → +∞ come to (dotted).
    """
    order = np.argsort(strengths)
    x = np.asarray(strengths, dtype=float)[order]
    with house_style():
        figure = new_figure(7.5, 3.4)
        headline(figure, _strength_message(strengths, shares))
        ax = figure.subplots()
        named = []
        ax.axvline(0, color=SOFT, linewidth=0.7)
        for place, (name, values) in enumerate(shares.items()):
            look = EVENT_LOOKS[place % len(EVENT_LOOKS)]
            ax.plot(x, 100 * np.asarray(values, dtype=float)[order], markersize=5, linewidth=1.5, **look)
            named.append(CurveEnd(x[-1], 100 * float(np.asarray(values)[order[-1]]), name, look["color"]))
            for limit, ends in zip(limits[name], ((x[0], x[0] / 4), (x[-1] / 4, x[-1])), strict=True):
                ax.plot(ends, [100 * limit] * 2, color=look["color"], linewidth=1.0, linestyle=(0, (1, 1)))
        ax.set_xscale("symlog", base=2, linthresh=0.5, linscale=0.7)
        # on the crowded scale about 0 only 0 and strengths of at least 1 have a tick
        ax.xaxis.set_major_locator(FixedLocator([strength for strength in x if strength == 0 or abs(strength) >= 1]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        ax.set_ylim(bottom=0)
        ax.set(xlabel="strength λ   (dotted: λ → ±∞)", ylabel="attention share in the event (%)")
        seaborn.despine(ax=ax)
        end_labels(ax, named)
    return figure


def _strength_message(strengths: Sequence[float], shares: Mapping[str, Sequence[float]]) -> str:
    """The event whose share changes most between the weakest steering, or none, and the strongest."""
    none, high = int(np.argmin(np.abs(strengths))), int(np.argmax(strengths))
    most = max(shares, key=lambda name: abs(shares[name][high] - shares[name][none]))
    ends = [f"{percent(shares[most][place])} at λ = {strengths[place]:g}" for place in (none, high)]
    return f"Most moved: the share of the {most}, {', '.join(ends)}"


def alt_text_strength(
    strengths: Sequence[float], shares: Mapping[str, Sequence[float]], limits: Mapping[str, tuple[float, float]]
) -> str:
    """What `strength_figure` shows, in words: every event at the weakest, no and the strongest steering."""
    low, high = int(np.argmin(strengths)), int(np.argmax(strengths))
    none = int(np.argmin(np.abs(strengths)))
    parts = [
        f"{name} {100 * values[low]:.0f} % at {strengths[low]:g}, {100 * values[none]:.0f} % at {strengths[none]:g}, "
        f"{100 * values[high]:.0f} % at {strengths[high]:g} (in the limit {100 * limits[name][1]:.0f} %)"
        for name, values in shares.items()
    ]
    message = _strength_message(strengths, shares)
    return f"{message}. Attention share in each event by strength of steering: {'; '.join(parts)}."


# -- which block -----------------------------------------------------------------------------------------------------
def blocks_figure(change: np.ndarray, blocks: Sequence[str], strengths: Sequence[float], title: str) -> Figure:
    """Change of a share (0..1) by steered blocks (a row, named by `blocks`) and strength (a column).

    Raises ValueError where the shape is another.
    """
    if change.shape != (len(blocks), len(strengths)):
        wanted = f"{len(blocks)} sets of blocks, {len(strengths)} strengths"
        raise ValueError(f"change has shape {change.shape} for {wanted}")
    with house_style():
        figure = new_figure(6.2, 1.4 + 0.32 * min(len(blocks), 40))
        ax = figure.subplots()
        drawn = _cells(ax, 100 * change, blocks, [f"{strength:g}" for strength in strengths])
        ax.set(xlabel="strength λ", ylabel="steered blocks")
        ax.set_title(title, fontsize="medium", loc="left")
        _bar(figure, ax, drawn, "change of the share (points)")
    return figure


def alt_text_blocks(change: np.ndarray, blocks: Sequence[str], strengths: Sequence[float], title: str) -> str:
    """What `blocks_figure` shows, in words: the largest change of each row."""
    parts = [
        f"blocks {name} {100 * row[most]:+.1f} at strength {strengths[most]:g}"
        for name, row in zip(blocks, change, strict=True)
        for most in [int(np.argmax(row))]
    ]
    return f"{title}: change in points by steered blocks and strength. Largest: {', '.join(parts)}."


# -- against noise ---------------------------------------------------------------------------------------------------
def control_figure(
    strengths: Sequence[float], own: Mapping[str, Sequence[float]], noise: Mapping[str, np.ndarray]
) -> Figure:
    """The vector against random ones as long: share in the event, and how far the next word's distribution moves.

    `own`: "share" (0..1) and "kl" (nats), one value a strength above 0. `noise`: the same, (vectors, strengths); drawn
    as mean and range.
    """
    x = np.asarray(strengths, dtype=float)
    with house_style():
        figure = new_figure(8.6, 3.1)
        headline(figure, _control_message(strengths, own, noise))
        for ax, (measure, (title, axis, scale, _)) in zip(figure.subplots(1, 2), CONTROL_LABELS.items(), strict=True):
            drawn = scale * np.asarray(noise[measure])
            ax.fill_between(x, drawn.min(axis=0), drawn.max(axis=0), color=SOFT, alpha=0.25, linewidth=0)
            ax.plot(
                x,
                drawn.mean(axis=0),
                color=INK,
                linestyle=(0, (5, 1.5)),
                marker="s",
                markersize=4.5,
                markerfacecolor="white",
            )
            ax.plot(x, scale * np.asarray(own[measure]), color=FOUND, marker="o", markersize=5)
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_locator(FixedLocator(list(x[::2]) if len(x) > 7 else list(x)))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.set_ylim(bottom=0)
            ax.set(xlabel="strength λ", ylabel=axis)
            ax.set_title(title, fontsize="small", loc="left")
            seaborn.despine(ax=ax)
        ends = [
            CurveEnd(x[-1], float(drawn.mean(axis=0)[-1]), f"{len(drawn)} random vectors:\nmean, range", INK),
            CurveEnd(x[-1], scale * float(own[measure][-1]), "the vector", FOUND),
        ]
        end_labels(ax, ends)
    return figure


def _control_message(
    strengths: Sequence[float], own: Mapping[str, Sequence[float]], noise: Mapping[str, np.ndarray]
) -> str:
    """The strength at which the vector is furthest from the mean of random ones, and whether it leaves their range."""
    share, random = np.asarray(own["share"], dtype=float), np.asarray(noise["share"], dtype=float)
    most = int(np.argmax(np.abs(share - random.mean(axis=0))))
    low, high = random[:, most].min(), random[:, most].max()
    place = "above all of" if share[most] > high else "below all of" if share[most] < low else "among"
    said = (
        f"At λ = {strengths[most]:g} the vector's share is {percent(share[most])}, {place} {len(random)} random vectors"
    )
    return f"{said}, {percent(low, high)}"


def alt_text_control(
    strengths: Sequence[float], own: Mapping[str, Sequence[float]], noise: Mapping[str, np.ndarray]
) -> str:
    """What `control_figure` shows, in words: every number of the vector, and the means of the random ones."""
    said = []
    for measure, (title, axis, scale, digits) in CONTROL_LABELS.items():
        means = scale * np.asarray(noise[measure]).mean(axis=0)
        parts = [
            f"{scale * value:.{digits}f} against {mean:.{digits}f} at strength {strength:g}"
            for strength, value, mean in zip(strengths, own[measure], means, strict=True)
        ]
        said.append(f"{sentence(title)}, {axis}: {', '.join(parts)}.")
    message = _control_message(strengths, own, noise)
    return f"{message}. The vector against the mean of random vectors of its length. {' '.join(said)}"


# -- shared ----------------------------------------------------------------------------------------------------------
def _cells(ax: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> AxesImage:
    """A table of numbers as shades from 0 upwards, each written in its cell if there are few; NaN stays empty."""
    top = float(np.nanmax(values, initial=1.0))
    drawn = ax.imshow(values, cmap=HEAT, vmin=0, vmax=top, aspect="auto", interpolation="nearest")
    every = max(1, -(-len(rows) // 40))
    ax.set_yticks(range(0, len(rows), every), list(rows)[::every])
    step = max(1, -(-len(columns) // WRITTEN))
    ax.set_xticks(range(0, len(columns), step), list(columns)[::step])
    ax.tick_params(length=0)
    seaborn.despine(ax=ax, left=True, bottom=True)
    if len(columns) <= WRITTEN:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                dark = seaborn.utils.relative_luminance(drawn.cmap(drawn.norm(value))) <= DARK
                text = f"{value:+.0f}".replace("-", "−") if abs(value) >= 0.5 else "0"
                ax.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    return drawn


def _bar(figure: Figure, ax: Axes, drawn: AxesImage, label: str) -> None:
    bar = figure.colorbar(drawn, ax=ax, pad=0.02, fraction=0.05)
    bar.set_label(label)
    bar.outline.set_visible(False)
