"""Checks of the elective on pictures: sums over boxes, and the chance that a box has."""

from __future__ import annotations

from typing import Any

import numpy as np

from steer_utils.course.checks.answers import Wrong, called, correct, judge, number, values
from steer_utils.lm.patch_grid import Box, PatchGrid

GRID = PatchGrid(0, 10, 10, 6.0)  # of the pictures that the functions are tried on


def box_sums(answer: Any) -> None:
    """Exercise 1: a function (picture, high, wide) -> the sum of every box, (rows - high + 1, columns - wide + 1)."""
    rng = np.random.default_rng(2)
    for (rows, columns), (high, wide) in (((6, 5), (3, 2)), ((4, 7), (1, 4)), ((5, 5), (5, 5))):
        picture = rng.normal(size=(rows, columns))
        windows = np.lib.stride_tricks.sliding_window_view(picture, (high, wide))
        expected, given = windows.sum(axis=(2, 3)), called(answer, picture.copy(), high, wide)
        if np.shape(given) == (rows - high, columns - wide):
            raise Wrong("a row and a column are missing: the table needs a row and a column of zeros in front")
        mistakes = ((windows.mean(axis=(2, 3)), "these are means; the sum of each box is asked for"),)
        corners = "these are not the sums: lower right - upper right - lower left + upper left of the table"
        judge(values(given, expected.shape), expected, mistakes, corners, same=np.allclose)
    correct("Four numbers a box, however large it is: all boxes of a picture cost as much as one look at it.")


def chance(answer: Any) -> None:
    """Exercise 2: a function (boxes, truth) -> the mean share of `truth` that a box put anywhere covers."""
    for truth in (Box(0, 0, 16, 16), Box(22, 20, 40, 41), Box(31, 2, 46, 23)):
        boxes = GRID.boxes(*truth.size)
        covers, ious = ([getattr(box, score)(truth) for box in boxes] for score in ("covers", "iou"))
        mistakes = (
            (float(np.mean(ious)), "that is the mean IoU; the share of the true box is asked for"),
            (float(np.mean(np.array(covers) > 0)), "that is how many boxes touch it; how much do they cover?"),
            (float(np.max(covers)), "that is the best place; chance is the mean over all places"),
        )
        judge(number(called(answer, boxes, truth)), float(np.mean(covers)), mistakes, "take the mean over all boxes")
    correct("A thing in the middle has more chance than one in a corner: a figure means something only beside its own.")
