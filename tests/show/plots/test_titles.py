"""What titles are made of: shares in words, differences only beyond intervals, lines as wide as the figure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import drawn_texts

from steer_utils.methods.table import METHODS
from steer_utils.show.plots.end_labels import CurveEnd, apart, end_labels
from steer_utils.show.plots.figures import new_figure
from steer_utils.show.plots.titles import headline, listed, method_words, percent, sentence, versus


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ((0.5, 0.6), (0.3, 0.4), "above"),
        ((0.3, 0.4), (0.5, 0.6), "below"),
        ((0.3, 0.5), (0.5, 0.6), "about level with"),
        ((0.3, 0.5), (float("nan"), 0.6), "beside"),
    ],
)
def test_a_difference_is_said_only_beyond_intervals(one: tuple, other: tuple, said: str) -> None:
    rows = [dict(zip(("low", "high"), ends, strict=True)) for ends in (one, other)]
    assert versus(*rows) == said


def test_words() -> None:
    assert (percent(0.964), percent(0.3, np.nan, 0.5), percent(0.501, 0.499)) == ("96 %", "30 to 50 %", "50 %")
    assert (listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("a", "a and b", "a, b and c")
    assert sentence("share of λ") == "Share of λ"
    assert method_words("steering") == "steering" and method_words("mavs") == "MAVS"
    assert method_words("prompting-best") == "prompting only (its best question)" and method_words("clap") == "clap"
    assert len({method_words(name) for name in METHODS}) == len(METHODS)


def test_a_long_title_is_broken_and_stays_inside() -> None:
    figure = new_figure(4, 2)
    figure.subplots().plot([0, 1])
    headline(figure, "Steering $finds$ " + "wide words MMM " * 9)
    assert figure.get_figheight() > 2.3
    (box,) = [extent for text, extent in drawn_texts(figure) if text.startswith("Steering")]
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


@given(st.lists(st.tuples(st.floats(-1, 2), st.floats(0.01, 0.2)), min_size=1, max_size=8))
def test_labels_do_not_touch_and_keep_their_order(labels: list[tuple[float, float]]) -> None:
    wanted, heights = map(np.array, zip(*labels, strict=True))
    middles = apart(wanted, heights)
    order = np.argsort(wanted, kind="stable")
    gaps = np.diff(middles[order]) - (heights[order][1:] + heights[order][:-1]) / 2
    assert (gaps > -1e-9).all() and (middles - heights / 2 > -1e-9).all()
    assert heights.sum() > 1 or (middles + heights / 2 < 1 + 1e-9).all()


def test_a_label_stays_at_its_curve_where_there_is_room() -> None:
    assert apart(np.array([0.8, 0.2]), np.array([0.1, 0.1])) == pytest.approx([0.8, 0.2])
    figure = new_figure(5, 3)
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1])
    end_labels(ax, [CurveEnd(1, 1, "up\nand away", "k"), CurveEnd(1, 0.98, "near", "k"), CurveEnd(1, 0.0, "flat", "k")])
    heights = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert heights["flat"] < 0.2 < heights["near"] < heights["up\nand away"]
    boxes = [box for text, box in drawn_texts(figure) if text in heights]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
