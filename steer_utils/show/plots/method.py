"""Drawings of the method: the whole of it in eight parts, what RoPE turns, and which heads share keys.

    figure = method_figure(["audio", "tower", "tokens"])        # these parts lit
    show(figure, alt_text_method(["audio", "tower", "tokens"]), "The method; lit: the parts of this lesson.")

They show how things are connected and computed; nothing in them was measured.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from steer_utils.show.palette import FILL, FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.figures import house_style, new_figure

#: The parts of the method: name -> (left, bottom, width, height, words in the box, what it is, for the alt text).
PARTS: Mapping[str, tuple[float, float, float, float, str, str]] = {
    "audio": (0.0, 2.5, 1.5, 1.0, "audio", "the audio"),
    "tower": (2.1, 2.5, 1.5, 1.0, "audio\ntower", "the audio tower, which makes vectors of it"),
    "tokens": (4.2, 2.5, 1.5, 1.0, "audio\ntokens", "audio tokens, 25 a second"),
    "prompts": (
        6.3,
        2.1,
        2.3,
        1.8,
        "two prompts\n+ Focus on the bell.\n– Listen to all of it.",
        "two prompts over them",
    ),
    "difference": (9.2, 2.5, 1.9, 1.0, "difference\nv = h⁺ – h⁻", "the difference v of the two states"),
    "push": (9.2, 0.1, 1.9, 1.3, "push: h + λv\nin a plain\nquestion", "v added while a plain question is read"),
    "row": (
        6.3,
        0.1,
        2.3,
        1.3,
        "attention row\nof the last token\nover the audio",
        "the attention row of the last token",
    ),
    "window": (4.2, 0.1, 1.5, 1.3, "window\nin seconds", "and a window of it in seconds"),
}
#: Of the drawing of RoPE: positions of keys (the query stands two after the last), radians a position, and how many
#: positions later all of it is drawn again.
POSITIONS, ANGLE, SHIFT = (0, 3, 6), 0.35, 8


def method_figure(lit: Collection[str] = tuple(PARTS)) -> Figure:
    """The whole method, from the audio to a window in seconds, with the parts named in `lit` filled.

    Raises ValueError for a part that is none.
    """
    _check_parts(lit)
    with house_style():
        figure = new_figure(8.0, 2.9)
        ax = figure.subplots()
        ax.set(xlim=(-0.1, 11.2), ylim=(0.0, 4.0))
        ax.set_axis_off()
        for name, (left, bottom, width, height, words, _) in PARTS.items():
            bright = name in lit
            face, edge, ink = (FOUND, FOUND, "white") if bright else ("white", FILL, SOFT)
            box = FancyBboxPatch(
                (left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.12", fc=face, ec=edge
            )
            box.set_linewidth(1.6 if bright else 1.0)
            ax.add_patch(box)
            ax.text(left + width / 2, bottom + height / 2, words, ha="center", va="center", color=ink, fontsize=8.5)
        for one, other in pairwise(PARTS):  # each leads to the next
            _arrow(ax, one, other, strong=one in lit and other in lit)
    return figure


def _arrow(ax: Axes, one: str, other: str, *, strong: bool) -> None:
    """From the edge of one box to the facing edge of another."""
    left, bottom, width, height = PARTS[one][:4]
    left_to, bottom_to, width_to, height_to = PARTS[other][:4]
    if left_to > left + width:  # to the right
        ends = (left + width, bottom + height / 2), (left_to, bottom + height / 2)
    elif left > left_to + width_to:  # to the left
        ends = (left, bottom + height / 2), (left_to + width_to, bottom + height / 2)
    else:  # down
        ends = (left + width / 2, bottom), (left + width / 2, bottom_to + height_to)
    colour = INK if strong else SOFT
    ax.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=11, color=colour, shrinkA=2, shrinkB=2))


def alt_text_method(lit: Collection[str] = tuple(PARTS)) -> str:
    """What `method_figure` shows, in words."""
    _check_parts(lit)
    said = ", ".join(part[-1] for part in PARTS.values())
    names = "all parts" if set(lit) == set(PARTS) else ", ".join(name for name in PARTS if name in lit)
    return f"The method as a chain of eight boxes: {said}. Lit: {names}."


def _check_parts(lit: Collection[str]) -> None:
    if unknown := [name for name in lit if name not in PARTS]:
        raise ValueError(f"{unknown[0]!r} is no part of the method; pass some of {', '.join(PARTS)}")


# -- RoPE --------------------------------------------------------------------------------------------------------------
def turned(vector: np.ndarray, position: int, angle: float) -> np.ndarray:
    """A pair of numbers (2,), turned by `position` times `angle` (radians)."""
    cos, sin = np.cos(position * angle), np.sin(position * angle)
    return np.array([[cos, -sin], [sin, cos]]) @ vector


def rope_figure() -> Figure:
    """One pair of numbers of a key at several positions, and of a query: turned by its position. Beside it the same
    SHIFT positions later: all arrows have turned on, and the angles between them are what they were."""
    with house_style():
        figure = new_figure(7.0, 3.4)
        first, second = figure.subplots(1, 2)
        for ax, later in ((first, 0), (second, SHIFT)):
            _turned_pairs(ax, later)
        first.set_title("a key at three positions, a query", fontsize="medium")
        second.set_title(f"all of it {SHIFT} positions later", fontsize="medium")
    return figure


def _turned_pairs(ax: Axes, later: int) -> None:
    pair, query = np.array([1.0, 0.0]), POSITIONS[-1] + 2 + later
    for position in (position + later for position in POSITIONS):
        _vector(ax, turned(pair, position, ANGLE), f"key, position {position}", INK, "-")
    _vector(ax, turned(pair, query, ANGLE), f"query, position {query}", TRUE, (0, (4, 1.5)))
    ax.set(xlim=(-1.75, 1.75), ylim=(-1.45, 1.45), aspect="equal", xticks=[], yticks=[])
    ax.add_patch(FancyBboxPatch((0, 0), 0, 0, boxstyle="circle,pad=1.0", fc="none", ec=FILL))
    seaborn.despine(ax=ax, left=True, bottom=True)


def _vector(ax: Axes, end: np.ndarray, label: str, colour: str, line: object) -> None:
    arrow = FancyArrowPatch(
        (0, 0), tuple(end), arrowstyle="-|>", mutation_scale=12, color=colour, linestyle=line, shrinkA=0, shrinkB=0
    )
    ax.add_patch(arrow)
    place = 1.13 * end
    side = "left" if end[0] > 0.25 else "right" if end[0] < -0.25 else "center"
    level = "bottom" if end[1] > 0.25 else "top" if end[1] < -0.25 else "center"
    ax.text(place[0], place[1], label, color=colour, ha=side, va=level, fontsize=7.5)


def alt_text_rope() -> str:
    """What `rope_figure` shows, in words."""
    query, at = POSITIONS[-1] + 2, ", ".join(map(str, POSITIONS))
    said = ", ".join(f"{np.degrees((query - key) * ANGLE):.0f}° to the key at {key}" for key in POSITIONS)
    return (
        f"Two circles of arrows. Left, one pair of numbers of a key at positions {at} and of a query at {query}, each "
        f"turned by {np.degrees(ANGLE):.0f}° a position; from the query it is {said}. Right, the same {SHIFT} "
        "positions later: every arrow has turned on, and these angles are the same."
    )


# -- heads that share keys ---------------------------------------------------------------------------------------------
def heads_figure(models: Mapping[str, tuple[int, int]]) -> Figure:
    """For each model (name -> query heads, key heads) which key head each query head looks at; a row of boxes each.

    Raises ValueError if the query heads of a model cannot be shared out evenly.
    """
    for name, (heads, key_heads) in models.items():
        if heads % key_heads:
            raise ValueError(f"{name}: {heads} query heads cannot share {key_heads} key heads evenly")
    with house_style():
        figure = new_figure(7.5, 0.3 + 1.35 * len(models))
        for ax, (name, (heads, key_heads)) in zip(
            figure.subplots(len(models), 1, squeeze=False)[:, 0], models.items(), strict=True
        ):
            _shared_keys(ax, heads, key_heads)
            group = heads // key_heads
            shares = "each has keys of its own" if group == 1 else f"{group} share each head of keys"
            ax.set_title(f"{name}: {heads} query heads, {shares}", loc="left", fontsize="small")
    return figure


def _shared_keys(ax: Axes, heads: int, key_heads: int) -> None:
    group = heads // key_heads
    for head in range(heads):
        ax.plot([head, (head // group + 0.5) * group - 0.5], [1, 0], color=SOFT, linewidth=0.9, zorder=1)
        ax.text(head, 1, str(head), **_boxed("white", INK, heads))
    for key in range(key_heads):
        ax.text((key + 0.5) * group - 0.5, 0, str(key), **_boxed(FOUND, "white", heads))
    ax.set(xlim=(-1, heads), ylim=(-0.45, 1.45), yticks=[0, 1], yticklabels=["key heads", "query heads"], xticks=[])
    ax.tick_params(left=False)
    seaborn.despine(ax=ax, left=True, bottom=True)


def _boxed(face: str, ink: str, heads: int) -> dict[str, Any]:
    size = 8 if heads <= 16 else 6
    edge = {"boxstyle": "round,pad=0.25", "fc": face, "ec": INK, "linewidth": 0.8}
    return {"ha": "center", "va": "center", "fontsize": size, "color": ink, "bbox": edge, "zorder": 2}


def alt_text_heads(models: Mapping[str, tuple[int, int]]) -> str:
    """What `heads_figure` shows, in words."""
    said = []
    for name, (heads, key_heads) in models.items():
        group = heads // key_heads
        first = "each with keys of its own" if group == 1 else f"heads 0 to {group - 1} share key head 0, and so on"
        said.append(f"{name}: {heads} query heads and {key_heads} key heads, {first}")
    return f"Query heads in a row above, key heads below, a line from each to the one it looks at. {'; '.join(said)}."
