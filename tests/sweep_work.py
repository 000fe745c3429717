"""What the tests of sweeps share: grids for a model that knows six classes, sweeps of them, and made-up results."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from short_work import short_units

from steer_utils.runs.grids import SteeringGrid, as_grid
from steer_utils.runs.measuring import POINT
from steer_utils.runs.planning import plan_sweep
from steer_utils.runs.sweep import Sweep
from steer_utils.sound.sounds import SOUNDS

SIX = tuple(SOUNDS)[:6]


def small_grid(model: object, **changes: Any) -> SteeringGrid:
    """Two scenes a split, two choices of blocks and two strengths."""
    found = {
        "models": str(model),
        "seeds": [0, 1],
        "scenes": 2,
        "blocks": ["early", [1]],
        "strengths": [2, 8],
        "split": {"development": list(SIX[:3])},
    }
    made = as_grid({**found, **changes})
    assert isinstance(made, SteeringGrid)
    return made


def small_sweep(model: Path, out: Path, **changes: Any) -> Sweep:
    """The sweep of `small_grid`, not run yet."""
    grid = small_grid(model, **changes)
    return Sweep.started(plan_sweep(grid).units, grid, out)


def short_sweep(folder: Path, count: int) -> Sweep:
    """A sweep of units without work."""
    return Sweep.started(short_units(count), small_grid("pocket-qwen2-audio"), folder)


# -- results as a sweep would leave them -----------------------------------------------------------------------------
def made_table(
    models: tuple[str, ...] = ("a/one", "two"), seeds: int = 3, scenes: int = 4, *, shift: float = 0.0, start: int = 0
) -> pd.DataFrame:
    """A tidy table with made overlaps: on development early 8 is best, on the test classes late 8 is."""
    rng = np.random.default_rng(0)
    splits = (("development", SIX[:3], "early"), ("test", SIX[3:], "late"))
    done = ((0.0, "none"), (2.0, "steering"), (2.0, "random"), (8.0, "steering"), (8.0, "random"))
    rows = []
    for model, seed, (split, events, better), scene in product(
        models, range(start, start + seeds), splits, range(scenes)
    ):
        for place, event in enumerate(events):
            ease = 0.1 * rng.random() + shift
            query = (model, seed, split, scene, event, "procedural", 1.0 + place, 2.0 + place)
            for (name, blocks), (strength, vector) in product((("early", "0-1"), ("late", "2-3")), done):
                steered = 0.4 + 0.2 * (name == better) + 0.02 * strength + ease
                overlap = steered if vector == "steering" else 0.2 + ease
                rows.append((*query, "How many?", name, blocks, strength, vector, 0.25, overlap))
    query = ["model", "seed", "split", "scene", "event", "source", "truth_start", "truth_end"]
    names = [*query, *POINT, "chance", "overlap"]
    table = pd.DataFrame(rows, columns=names).assign(slot="first", iou=lambda each: each["overlap"] / 2)
    facts = {"classes": list(SIX[3:]), "sounds": "procedural", "seconds": [4.0, 4.0], "event_seconds": [1.2, 2.4]}
    table.attrs = {
        "analysis": "sweep",
        "grid": {"models": list(models), "scenes": scenes},
        "units": len(models) * seeds,
        "finished": len(models) * seeds,
        "failures": {},
        "versions": [{"torch": "2"}],
        "scenes": {model: {"development": facts, "test": facts} for model in models},
    }
    return table
