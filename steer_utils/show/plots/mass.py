"""The figure of where a row of attention goes: its parts in every block, stacked, and the part that counts otherwise.

parts = {"audio": audio, "question": question, "template": template, "first token": first}    # (blocks,) each
figure = mass_figure(parts, {"steered": steered.mass.mean(dim=1)[:, 0].numpy()})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn
from matplotlib.figure import Figure

from steer_utils.show.palette import AUDIO_TINT, FILL, FOUND, INK, INSTRUCTION_TINT, TEMPLATE_TINT, TRUE
from steer_utils.show.plots.dots import legend_below
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.titles import headline, sentence

#: Colour and hatch of the parts, the lowest first, and look of what is marked: they differ in grey too.
PARTS: tuple[dict[str, Any], ...] = (
    {"color": AUDIO_TINT},
    {"color": INSTRUCTION_TINT, "hatch": "//"},
    {"color": TEMPLATE_TINT},
    {"color": FILL, "hatch": ".."},
)
MARKED: tuple[dict[str, Any], ...] = (
    {"color": FOUND, "marker": "o", "linestyle": "-"},
    {"color": TRUE, "marker": "D", "markerfacecolor": "white", "linestyle": (0, (4, 1.5))},
)
MARKED_EVERY = 16  # blocks up to which each has its label


def mass_figure(parts: Mapping[str, np.ndarray], marked: Mapping[str, np.ndarray] | None = None) -> Figure:
    """Bars of what each block's row gives to the parts of a prompt, stacked in order, the first lowest.

    `parts`: up to four, label -> (blocks,), which sum to 1 in every block. `marked`: up to two lines, label ->
    (blocks,), of what the lowest part gets otherwise. Raises ValueError for more, or for parts that do not sum to 1.
    """
    marked = marked or {}
    if not 1 <= len(parts) <= len(PARTS) or len(marked) > len(MARKED):
        raise ValueError(
            f"{len(parts)} parts and {len(marked)} lines cannot be told apart; pass 1 to {len(PARTS)} parts and up to "
            f"{len(MARKED)} lines"
        )
    total = np.sum(list(parts.values()), axis=0)
    if np.abs(total - 1).max() > 0.02:  # half precision sums to no better than a hundredth
        raise ValueError(
            f"the parts of a row sum to {total.min():.2f} to {total.max():.2f}; together they must sum to 1"
        )
    blocks = np.arange(len(total))
    with house_style():
        figure = new_figure(7.5, 3.5)
        headline(figure, _message(parts, marked))
        ax = figure.subplots()
        lowest, below = next(iter(parts)), np.zeros(len(total))
        for (label, weight), look in zip(parts.items(), PARTS, strict=False):
            ax.bar(blocks, weight, 0.9, bottom=below, label=label, edgecolor="white", linewidth=0.4, **look)
            below = below + weight
        for (label, weight), look in zip(marked.items(), MARKED, strict=False):
            ax.plot(
                blocks,
                weight,
                label=f"{lowest}, {label}",
                markersize=4.5,
                linewidth=1.3,
                markeredgecolor=look["color"],
                **look,
            )
        step = -(-len(blocks) // MARKED_EVERY)
        ax.set(ylim=(0, 1), xlim=(-0.6, len(blocks) - 0.4), xlabel="decoder block", ylabel="part of the row")
        ax.set_xticks(blocks[::step])
        ax.tick_params(axis="x", length=0)
        ax.spines["bottom"].set_color(INK)
        legend_below(figure, ncols=3)
        seaborn.despine(figure)
    return figure


def _message(parts: Mapping[str, np.ndarray], marked: Mapping[str, np.ndarray]) -> str:
    """In which block the lowest part changes most, and from what to what; with nothing marked, its mean over blocks."""
    (label, weight), *_ = parts.items()
    if not marked:
        return sentence(f"{label}: {100 * float(np.mean(weight)):.0f} % of the row, mean of all blocks")
    change = np.abs(np.subtract(list(marked.values()), weight))
    block = int(change.max(axis=0).argmax())
    others = ", ".join(f"{name} {100 * values[block]:.0f} %" for name, values in marked.items())
    return sentence(f"{label} in block {block}: {100 * weight[block]:.0f} % of the row, {others}")


def alt_text_mass(parts: Mapping[str, np.ndarray], marked: Mapping[str, np.ndarray] | None = None) -> str:
    """What `mass_figure` shows, in words: every part in every block, in per cent."""
    said = [
        f"{label}: {', '.join(f'{100 * weight:.0f}' for weight in values)}."
        for label, values in {**parts, **(marked or {})}.items()
    ]
    message = _message(parts, marked or {})
    return (
        f"{message}. Stacked bars: where a row of attention goes, in % of it, block by block from 0. {' '.join(said)}"
    )
