"""The result table, whole in docs/results.md and the course, five rows in the README, beside what the paper reports.

Every figure comes from a file that a command wrote: evaluation.json beside a pocket model's weights, a run of a
published checkpoint in results/. Only the paper's own figures are constants. A model that was not run says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steer_utils.lm.models import MAIN_MODELS, MINI_MODELS, WEIGHTS
from steer_utils.methods.table import FURTHER, METHODS, RIVALS, label_of
from steer_utils.sound.files import write_whole
from steer_utils.sound.tables import markdown_table
from steer_utils.study.contributed import ContributedRun, contributed_runs

NOT_RUN = "not run here"

#: Overlap in per cent, as the abstract of arXiv 2606.11400 reports it: (Qwen2-Audio, Audio Flamingo 3).
PAPER_FIGURES: dict[str, tuple[str, str]] = {
    "steering-paper": ("60.87", "68.72"),
    "asking": ("31.84", "46.75"),
    "random": ("27.74", "27.74"),
}
#: The rows and models by which the README sums the table up.
MAIN_METHODS = ("steering", "prompting-best", "random-vector", "asking", "random")
_KINDS = {"procedural": "synthetic", "recordings": "recordings"}


def evaluation_of(name: str) -> dict | None:
    """The evaluation of a pocket model, or None if it has none."""
    path = WEIGHTS / name / "evaluation.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _further(name: str, kind: str) -> list[dict]:
    """The rows of the slower methods, which `steer-utils pocket analyse` measures on fewer scenes."""
    path = WEIGHTS / name / "analyses.json"
    analyses = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rows = analyses.get(f"further, {kind}", {}).get("rows", [])
    return [row for row in rows if row["method"] in FURTHER and row["slot"] == "all"]


def as_declared(where: Mapping[str, Any]) -> bool:
    """Whether the rivals of a report ran as they are declared, their free numbers not chosen for the model."""
    return "rivals" not in where.get("settings", {}).get("chosen_on", {})


def results_table() -> str:
    """Methods by models, in Markdown: overlap with the true interval, per cent, with its 95 % interval,
    and what each method needs. Those that a benchmark runs only if asked are left out unless a model was measured with
    them."""
    columns: list[tuple[str, dict]] = []
    for name in (*MAIN_MODELS, *MINI_MODELS):
        evaluation = evaluation_of(name)
        for kind, label in _KINDS.items():
            if evaluation is None or kind not in evaluation:
                columns.append((f"{name}, {label}", {}))
                continue
            where = evaluation[kind]["where"]
            rows = {row["method"]: row for row in where["rows"] if row["slot"] == "all"}
            if as_declared(where):
                rows |= {name: rows[name] | {"declared": True} for name in RIVALS if name in rows}
            rows = {row["method"]: row for row in _further(name, kind)} | rows
            columns.append((f"{name}, {label} (n = {rows['random']['n']})", rows))
    runs = contributed_runs()
    for run in runs:
        rows = run.rows()
        columns.append((f"{run.title} (n = {rows['random']['n']})", rows))
    heads = ["overlap, %", "needs", *(title for title, _ in columns), "paper: Qwen2-Audio", "paper: AF3"]
    table: list[list[str]] = []
    for method in METHODS.values():
        if not method.standard and not any(method.name in rows for _, rows in columns):
            continue
        cells = [_cell(rows.get(method.name), rows.get("random")) for _, rows in columns]
        table.append([method.label, method.demands, *cells, *PAPER_FIGURES.get(method.name, ("", ""))])
    lines = [
        *markdown_table(heads, table),
        "",
        "Pocket and mini models: three-event scenes, classes and recordings not used for choosing settings or "
        "training; 95 % interval by bootstrap over scenes. Needs: labels, true intervals of development scenes, "
        "on which blocks, strength or question were chosen; a 2nd pass behind the same audio; a 2nd audio, heard too "
        "(silence, the audio cut and exchanged, other scenes). The paper's columns are its own figures for the 7B "
        f"checkpoints, which were {NOT_RUN}: a small model's figure is not a reproduction of them. "
        f"{_contributed(runs)}",
    ]
    return "\n".join(lines)


def main_table() -> str:
    """Five rows of `results_table`, in Markdown: overlap in per cent on synthetic scenes, without intervals; of
    contributed runs, on the scenes that their columns name.

    The paper's steering, by its own settings, stands beside ours.
    """
    columns: list[tuple[str, dict]] = []
    for name in (*MAIN_MODELS, *MINI_MODELS):
        evaluation = evaluation_of(name) or {}
        rows = evaluation.get("procedural", {}).get("where", {}).get("rows", [])
        columns.append((f"`{name}`", {row["method"]: row for row in rows if row["slot"] == "all"}))
    columns += [(run.title, run.rows()) for run in contributed_runs()]
    table = [
        [
            METHODS[method].label,
            *(f"{100 * rows[method]['overlap']:.1f}" if method in rows else NOT_RUN for _, rows in columns),
            " / ".join(PAPER_FIGURES.get("steering-paper" if method == "steering" else method, ("",))),
        ]
        for method in MAIN_METHODS
    ]
    heads = ["overlap, %", *(title for title, _ in columns), "paper, its 7B models"]
    return "\n".join(markdown_table(heads, table))


def _contributed(runs: Sequence[ContributedRun]) -> str:
    """What is said below the table of the published checkpoints that users ran."""
    if not runs:
        return "No run of a published checkpoint has been contributed yet (results/)."
    told = []
    for run in runs:
        facts, scenes = run.table.attrs, run.table.attrs["scenes"]
        told.append(
            f"{facts['model']} at {facts['revision'][:7]}, {scenes['scenes']} scenes, seed {scenes['seed']}, on "
            f"{run.report['device']}"
        )
    return (
        f"Published checkpoints, run by users, each verified against plain transformers (results/): {'; '.join(told)}."
    )


def _cell(row: dict | None, reference: dict | None) -> str:
    """A figure with its interval, how many queries it is from where that differs from the column's, and how many
    answers could not be read where some could not."""
    if row is None:
        return NOT_RUN
    fewer = f", n = {row['n']}" if reference is not None and row["n"] != reference["n"] else ""
    fewer += ", as declared" if row.get("declared") else ""
    fewer += f", the same as {label_of(row['same_as'])}" if row.get("same_as") else ""
    unread = f", {100 * row['failed']:.0f} % of answers not read" if row.get("failed") else ""
    return f"{100 * row['overlap']:.1f} ({100 * row['low']:.1f}-{100 * row['high']:.1f}{fewer}{unread})"


#: What stands between which marks of a page: `<!-- results: begin -->` and `<!-- results: end -->`.
_TABLES: dict[str, Callable[[], str]] = {"results": results_table, "main results": main_table}


def write_results_table(page: Path) -> None:
    """Put each table between its two marks of a Markdown page. Raises ValueError if the page has marks of none."""
    text = page.read_text(encoding="utf-8")
    marked = {name: (f"<!-- {name}: begin -->", f"<!-- {name}: end -->") for name in _TABLES}
    there = [name for name, (start, end) in marked.items() if 0 <= text.find(start) < text.find(end)]
    if not there:
        start, end = marked["results"]
        raise ValueError(f"{page} has no '{start}' and after it '{end}' to put the table between")
    for name in there:
        start, end = marked[name]
        head, rest = text.split(start, 1)
        text = f"{head}{start}\n{_TABLES[name]()}\n{end}{rest.split(end, 1)[1]}"
    write_whole(page, text)
