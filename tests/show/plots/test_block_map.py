"""The map of blocks: cells at their places, the best one framed, an alt text with its numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pictures import figure_test, title_test

from steer_utils.show.plots import block_map
from steer_utils.show.plots.block_map import alt_text_block_map, block_map_figure
from steer_utils.study.block_map import PROMPTING


def summary(blocks: int) -> pd.DataFrame:
    rows = [
        {"steered": steered, "read": read, "read_block": block, "overlap": 0.2 + 0.01 * (block + (read == "share"))}
        for read in ("share", "difference")
        for steered in (PROMPTING, *range(blocks - 1))
        for block in range(steered + 1, blocks)
    ]
    table = pd.DataFrame(rows).assign(low=0.1, high=0.9, chance=0.24, n=30, scenes=10)
    table.loc[(table["steered"] == 1) & (table["read_block"] == 2), "overlap"] = 0.8
    return table


def figure(blocks: int = 30) -> Figure:
    return block_map_figure(summary(blocks))


test_figures = figure_test({"deep": figure, "shallow": lambda: figure(4)}, more_than=15)

test_titles = title_test(block_map, {"deep": ("block_map", (summary(30),), (summary(6),))})


def test_cells_stand_at_their_places_and_the_best_is_framed() -> None:
    drawn = figure(6)
    image, strip = drawn.axes[0].images[0].get_array(), drawn.axes[2].images[0].get_array()
    assert image.shape == (5, 6) and strip.shape == (1, 6)
    assert image[0, 5] == pytest.approx(26) and strip[0, 3] == pytest.approx(24)
    np.testing.assert_array_equal(np.isnan(np.ma.filled(image, np.nan)), np.tri(5, 6, dtype=bool))
    (frame,) = [patch for patch in drawn.axes[0].patches if isinstance(patch, Rectangle)]
    assert (frame.get_x(), frame.get_y()) == (1.5, 0.5)


def test_the_alt_text_says_best_cells_and_prompting() -> None:
    text = alt_text_block_map(summary(6))
    for part in ("best 80.0 % with block 1 steered and block 2 read", "prompting at best 26.0 % in block 5", "24.0 %"):
        assert part in text
