"""What every figure must hold: words that can be read, and nothing of matplotlib's own changed."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn_texts(figure: Figure) -> list[tuple[str, object]]:
    """Every text that is really drawn (a figure also holds labels of ticks outside the axes), with its extent."""
    drawn: dict[Text, None] = {}
    figure.canvas.draw()
    with patch.object(Text, "draw", lambda self, renderer: drawn.setdefault(self)):
        figure.canvas.draw()
    texts = [text for text in drawn if text.get_text().strip() and text.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in texts]


def assert_legible(figure: Figure, *, more_than: int = 8) -> None:
    """More than so many texts; each lies inside the figure, and none touches another."""
    found = drawn_texts(figure)
    assert len(found) > more_than
    for index, (text, box) in enumerate(found):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, text
        for other, own in found[index + 1 :]:
            assert not box.overlaps(own), f"{text!r} touches {other!r}"


def assert_good(make: Callable[[], Figure], *, more_than: int = 8) -> None:
    """What holds for every figure: it is legible, every letter has a glyph, no cell is computed from what is not there
    (numpy warns), and making and saving it leaves pyplot's figures and matplotlib's settings as they were."""
    before, open_figures = dict(matplotlib.rcParams), plt.get_fignums()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")
        warnings.filterwarnings("error", category=RuntimeWarning)
        figure = make()
        assert_legible(figure, more_than=more_than)
        figure.savefig(io.BytesIO())
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == open_figures


def title_test(module: Any, cases: Mapping[str, tuple[str, tuple, tuple]]) -> Callable[[str], None]:
    """The test of titles that say what is seen: `test_titles = title_test(plots, {name: ("norm", given, other)})`;
    `plots.norm_figure` and `plots.alt_text_norms` take what is given; `other`: the same of other data."""

    @pytest.mark.parametrize("name", cases)
    def test(name: str) -> None:
        kind, given, different = cases[name]
        draw = getattr(module, f"{kind}_figure")
        said = getattr(module, f"alt_text_{kind}", None) or getattr(module, f"alt_text_{kind}s")
        figure, alt, other = draw(*given), said(*given), draw(*different)
        title, another = (one.get_suptitle().replace("\n", " ").replace(r"\$", "$") for one in (figure, other))
        assert re.search(r"\d", title) and "nan" not in title, title
        assert title != another, "it is made of the data"
        assert alt.startswith(f"{title}. "), "who cannot see the figure is told the same"
        assert figure.get_suptitle().count("\n") <= 2, title

    return test


def figure_test(figures: Mapping[str, Callable[[], Figure]], *, more_than: int = 8) -> Callable[[str], None]:
    """The test that every module of figures has: `test_figures = figure_test(FIGURES)`."""

    @pytest.mark.parametrize("name", figures)
    def test(name: str) -> None:
        assert_good(figures[name], more_than=more_than)

    return test
