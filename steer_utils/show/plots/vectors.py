"""Figures of many steering vectors: their length by block, the angles between them, and the plane they spread in.

    figure = pca_figure(directions, events, pitches, blocks=(0, 5))
    save_figure(figure, Path("figures/pca"), alt_text_pca(directions, events, pitches, (0, 5)), "What vectors hold.")

`directions` holds vectors as an array (vectors, blocks, width). Each figure has its words, as in `plots`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from steer_utils.show.palette import INK, SOFT
from steer_utils.show.plots.dots import legend_below
from steer_utils.show.plots.end_labels import CurveEnd, end_labels
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.shifts import LOOKS
from steer_utils.show.plots.titles import headline, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "d", "8", "H")
NUMBERED = 10  # names up to which the cells of a matrix have room for their numbers
ORTHOGONAL = 2**0.5  # ‖v‖/‖h‖ of two states of one length that stand at right angles
_LEAVE = 0.5  # of the distance of two blocks: how far what stands at one block is spread


# -- what many vectors share -----------------------------------------------------------------------------------------
def principal_components(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (vectors, 2) along the two directions of largest variance, and the share of it that each holds.

    `directions`: (vectors, width). The sign is free; the largest coordinate of each is made positive. Raises ValueError
    for fewer than three vectors, or vectors that are all the same.
    """
    if directions.ndim != 2 or len(directions) < 3:
        raise ValueError(f"directions must hold three or more vectors (vectors, width), got {directions.shape}")
    centred = directions - directions.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    if not spread[0] > 1e-9 * np.abs(directions).max():
        raise ValueError("all vectors are the same: nothing varies")
    scores = left[:, :2] * spread[:2]
    scores *= np.where(scores.max(axis=0) >= -scores.min(axis=0), 1.0, -1.0)
    return scores, (spread**2 / (spread**2).sum())[:2]


def variance_between(directions: np.ndarray, labels: Sequence[object]) -> float:
    """The share of the variance of `directions` (vectors, width) that lies between the groups with one label.

    1: the vectors of a group are all the same. With labels that mean nothing it is about (groups - 1) / (vectors - 1).
    """
    named = np.array([str(label) for label in labels])
    centred = directions - directions.mean(axis=0)
    groups = [centred[named == label] for label in np.unique(named)]
    between = sum(len(group) * float((group.mean(axis=0) ** 2).sum()) for group in groups)
    return between / float((centred**2).sum())


# -- the plane of largest variance -----------------------------------------------------------------------------------
def pca_figure(
    directions: np.ndarray, events: Sequence[str], pitches: Sequence[str | None], blocks: Sequence[int]
) -> Figure:
    """One panel a block: every vector in the plane of largest variance, marked by its event, open where it is low.

    `directions`: (vectors, all blocks, width). `events`, `pitches`: of each vector ("high", "low" or None).
    """
    names = list(dict.fromkeys(events))
    colours = seaborn.color_palette("dark" if len(names) <= 10 else "husl", len(names))
    looks = list(zip(names, cycle(MARKERS), colours, strict=False))
    columns = 6
    rows = -(-(len(names) + 2) // columns)
    with house_style():
        figure = new_figure(8.6, 3.9 + 0.22 * rows)
        headline(figure, _pca_message(directions, events, pitches, blocks))
        axes = figure.subplots(1, len(blocks), squeeze=False)[0]
        for ax, block in zip(axes, blocks, strict=True):
            scores, shares = principal_components(directions[:, block])
            for name, marker, colour in looks:
                for low in (False, True):
                    own = [i for i, event in enumerate(events) if event == name and (pitches[i] == "low") == low]
                    face = "none" if low else (*colour, 0.55)
                    ax.scatter(*scores[own].T, marker=marker, s=34, facecolors=face, edgecolors=[colour], linewidths=1)
            ax.axhline(0, color=SOFT, linewidth=0.4, zorder=0)
            ax.axvline(0, color=SOFT, linewidth=0.4, zorder=0)
            ax.set_title(f"after block {block}", loc="left", fontsize="small")
            ax.set_xlabel(f"component 1 ({shares[0]:.0%} of the variance)")
            ax.set_ylabel(f"component 2 ({shares[1]:.0%})")
            ax.margins(0.08)
            ax.set_aspect("equal", adjustable="datalim")  # a distance is the same along both components
            seaborn.despine(ax=ax)
        handles = [_handle(name, marker, colour, colour) for name, marker, colour in looks]
        if "low" in pitches and "high" in pitches:
            handles += [_handle("filled: high", "o", INK, INK), _handle("open: low", "o", INK, "none")]
        legend_below(figure, handles, ncols=columns)
    return figure


def _handle(label: str, marker: str, edge: Any, face: Any) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=edge, markerfacecolor=face, markersize=6, label=label)


