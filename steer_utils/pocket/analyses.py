"""What surrounds a pocket model's table: every analysis, and the slower methods, as files beside its weights.

analyses.json holds the rows, analyses.md says them. Both are the output of `steer-utils pocket analyse`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from steer_utils.methods.settings import model_settings
from steer_utils.methods.table import FURTHER, METHODS
from steer_utils.pocket.card import gap_text
from steer_utils.pocket.commands import banks_of, open_pocket, progress_bar
from steer_utils.show.analyses import ANALYSES, Drawn, analysis_named, analysis_report, cell_text
from steer_utils.show.plots.figures import save_figure
from steer_utils.sound.files import json_safe, read_json, write_json, write_whole
from steer_utils.sound.tables import markdown_parts, markdown_table
from steer_utils.study.benchmark import run_benchmark, scene_set
from steer_utils.study.report import report_dict

#: What `mini_studies` adds, by the name it has in analyses.json.
_STUDIES = {
    "over steps": "When does it learn to be steered?",
    "between trainings": "Do vectors carry over from other trainings and models?",
}
#: What follows the name of an analysis in analyses.json, what follows it in its figures' names, and a title.
_SOUNDS = {
    "procedural": ("", "", "Procedural scenes"),
    "recordings": (", recordings", "-recordings", "Scenes of recordings"),
}
FURTHER_METHODS = ("steering", *FURTHER)  # steering again, on the same scenes, so that the pairs can be compared


def analyse(
    name: str,
    *,
    clips: Path | None,
    figures: Path,
    work: Path,
    scenes: int = 200,
    further_scenes: int = 50,
    only: Sequence[str] = (),
    seed: int = 7,
    quiet: bool = False,
) -> Path:
    """Run every analysis on procedural scenes, some analyses and the slower methods also on recordings (`clips`); the
    page's path.

    The scenes are the first ones of `measure` (same seed). Finished scenes are kept in `work`: the same command goes
    on after a kill. `only`: names of analyses; what others found on the same weights stays in the file.
    `further_scenes`: 0 leaves the slower methods out. An analysis that this model or its settings will not do for is
    left out, which is printed. Raises ValueError, before any work, for a model that is no pocket model, and where
    `only` names an analysis that does not exist, or one that would be left out.
    """
    chosen_analyses = [analysis_named(analysis) for analysis in only] or list(ANALYSES.values())
    checkpoint, folder = open_pocket(name)
    settings = model_settings(checkpoint)
    refusals = {one.name: why for one in chosen_analyses if (why := one.refusal(checkpoint, settings))}
    for analysis_name, why in refusals.items():
        if only:
            raise ValueError(f"no {analysis_name}: {why}")
        print(f"{analysis_name} is left out: {why}")
    for needed in (figures, work):
        needed.mkdir(parents=True, exist_ok=True)

    results: dict[str, Any] = {}
    banks = banks_of(clips)
    for kind, bank in banks.items():
        after, suffix, _ = _SOUNDS[kind]
        chosen = scene_set(checkpoint, settings, count=scenes, seed=seed, clips=bank)
        for analysis in chosen_analyses:
            if analysis.name in refusals or (bank is not None and not analysis.recordings):
                continue
            table = analysis.run(
                checkpoint,
                chosen,
                settings,
                resume_file=work / f"{folder.name}-{analysis.name}{suffix}.partial",
                progress=progress_bar(f"{analysis.name}, {kind}", quiet),
            )
            results[analysis.name + after] = analysis_report(analysis, table)
            _save(analysis.figures(table), figures, analysis.name, f"{suffix}_{folder.name}")
    for kind, bank in banks.items() if further_scenes else ():
        table = run_benchmark(
            checkpoint,
            scene_set(checkpoint, settings, count=further_scenes, seed=seed, clips=bank),
            settings,
            methods=FURTHER_METHODS,
            resume_file=work / f"{folder.name}-further-{kind}.partial",
            progress=progress_bar(f"further methods, {kind}", quiet),
        )
        results[f"further, {kind}"] = report_dict(table)
    return add_results(folder, checkpoint.revision, results)


def redraw(name: str, *, figures: Path, only: Sequence[str] = ()) -> tuple[list[Path], list[str]]:
    """Draw again, without measuring, what the rows in analyses.json hold all of; the pictures, and the names of the
    analyses that must be measured for their figures.

    Raises ValueError for a model that is no pocket model, an analysis that does not exist, and where analyses.json is
    not there or of other weights.
    """
    chosen_analyses = [analysis_named(analysis) for analysis in only] or list(ANALYSES.values())
    checkpoint, folder = open_pocket(name)
    kept = folder / "analyses.json"
    if not kept.is_file():
        raise ValueError(f"{folder.name} has no analyses.json; measure first: steer-utils pocket analyse")
    results = read_json(kept)
    if results["revision"] != checkpoint.revision:
        raise ValueError(f"{kept} was measured on other weights; measure first: steer-utils pocket analyse")
    figures.mkdir(parents=True, exist_ok=True)
    pictures, lacking = list[Path](), list[str]()
    for analysis in chosen_analyses:
        for after, suffix, _ in _SOUNDS.values():
            if (result := results.get(analysis.name + after)) is None:
                continue
            drawn = analysis.figures_of_rows(result["rows"])
            pictures += _save(drawn, figures, analysis.name, f"{suffix}_{folder.name}")
            lacking += [] if drawn else [analysis.name + after]
    return pictures, lacking


def _save(drawn: Mapping[str, Drawn], figures: Path, analysis: str, suffix: str) -> list[Path]:
    return [
        save_figure(one.figure, figures / f"{analysis}_{label}{suffix}", one.alt, one.caption)[0]
        for label, one in drawn.items()
    ]


def add_results(folder: Path, revision: str | None, results: dict[str, Any]) -> Path:
    """Write results by name into analyses.json beside what is there on the same weights, and the page of all of it."""
    kept, page = folder / "analyses.json", folder / "analyses.md"
    found: dict[str, Any] = {"model": folder.name, "revision": revision}
    if kept.is_file() and (before := read_json(kept))["revision"] == revision:
        found = before
    found |= json_safe(results)
    write_json(kept, found, indent=1)
    write_whole(page, analyses_page(found, folder.name))
    return page


def analyses_page(results: dict[str, Any], model: str) -> str:
    """What `analyse` results, as a page in Markdown."""
    parts: list[str | Sequence[str]] = [
        f"# {model}: what its table hangs on",
        f"Measured on the weights `{results['revision']}` by `steer-utils pocket analyse`; nothing here is written by "
        "hand. The figures are in the course's figures/. What this small model shows is its own behaviour.",
    ]
    for analysis in ANALYSES.values():
        for kind, (after, _, _) in _SOUNDS.items():
            if (result := results.get(analysis.name + after)) is None:  # not for this model, or not measured yet
                continue
            scenes, sentences = result["scenes"], analysis.first(pd.DataFrame(result["rows"]))
            made = "procedural scenes" if kind == "procedural" else f"scenes of {scenes['sounds']}"
            parts += [
                f"## {analysis.question}{after}",
                f"`steer-utils analyse {analysis.name}`: {scenes['scenes']} {made}, seed {scenes['seed']}. "
                "Intervals are 95 % over scenes.",
                [f"- {sentence}" for sentence in sentences],
                _markdown(result["rows"]),
            ]
    for key, question in _STUDIES.items():
        if (result := results.get(key)) is not None:
            scenes = result["scenes"]
            on = f"{scenes['scenes']} {scenes['sounds']} scenes, seed {scenes['seed']}."
            parts += [f"## {question}", on, _markdown(result["rows"])]
    if any(name.startswith("further, ") for name in results):
        parts.append("## Methods that look elsewhere than at a steered attention row")
    for kind, (_, _, sounds) in _SOUNDS.items():
        if (result := results.get(f"further, {kind}")) is not None:
            rows = [_further(row, result["steering_minus"]) for row in result["rows"] if row["slot"] == "all"]
            parts += [f"{sounds}, the same for all rows, overlap in %:", _markdown(rows)]
    return markdown_parts(*parts) + "\n"


def _further(row: dict[str, Any], gaps: dict[str, Any]) -> dict[str, Any]:
    against = gap_text(gaps[row["method"]]) if row["method"] in gaps else None
    return {
        "method": METHODS[row["method"]].label,
        "passes": METHODS[row["method"]].passes,
        "queries": row["n"],
        "overlap": f"{100 * row['overlap']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})",
        "frame AUROC": row["auroc"],
        "steering minus it": against,
    }


def _markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of equal keys as a table."""
    heads = list(rows[0])
    return markdown_table(heads, ([cell_text(head, row[head]) for head in heads] for row in rows))
