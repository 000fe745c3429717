"""Figures of the read-out: numbers at their places, words that do not touch, alt texts that say it all."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import figure_test

from steer_utils.show.plots import windows as window_plots
from steer_utils.show.plots.windows import Layout
from steer_utils.sound.spans import AudioSpan, Interval

SPAN, TRUTH = AudioSpan(3, 200), Interval(4.0, 6.0)
CURVE = np.where((SPAN.centers() > 4.4) & (SPAN.centers() < 6.4), 3.0, -1.0) / 200
CLIPS = tuple(Interval(start, start + 5.0) for start in (0.0, 6.0, 12.0))
GAPS = Layout("gaps of 1 s", AudioSpan(0, 425), CLIPS, (0.21, 0.42, 0.2))
CLOSE = Layout("no gaps", AudioSpan(0, 375), tuple(Interval(start, start + 5.0) for start in (0.0, 5.0, 10.0)))
FIGURES = {
    "window": lambda: window_plots.window_figure(CURVE, SPAN, 2.0, TRUTH),
    "window at the end": lambda: window_plots.window_figure(CURVE[::-1].copy(), SPAN, 7.5, Interval(0.2, 7.7)),
    "chance": lambda: window_plots.chance_figure([GAPS, CLOSE]),
    "one layout": lambda: window_plots.chance_figure([CLOSE]),
}


test_figures = figure_test(FIGURES)


def test_the_summit_is_where_the_window_begins() -> None:
    top, below = window_plots.window_figure(CURVE, SPAN, 2.0, TRUTH).axes
    (line,) = [line for line in below.lines if len(line.get_xdata()) == 151]
    assert line.get_ydata().max() == pytest.approx(3.0)  # in even shares, as the curve above it
    assert max(top.lines, key=lambda each: len(each.get_xdata())).get_ydata().max() == pytest.approx(3.0)
    (dot,) = [line for line in below.lines if line.get_marker() == "o"]
    assert dot.get_xdata() == pytest.approx([4.4]) and dot.get_ydata() == pytest.approx([3.0])
    assert below.get_xlim() == (0.0, 8.0)
    said = window_plots.alt_text_window(CURVE, SPAN, 2.0, TRUTH)
    assert "3.0 times the even share, at 4.40 s" in said and "overlap 80 %" in said


def test_chances_stand_at_the_numbers() -> None:
    left, right = window_plots.chance_figure([GAPS, CLOSE]).axes
    squares = [line for line in left.lines if line.get_marker() == "s"]
    assert [line.get_xdata()[0] for line in squares] == [2.5, 8.5, 14.5]
    assert [line.get_ydata()[0] for line in squares] == pytest.approx([20.8, 41.7, 20.8], abs=0.3)
    assert [line.get_ydata()[0] for line in left.lines if line.get_marker() == "o"] == pytest.approx([21, 42, 20])
    assert not [line for line in right.lines if line.get_marker() == "o"]  # not simulated
    assert "mean 27.8 %" in left.get_title() and "mean 33.3 %" in right.get_title()
    said = window_plots.alt_text_chance([GAPS, CLOSE])
    assert "20.9 %, 41.5 %, 20.9 % (simulated 21.0 %, 42.0 %, 20.0 %), mean 27.8 %" in said
    assert "no gaps: events in order 25.1 %, 49.8 %, 25.1 %, mean 33.3 %" in said


def test_nothing_to_draw_is_refused() -> None:
    for layouts in ([], [Layout("empty", AudioSpan(0, 100), ())]):
        with pytest.raises(ValueError, match="at least one layout"):
            window_plots.chance_figure(layouts)
