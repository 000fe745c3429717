"""Pictures for the pocket model that sees: coloured shapes on a noisy ground, and where each of them lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from steer_utils.lm.patch_grid import Box, PatchGrid

SIDE, PATCH = 60, 6  # pixels
GRID = PatchGrid(0, SIDE // PATCH, SIDE // PATCH, PATCH)
COLOURS = {
    "red": (215, 45, 45),
    "green": (45, 165, 60),
    "blue": (50, 80, 220),
    "yellow": (230, 205, 40),
    "purple": (150, 55, 190),
    "white": (245, 245, 245),
}
TEXTURES, SIZES = ("plain", "striped"), ("small", "large")
PIXELS = {"small": (14, 17), "large": (20, 23)}

#: Whether a point (u, v) in -1 ... 1, v downwards, belongs to the shape.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": lambda u, v: u**2 + v**2 <= 1,
    "triangle": lambda u, v: abs(u) <= (v + 1.1) / 2,
    "cross": lambda u, v: np.minimum(abs(u), abs(v)) <= 0.3,
    "ring": lambda u, v: abs(np.hypot(u, v) - 0.78) <= 0.26,
}
NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
#: What a patch can show, by the names of `Thing`; "": the ground, which has no texture and no size.
ATTRIBUTES = {"colour": ("", *COLOURS), "shape": ("", *SHAPES), "texture": TEXTURES, "size": SIZES}


def _diagonals(*numbers: int) -> tuple[str, ...]:
    """Of the table of colours and shapes: no colour and no shape comes twice in a diagonal."""
    places = [(row + column) % len(COLOURS) for row in range(len(COLOURS)) for column in range(len(SHAPES))]
    return tuple(name for name, place in zip(NAMES, places, strict=True) if place in numbers)


#: On these settings are chosen; no test asks for them.
DEVELOPMENT = _diagonals(0, 1)
#: These are in no picture of the training: each colour and each shape is, in other pairs.
NEVER_TRAINED = _diagonals(3)
TESTED = _diagonals(2, 4, 5)
TRAINED = tuple(name for name in NAMES if name not in NEVER_TRAINED)


@dataclass(frozen=True)
class Thing:
    """One shape: what it is called, its attributes, and the pixels it takes."""

    colour: str
    shape: str
    texture: str
    size: str
    box: Box

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, eq=False)
class Picture:
    """`pixels`: (60, 60, 3), 0 to 255. `things`: from left to right."""

    pixels: np.ndarray
    things: tuple[Thing, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(thing.name for thing in self.things)


def make_picture(rng: np.random.Generator, names: Sequence[str], count: int = 3) -> Picture:
    """`count` (at most 4) different ones of `names`, apart from each other; their middles differ across."""
    while True:
        chosen = [names[place] for place in rng.choice(len(names), count, replace=False)]
        if boxes := _places(rng, [SIZES[int(rng.integers(2))] for _ in chosen]):
            things = []
            for name, (size, box) in zip(chosen, boxes, strict=True):
                colour, shape = name.split()
                things.append(Thing(colour, shape, TEXTURES[int(rng.integers(2))], size, box))
            across = sorted(things, key=lambda thing: thing.box.left + thing.box.right)
            return Picture(_drawn(rng, things), tuple(across))


def picture_of(names: Sequence[str], seed: int) -> Picture:
    """A picture of exactly these things, the same for the same seed. Raises ValueError for what there is not."""
    if unknown := [name for name in names if name not in NAMES]:
        raise ValueError(f"there is no {unknown[0]!r}; colours are {', '.join(COLOURS)}, shapes {', '.join(SHAPES)}")
    if not 1 <= len(set(names)) == len(names) <= 4:
        raise ValueError(f"a picture holds one to four different shapes, got {list(names)}")
    return make_picture(np.random.default_rng([seed, 5]), names, len(names))


def _places(rng: np.random.Generator, sizes: Sequence[str]) -> list[tuple[str, Box]]:
    """A box for each, apart by three pixels; empty where twenty tries found no place."""
    placed: list[tuple[str, Box]] = []
    for size in sizes:
        for _ in range(20):
            wide, high = rng.integers(PIXELS[size][0], PIXELS[size][1] + 1, 2)
            left, top = rng.integers(0, SIDE - wide + 1), rng.integers(0, SIDE - high + 1)
            around = Box(left - 3, top - 3, left + wide + 3, top + high + 3)
            across = (left + wide / 2 - (other.left + other.right) / 2 for _, other in placed)
            if not any(around.intersection(other) for _, other in placed) and all(abs(gap) >= 6 for gap in across):
                placed.append((size, Box(left, top, left + wide, top + high)))
                break
        else:
            return []
    return placed


def _drawn(rng: np.random.Generator, things: Sequence[Thing]) -> np.ndarray:
    pixels = rng.uniform(60, 150) + rng.normal(0, 8, (SIDE, SIDE, 3)) + rng.normal(0, 6, 3)
    for thing in things:
        left, top, right, bottom = (int(bound) for bound in astuple(thing.box))
        y, x = np.mgrid[top:bottom, left:right]
        u, v = (2 * (x + 0.5 - left) / (right - left) - 1, 2 * (y + 0.5 - top) / (bottom - top) - 1)
        paint = np.array(COLOURS[thing.colour]) + rng.normal(0, 10, 3) + rng.normal(0, 6, (*x.shape, 3))
        if thing.texture == "striped":
            paint[(x + y + int(rng.integers(6))) % 6 < 3] *= 0.45
        inside = SHAPES[thing.shape](u, v)
        pixels[top:bottom, left:right][inside] = paint[inside]
    return pixels.clip(0, 255).round().astype(np.uint8)
