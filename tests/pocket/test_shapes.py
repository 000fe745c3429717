"""Pictures: what is drawn is where its box says, and combinations that a test asks for are kept apart."""

from __future__ import annotations

import numpy as np
import pytest

from steer_utils.pocket.shapes import (
    COLOURS,
    DEVELOPMENT,
    GRID,
    NAMES,
    NEVER_TRAINED,
    SHAPES,
    SIDE,
    TESTED,
    TRAINED,
    make_picture,
    picture_of,
)


def test_the_sets_of_combinations_are_apart_and_whole() -> None:
    sets = [set(DEVELOPMENT), set(NEVER_TRAINED), set(TESTED)]
    assert set().union(*sets) == set(NAMES) and sum(map(len, sets)) == len(NAMES) == len(COLOURS) * len(SHAPES)
    assert set(TRAINED) == set(NAMES) - set(NEVER_TRAINED)
    seen = [name.split() for name in TRAINED]
    assert {colour for colour, _ in seen} == set(COLOURS) and {shape for _, shape in seen} == set(SHAPES)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_things_lie_in_their_boxes_apart_from_left_to_right(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        picture = make_picture(rng, NAMES, count)
        assert picture.pixels.shape == (SIDE, SIDE, 3) and picture.pixels.dtype == np.uint8
        boxes = [thing.box for thing in picture.things]
        middles = [box.left + box.right for box in boxes]
        assert middles == sorted(middles) and len({thing.name for thing in picture.things}) == count
        for number, thing in enumerate(picture.things):
            box = thing.box
            assert box.left >= 0 and box.right <= SIDE and box.top >= 0 and box.bottom <= SIDE
            assert not any(box.intersection(other) for other in boxes[number + 1 :])
            inside = picture.pixels[int(box.top) : int(box.bottom), int(box.left) : int(box.right)].reshape(-1, 3)
            far = np.abs(inside.astype(float) - np.array(COLOURS[thing.colour])).max(axis=1)
            assert (far < 60).mean() > 0.15, f"{thing.name} has its colour"
            assert 4 <= GRID.inside(box).sum() <= 25


def test_a_picture_is_the_same_for_its_seed_and_refuses_what_there_is_not() -> None:
    names = ["red circle", "blue ring"]
    one, same, other = (picture_of(names, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.pixels, same.pixels) and not np.array_equal(one.pixels, other.pixels)
    assert {thing.name for thing in one.things} == set(names)
    for wrong, words in (
        (["red heart"], "there is no 'red heart'"),
        (names * 2, "one to four different"),
        ([], "one to"),
    ):
        with pytest.raises(ValueError, match=words):
            picture_of(wrong, 1)
