"""One row of the benchmark's table: a query, what a method found, and how right it is."""

from __future__ import annotations

import math

import numpy as np

from .metrics import center_error, frame_auroc, pointing, slot_of
from .partials import Record
from .queries import Found
from .spans import AudioSpan, Interval


def scored(asked: Record, method: str, found: Found) -> Record:
    """The row of a query (`asked`: truth_start, truth_end, others, token_seconds and what else describes it).

    Adds: start, end (None where an answer named no time: `failed`), overlap |W ∩ E| / |E| and IoU (0 then),
    center_error in seconds, `own`: the window found belongs to the queried event and to no other of the scene; for
    methods with a curve also auroc, pointing, and the curve itself to five digits.
    """
    truth = Interval(asked["truth_start"], asked["truth_end"])
    others = [Interval(*other) for other in asked["others"]]
    interval, curve = found.interval, found.curve
    row = {
        **asked,
        "method": method,
        "start": interval.start if interval else None,
        "end": interval.end if interval else None,
        "overlap": interval.covers(truth) if interval else 0.0,
        "iou": interval.iou(truth) if interval else 0.0,
        "center_error": center_error(interval, truth) if interval else None,
        "own": slot_of(interval, [truth, *others]) == 0 if interval else False,
        "failed": interval is None,
        "answer": found.answer,
        "auroc": None,
        "pointing": None,
        "curve": None,
    }
    if curve is not None:
        span = AudioSpan(0, len(curve), asked["token_seconds"])
        area = frame_auroc(curve, span, truth)
        row["auroc"] = area if math.isfinite(area) else None
        row["pointing"] = bool(pointing(curve, span, truth))
        row["curve"] = [float(f"{value:.5g}") for value in np.asarray(curve, float)]
    return row