def _explained(directions: np.ndarray, events: Sequence[str], pitches: Sequence[str | None]) -> dict[str, float]:
    """The share of the variance of vectors of one block that lies between events, and between pitches if there are."""
    known = [place for place, pitch in enumerate(pitches) if pitch is not None]
    shares = {"event": variance_between(directions, events)}
    if len(known) > 2:
        shares["pitch"] = variance_between(directions[known], [pitches[place] for place in known])
    return shares


def _pca_message(
    directions: np.ndarray, events: Sequence[str], pitches: Sequence[str | None], blocks: Sequence[int]
) -> str:
    """What explains most of the variance after each block."""
    said = []
    for block in blocks:
        shares = _explained(directions[:, block], events, pitches)
        most = max(shares, key=lambda name: shares[name])
        rest = "".join(f", the {name} {percent(share)}" for name, share in shares.items() if name != most)
        said.append(f"after block {block} the {most} explains {percent(shares[most])}{rest}")
    return f"Of the variance of {len(directions)} vectors {'; '.join(said)}"


def alt_text_pca(
    directions: np.ndarray, events: Sequence[str], pitches: Sequence[str | None], blocks: Sequence[int]
) -> str:
    """What `pca_figure` shows, in words: how much each plane holds, and what the vectors are grouped by."""
    said = []
    for block in blocks:
        own = directions[:, block]
        _, shares = principal_components(own)
        explained = _explained(own, events, pitches)
        also = f", pitch {explained['pitch']:.0%}" if "pitch" in explained else ""
        said.append(
            f"After block {block} the two components hold {shares[0]:.0%} and {shares[1]:.0%} of the variance; the "
            f"event explains {explained['event']:.0%} of it{also}."
        )
    return (
        f"{_pca_message(directions, events, pitches, blocks)}. "
        f"{len(directions)} steering vectors of {len(set(events))} events, each a point in the plane of largest "
        f"variance. {' '.join(said)}"
    )


# -- angles ----------------------------------------------------------------------------------------------------------
def cosine_figure(matrices: np.ndarray, names: Sequence[str], blocks: Sequence[int]) -> Figure:
    """One heat map a block of cosines between the vectors of every two events, dark where they point the same way.

    `matrices`: (panels, names, names), one for each of `blocks`. Cells have their numbers up to ten names.
    """
    _check_matrices(matrices, names, blocks)
    low = min(0.0, float(matrices.min()))
    side = max(3.4, 0.43 * len(names))
    with house_style():
        figure = new_figure(1.7 + side * len(blocks), side + 1.0)
        headline(figure, _cosine_message(matrices, names, blocks))
        axes = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
        for ax, block, matrix in zip(axes, blocks, matrices, strict=True):
            image = ax.imshow(matrix, cmap="Blues", vmin=low, vmax=1)
            ax.set_title(f"after block {block}", fontsize="small")
            ax.set_xticks(range(len(names)), names, rotation=90)
            ax.set_yticks(range(len(names)), names)
            ax.tick_params(length=0)
            seaborn.despine(ax=ax, left=True, bottom=True)
            if len(names) <= NUMBERED:
                _numbers(ax, matrix, low)
        figure.colorbar(image, ax=axes.tolist(), label="cosine", shrink=0.7, pad=0.02)
        figure.canvas.draw()  # squares are settled by a first drawing; upright names find their room in the next one
    return figure


def _cosine_message(matrices: np.ndarray, names: Sequence[str], blocks: Sequence[int]) -> str:
    """The mean cosine of vectors of one event, and of two, after each block."""
    same = np.eye(len(names), dtype=bool)
    parts = [
        f"{matrix[same].mean():.2f} and {matrix[~same].mean():.2f} after block {block}"
        for block, matrix in zip(blocks, matrices, strict=True)
    ]
    return f"Mean cosine of vectors of one event and of two: {', '.join(parts)}"


