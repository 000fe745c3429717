"""Pictures: boxes in pixels, the patches of a prompt as a grid, and the box where a curve over patches is largest.

`sound/spans.py` has the same for time. This module holds the only conversions between patches and pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from steer_utils.sound.spans import AudioSpan, checked_curve, first_best


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle in pixels, from the picture's upper left corner: `Box(left=4, top=8, right=16, bottom=20)`.

    Raises ValueError if a bound is not finite, or the box has no width or no height.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        for name in ("left", "top", "right", "bottom"):
            object.__setattr__(self, name, float(getattr(self, name)))  # a numpy scalar would leak into json and reprs
        bounds = (self.left, self.top, self.right, self.bottom)
        if not all(map(math.isfinite, bounds)) or self.right <= self.left or self.bottom <= self.top:
            raise ValueError(f"a box needs finite bounds with left < right and top < bottom, got {bounds}")

    def __str__(self) -> str:
        return f"x {self.left:g}-{self.right:g}, y {self.top:g}-{self.bottom:g}"

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels."""
        return self.right - self.left, self.bottom - self.top

    def intersection(self, other: Box) -> float:
        """Square pixels that both boxes share; 0.0 if they do not meet."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)

    def covers(self, truth: Box) -> float:
        """Overlap |B ∩ E| / |E| of this box B with the true box E, in 0..1: the paper's, on a plane."""
        return self.intersection(truth) / math.prod(truth.size)

    def iou(self, other: Box) -> float:
        """Intersection over union, in 0..1."""
        shared = self.intersection(other)
        return shared / (math.prod(self.size) + math.prod(other.size) - shared)


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches of a prompt lie: the twin of `AudioSpan`. `first`: the absolute slot of the first one.

    `rows` x `columns` patches stand row by row, each a square of `patch` pixels of the picture as it was given.
    Raises ValueError for a negative slot, no patches, or a patch without size.
    """

    first: int
    rows: int
    columns: int
    patch: float

    def __post_init__(self) -> None:
        if self.first < 0 or self.rows < 1 or self.columns < 1 or not (math.isfinite(self.patch) and self.patch > 0):
            raise ValueError(f"a grid needs first >= 0, rows and columns >= 1, patch > 0 pixels, got {self}")

    @property
    def count(self) -> int:
        """How many patches there are."""
        return self.rows * self.columns

    @property
    def stop(self) -> int:
        """The slot after the last patch."""
        return self.first + self.count

    def box(self, row: int, column: int, high: int, wide: int) -> Box:
        """The pixels of `high` x `wide` patches, the upper left one in `row` and `column`."""
        if not (0 <= row < row + high <= self.rows and 0 <= column < column + wide <= self.columns):
            raise ValueError(
                f"{high} x {wide} patches at ({row}, {column}) are not inside {self.rows} x {self.columns}"
            )
        return Box(column * self.patch, row * self.patch, (column + wide) * self.patch, (row + high) * self.patch)

    def inside(self, box: Box) -> np.ndarray:
        """Which patches have their middle in `box`, (count,) bool."""
        x, y = ((np.arange(number) + 0.5) * self.patch for number in (self.columns, self.rows))
        across, down = (x >= box.left) & (x < box.right), (y >= box.top) & (y < box.bottom)
        return (down[:, None] & across).reshape(-1)

    def box_patches(self, width: float, height: float) -> tuple[int, int]:
        """How many patches a box of so many pixels is high and wide: the nearest (a half goes down), 1 to all."""
        if not all(math.isfinite(pixels) and pixels > 0 for pixels in (width, height)):
            raise ValueError(f"a box needs a positive number of pixels, got {width} x {height}")
        high, wide = (max(1, math.ceil(pixels / self.patch - 0.5 - 1e-9)) for pixels in (height, width))
        return min(self.rows, high), min(self.columns, wide)

    def boxes(self, width: float, height: float) -> list[Box]:
        """Every place of a box of so many pixels, moved by one patch, row by row: what `best_box` chooses from."""
        high, wide = self.box_patches(width, height)
        places = ((row, column) for row in range(self.rows - high + 1) for column in range(self.columns - wide + 1))
        return [self.box(row, column, high, wide) for row, column in places]


#: Where the tokens of what a model hears or sees lie in a prompt: on a line, or on a grid.
MediaSpan = AudioSpan | PatchGrid


def best_box(curve: np.ndarray, grid: PatchGrid, width: float, height: float) -> tuple[Box, float]:
    """The box of `width` x `height` pixels in which `curve` is largest, and the mean of the curve in it.

    `curve`: (count,), one value a patch. The box moves by one patch; the first one, row by row, wins a tie. Sums come
    from one summed-area table (Crow 1984): O(count). Raises ValueError for a curve of another length, NaN or infinity.
    """
    values = checked_curve(curve, grid.count)
    box = grid.boxes(width, height)[int(best_places(values, grid, width, height))]
    return box, float(values[grid.inside(box)].mean())


def best_places(curves: np.ndarray, grid: PatchGrid, width: float, height: float) -> np.ndarray:
    """Which of `grid.boxes(width, height)` is each curve's best: (..., count) -> (...).

    What `best_box` takes, for many curves at once. Curves are not checked: one that holds NaN gives box 0.
    """
    values = np.asarray(curves, dtype=np.float64)
    values = values.reshape(*values.shape[:-1], grid.rows, grid.columns)
    high, wide = grid.box_patches(width, height)
    table = np.pad(values.cumsum(axis=-2).cumsum(axis=-1), [(0, 0)] * (values.ndim - 2) + [(1, 0), (1, 0)])
    lower, upper = table[..., high:, :], table[..., :-high, :]
    sums = lower[..., wide:] - upper[..., wide:] - lower[..., :-wide] + upper[..., :-wide]
    return first_best(sums.reshape(*sums.shape[:-2], -1), np.abs(values).sum(axis=(-2, -1))[..., None])


def read_picture(picture: str | Path | np.ndarray) -> np.ndarray:
    """An image file, or an array (side, side, 3) of whole numbers 0 to 255, as such an array.

    Raises ValueError for what is no picture or not square: a model would cut it, and boxes would be those of the cut.
    """
    if isinstance(picture, (str, Path)):
        try:
            with Image.open(picture) as image:
                picture = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ValueError(f"cannot read a picture from {str(picture)!r}: {error}") from error
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        found = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise ValueError(f"a picture is an image file or an array (side, side, 3) of uint8, 0 to 255; got {found}")
    if picture.shape[0] != picture.shape[1] or not picture.size:
        raise ValueError(
            f"the picture is {picture.shape[1]} x {picture.shape[0]} pixels; cut or pad it to a square first"
        )
    return picture
