"""The sensitivity grid: does the result hang on what the paper leaves open?

Around two points, the model's own settings ("own") and `settings.PAPER` ("paper"), one factor at a time is changed:
strength, steered blocks, positions, query rows, norm, read-out, blocks read, width of the window. That is a star around
each point; beside it stands the plane of strength x steered blocks, for both read-outs. All combinations of all levels
would be thousands: `grid_combinations` says which are measured.

    table = sensitivity_table(lm, scene_set(lm, settings, count=100, seed=0), settings)
    summary = sensitivity_summary(table)                # a row a (combination, width), with 95 % intervals
    one_at_a_time(summary, "paper")                     # the star, factor by factor

What is read (share or difference, which blocks, which width) costs nothing. A model of L > 3 blocks takes at most
6 (L + 2) + 4 suffix passes a query and point (more where its own strength or blocks are none of the levels): of 8
blocks 128 for both points, with 256 combinations in four widths.
The scenes are test scenes: that a level does better on them than the settings is to be told, never to be chosen by.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from steer_utils.lm.blocks import Blocks, block_numbers, blocks_text
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import Row
from steer_utils.lm.positions import Named, event_tokens
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.base import steered_row
from steer_utils.methods.settings import Settings, paper_settings
from steer_utils.methods.tuning import block_sets
from steer_utils.sound.spans import AudioSpan, Interval, best_starts, window_overlaps
from steer_utils.study.benchmark import HeardScene, SceneSet, by_query, check_rows
from steer_utils.study.resume import Progress, Record
from steer_utils.study.statistics import estimate_columns

logger = logging.getLogger(__name__)

STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
READS: tuple[Literal["share", "difference"], ...] = ("share", "difference")
FACTORS = ("strength", "blocks", "positions", "rows", "norm", "read", "read_blocks")
WIDTHS = (0.5, 1.0, 1.5, 2.0)  # of the window, in widths of the true event: a factor like those of FACTORS
AFTER = "after"  # the level of read_blocks that means: those after the first steered one


@dataclass(frozen=True)
class SteeredRun:
    """What is done to the model: one suffix pass."""

    strength: float
    blocks: Blocks
    positions: Named
    keep_norm: bool


@dataclass(frozen=True)
class Combination:
    """A run, and how it is read. `around`: the point of the star, "own" or "paper". `rows`: the last prompt token, or
    the mean over the tokens of the instruction. `read_blocks` None: those after the first steered one. `varied`: the
    factors in which it differs from its point, as "strength, blocks"."""

    around: str
    run: SteeredRun
    rows: Literal["last", "instruction"]
    read: Literal["share", "difference"]
    read_blocks: Blocks | None
    varied: str = ""

    def levels(self) -> dict[str, str | float]:
        """What the table says of it: its point, the level of each of FACTORS, and what is varied."""
        return {
            "around": self.around,
            "strength": self.run.strength,
            "blocks": blocks_text(self.run.blocks),
            "positions": self.run.positions,
            "rows": self.rows,
            "norm": "kept" if self.run.keep_norm else "free",
            "read": self.read,
            "read_blocks": AFTER if self.read_blocks is None else blocks_text(self.read_blocks),
            "varied": self.varied,
        }

    def compared(self, point: Combination) -> Combination:
        """The same, with `varied` told."""
        levels, of_point = self.levels(), point.levels()
        return replace(self, varied=", ".join(factor for factor in FACTORS if levels[factor] != of_point[factor]))

    def moves(self, num_blocks: int) -> bool:
        """Whether the run can change what is read: a later block, in a row that is steered or comes after one."""
        last_read = num_blocks - 1 if self.read_blocks is None else max(self.read_blocks)
        unreached = self.rows == "instruction" and self.run.positions == "last"
        return self.run.strength != 0 and last_read > min(self.run.blocks) and not unreached


def blocks_order(label: str) -> tuple[int, int, str]:
    """Sorts labels: AFTER, single blocks, then sets by size: the early half, the later one, all."""
    ends = [int(number) for number in re.split("[-,]", label)] if label != AFTER else []
    return (0, 0, label) if not ends else (max(1, ends[-1] - ends[0] + 1), ends[0], label)


def star_centers(settings: Settings) -> dict[str, Settings]:
    """The settings that the star is drawn around; one point only where the model's own settings steer as PAPER does."""
    paper = paper_settings(settings)
    names = ("positive", "negative", "question", "strength", "blocks", "keep_norm", "read", "read_blocks")
    same = all(getattr(settings, name) == getattr(paper, name) for name in names)
    return {"paper": paper} if same else {"own": settings, "paper": paper}


