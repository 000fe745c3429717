"""What users measured on published checkpoints: the folder results/ of the project.

A run is two files: NAME.parquet, the table of `steer-utils benchmark --out`, and NAME.verify.json, the report of
`steer-utils verify --out`. `contribute` checks both and puts them there; `contributed_runs` checks them again and reads
them, for the result table. Only fields that are known here are kept, each in a form that leaves no room for a path or a
person's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.verification import FORMAT
from steer_utils.methods.table import METHODS
from steer_utils.sound.files import write_json
from steer_utils.study.benchmark import SLOTS
from steer_utils.study.report import read_table, summary, write_table

RESULTS = Path(__file__).parents[2] / "results"  # of a checkout; an installed package has none
TABLE, REPORT = ".parquet", ".verify.json"

#: What is kept of a table: no curves, which are large, and no answers, which are free text.
COLUMNS = (
    *("scene", "slot", "event", "method", "truth_start", "truth_end", "token_seconds", "chance", "start", "end"),
    *("overlap", "iou", "center_error", "own", "failed", "unread", "auroc", "pointing"),
)
#: What is kept of its facts. "numbers": the number type of the weights, and how they are quantised.
FACTS = ("model", "revision", "numbers", "scenes", "settings", "methods", "versions")
_REPORT = ("format", "ok", "model", "revision", "family", "dtype", "device", "versions", "checks")
_VERSIONS = ("steer-utils", "transformers", "torch")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: An absolute path, one below a home, a web address or mail; a hub id such as owner/name is none of them.
_PRIVATE = re.compile(r"(?:^|[\s'\"(=:])(?:~?/\w|[A-Za-z]:\\|\\\\\w)|\w+://|\S+@\S+|/(?:home|Users|root|mnt|tmp)/")


@dataclass(frozen=True, eq=False)
class ContributedRun:
    """One run in results/: its `name`, the `table` of its queries, the `report` of `steer-utils verify`."""

    name: str
    table: pd.DataFrame
    report: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What a column of the result table is called: model, number type, sounds."""
        facts = self.table.attrs
        sounds = "synthetic" if facts["scenes"]["sounds"] == "procedural" else "recordings"
        return f"{facts['model']} ({facts['numbers']}), {sounds}"

    def rows(self) -> dict[str, dict[str, Any]]:
        """The summary of each method over all slots, by its name."""
        return {row["method"]: row for row in summary(self.table).to_dict("records") if row["slot"] == "all"}


def contributed_runs(folder: Path = RESULTS) -> list[ContributedRun]:
    """Every run in `folder`, by name; none where there is no such folder. Raises ValueError that says what is wrong."""
    names = {path.name.removesuffix(end) for end in (TABLE, REPORT) for path in folder.glob(f"*{end}")}
    return [_read(name, folder / f"{name}{TABLE}", folder / f"{name}{REPORT}") for name in sorted(names)]


