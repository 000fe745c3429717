"""What a benchmark's table says: figures with intervals, paired differences and tests; as text, json and file.

summary(table), differences(table), significance(table)      # data frames and estimates
print(report_text(table))                                    # the same to read
write_table(table, Path("run.parquet")), read_table(Path("run.parquet"))
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from steer_utils.methods.table import in_order, label_of
from steer_utils.sound.conditions import condition_named
from steer_utils.sound.files import check_target, json_safe, whole_file
from steer_utils.sound.spans import AudioSpan, Interval
from steer_utils.sound.tables import text_table
from steer_utils.study.benchmark import SLOTS, by_query
from steer_utils.study.statistics import (
    Estimate,
    chance_corrected,
    circular_shift_null,
    cluster_mean,
    holm,
    paired_difference,
    sign_flip,
)

RECALLS = (0.3, 0.5, 0.7)  # IoU thresholds of R@1
SUFFIXES = (".parquet", ".csv")


# -- figures ---------------------------------------------------------------------------------------------------------
def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Overlap with its 95 % interval per method and slot, beside the analytic chance of that slot.

    `corrected` is (overlap - chance) / (1 - chance); `failed` the share of answers in which no time was read (overlap
    0), `ambiguous` that of answers which could mean several;
    `own` the share of windows that fall on the queried event rather than another (chance 1/3 of three); recall_x the
    share with IoU of at least x; auroc and pointing (no known width) are NaN for methods without a curve;
    center_error is the mean over answers that named a time, in seconds.
    """
    rows = []
    for method in _methods_of(table):
        of_method = table[table["method"] == method]
        for slot in ("all", *SLOTS):
            part = of_method if slot == "all" else of_method[of_method["slot"] == slot]
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
                    "ambiguous": float((part["unread"] == "ambiguous").mean()) if "unread" in part else math.nan,
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


def _null(rows: pd.DataFrame) -> dict[str, float | None]:
    """The circular-shift null of one method's rows; nothing where it has no curves."""
    if rows["curve"].isna().any():
        return {"null_mean": None, "p_null": None}
    null = circular_shift_null(
        [np.asarray(curve, float) for curve in rows["curve"]],
        [Interval(start, end) for start, end in zip(rows["truth_start"], rows["truth_end"], strict=True)],
        [AudioSpan(0, len(row.curve), row.token_seconds) for row in rows.itertuples()],
        rows["scene"].to_numpy(),
    )
    return {"null_mean": null.null_mean, "p_null": null.p}