def grid_combinations(
    num_blocks: int, settings: Settings, *, thorough: bool = False, event_named: Sequence[str] = ()
) -> list[Combination]:
    """Every combination once, in a fixed order; those in which nothing read can have changed are left out.

    `event_named`: the points whose question names the event, where positions "event" is a level too. `thorough` adds
    positions "all" and "audio", for which the whole prompt runs again, and the plane of the other norm mode.
    Raises ValueError for a model of one block, block numbers it does not have, or a point that itself changes nothing.
    """
    if num_blocks < 2:
        raise ValueError(f"the model has {num_blocks} block; pass one with a block after the steered one")
    grid: dict[Combination, None] = {}
    for around, center in star_centers(settings).items():
        steered = block_numbers(center.steered_blocks(num_blocks), num_blocks)
        read_blocks = (
            None if center.read_blocks is None else block_numbers(center.read_blocks, num_blocks, "read_blocks")
        )
        run = SteeredRun(float(center.strength), steered, "last", center.keep_norm)
        point = Combination(around, run, "last", center.read, read_blocks)
        if not point.moves(num_blocks):
            raise ValueError(
                f"the {around} settings steer blocks {blocks_text(steered)} at strength {center.strength:g} and read "
                f"{AFTER if read_blocks is None else blocks_text(read_blocks)}; attention changes after the first "
                "steered block only: steer an earlier block with a strength that is not 0, or read a later block"
            )
        positions: list[Named] = ["text"]
        if around in event_named:
            positions.append("event")
        if thorough:
            positions += ["all", "audio"]
        star = _star(point, num_blocks, positions, thorough)
        grid.update(dict.fromkeys(combination.compared(point) for combination in star if combination.moves(num_blocks)))
    return list(grid)


def _star(point: Combination, num_blocks: int, positions: Sequence[Named], thorough: bool) -> Iterator[Combination]:
    run = point.run
    strengths = sorted({*STRENGTHS, run.strength})
    sets = list(dict.fromkeys([*block_sets(num_blocks), run.blocks]))
    norms = (run.keep_norm, not run.keep_norm) if thorough else (run.keep_norm,)
    for keep, read, strength, blocks in product(norms, READS, strengths, sets):
        yield replace(point, run=replace(run, strength=strength, blocks=blocks, keep_norm=keep), read=read)
    yield replace(point, run=replace(run, keep_norm=not run.keep_norm))
    for where in positions:
        yield replace(point, run=replace(run, positions=where))
    # A steered last token cannot reach the instruction before it, so its rows are read with the text steered.
    yield replace(point, run=replace(run, positions="text"), rows="instruction")
    choices: list[Blocks | None] = [None, *((block,) for block in range(num_blocks))]
    yield from (replace(point, read_blocks=blocks) for blocks in choices)


def count_passes(grid: Sequence[Combination]) -> int:
    """Suffix passes a query: one different run once, and two for the contrast of one point."""
    return len({(one.around, one.run) for one in grid}) + 2 * len({one.around for one in grid})


