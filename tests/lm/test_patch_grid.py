"""Boxes and patches: what goes there comes back, and the best box is that of a search by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from steer_utils.lm.patch_grid import Box, PatchGrid, best_box, best_places, read_picture

GRIDS = st.builds(
    PatchGrid, st.integers(0, 9), st.integers(1, 7), st.integers(1, 7), st.floats(0.5, 14, allow_nan=False)
)


@given(GRIDS, st.data())
def test_patches_become_a_box_and_come_back(grid: PatchGrid, data: st.DataObject) -> None:
    high, wide = data.draw(st.integers(1, grid.rows)), data.draw(st.integers(1, grid.columns))
    row, column = data.draw(st.integers(0, grid.rows - high)), data.draw(st.integers(0, grid.columns - wide))
    box = grid.box(row, column, high, wide)
    assert grid.box_patches(*box.size) == (high, wide)
    expected = np.zeros((grid.rows, grid.columns), bool)
    expected[row : row + high, column : column + wide] = True
    assert np.array_equal(grid.inside(box), expected.reshape(-1))
    assert box in grid.boxes(*box.size) and box.covers(box) == pytest.approx(1) == box.iou(box)


@given(GRIDS, st.data())
def test_the_best_box_is_that_of_a_search_by_hand(grid: PatchGrid, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-4, 4), min_size=grid.count, max_size=grid.count))  # many ties
    width, height = (data.draw(st.floats(0.1, 100)) for _ in range(2))
    picture, (high, wide) = np.array(values, float).reshape(grid.rows, grid.columns), grid.box_patches(width, height)
    sums = {
        (row, column): picture[row : row + high, column : column + wide].sum()
        for row in range(grid.rows - high + 1)
        for column in range(grid.columns - wide + 1)
    }
    row, column = max(sums, key=sums.__getitem__)  # the first of those that tie, as `max` has it
    box, mean = best_box(picture.reshape(-1), grid, width, height)
    assert box == grid.box(row, column, high, wide) and mean == pytest.approx(sums[row, column] / (high * wide))
    assert grid.boxes(width, height)[int(best_places(picture.reshape(-1), grid, width, height))] == box


def test_overlap_and_iou_of_boxes() -> None:
    truth, found = Box(0, 0, 4, 2), Box(2, 1, 6, 3)
    assert found.intersection(truth) == 2 and found.covers(truth) == 0.25 and found.iou(truth) == pytest.approx(2 / 14)
    assert Box(4, 0, 5, 1).covers(truth) == 0


@pytest.mark.parametrize("bounds", [(0, 0, 0, 1), (0, 3, 1, 2), (0, 0, float("nan"), 1), (0, 0, 1, float("inf"))])
def test_a_box_without_a_size_is_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a box needs finite bounds"):
        Box(*bounds)


@pytest.mark.parametrize("values", [(-1, 2, 2, 4), (0, 0, 2, 4), (0, 2, 0, 4), (0, 2, 2, 0), (0, 2, 2, float("nan"))])
def test_a_grid_that_is_none_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a grid needs"):
        PatchGrid(*values)  # type: ignore[arg-type]


def test_what_is_no_curve_or_no_size_is_refused() -> None:
    grid = PatchGrid(0, 2, 3, 4)
    for curve, words in ((np.zeros(5), r"shape \(5,\), but there are 6 tokens"), (np.full(6, np.nan), "6 of them NaN")):
        with pytest.raises(ValueError, match=words):
            best_box(curve, grid, 4, 4)
    with pytest.raises(ValueError, match="a positive number of pixels"):
        best_box(np.zeros(6), grid, 0, 4)
    with pytest.raises(ValueError, match="are not inside"):
        grid.box(1, 0, 2, 1)


def test_a_picture_is_a_file_or_an_array_and_square(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), pixels) and read_picture(pixels) is pixels
    (tmp_path / "b.png").write_bytes(b"no picture")
    for wrong, words in (
        (tmp_path / "b.png", "cannot read a picture"),
        (tmp_path / "missing.png", "cannot read a picture"),
        (pixels[:3], "cut or pad it to a square"),
        (pixels / 255, "got float64"),
        (pixels[..., 0], r"got uint8 \(4, 4\)"),
        ([1, 2], "got list"),
    ):
        with pytest.raises(ValueError, match=words):
            read_picture(wrong)  # type: ignore[arg-type]
