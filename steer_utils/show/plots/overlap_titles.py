"""Titles of the figures of overlap by method: what steering finds beside the best of the others, and where in a scene.
`located.overlap_figure` and `located.slot_figure` are the figures.

    overlap_title({"pocket-qwen2-audio": table})        # "Steering finds 70 %, above MAVS, 50 %; chance 28 %"
    slot_title({"first": table, "middle": ..., "last": ...})

A table has a row a method: columns method, overlap, low, high, chance, as `study.report` sums a benchmark up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from steer_utils.methods.table import in_order
from steer_utils.show.plots.titles import listed, method_words, percent, sentence, versus

if TYPE_CHECKING:
    from pandas import DataFrame

_MAIN = "steering"
_NAMED = 3  # models up to which a title names each


def overlap_title(panels: Mapping[str, DataFrame]) -> str:
    """Steering beside the best of what is no steering with its vector; of several models what steering finds in each.
    Without steering the best method is named."""
    of_model = {name: _known(table) for name, table in panels.items()}
    gaps = {name: _gap(rows) for name, rows in of_model.items() if _MAIN in rows.index}
    if len(of_model) == 1 or not gaps:
        rows = max(of_model.values(), key=lambda rows: float(rows["overlap"].max()))
        chance = f"chance {percent(rows['chance'].mean())}"
        if not gaps or len(rows) == 1:
            best = rows.loc[rows["overlap"].idxmax()]
            most = "" if len(rows) == 1 else f", the most of {len(rows)} methods"
            return f"{sentence(method_words(str(best.name)))} finds {percent(best['overlap'])}{most}; {chance}"
        (gap,) = gaps.values()
        return f"Steering finds {percent(rows.loc[_MAIN, 'overlap'])}, {gap}; {chance}"
    found = {name: float(of_model[name].loc[_MAIN, "overlap"]) for name in gaps}
    if len(found) > _NAMED:
        said = f"{percent(*found.values())} in {len(found)} models"
    else:
        said = listed([f"{percent(share)} in {name}" for name, share in found.items()])
    above = sum(gap.startswith("above") for gap in gaps.values())
    if all(gap.startswith("beside") for gap in gaps.values()):
        return f"Steering finds {said}"
    return f"Steering finds {said}; above the best of the others in {above} of {len(gaps)}"


def _known(table: DataFrame) -> DataFrame:
    """Rows by method, of methods that are drawn."""
    rows = table.set_index("method")
    return rows.loc[in_order(rows.index)]


def _gap(rows: DataFrame) -> str:
    """How steering stands to the best of the methods that are not steering. `rows`: by method."""
    others = rows[~rows.index.str.startswith("steering")]
    if others.empty:
        return "the only method"
    best = others.loc[others["overlap"].idxmax()]
    return f"{versus(rows.loc[_MAIN], best)} {method_words(str(best.name))}, {percent(best['overlap'])}"


def slot_title(panels: Mapping[str, DataFrame]) -> str:
    """At which place steering (or else the best method) finds most and least, and what finds less than chance there."""
    by_slot = {slot: _known(table) for slot, table in panels.items()}
    everywhere = [name for name in next(iter(by_slot.values())).index if all(name in t.index for t in by_slot.values())]
    if not everywhere:
        return f"Overlap at {len(by_slot)} places in a scene"
    means = {name: np.mean([rows.loc[name, "overlap"] for rows in by_slot.values()]) for name in everywhere}
    main = _MAIN if _MAIN in means else max(means, key=lambda name: float(means[name]))
    own = {slot: rows.loc[main] for slot, rows in by_slot.items()}
    most, least = (choose(own, key=lambda slot: float(own[slot]["overlap"])) for choose in (max, min))
    if versus(own[most], own[least]) == "above":
        said = f"finds the {most} event best ({percent(own[most]['overlap'])}), the {least} one least "
        said += f"({percent(own[least]['overlap'])})"
    else:
        level = " at all places, about level" if versus(own[most], own[least]).startswith("about") else ""
        said = f"finds {percent(*(row['overlap'] for row in own.values()))}{level}"
    below = {slot: list(rows.index[rows["high"] < rows["chance"]]) for slot, rows in by_slot.items()}
    worst = max(below, key=lambda slot: len(below[slot]))
    if names := [name for name in below[worst] if name != main]:
        who = listed([method_words(name) for name in names]) if len(names) == 1 else f"{len(names)} methods"
        said += f"; {who} less than chance in the {worst}" + (" place" if worst != "middle" else "")
    return f"{sentence(method_words(main))} {said}"