# -- measuring -------------------------------------------------------------------------------------------------------
def sensitivity_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    thorough: bool = False,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, event, combination, width): its levels, `overlap` |W ∩ E| / |E| and `iou` of the window found.

    combination   number in `grid_combinations`  varied   what differs from the point, as "strength, blocks"; "" for it
    width         of the window over the event's chance   overlap of a window of that width placed at random

    `attrs`: facts and versions, the number of `combinations`, `passes` a query, and `norm_ratio`: for each point, mean
    ‖v_l‖ / ‖h_l‖ over the queries by block. Cost: a scene is encoded once, one unsteered pass a point, and `passes` for
    each query, in batches. `resume_file`: see `resume`. Raises ValueError as `grid_combinations` does, or for scenes of
    classes that the settings were chosen on, before any work.
    """
    if seen := sorted(set(scenes.maker.names) & set(settings.development_events)):
        raise ValueError(f"the settings were chosen on {', '.join(seen)}; pass scenes without (benchmark.scene_set)")
    around = star_centers(settings)
    classes = scenes.maker.names
    named = [
        point for point, center in around.items() if any(_names(checkpoint, center.question, name) for name in classes)
    ]
    grid = grid_combinations(checkpoint.num_blocks, settings, thorough=thorough, event_named=named)
    facts = {
        "thorough": thorough,
        "strengths": STRENGTHS,
        "widths": WIDTHS,
        "combinations": len(grid),
        "passes": count_passes(grid),
    }

    def rows_of(heard: HeardScene) -> list[Record]:
        hearing = heard.hearing
        bases = {
            point: _shares(hearing, center.question, [Row(center.question)], True) for point, center in around.items()
        }
        rows: list[Record] = []
        for event, _, names in heard.queries():
            curves, ratios = [], {}
            for point, center in around.items():
                positive = center.positive.format(event=event.name)
                vector = hearing.contrast(positive, center.negative, prompt=center.contrast_question)
                ratios[point] = vector.norm_ratio().tolist()
                here = [combination for combination in grid if combination.around == point]
                curves += _curves(hearing, center, vector, event.name, here, bases[point])
            overlap, iou = window_scores(np.stack(curves), hearing.span, event.span)
            scores = {"overlap": overlap.tolist(), "iou": iou.tolist(), "norm_ratio": ratios}
            rows.append({**names, "chance": [heard.chance(event, width) for width in WIDTHS], **scores})
        return rows

    table = scenes.analysed(
        "sensitivity", checkpoint, settings, rows_of, facts, resume_file=resume_file, progress=progress
    )
    return _tidy(table, grid)


def window_scores(curves: np.ndarray, span: AudioSpan, truth: Interval) -> np.ndarray:
    """Overlap and IoU of the best window of each of `curves` (curves, tokens) in each of WIDTHS: (2, curves, widths).

    The first of equal windows wins. NaN for a curve of NaN. Six digits.
    """
    scores = np.empty((2, len(curves), len(WIDTHS)))
    for place, width in enumerate(WIDTHS):
        tokens = span.window_tokens(width * truth.duration)
        overlap = window_overlaps(best_starts(curves, span, width * truth.duration), tokens, span, truth)
        shared, both = overlap * truth.duration, tokens * span.seconds_per_token + truth.duration
        scores[:, :, place] = overlap, shared / (both - shared)
    scores[:, np.isnan(curves).any(axis=1)] = np.nan
    return scores.round(6)


def _curves(
    hearing: Hearing,
    settings: Settings,
    vector: SteeringVector,
    event: str,
    grid: Sequence[Combination],
    base: Mapping[str, np.ndarray],
) -> list[np.ndarray]:
    """The curve of each combination, (tokens,); of NaN where positions "event" is meant and the question has none."""
    runs = list(dict.fromkeys(combination.run for combination in grid))
    named = _names(hearing.checkpoint, settings.question, event)
    shares: dict[tuple[SteeredRun, str], np.ndarray] = {}
    for whole in (False, True):  # only where more than the last token is steered can rows before it change
        kept = [run for run in runs if (run.positions != "last") is whole and (named or run.positions != "event")]
        rows = [
            steered_row(
                replace(settings, strength=run.strength, keep_norm=run.keep_norm),
                vector.select(run.blocks),
                positions=run.positions,
                event=event,
            )
            for run in kept
        ]
        for kind, values in _shares(hearing, settings.question, rows, whole).items():
            shares.update({(run, kind): value for run, value in zip(kept, values, strict=True)})
    return [_read(point, shares.get((point.run, point.rows)), base[point.rows]) for point in grid]


def _read(combination: Combination, share: np.ndarray | None, base: np.ndarray) -> np.ndarray:
    """One curve (tokens,) from shares by block, (blocks, tokens); of NaN where there are none."""
    if share is None:
        return np.full(base.shape[-1], np.nan)
    blocks = list(combination.read_blocks or range(min(combination.run.blocks) + 1, len(share)))
    curve = (share - base[0] if combination.read == "difference" else share)[blocks].mean(axis=0)
    if not np.isfinite(curve).all():  # it must not pass for one that does not apply
        raise ValueError(f"attention at {combination.levels()} holds NaN or infinite values; use a wider number type")
    return curve


def _shares(hearing: Hearing, question: str, rows: Sequence[Row], whole: bool) -> dict[str, np.ndarray]:
    """Audio share of query rows, mean over heads, (rows, blocks, tokens) by name: "last", the last prompt token, and if
    `whole` also "instruction", the mean over the tokens of `question`."""
    tokens = hearing.checkpoint.tokens(question)
    last = hearing.prefix_length + len(tokens.tail) - 1
    asked = [hearing.prefix_length + place for place in event_tokens(tokens, tokens.instruction)]
    slots = sorted({*asked, last}) if whole else [last]
    wanted = {"last": [slots.index(last)], **({"instruction": [slots.index(slot) for slot in asked]} if whole else {})}
    kept: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    most = hearing.maps_at_once(len(slots))
    for first in range(0, len(rows), most):  # the maps of all heads are large: reduced batch by batch
        for reading in hearing.read_rows(rows[first : first + most], query_positions=slots):
            share = reading.attention.share.mean(dim=1).double()
            for name, places in wanted.items():
                kept[name].append(share[:, places].mean(dim=1).numpy())
    return {name: np.stack(values) for name, values in kept.items() if values}


def _names(checkpoint: Checkpoint, question: str, event: str) -> bool:
    """Whether the question holds the words of the event."""
    try:
        return bool(event_tokens(checkpoint.tokens(question), event))
    except ValueError:
        return False


# -- tables ----------------------------------------------------------------------------------------------------------
def _tidy(measured: pd.DataFrame, grid: Sequence[Combination]) -> pd.DataFrame:
    """The long table of `sensitivity_table` from rows of lists, one a query."""
    queries, cells = len(measured), len(grid) * len(WIDTHS)
    levels = pd.DataFrame([combination.levels() for combination in grid]).rename_axis("combination").reset_index()
    texts = levels.select_dtypes(exclude="number").columns
    # Categories: the table has a thousand rows a query, and would else be ten times larger.
    levels = levels.astype({name: pd.CategoricalDtype(levels[name].unique()) for name in texts})
    table = levels.iloc[np.tile(np.repeat(levels.index, len(WIDTHS)), queries)].reset_index(drop=True)
    for place, name in enumerate(("scene", "slot", "event")):
        table.insert(place, name, np.repeat(measured[name].to_numpy(), cells))
    table["width"] = np.tile(WIDTHS, queries * len(grid))
    table["chance"] = np.repeat(np.stack(measured["chance"]), len(grid), axis=0).ravel()
    for name in ("overlap", "iou"):
        table[name] = np.stack(measured[name]).ravel()
    table = table.dropna(subset="overlap").reset_index(drop=True)
    ratios = pd.DataFrame(list(measured["norm_ratio"]))
    mean = {point: np.mean(list(ratios[point]), axis=0).round(6).tolist() for point in ratios}
    table.attrs = {**measured.attrs, "norm_ratio": mean}
    for point, values in mean.items():
        logger.info("%s settings: mean ‖v‖/‖h‖ by block %s", point, values)
    return table


def sensitivity_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean overlap and IoU of each combination and width with 95 % intervals over scenes, as `cluster_mean` gives them.

    Rows in the order of `grid_combinations`, with their levels; `n` queries in `scenes`; `chance` of that width.
    Raises ValueError for a table without rows.
    """
    check_rows(table)
    keys = ["combination", "width"]
    wide = by_query(table, columns=keys, values=["overlap", "iou"])
    there = wide.notna().to_numpy()
    gathered: dict[str, np.ndarray] = {}
    for pattern in np.unique(there, axis=1).T:  # positions "event" is measured for the queries that it fits
        columns = (there == pattern[:, None]).all(axis=0)
        values = wide.loc[pattern, columns]
        of_pattern = estimate_columns(values.to_numpy(), values.index.get_level_values("scene").to_numpy(), resamples=1)
        for name in ("mean", "low", "high"):
            gathered.setdefault(name, np.empty(len(columns)))[columns] = getattr(of_pattern, name)
        for name, number in (("n", of_pattern.n), ("scenes", of_pattern.clusters)):
            gathered.setdefault(name, np.empty(len(columns), int))[columns] = number
    estimates = pd.DataFrame(gathered, index=wide.columns)
    overlap, iou = estimates.loc["overlap"].rename(columns={"mean": "overlap"}), estimates.loc["iou"]
    overlap[["iou", "iou_low", "iou_high"]] = iou[["mean", "low", "high"]]
    overlap["chance"] = table.groupby(keys)["chance"].mean()
    levels = table.drop_duplicates(keys).set_index(keys)[["around", *FACTORS, "varied"]]
    return levels.join(overlap).sort_index().reset_index()


def one_at_a_time(summary: pd.DataFrame, around: str) -> pd.DataFrame:
    """The star around one point: rows of `sensitivity_summary` with `factor`, `level` (words), `chosen` (the point).

    The point stands among the levels of every factor. Raises ValueError for a point that the summary does not have.
    """
    star = summary[summary["around"] == around]
    if star.empty:
        raise ValueError(f"around is {around!r}; the summary has {', '.join(summary['around'].unique()) or 'nothing'}")
    parts = []
    for factor in (*FACTORS, "width"):
        varied = {"", factor, *({"positions, rows"} if factor == "rows" else ())}
        part = star[star["varied"].isin({""} if factor == "width" else varied)]
        part = part if factor == "width" else part[part["width"] == 1.0]
        if factor == "read_blocks":  # else the point's own would come first
            part = part.loc[sorted(part.index, key=lambda index: blocks_order(star.loc[index, "read_blocks"]))]
        words = [f"{level:g}" if isinstance(level, float) else str(level) for level in part[factor]]
        chosen = (part["varied"] == "") & (part["width"] == 1.0)
        parts.append(part.assign(factor=factor, level=words, chosen=chosen))
    return pd.concat(parts, ignore_index=True)