def _by_query(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Overlaps with a row a query and a column a method, and the scene of each row."""
    wide = by_query(table, columns="method", values="overlap")
    return wide, wide.index.get_level_values("scene").to_numpy()


def _methods_of(table: pd.DataFrame) -> list[str]:
    return in_order(table["method"])


# -- text and json ---------------------------------------------------------------------------------------------------
def report_dict(table: pd.DataFrame) -> dict[str, Any]:
    """The run as one json object: model, settings, summary rows and paired differences."""
    gaps = differences(table) if "steering" in set(table["method"]) else {}
    return dict(
        json_safe(
            {
                "model": table.attrs["model"],
                "revision": table.attrs["revision"],
                "numbers": table.attrs.get("numbers"),
                "settings": {**table.attrs["settings"], "scenes": table.attrs["scenes"]},
                "equal": table.attrs.get("equal", {}),
                "versions": table.attrs["versions"],
                "rows": summary(table).to_dict("records"),
                "steering_minus": {name: asdict(estimate) for name, estimate in gaps.items()},
                "tests": significance(table).to_dict("records"),
            }
        )
    )


def report_json(table: pd.DataFrame) -> str:
    """`report_dict` as text; what is not a number is null."""
    return json.dumps(report_dict(table), indent=2, allow_nan=False)


def report_text(table: pd.DataFrame) -> str:
    """What was run, overlap by method and slot beside chance, and steering minus each other method."""
    scenes = table.attrs["scenes"]
    queries = len(table) // table["method"].nunique()
    lines = [
        f"{table.attrs['model']}{numbers_text(table.attrs)}: {scenes['scenes']} scenes, {queries} queries, "
        f"seed {scenes['seed']}, {scenes['sounds']}{' sounds' if scenes['sounds'] == 'procedural' else ''}",
        f"classes queried: {', '.join(scenes['classes'])}",
    ]
    if condition := scenes.get("condition"):
        lines.append(f"scenes: {condition}, {condition_named(condition).words}")
    lines += left_out_lines(scenes)
    rows, tests = summary(table), significance(table).set_index("method")
    lines += ["", "overlap with the true interval, % [95 % interval over scenes]", *_overlaps(rows)]
    lines += [*_equal_rows(table), *_answers(table)]
    lines += ["", "curves, without a known width", *_curves(rows, tests)] if table["auroc"].notna().any() else []
    if "steering" in set(table["method"]) and table["method"].nunique() > 1:
        lines += ["", "steering minus ..., paired, points of overlap [95 % interval], sign-flip p after Holm"]
        lines += _differences(table, tests)
    return "\n".join(lines)


def left_out_lines(scenes: Mapping[str, Any]) -> list[str]:
    """Which recordings were not used, and why, a line a reason: `scenes` as `SceneSet.as_dict` gives them."""
    lines = []
    if trained := scenes.get("left_out"):
        lines.append(f"recordings left out because the model was trained on them: {trained}")
    if unused := scenes.get("unused"):
        listed = ", ".join(f"{count} of {name}" for name, count in unused.items())
        lines.append(f"recordings left out because their class is not known to the model, or was tuned on: {listed}")
    return lines


def numbers_text(attrs: Mapping[Any, Any]) -> str:
    """The number type that a table was measured in, for its first line; nothing for the small models' float32."""
    numbers = attrs.get("numbers", "float32")  # older tables do not say
    return "" if numbers == "float32" else f" in {numbers}"


def _overlaps(rows: pd.DataFrame) -> list[str]:
    slots = [slot for slot in ("all", *SLOTS) if (rows["slot"] == slot).any()]
    by_cell = {(row.method, row.slot): row for row in rows.itertuples()}
    methods = list(dict.fromkeys(rows["method"]))
    cells = [["method", *slots]]
    for name in methods:
        cells.append([label_of(name), *[_cell(by_cell.get((name, slot))) for slot in slots]])
    chance = [f"{100 * rows.loc[rows['slot'] == slot, 'chance'].mean():5.1f}" for slot in slots]
    return text_table([*cells, ["chance of that slot", *chance]])


def _cell(row: Any) -> str:
    if row is None:
        return "-"
    return f"{100 * row.overlap:5.1f}{_interval(row.low, row.high)}"


def _interval(low: float, high: float, form: str = ".1f") -> str:
    """Empty for a single scene, which has no interval."""
    return f" [{100 * low:{form}}, {100 * high:{form}}]" if math.isfinite(low) and math.isfinite(high) else ""


def _equal_rows(table: pd.DataFrame) -> list[str]:
    """Which rows stand for two methods: those that find the same because nothing was chosen for the model."""
    equal = table.attrs.get("equal", {})
    lines = [f"{label_of(name)}: the same as {label_of(other)} under these settings" for name, other in equal.items()]
    advice = f"no settings were chosen for this model: `steer-utils tune {table.attrs['model']}` does that"
    return [*lines, advice] if lines else []


def _answers(table: pd.DataFrame) -> list[str]:
    """Of each method that asks: in how many answers a time was read, and why in the others none was."""
    lines = []
    for name in _methods_of(table):
        rows = table[table["method"] == name]
        if not (rows["failed"] | rows["answer"].astype(bool)).any():
            continue
        failed = rows[rows["failed"]]
        why = dict(failed["unread"].value_counts()) if "unread" in failed else {"no time": len(failed)}
        rest = f"; the others count as 0: {', '.join(f'{n} {reason}' for reason, n in why.items())}" if why else ""
        lines.append(f"{label_of(name)}: a time was read in {len(rows) - len(failed)} of {len(rows)} answers{rest}")
    return lines


def _differences(table: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    return text_table(
        [
            [
                label_of(name),
                f"{100 * gap.mean:+5.1f}{_interval(gap.low, gap.high, '+.1f')}",
                f"p {p_text(tests.loc[name, 'p_holm'])}",
            ]
            for name, gap in differences(table).items()
        ]
    )


def _curves(rows: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    """Scores of the whole curve, and its overlap against the same curve rotated in time."""
    every = rows[(rows["slot"] == "all") & rows["auroc"].notna()]
    cells = [["method", "frame AUROC", "peak in the event", "overlap when rotated", "p"]]
    for row in every.itertuples():
        null = tests.loc[row.method]
        shares = [f"{100 * share:.1f} %" for share in (row.pointing, null["null_mean"])]
        cells.append([label_of(row.method), f"{row.auroc:.2f}", *shares, p_text(null["p_null"])])
    return text_table(cells)


def p_text(p: float | None) -> str:
    """A p-value to read: three digits, and no more certainty than ten thousand draws give."""
    if p is None or not math.isfinite(p):
        return "-"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


# -- files -----------------------------------------------------------------------------------------------------------
def check_table_target(path: Path) -> None:
    """Raises ValueError, before any work, if the table could not be written to `path` (.parquet or .csv)."""
    check_target(path, SUFFIXES)
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise ValueError("a .parquet table needs pyarrow: pip install 'steer-utils[tables]'; or write a .csv")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write whole or not at all. Parquet keeps everything, `table.attrs` (model, settings, seed, versions) included, so
    that one file makes every figure again; a csv has the rows without attrs and without curves."""
    with whole_file(path) as part:
        if path.suffix.lower() == ".parquet":
            table.to_parquet(part, index=False, engine="pyarrow")
        else:
            table.drop(columns=["others", "curve"], errors="ignore").to_csv(part, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """The table that `write_table` wrote as .parquet, with its attrs. Raises ValueError for any other file."""
    check_table_target(path)
    if path.suffix.lower() != ".parquet":
        raise ValueError(f"{path} is no .parquet; a csv has lost settings and curves: run with --out FILE.parquet")
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a parquet table: {error}") from error
    needed = {"model", "settings", "scenes"} | (set() if "analysis" in table.attrs else {"methods"})
    if lacking := needed - set(table.attrs):
        raise ValueError(
            f"{path} is no table of `steer-utils benchmark` or `analyse`: it lacks {', '.join(sorted(lacking))}"
        )
    return table
