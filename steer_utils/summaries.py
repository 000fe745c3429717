"""What a benchmark's table says: figures with intervals, differences, tests, and one report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from .benchmark import SLOTS
from .methods import in_order
from .spans import AudioSpan, Interval
from .statistics import (
    Estimate,
    chance_corrected,
    circular_shift_null,
    cluster_mean,
    holm,
    paired_difference,
    sign_flip,
)

RECALLS = (0.3, 0.5, 0.7)  # IoU thresholds of R@1


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Overlap with its 95 % interval per method and slot, beside the analytic chance of that slot.

    `corrected` is (overlap - chance) / (1 - chance); `failed` the share of answers that named no time (overlap 0);
    `own` the share of windows that fall on the queried event rather than another (chance 1/3 of three); recall_x the
    share with IoU of at least x; auroc and pointing (no known width) are NaN for methods without a curve;
    center_error is the mean over answers that named a time, in seconds.
    """
    rows = []
    for method in _methods_of(table):
        own = table[table["method"] == method]
        for slot in ("all", *SLOTS):
            part = own if slot == "all" else own[own["slot"] == slot]
            if part.empty:
                continue
            estimate = cluster_mean(part["overlap"].to_numpy(float), part["scene"].to_numpy())
            chance = float(part["chance"].mean())
            rows.append(
                {
                    "method": method,
                    "slot": slot,
                    "n": estimate.n,
                    "overlap": estimate.mean,
                    "low": estimate.low,
                    "high": estimate.high,
                    "chance": chance,
                    "corrected": chance_corrected(estimate.mean, chance),
                    "iou": float(part["iou"].mean()),
                    **{f"recall_{iou}": float((part["iou"] >= iou).mean()) for iou in RECALLS},
                    "auroc": float(part["auroc"].mean()),
                    "pointing": float(part["pointing"].astype(float).mean()),
                    "own": float(part["own"].mean()),
                    "center_error": float(part["center_error"].mean()),
                    "failed": float(part["failed"].mean()),
                }
            )
    return pd.DataFrame(rows)


def differences(table: pd.DataFrame, method: str = "steering") -> dict[str, Estimate]:
    """Paired difference in overlap, `method` minus each other method, over the same queries.

    Raises ValueError if the table lacks the method, or a query lacks one of the methods.
    """
    methods = _methods_of(table)
    if method not in methods:
        raise ValueError(f"the table has no rows of {method!r}; it has: {', '.join(methods)}")
    wide, scenes = _by_query(table)
    return {
        other: paired_difference(wide[method].to_numpy(), wide[other].to_numpy(), scenes)
        for other in methods
        if other != method
    }


def significance(table: pd.DataFrame, method: str = "steering") -> pd.DataFrame:
    """Two tests a method. Columns: method, null_mean and p_null (overlap of the same curves rotated in time, for
    methods with curves), p_flip (paired sign-flip of scenes against `method`, two-sided) and p_holm (adjusted for the
    number of comparisons)."""
    wide, scenes = _by_query(table)
    methods = _methods_of(table)
    flips = {
        other: sign_flip(wide[method].to_numpy(), wide[other].to_numpy(), scenes)
        for other in methods
        if other != method and method in methods
    }
    adjusted = holm(flips) if flips else {}
    rows = []
    for name in methods:
        null = _null(table[table["method"] == name])
        rows.append({"method": name, **null, "p_flip": flips.get(name), "p_holm": adjusted.get(name)})
    return pd.DataFrame(rows)


def _null(own: pd.DataFrame) -> dict[str, float | None]:
    """The circular-shift null of one method's rows; nothing where it has no curves."""
    if own["curve"].isna().any():
        return {"null_mean": None, "p_null": None}
    null = circular_shift_null(
        [np.asarray(curve, float) for curve in own["curve"]],
        [Interval(start, end) for start, end in zip(own["truth_start"], own["truth_end"], strict=True)],
        [AudioSpan(0, len(row.curve), row.token_seconds) for row in own.itertuples()],
        own["scene"].to_numpy(),
    )
    return {"null_mean": null.null_mean, "p_null": null.p}


def _by_query(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Overlaps with a row a query and a column a method, and the scene of each row. An event is in a scene once."""
    wide = table.pivot(index=["scene", "event"], columns="method", values="overlap")
    return wide, wide.index.get_level_values("scene").to_numpy()


def _methods_of(table: pd.DataFrame) -> list[str]:
    return in_order(table["method"])


def report(table: pd.DataFrame) -> dict[str, Any]:
    """The run as one json object: model, settings, summary rows and paired differences."""
    own = differences(table) if "steering" in set(table["method"]) else {}
    found = {
        "model": table.attrs["model"],
        "revision": table.attrs["revision"],
        "settings": {**table.attrs["settings"], "scenes": table.attrs["scenes"]},
        "versions": table.attrs["versions"],
        "rows": summary(table).to_dict("records"),
        "steering_minus": {name: asdict(estimate) for name, estimate in own.items()},
        "tests": significance(table).to_dict("records"),
    }
    return dict(finite(found))


def finite(value: Any) -> Any:
    """The same, as strict json can hold it: what is no finite number is None, in mappings and lists at any depth."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
