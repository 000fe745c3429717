"""Is one run better than another? Two sweeps, or two tables of `benchmark --out`, compared query by query.

    comparison = compared(read_results(Path("a.parquet")), read_results(Path("b.parquet")))
    print(comparison_text(comparison))

Where both measured the same scenes the difference is paired: a scene's difficulty is then no part of its scatter. Else
it is one of two samples, and says so. A scene counts once, as in `statistics`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from steer_utils.methods.table import in_order, label_of
from steer_utils.runs.sweep import Sweep
from steer_utils.runs.sweep_results import SETTING, chosen, is_of_scenes, summarised, tidy
from steer_utils.sound.files import json_safe
from steer_utils.sound.tables import text_table
from steer_utils.study.benchmark import TEST
from steer_utils.study.report import p_text, read_table
from steer_utils.study.statistics import DRAWS, RESAMPLES, holm, paired_difference, sign_flip

QUERY = ["seed", "scene", "event"]
#: What two runs must share for their scenes to be the same, and what two scenes then must.
SCENE_FACTS = ("classes", "sounds", "seconds", "event_seconds")
SAME = ["truth_start", "truth_end", "source"]


@dataclass(frozen=True, eq=False)
class Pair:
    """One thing that both measured: the rows of each, and why their scenes cannot be the same (None if they may be)."""

    model: str
    what: str
    first: pd.DataFrame
    second: pd.DataFrame
    apart: str | None


def read_results(path: Path) -> pd.DataFrame:
    """The table of a sweep's folder (`tidy`) or of a benchmark's .parquet. Raises ValueError for anything else: an
    analysis, a sweep of notebooks, a folder without a sweep, a file of another kind."""
    table = tidy(Sweep.opened(path)) if Path(path).is_dir() else read_table(path)
    kind = table.attrs.get("analysis")
    if kind not in (None, "sweep"):
        raise ValueError(f"{path} holds a {kind}; compare two sweeps of scenes, or two tables of `benchmark --out`")
    table.attrs["path"] = str(path)
    return table


def compared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """First minus second, overlap on test scenes: a row a thing that both measured.

    what      a method; of sweeps "chosen setting", each by its own development scenes, then each setting of both
    first, second, difference, low, high   means, and the difference with its 95 % bootstrap interval over scenes
    p, p_holm two-sided, by sign flips of scenes (paired) or permutation of scenes; adjusted for the number of rows
    paired    whether over the same queries; `apart` says why not
    n_first, n_second, scenes_first, scenes_second   out of how many

    `attrs["notes"]` says what was and was not the same. Raises ValueError, with the reason, for a sweep and a
    benchmark, and for runs that measured nothing in common.
    """
    kinds = ["sweep" if is_of_scenes(table) else "benchmark" for table in (first, second)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"a {kinds[0]} and a {kinds[1]} have no row in common; compare two of a kind")
    pairs = list((_pairs_of_sweeps if kinds[0] == "sweep" else _pairs_of_benchmarks)(first, second))
    if not pairs:
        column = "model" if kinds[0] == "sweep" else "method"
        there = [", ".join(dict.fromkeys(map(str, table[column]))) for table in (first, second)]
        raise ValueError(f"the two have no {column} in common: A has {there[0]}; B has {there[1]}")
    comparison = pd.DataFrame([{"model": pair.model, "what": pair.what, **_difference(pair)} for pair in pairs])
    adjusted = holm({str(index): p for index, p in comparison["p"].items()})
    comparison["p_holm"] = [adjusted[str(index)] for index in comparison.index]
    comparison.attrs["notes"] = _notes(first, second, comparison)
    return comparison


def _notes(first: pd.DataFrame, second: pd.DataFrame, comparison: pd.DataFrame) -> list[str]:
    notes = [f"A is {first.attrs.get('path', 'the first')}, B is {second.attrs.get('path', 'the second')}"]
    facts, other = (
        {**table.attrs.get("grid", {}), **table.attrs.get("settings", {}), "number type": table.attrs.get("numbers")}
        for table in (first, second)
    )
    if differing := [key for key in {**facts, **other} if facts.get(key) != other.get(key)]:
        notes.append(f"they differ in {', '.join(differing)}")
    apart = list(dict.fromkeys(comparison["apart"].dropna()))
    return [*notes, *(f"not paired, two samples: {why}" for why in apart), *([] if apart else ["paired by query"])]


# -- what both have --------------------------------------------------------------------------------------------------
def _pairs_of_benchmarks(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[Pair]:
    tables = [table.assign(seed=table.attrs["scenes"]["seed"]) for table in (first, second)]
    apart = _apart(first.attrs["scenes"], second.attrs["scenes"])
    model = " - ".join(dict.fromkeys(table.attrs["model"] for table in (first, second)))
    for method in in_order(first["method"]):
        one, other = (table[table["method"] == method] for table in tables)
        if len(other):
            yield Pair(model, label_of(method), one, other, apart)


def _pairs_of_sweeps(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[Pair]:
    tables = [table[table["split"] == TEST] for table in (first, second)]
    best = [chosen(table, summarised(table)).set_index("model", drop=False) for table in (first, second)]
    named = [(model, model) for model in best[0].index if model in best[1].index]
    if not named and len(best[0]) == len(best[1]) == 1:  # one model against another
        named = [(best[0].index[0], best[1].index[0])]
    several = first["question"].nunique() > 1 or second["question"].nunique() > 1
    for names in named:
        model = " - ".join(dict.fromkeys(names))
        queries = [table[table["model"] == name] for table, name in zip(tables, names, strict=True)]
        scenes = [table.attrs["scenes"][name][TEST] for table, name in zip((first, second), names, strict=True)]
        apart = _apart(*scenes)
        settings = [table.loc[name].to_dict() | {"vector": "steering"} for table, name in zip(best, names, strict=True)]
        words = " - ".join(dict.fromkeys(_words(setting, several) for setting in settings))
        one, other = (_rows(table, setting) for table, setting in zip(queries, settings, strict=True))
        yield Pair(model, f"chosen setting ({words})", one, other, apart)
        points = [table[[*SETTING, "vector"]].drop_duplicates() for table in queries]
        for point in points[0].merge(points[1]).to_dict("records"):
            one, other = (_rows(table, point) for table in queries)
            yield Pair(model, _words(point, several), one, other, apart)


def _rows(table: pd.DataFrame, point: Mapping[str, Any]) -> pd.DataFrame:
    names = [*SETTING, "vector"]
    return table[(table[names] == [point[name] for name in names]).all(axis=1)]


def _words(point: Mapping[str, Any], several: bool) -> str:
    question = f", {point['question']!r}" if several else ""
    if point["vector"] == "none":
        return f"strength 0, blocks {point['blocks']}{question}"
    vector = "random vector, " if point["vector"] == "random" else ""
    return f"{vector}blocks {point['blocks']}, strength {point['strength']:g}{question}"


def _apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    differing = [name.replace("_", " ") for name in SCENE_FACTS if first.get(name) != second.get(name)]
    return f"their scenes have other {', '.join(differing)}" if differing else None


# -- differences -----------------------------------------------------------------------------------------------------
def _difference(pair: Pair) -> dict[str, Any]:
    one, other = (table.set_index(QUERY)[["overlap", *SAME]] for table in (pair.first, pair.second))
    apart = pair.apart
    if apart is None:
        both = one.add_suffix("_a").join(other.add_suffix("_b"), how="inner")
        # The same seed and number are not the same scene if the event lies elsewhere.
        alike = [(both[f"{name}_a"] == both[f"{name}_b"]).to_numpy() for name in SAME]
        both = both[np.logical_and.reduce(alike)]
        apart = None if len(both) else "no query is in both"
    if apart is None:
        one, other = (both[[f"overlap_{which}"]].set_axis(["overlap"], axis=1) for which in "ab")
        clusters, values = _scenes(one), (one["overlap"].to_numpy(), other["overlap"].to_numpy())
        estimate = paired_difference(*values, clusters)
        low, high, p = estimate.low, estimate.high, sign_flip(*values, clusters)
    else:
        low, high, p = _two_samples(*(rows["overlap"].groupby(_scenes(rows)).mean() for rows in (one, other)))
    means = [float(rows["overlap"].mean()) for rows in (one, other)]
    return {
        "first": means[0],
        "second": means[1],
        "difference": means[0] - means[1],
        "low": low,
        "high": high,
        "p": p,
        "paired": apart is None,
        "apart": apart,
        "n_first": len(one),
        "n_second": len(other),
        "scenes_first": len(set(_scenes(one))),
        "scenes_second": len(set(_scenes(other))),
    }


def _scenes(rows: pd.DataFrame) -> np.ndarray:
    """The number of the scene of each query."""
    return pd.factorize(rows.index.droplevel("event"))[0]


def _two_samples(first: pd.Series, second: pd.Series) -> tuple[float, float, float]:
    """Interval and two-sided p of the difference of two means of scenes; no interval of fewer than two scenes."""

    def minus(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
        return one.mean(axis=axis) - other.mean(axis=axis)

    if min(len(first), len(second)) < 2:
        return float("nan"), float("nan"), 1.0
    values = first.to_numpy(), second.to_numpy()
    drawn = stats.bootstrap(
        values, minus, n_resamples=RESAMPLES, method="percentile", vectorized=True, random_state=0
    ).confidence_interval
    test = stats.permutation_test(
        values,
        minus,
        permutation_type="independent",
        vectorized=True,
        n_resamples=DRAWS,
        batch=1000,
        random_state=0,
    )
    return float(drawn.low), float(drawn.high), float(test.pvalue)


# -- words -----------------------------------------------------------------------------------------------------------
def comparison_text(comparison: pd.DataFrame, most: int = 25) -> str:
    """The comparison to read, in points of overlap; of sweeps the first `most` rows."""
    cells: list[Sequence[str]] = [["model", "what", "A", "B", "A - B", "95 % over scenes", "p", "p (Holm)", "queries"]]
    for row in comparison.head(most).to_dict("records"):
        interval = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}" if np.isfinite(row["low"]) else "-"
        count = f"{row['n_first']}" if row["paired"] else f"{row['n_first']}, {row['n_second']}"
        cells.append(
            [
                row["model"],
                row["what"],
                *(f"{100 * row[name]:.1f}" for name in ("first", "second")),
                f"{100 * row['difference']:+.1f}",
                interval,
                p_text(row["p"]),
                p_text(row["p_holm"]),
                count,
            ]
        )
    more = [f"and {len(comparison) - most} more rows (--json has all)"] if len(comparison) > most else []
    return "\n".join([*comparison.attrs["notes"], "", *text_table(cells), *more])


def comparison_json(comparison: pd.DataFrame) -> str:
    """The same as one json object; what is not a number is null."""
    report = {"notes": comparison.attrs["notes"], "rows": comparison.to_dict("records")}
    return json.dumps(json_safe(report), indent=2, default=lambda number: number.item())
