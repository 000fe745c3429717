"""What a sweep found: one tidy table over all its finished units, its summary, and the setting chosen.

    table   = tidy(Sweep.opened(Path("sweeps/pocket")))    # a row a (model, seed, split, scene, event, setting)
    summary = summarised(table)                            # a row a (model, split, setting), with two intervals
    best    = chosen(table, summary)                       # a row a model: chosen on development, told on test

A seed here decides scenes and random vectors, not the model's weights: the interval over seeds (t) and the one over
scenes (bootstrap) tell of the same scatter, and the former of few seeds is wide.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from steer_utils.runs.measuring import POINT
from steer_utils.runs.sweep import Sweep
from steer_utils.sound.files import json_safe
from steer_utils.sound.tables import text_table
from steer_utils.study.benchmark import DEVELOPMENT, TEST
from steer_utils.study.report import p_text, write_table
from steer_utils.study.statistics import estimate_columns, paired_difference, sign_flip

QUERY = ["seed", "scene", "event"]
SETTING = ["question", "blocks", "steered", "strength"]
CONTROLS = ("random", "none")


def tidy(sweep: Sweep) -> pd.DataFrame:
    """The rows of all finished units. `attrs`: the grid, how many units there are, finished and failed, the scenes of
    each model, and the versions that made the units. Raises ValueError for a sweep without a finished unit."""
    finished = sweep.finished()
    if not finished:
        raise ValueError(f"no unit of {sweep.folder} is finished, {len(sweep.failures())} failed; run the sweep first")
    parts = [pd.read_parquet(sweep.path_of(unit), engine="pyarrow") for unit in finished]
    versions = [json.dumps(part.attrs.get("versions", {}), sort_keys=True) for part in parts]
    attrs = {
        "analysis": "notebook sweep" if finished[0]["kind"] == "notebook" else "sweep",
        "grid": sweep.grid,
        "units": len(sweep.units),
        "finished": len(finished),
        "failures": sweep.failures(),
        "scenes": {
            unit["model"]: part.attrs["scenes"]
            for unit, part in zip(finished, parts, strict=True)
            if "scenes" in part.attrs
        },
        "versions": [json.loads(version) for version in sorted(set(versions))],
    }
    for part in parts:
        part.attrs = {}  # pandas compares them all when it joins
    table = pd.concat(parts, ignore_index=True)
    table.attrs = attrs
    return table


def is_of_scenes(table: pd.DataFrame) -> bool:
    """Whether it comes from a grid of blocks and strengths, rather than of a notebook."""
    return "split" in table


# -- scenes ----------------------------------------------------------------------------------------------------------
def summarised(table: pd.DataFrame) -> pd.DataFrame:
    """Mean overlap of each (model, split, setting, vector), with two 95 % intervals.

    seed_low, seed_high   of the mean over seeds, by Student's t, kept within 0 ... 1; NaN for one seed
    low, high             over scenes, by bootstrap, as `statistics.cluster_mean`
    seeds, n, scenes      how many there are;  chance, iou   their means
    """
    parts = []
    for (model, split), rows in table.groupby(["model", "split"], sort=False):
        wide = rows.pivot(index=QUERY, columns=list(POINT), values="overlap")
        scenes = wide.index.droplevel("event")
        over_scenes = estimate_columns(wide.to_numpy(), pd.factorize(scenes)[0], resamples=1)
        by_seed = wide.groupby(level="seed").mean().to_numpy()
        low, high = t_interval(by_seed)
        means = pd.DataFrame(
            {
                "seeds": len(by_seed),
                "overlap": over_scenes.mean,
                "seed_low": low,
                "seed_high": high,
                "low": over_scenes.low,
                "high": over_scenes.high,
                "n": over_scenes.n,
                "scenes": over_scenes.clusters,
            },
            index=wide.columns,
        )
        means[["iou", "chance"]] = rows.groupby(list(POINT))[["iou", "chance"]].mean()
        order = list(dict.fromkeys(rows[list(POINT)].itertuples(index=False, name=None)))  # of the grid
        parts.append(means.loc[order].reset_index().assign(model=model, split=split))
    summary = pd.concat(parts, ignore_index=True)
    return summary[["model", "split", *(name for name in summary if name not in ("model", "split"))]]


def t_interval(by_seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of the mean of each column of `by_seed` (seeds, columns), (columns,) twice, within 0 ... 1."""
    mean, half = by_seed.mean(axis=0), _half_interval(by_seed)
    return np.maximum(mean - half, 0.0).clip(max=mean), np.minimum(mean + half, 1.0).clip(min=mean)