def _numbers(ax: Axes, matrix: np.ndarray, low: float) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        dark = (value - low) / (1 - low) > 0.55
        said = f"{value:.1f}".replace("-0.0", "0.0")
        ax.text(column, row, said, ha="center", va="center", fontsize="small", color="white" if dark else INK)


def alt_text_cosines(matrices: np.ndarray, names: Sequence[str], blocks: Sequence[int]) -> str:
    """What `cosine_figure` shows, in words: the mean on and off the diagonal, and the nearest two events."""
    _check_matrices(matrices, names, blocks)
    said = []
    for block, matrix in zip(blocks, matrices, strict=True):
        apart = np.where(np.eye(len(names), dtype=bool), -np.inf, matrix)
        row, column = divmod(int(apart.argmax()), len(names))
        between = float(matrix[~np.eye(len(names), dtype=bool)].mean())
        said.append(
            f"After block {block}: {np.diag(matrix).mean():.2f} within an event, {between:.2f} between two, most "
            f"between {names[row]} and {names[column]} ({apart[row, column]:.2f})."
        )
    message = _cosine_message(matrices, names, blocks)
    return (
        f"{message}. Heat maps of the mean cosine between the steering vectors of {len(names)} events. {' '.join(said)}"
    )


def _check_matrices(matrices: np.ndarray, names: Sequence[str], blocks: Sequence[int]) -> None:
    wanted = (len(blocks), len(names), len(names))
    if matrices.shape != wanted or len(names) < 2:
        raise ValueError(
            f"matrices must have shape {wanted} (panels, names, names), two names or more; got {matrices.shape}"
        )


# -- lengths ---------------------------------------------------------------------------------------------------------
def norm_figure(table: DataFrame) -> Figure:
    """‖v‖/‖h‖ by decoder block: a line for the mean of each kind of vector, bars from the smallest to the largest.

    `table`: columns "what", "block", "ratio", one row a vector and block. Raises ValueError for an empty table.
    """
    kinds = _kinds(table)
    with house_style():
        figure = new_figure(7.5, 3.5)
        headline(figure, _norm_message(table))
        ax = figure.subplots()
        ax.axhline(ORTHOGONAL, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
        ends = []
        for place, kind in enumerate(kinds):
            own = table[table["what"] == kind].groupby("block")["ratio"].agg(["mean", "min", "max"])
            look = LOOKS[place % len(LOOKS)]
            at = own.index.to_numpy() + _LEAVE * ((place + 0.5) / len(kinds) - 0.5)
            ax.vlines(at, own["min"], own["max"], color=look["color"], linewidth=0.9)
            ax.plot(at, own["mean"], linewidth=1.0, markersize=4.5, **look)
            ends.append(CurveEnd(at[-1], float(own["mean"].iloc[-1]), textwrap.fill(kind, 24), look["color"]))
        ax.set(xlabel="decoder block", ylabel="length of v, in lengths of h", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        seaborn.despine(ax=ax)
        end_labels(ax, [*ends, CurveEnd(max(end.x for end in ends), ORTHOGONAL, "right angle", SOFT)])
    return figure


def _norm_message(table: DataFrame) -> str:
    """Which kind of vector is longest on average, and which shortest."""
    means = table.groupby("what", sort=False)["ratio"].mean()
    said = [f"“{kind}” {means[kind]:.2f}" for kind in dict.fromkeys((means.idxmax(), means.idxmin()))]
    ends = ("longest ", "shortest ") if len(said) > 1 else ("",)
    return (
        f"Mean length of v, in lengths of h: {', '.join(f'{end}{part}' for end, part in zip(ends, said, strict=True))}"
    )


def alt_text_norms(table: DataFrame) -> str:
    """What `norm_figure` shows, in words: the mean of each kind in the first and in the last block."""
    said = []
    for kind in _kinds(table):
        means = table[table["what"] == kind].groupby("block")["ratio"].mean()
        said.append(f"{kind} {means.iloc[0]:.2f} to {means.iloc[-1]:.2f}")
    return (
        f"{_norm_message(table)}. Length of the steering vector relative to the state, from the first to the last "
        f"block: {'; '.join(said)}."
    )


def _kinds(table: DataFrame) -> list[str]:
    kinds = list(dict.fromkeys(table["what"]))
    if not kinds:
        raise ValueError("there is nothing to draw: the table has no rows")
    return kinds
