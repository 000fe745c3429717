"""The positional prior: where a method looks whatever is asked. A method worth its name beats it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .queries import POSITION, Found
from .scores import scored
from .spans import AudioSpan, best_window

PRIOR_OF = "steering"  # whose curves are averaged
_ASKED = ("scene", "slot", "event", "source", "truth_start", "truth_end", "others", "token_seconds", "chance")


def positional_prior(table: pd.DataFrame, of: str = PRIOR_OF) -> pd.DataFrame:
    """Rows of the method "position": for each query the mean curve that `of` gave in all *other* scenes, and the best
    window of the query's width in it. No content of the scene enters.

    Cost: one sum over all curves. Raises ValueError for fewer than two scenes, or scenes of different token counts.
    """
    own = table[table["method"] == of]
    if own["scene"].nunique() < 2:
        raise ValueError(f"the mean curve of other scenes needs at least two scenes, got {own['scene'].nunique()}")
    lengths = {len(curve) for curve in own["curve"]}
    if len(lengths) > 1:
        raise ValueError(f"a mean curve needs scenes of one length, these have {sorted(lengths)} audio tokens")
    curves = np.stack(own["curve"].to_list())
    scenes = own["scene"].to_numpy()
    total = curves.sum(axis=0)
    rows = []
    for scene, (_, row) in zip(scenes, own.iterrows(), strict=True):
        inside = scenes == scene
        curve = (total - curves[inside].sum(axis=0)) / np.count_nonzero(~inside)
        span = AudioSpan(0, len(curve), row["token_seconds"])
        interval, score = best_window(curve, span, row["truth_end"] - row["truth_start"])
        rows.append(scored({name: row[name] for name in _ASKED}, POSITION, Found(interval, score, curve)))
    return pd.DataFrame(rows)