def _half_interval(by_seed: np.ndarray) -> np.ndarray:
    """Half the 95 % interval of the mean over the first axis, by Student's t; NaN for one seed."""
    count = len(by_seed)
    if count < 2:
        return np.full(by_seed.shape[1:], np.nan)
    return stats.t.ppf(0.975, count - 1) * by_seed.std(axis=0, ddof=1) / np.sqrt(count)


def chosen(table: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """The setting of each model with the largest mean overlap on the development scenes (the first of equal ones), and
    what it gives on the test scenes, which have no part in the choice. A row a model:

    question, blocks, steered, strength, candidates, development   which it is, out of how many, and its mean there
    overlap, seed_low, seed_high, low, high, iou, chance, n, scenes, seeds   on the test scenes, as in `summarised`
    random, none                  the same setting with a random vector of equal norm, and at strength 0
    minus_random, minus_none      the paired difference to each (and its _low, _high over scenes, _p by sign flips)
    """
    rows = []
    for model, means in summary.groupby("model", sort=False):
        steering = means[(means["split"] == DEVELOPMENT) & (means["vector"] == "steering")]
        best = steering.loc[steering["overlap"].idxmax()]
        row: dict[str, Any] = {"model": model, **{name: best[name] for name in SETTING}}
        row |= {"candidates": len(steering), "development": best["overlap"]}
        queries = table[(table["model"] == model) & (table["split"] == TEST)]
        there = means[(means["split"] == TEST) & same_setting(means, best)].set_index("vector")
        names = ("overlap", "seed_low", "seed_high", "low", "high", "iou", "chance", "n", "scenes", "seeds")
        row |= {name: there.loc["steering", name] for name in names}
        steered = overlaps(queries, best, "steering")
        for control in CONTROLS:
            other = overlaps(queries, best, control).reindex(steered.index)
            scenes = pd.factorize(steered.index.droplevel("event"))[0]
            difference = paired_difference(steered.to_numpy(), other.to_numpy(), scenes)
            row |= {control: float(other.mean()), f"minus_{control}": difference.mean}
            row |= {f"minus_{control}_low": difference.low, f"minus_{control}_high": difference.high}
            row[f"minus_{control}_p"] = sign_flip(steered.to_numpy(), other.to_numpy(), scenes)
        rows.append(row)
    return pd.DataFrame(rows)


def same_setting(table: pd.DataFrame, setting: Any) -> pd.Series:
    """Which rows are of this setting (a row with SETTING); strength 0 belongs to each of its blocks."""
    same = (table[["question", "blocks"]] == [setting["question"], setting["blocks"]]).all(axis=1)
    return same & ((table["strength"] == setting["strength"]) | (table["vector"] == "none"))


def overlaps(queries: pd.DataFrame, setting: Any, vector: str) -> pd.Series:
    """The overlap of each query with a setting and a vector, by (seed, scene, event)."""
    return queries[same_setting(queries, setting) & (queries["vector"] == vector)].set_index(QUERY)["overlap"]


# -- notebooks -------------------------------------------------------------------------------------------------------
def recorded_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of each number that the notebooks recorded, with its interval by Student's t: a row a (model,
    parameters, number)."""
    keys = [name for name in table if name == "model" or str(name).startswith("parameter ")]
    numbers = [name for name in table.select_dtypes("number") if name not in (*keys, "seed")]
    rows = []
    for values, runs in table.groupby(keys, sort=False, dropna=False):
        for name in numbers:
            recorded = runs[name].dropna().to_numpy(float)
            if len(recorded) == 0:
                continue
            mean, half = recorded.mean(), float(_half_interval(recorded))
            rows.append(
                {
                    **dict(zip(keys, values, strict=True)),
                    "recorded": name,
                    "seeds": len(recorded),
                    "mean": mean,
                    "seed_low": mean - half,
                    "seed_high": mean + half,
                }
            )
    return pd.DataFrame(rows)


# -- files and words -------------------------------------------------------------------------------------------------
def write_results(table: pd.DataFrame, folder: Path) -> list[Path]:
    """results.parquet and results.csv with every row, summary.csv, and best.csv where something was chosen."""
    written = [folder / "results.parquet", folder / "results.csv", folder / "summary.csv"]
    for path in written[:2]:
        write_table(table, path)
    summary = summarised(table) if is_of_scenes(table) else recorded_summary(table)
    write_table(summary, written[2])
    if is_of_scenes(table):
        written.append(folder / "best.csv")
        write_table(chosen(table, summary), written[3])
    return written


def results_json(table: pd.DataFrame) -> str:
    """All of it as one json object; what is not a number is null."""
    report = {key: table.attrs[key] for key in ("analysis", "grid", "units", "finished", "failures", "versions")}
    if is_of_scenes(table):
        summary = summarised(table)
        report |= {"best": chosen(table, summary).to_dict("records"), "rows": summary.to_dict("records")}
    else:
        report["rows"] = recorded_summary(table).to_dict("records")
    return json.dumps(json_safe(report), indent=2, default=lambda number: number.item())


def results_text(table: pd.DataFrame) -> str:
    """How far the sweep is, and what it found so far."""
    attrs = table.attrs
    lines = [f"{attrs['finished']} of {attrs['units']} units are finished, {len(attrs['failures'])} failed"]
    lines += [f"failed: {name}: {error}" for name, error in attrs["failures"].items()]
    if len(attrs["versions"]) > 1:
        lines.append(f"the units were made with different versions: {attrs['versions']}")
    if not is_of_scenes(table):
        return "\n".join([*lines, "", *_recorded_lines(recorded_summary(table))])
    best = chosen(table, summarised(table))
    lines += ["", "setting with the largest overlap on the development classes, and its overlap on the others, %", ""]
    return "\n".join([*lines, *_best_lines(best)])


def _best_lines(best: pd.DataFrame) -> list[str]:
    head = [
        "model",
        "blocks",
        "strength",
        "development",
        "test",
        "95 % over seeds",
        "over scenes",
        "chance",
        "random",
        "strength 0",
        "minus random",
    ]
    several = best["question"].nunique() > 1
    cells = [[*(["question"] if several else []), *head]]
    for row in best.to_dict("records"):
        difference = f"{100 * row['minus_random']:+.1f} {_interval(row, 'minus_random_', '+.1f')}"
        cells.append(
            [
                *([row["question"]] if several else []),
                row["model"],
                row["blocks"],
                f"{row['strength']:g}",
                *(f"{100 * row[name]:.1f}" for name in ("development", "overlap")),
                _interval(row, "seed_"),
                _interval(row, ""),
                *(f"{100 * row[name]:.1f}" for name in ("chance", *CONTROLS)),
                f"{difference} p {p_text(row['minus_random_p'])}",
            ]
        )
    counts = [
        f"{row['model']}: chosen out of {row['candidates']}; {row['n']} test queries in {row['scenes']} scenes of "
        f"{row['seeds']} seed{'' if row['seeds'] == 1 else 's'}"
        for row in best.to_dict("records")
    ]
    return [*text_table(cells), "", *counts]


def _recorded_lines(summary: pd.DataFrame) -> list[str]:
    if summary.empty:
        return ["the notebooks recorded no numbers (lesson.record)"]
    rows = [[_word(value) for value in row] for row in summary.itertuples(index=False)]
    return text_table([list(map(str, summary.columns)), *rows])


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _interval(row: Any, prefix: str, form: str = ".1f") -> str:
    """ "80.1 to 84.0" in per cent; a dash for none, as of one seed or one scene."""
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    return f"{100 * low:{form}} to {100 * high:{form}}" if np.isfinite(low) and np.isfinite(high) else "-"
