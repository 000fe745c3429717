"""The map of blocks: which block is steered, which is read, and what is found; prompting as a strip beneath.

figure = block_map_figure(block_map_summary(table))
save_figure(figure, Path("figures/block_map"), alt_text_block_map(summary), "Steered block against read block.")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from steer_utils.show.palette import HEAT, INK, SOFT, TRUE
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.heatmaps import outline_cell
from steer_utils.show.plots.titles import headline, percent
from steer_utils.study.block_map import PROMPTING, READS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from pandas import DataFrame

READ_TITLES = {"share": "attention share under the vector", "difference": "share with minus without"}


def block_map_figure(summary: DataFrame) -> Figure:
    """Overlap in % by steered block (rows) and read block (columns), a panel a read-out; beneath, prompting alone.

    `summary`: of `block_map_summary`. The best cell of each map is framed. Grey: nothing can have changed there.
    """
    chance = 100 * float(summary["chance"].mean())
    with house_style():
        figure = new_figure(8.6, 4.9)
        headline(figure, _message(summary))
        axes = figure.subplots(2, len(READS), sharex=True, height_ratios=(12, 1), squeeze=False)
        for column, read in enumerate(READS):
            cells, strip = _grids(summary, read)
            image = _draw(axes[0, column], cells)
            _draw(axes[1, column], strip)
            _frame_best(axes[0, column], cells)
            axes[0, column].set_title(READ_TITLES[read], fontsize="small")
            axes[1, column].set(xlabel="block whose attention is read", yticks=[])
            ticks = _ticks(cells.shape[1])
            axes[1, column].set_xticks(ticks)
            axes[0, column].set_yticks(_ticks(cells.shape[0]))
        axes[0, 0].set_ylabel("block that is steered")
        axes[1, 0].set_ylabel("prompting", rotation=0, ha="right", va="center")
        bar = figure.colorbar(image, ax=list(axes.ravel()), pad=0.015, fraction=0.03)
        bar.set_label("overlap with the true interval (%)")
        bar.ax.axhline(chance, color=TRUE, linewidth=2)
        bar.outline.set_visible(False)
        scenes, queries = int(summary["scenes"].iloc[0]), int(summary["n"].iloc[0])
        figure.supxlabel(
            f"{queries} queries in {scenes} scenes; chance {chance:.1f} % (line at the colour bar)", fontsize="small"
        )
    return figure


def _message(summary: DataFrame) -> str:
    """The best of all cells, and of how many: the best of hundreds flatters. Beside it, the best of prompting."""
    steered = summary[summary["steered"] != PROMPTING]
    best = steered.loc[steered["overlap"].idxmax()]
    said = f"Best of {len(steered)} cells: block {best['steered']} steered, block {best['read_block']} read, "
    said += percent(best["overlap"])
    prompted = summary.loc[summary["steered"] == PROMPTING, "overlap"]
    return f"{said}; prompting at best {percent(prompted.max())}" if prompted.notna().any() else said


def _grids(summary: DataFrame, read: str) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps in %, (steered blocks, blocks), NaN where there are none; and those of prompting, (1, blocks)."""
    rows = summary[summary["read"] == read]
    blocks = 1 + int(rows["read_block"].max())
    grid = np.full((blocks, blocks), np.nan)
    for steered, block, overlap in zip(rows["steered"], rows["read_block"], rows["overlap"], strict=True):
        grid[blocks - 1 if steered == PROMPTING else steered, block] = 100 * overlap  # the last block has no row else
    return grid[:-1], grid[-1:]


def _draw(ax: Axes, grid: np.ndarray) -> AxesImage:
    ax.set_facecolor("#ececec")
    image = ax.imshow(grid, cmap=HEAT, vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    for side in ax.spines.values():
        side.set_color(SOFT)
    ax.tick_params(length=2, color=INK)
    return image


def _frame_best(ax: Axes, grid: np.ndarray) -> None:
    row, column = np.unravel_index(np.nanargmax(grid), grid.shape)
    outline_cell(ax, float(row) - 0.5, float(column) - 0.5, 2.2 if len(grid) < 13 else 1.1)


def _ticks(count: int) -> list[int]:
    return list(range(0, count, 5 if count > 12 else 1))


def alt_text_block_map(summary: DataFrame) -> str:
    """What `block_map_figure` shows, in words: the best cells, each half of the blocks, and prompting."""
    said = []
    for read in READS:
        cells, strip = _grids(summary, read)
        row, column = (int(place) for place in np.unravel_index(np.nanargmax(cells), cells.shape))
        half = cells.shape[1] // 2
        early, late = (np.nanmax(part) for part in (cells[:half], cells[half:]))
        said.append(
            f"{READ_TITLES[read].capitalize()}: best {cells[row, column]:.1f} % with block {row} steered and block "
            f"{column} read; best of the first half of steered blocks {early:.1f} %, of the later half {late:.1f} %; "
            f"prompting at best {np.nanmax(strip):.1f} % in block {int(np.nanargmax(strip))}."
        )
    return (
        f"{_message(summary)}. Two maps of overlap by steered block and read block. {' '.join(said)} "
        f"Chance {100 * float(summary['chance'].mean()):.1f} %."
    )
