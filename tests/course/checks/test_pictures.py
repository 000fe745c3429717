"""The checks of the elective on pictures: right answers pass, and each known mistake has its own hint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hints import hint_test, right_test

from steer_utils.course.checks import pictures
from steer_utils.lm.patch_grid import Box


def sums(picture: np.ndarray, high: int, wide: int) -> np.ndarray:
    table = np.pad(picture.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return table[high:, wide:] - table[:-high, wide:] - table[high:, :-wide] + table[:-high, :-wide]


def by_hand(picture: np.ndarray, high: int, wide: int) -> list[list[float]]:
    rows, columns = picture.shape
    return [
        [float(picture[y : y + high, x : x + wide].sum()) for x in range(columns - wide + 1)]
        for y in range(rows - high + 1)
    ]


def without_zeros(picture: np.ndarray, high: int, wide: int) -> np.ndarray:
    table = picture.cumsum(axis=0).cumsum(axis=1)
    return table[high:, wide:] - table[:-high, wide:] - table[high:, :-wide] + table[:-high, :-wide]


def share(boxes: Sequence[Box], truth: Box) -> float:
    return float(np.mean([box.covers(truth) for box in boxes]))


test_box_sums = right_test(pictures.box_sums, sums, by_hand)

test_wrong_box_sums = hint_test(
    pictures.box_sums,
    (None, "nothing is here yet"),
    (without_zeros, "a row and a column are missing"),
    (lambda picture, high, wide: sums(picture, high, wide) / (high * wide), "these are means"),
    (lambda picture, high, wide: sums(picture, high, wide) + 1, "these are not the sums"),
    (lambda picture, high, wide: sums(picture, wide, high), "the shape is"),
)


test_chance = right_test(pictures.chance, share)

test_wrong_chance = hint_test(
    pictures.chance,
    (..., "nothing is here yet"),
    (lambda boxes, truth: np.mean([box.iou(truth) for box in boxes]), "that is the mean IoU"),
    (lambda boxes, truth: np.mean([box.covers(truth) > 0 for box in boxes]), "how many boxes touch it"),
    (lambda boxes, truth: max(box.covers(truth) for box in boxes), "that is the best place"),
    (lambda boxes, truth: 0.5, "take the mean over all boxes"),
)