def contribute(table: Path, report: Path, name: str, folder: Path = RESULTS) -> ContributedRun:
    """Check a run and put it into `folder` as `name`. Raises ValueError for what may not be there, before it writes."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of a run is {name!r}; pass lower-case words such as 'qwen2-audio-nf4'")
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; contribute from a checkout of the project")
    full = read_table(table)
    kept = full[[column for column in COLUMNS if column in full]].copy()
    kept.attrs = {fact: full.attrs[fact] for fact in FACTS if fact in full.attrs}
    run = ContributedRun(name, kept, _json(report))
    check(run)
    write_table(kept, folder / f"{name}{TABLE}")
    write_json(folder / f"{name}{REPORT}", run.report)
    return run


def check(run: ContributedRun) -> None:
    """Raise ValueError that lists all that is wrong with a run."""
    if wrong := [*_wrong_table(run.table), *_wrong_report(run.report), *_apart(run.table.attrs, run.report)]:
        raise ValueError(f"the run {run.name!r} cannot stand in results/: {'; '.join(wrong)}")


def _read(name: str, table: Path, report: Path) -> ContributedRun:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{table.parent}: a run is called {name!r}; names are lower-case words such as 'voxtral-nf4'")
    for path in (table, report):
        if not path.is_file():
            raise ValueError(
                f"the run {name!r} lacks {path.name}: a run is a table and the report of steer-utils verify"
            )
    run = ContributedRun(name, read_table(table), _json(report))
    check(run)
    return run


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as json: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no report of steer-utils verify: it must hold a json object")
    return value


def _wrong_table(table: pd.DataFrame) -> list[str]:
    facts, wrong = table.attrs, []
    if fields := _fields(facts, FACTS):
        return [f"the table's facts {fields}"]
    if fields := _fields(table, COLUMNS):
        return [f"the table's columns {fields}"]
    seed, count = facts["scenes"].get("seed"), facts["scenes"].get("scenes")
    if not (isinstance(seed, int) and isinstance(count, int) and count == table["scene"].nunique()):
        wrong.append(f"its facts say seed {seed!r} and {count!r} scenes, its rows hold {table['scene'].nunique()}")
    if unknown := set(table["method"]) - set(METHODS):
        wrong.append(f"unknown methods: {', '.join(sorted(unknown))}")
    if "random" not in set(table["method"]):
        wrong.append("the random window is missing, which shows the chance of its scenes")
    if unknown := set(table["slot"]) - set(SLOTS):
        wrong.append(f"unknown slots: {', '.join(sorted(unknown))}")
    if unknown := set(table["event"]) - set(facts["scenes"].get("classes", [])):
        wrong.append(f"events that its facts do not name: {', '.join(sorted(unknown))}")
    if unknown := set(table["unread"]) - {"", "no time", "ambiguous", "outside"}:
        wrong.append(f"unknown reasons why an answer was not read: {', '.join(sorted(unknown))}")
    shared = np.minimum(table["end"], table["truth_end"]) - np.maximum(table["start"], table["truth_start"])
    expected = (shared.clip(lower=0) / (table["truth_end"] - table["truth_start"])).fillna(0.0)
    if not np.allclose(table["overlap"], expected, atol=1e-6):
        wrong.append("overlaps are not those of its windows and events")
    return wrong + _private("its facts", facts) + _versions("the table", facts["versions"])


def _wrong_report(report: Mapping[str, Any]) -> list[str]:
    if report.get("format") != FORMAT:
        return [f"the report's format is {report.get('format')!r}, not {FORMAT!r}"]
    if lacking := [name for name in _REPORT if name not in report]:
        return [f"the report lacks {', '.join(lacking)}"]
    off = [f"{name}: {said}" for name, said in report["checks"].items() if not str(said).startswith("OK")]
    wrong = [] if report["ok"] is True and not off else [f"the report is not OK ({'; '.join(off) or 'ok is false'})"]
    if report["family"] not in {family.name for family in FAMILIES.values()}:
        wrong.append(f"the report's family is {report['family']!r}")
    return wrong + _private("the report", report) + _versions("the report", report["versions"])


def _apart(facts: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """Where the two do not tell of one checkpoint, or not of a published one."""
    numbers = ", ".join(filter(None, [report.get("dtype"), report.get("quantisation")]))
    told = {name: (facts.get(name), report.get(name)) for name in ("model", "revision")}
    told["numbers"] = (facts.get("numbers"), numbers)
    wrong = [
        f"{name} is {ours!r} in the table and {theirs!r} in the report"
        for name, (ours, theirs) in told.items()
        if ours != theirs
    ]
    model, revision = str(facts.get("model")), str(facts.get("revision"))
    if not _HUB_ID.fullmatch(model):
        wrong.append(f"model is {model!r}; load a published checkpoint by its hub id")
    if not _COMMIT.fullmatch(revision):
        wrong.append(f"revision is {revision!r}; a hub id has a commit of 40 letters and digits")
    return wrong


def _fields(found: Any, needed: tuple[str, ...]) -> str:
    """Which fields are missing or unknown, in words; empty where none are."""
    lacking, more = [name for name in needed if name not in found], set(found) - set(needed)
    parts = [f"lack {', '.join(lacking)}"] * bool(lacking) + [f"hold {', '.join(sorted(more))} too"] * bool(more)
    return " and ".join(parts)


def _versions(what: str, versions: Any) -> list[str]:
    lacking = [name for name in _VERSIONS if not re.match(r"\d+\.\d", str(dict(versions or {}).get(name, "")))]
    return [f"{what} does not say the version of {', '.join(lacking)}"] if lacking else []


def _private(what: str, value: Any) -> list[str]:
    """Texts in `value`, at any depth, that hold a path or an address."""
    return [f"{what} hold a path or an address: {text!r}" for text in _texts(value) if _PRIVATE.search(text)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, (list, tuple)):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []
