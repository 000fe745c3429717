"""Drawings of the method: parts can be read and are lit as asked, arrows turn by positions, heads meet their keys."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch
from pictures import figure_test

from steer_utils.show.plots import method

SHARED = {"all their own": (6, 6), "pairs": (4, 2), "full size": (28, 4)}
FIGURES = {
    "all": method.method_figure,
    "some": lambda: method.method_figure(["audio", "window"]),
    "rope": method.rope_figure,
    "heads": lambda: method.heads_figure(SHARED),
}

test_figures = figure_test(FIGURES, more_than=7)


def test_only_the_parts_named_are_lit() -> None:
    axes = method.method_figure(["row"]).axes[0]
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    white = (1.0, 1.0, 1.0, 1.0)
    assert [box.get_facecolor() != white for box in boxes] == [name == "row" for name in method.PARTS]
    assert method.alt_text_method(["row"]).endswith("Lit: row.")
    assert method.alt_text_method().endswith("Lit: all parts.")
    for draw in (method.method_figure, method.alt_text_method):
        with pytest.raises(ValueError, match="'rows' is no part of the method; pass some of audio, tower"):
            draw(["row", "rows"])


def test_a_turn_keeps_the_angle_of_two_positions() -> None:
    """What RoPE is for: the product of query and key depends on how far apart they are, not on where."""
    query, key = np.array([0.6, 0.8]), np.array([1.0, 0.2])
    products = [method.turned(query, 9 + at, 0.3) @ method.turned(key, 4 + at, 0.3) for at in (0, 7, 100)]
    assert np.allclose(products, products[0])
    assert not np.isclose(products[0], method.turned(query, 10, 0.3) @ method.turned(key, 4, 0.3))


def test_heads_that_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match="odd: 6 query heads cannot share 4 key heads evenly"):
        method.heads_figure({"odd": (6, 4)})
    assert "heads 0 to 6 share key head 0" in method.alt_text_heads(SHARED)
