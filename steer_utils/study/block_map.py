"""Where must the vector go in, and where does attention answer? Each block steered alone, each later block read alone.

Prompting, where nothing is steered, is read in each block too, before the same question and in the same two ways: as
attention share, and as the difference to the share without the focus.

    block_map_summary(block_map_table(lm, scenes, settings))
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.lm.plan import Row
from steer_utils.methods.base import contrast_of, steered_row
from steer_utils.methods.settings import Settings
from steer_utils.sound.spans import best_overlaps
from steer_utils.study.benchmark import HeardScene, SceneSet, check_rows
from steer_utils.study.resume import Progress, Record
from steer_utils.study.statistics import estimate_columns

READS = ("share", "difference")
PROMPTING = -1  # stands for the steered block where none is steered, and the focus is in the prompt


def block_map_table(
    checkpoint: Checkpoint,
    scenes: SceneSet,
    settings: Settings,
    *,
    resume_file: Path | None = None,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row a (scene, event, steered block, read-out): the overlap of the window read in each block, as a list.

    steered   the one block steered, or PROMPTING
    read      "share" or "difference" (to the share without the vector, or without the focus)
    overlaps  one a read block, 0..1; None up to the steered one, where nothing can have changed

    Strength, norm and words are those of `settings`; blocks and read-out are what is varied. Cost a query: the
    contrast, and one batch of a row a block. Warns where scenes hold classes that the settings were chosen on.
    """
    blocks = checkpoint.num_blocks
    everywhere = replace(settings, blocks=tuple(range(blocks)))
    neutral = f"{settings.negative} {settings.question}"

    def rows_of(heard: HeardScene) -> list[Record]:
        hearing, rows = heard.hearing, list[Record]()
        plain, unfocused = (reading.attention for reading in hearing.read_rows([Row(settings.question), Row(neutral)]))
        for event, query, names in heard.queries():
            vector = contrast_of(hearing, query, everywhere)
            steered = [steered_row(settings, vector.select([block])) for block in range(blocks - 1)]
            focused, *readings = hearing.read_rows([Row(settings.focus(query.event)), *steered])
            conditions = [(PROMPTING, focused.attention, unfocused)]
            conditions += [(block, reading.attention, plain) for block, reading in enumerate(readings)]
            for block, attention, base in conditions:
                for read in READS:
                    curves = _curves(attention) if read == "share" else _curves(attention) - _curves(base)
                    overlaps = best_overlaps(curves, hearing.span, event.span)
                    changed = [float(overlap) if place > block else None for place, overlap in enumerate(overlaps)]
                    chance = heard.chance(event)
                    rows.append({**names, "steered": block, "read": read, "overlaps": changed, "chance": chance})
        return rows

    return scenes.analysed("block map", checkpoint, settings, rows_of, resume_file=resume_file, progress=progress)


def _curves(attention: AttentionMap) -> np.ndarray:
    """The curve of each block, (blocks, tokens): mean over heads and rows."""
    return attention.share.mean(dim=(1, 2)).double().numpy()


def block_map_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean overlap with its 95 % interval over scenes for each (steered, read, read block), and its chance.

    The best cell of hundreds flatters: what it holds on other scenes is for a benchmark to say. Raises ValueError for a
    table without rows.
    """
    check_rows(table)
    parts = []
    for (steered, read), rows in table.groupby(["steered", "read"], sort=False):
        overlaps = np.array(rows["overlaps"].to_list(), dtype=float)  # (queries, blocks), nan where nothing changed
        blocks = np.flatnonzero(~np.isnan(overlaps).any(axis=0))
        estimate = estimate_columns(overlaps[:, blocks], rows["scene"].to_numpy())
        cells = {"read_block": blocks, "overlap": estimate.mean, "low": estimate.low, "high": estimate.high}
        parts.append(pd.DataFrame({"steered": steered, "read": read, **cells, "chance": rows["chance"].mean()}))
    summary = pd.concat(parts, ignore_index=True)
    summary["n"], summary["scenes"] = len(table.drop_duplicates(["scene", "event"])), table["scene"].nunique()
    return summary
