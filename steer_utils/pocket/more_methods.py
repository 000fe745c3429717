"""Measure further methods on a pocket model that was measured before, and put their rows beside those that are there.

A full evaluation takes an hour or more; a new method needs its own row and the one that it is compared with. So that
both stand on the same scenes, steering is run again with it, and must come out as the file has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steer_utils.methods.settings import Settings
from steer_utils.methods.table import RIVALS, in_order, method_named
from steer_utils.methods.tuning_rivals import tune_rivals
from steer_utils.pocket.card import write_card
from steer_utils.pocket.commands import banks_of, development_names, open_pocket, progress_bar
from steer_utils.sound.files import json_safe, read_json, write_json
from steer_utils.study.benchmark import run_benchmark, scene_set
from steer_utils.study.report import report_dict
from steer_utils.study.statistics import holm

COMPARED = "steering"


def measure_more(
    name: str,
    methods: Sequence[str],
    *,
    clips: Path | None,
    work: Path,
    scenes: int | None = None,
    tuning_scenes: int = 60,
    quiet: bool = False,
) -> Path:
    """Put the rows of `methods` into evaluation.json of a pocket model, and write its card; the card's path.

    The scenes are the first ones of the evaluation, `scenes` of them (None: all). The free numbers of rivals are chosen
    first, on `tuning_scenes` scenes of the development classes (0: they stay as declared), unless settings.json has
    them. Without `clips` only procedural scenes are measured. What is finished is kept in `work`: the same command goes
    on after a kill.

    Raises ValueError, before any work, for an unknown method, a model without an evaluation, or one whose evaluation is
    of other weights; and where steering comes out otherwise than it did on the same scenes, before anything is written.
    """
    for method in methods:
        method_named(method)
    checkpoint, folder = open_pocket(name)
    if checkpoint.family.medium != "audio":
        raise ValueError(f"{folder.name} sees; rows are added to evaluations of models that hear")
    path = folder / "evaluation.json"
    if not methods or not path.is_file():
        raise ValueError(f"{folder.name} has no evaluation.json; `steer-utils pocket evaluate` without --only makes it")
    measured = read_json(path)
    if measured["revision"] != checkpoint.revision:
        raise ValueError(f"{path} is of the weights {measured['revision']}, these are {checkpoint.revision}")
    work.mkdir(parents=True, exist_ok=True)
    settings = Settings.load(folder / "settings.json")
    if tuning_scenes and set(methods) & set(RIVALS) and "rivals" not in settings.chosen_on:
        settings = tune_rivals(
            checkpoint,
            development_names(checkpoint),
            start=settings,
            scenes=tuning_scenes,
            resume_file=work / f"{folder.name}-rivals.safetensors",
            progress=progress_bar("settings of rivals", quiet),
        )
    for kind, bank in banks_of(clips).items():
        before = measured[kind]["where"]["settings"]["scenes"]
        count = before["scenes"] if scenes is None else scenes
        table = run_benchmark(
            checkpoint,
            scene_set(checkpoint, settings, count=count, seed=before["seed"], clips=bank),
            settings,
            methods=in_order([COMPARED, *methods]),
            resume_file=work / f"{folder.name}-more-{kind}.partial",
            progress=progress_bar(f"{', '.join(methods)}; {kind}", quiet),
        )
        measured[kind]["where"] = merged(measured[kind]["where"], report_dict(table), methods)
    settings.save(folder / "settings.json")
    write_json(path, json_safe(measured), indent=1)
    return write_card(folder)


def merged(before: dict[str, Any], added: dict[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """The report `before` (`report.report_dict`) with the rows, differences and tests of `methods` from `added`.

    p after Holm is adjusted anew, for all comparisons. Raises ValueError for another weights' report, other scenes, or
    rows of steering that differ although they are of as many scenes.
    """
    old, new = ({key: value for key, value in report["settings"]["scenes"].items()} for report in (before, added))
    counts = [facts.pop("scenes") for facts in (old, new)]
    if before["revision"] != added["revision"] or old != new or counts[1] > counts[0]:
        raise ValueError(f"the reports are of other weights or scenes: {old | {'scenes': counts[0]}} and {new}")
    if counts[0] == counts[1]:
        first, again = ([row for row in report["rows"] if row["method"] == COMPARED] for report in (before, added))
        # Windows are the same to the last digit. Ranks of tokens with almost equal attention are not: other rows in the
        # same call of the model round otherwise.
        windows, again_windows = ([{**row, "auroc": None} for row in rows] for rows in (first, again))
        if windows != again_windows:
            raise ValueError(
                f"steering comes out otherwise than it did on the same scenes: {again[0]['overlap']} and not "
                f"{first[0]['overlap']}; measure all methods again with `steer-utils pocket evaluate`"
            )
    rows = [row for row in before["rows"] if row["method"] not in methods]
    rows += [row for row in added["rows"] if row["method"] in methods]
    tests = {row["method"]: row for row in before["tests"]}
    tests |= {row["method"]: row for row in added["tests"] if row["method"] in methods}
    flips = {name: row["p_flip"] for name, row in tests.items() if row["p_flip"] is not None}
    adjusted = holm(flips)
    names = in_order(row["method"] for row in rows)
    return {
        **before,
        "settings": {**added["settings"], "scenes": before["settings"]["scenes"]},
        "rows": sorted(rows, key=lambda row: names.index(row["method"])),
        "steering_minus": {
            name: gap
            for name in names
            if (gap := (added if name in methods else before)["steering_minus"].get(name)) is not None
        },
        "tests": [{**tests[name], "p_holm": adjusted.get(name)} for name in names],
    }
