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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
from pydantic import Field, create_model

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.verification import CHECKS, FORMAT, Report
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import METHODS, without_equal_rows
from steer_utils.sound.conditions import CONDITIONS, PLAIN
from steer_utils.sound.config_files import Config, Count, config
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
_TEXTS = ("slot", "event", "method", "unread")


class _Scenes(Config):
    """`SceneSet.as_dict`."""

    scenes: Count
    seed: int = Field(description="a whole number")
    classes: list[str] = Field(description="names of sounds")
    sounds: str = Field(pattern=r"^(procedural|\d+ recordings)$", description="'procedural', or how many recordings")
    left_out: int = Field(0, description="a whole number")
    unused: dict[str, int] = Field({}, description="how many recordings of each class")
    condition: str = Field(PLAIN, pattern=f"^({'|'.join(CONDITIONS)})$", description=", ".join(CONDITIONS))
    seconds: list[float] = Field(description="two numbers")
    event_seconds: list[float] = Field(description="two numbers")


class _Facts(Config):
    """What is kept of a table's facts. `numbers`: the number type of the weights, and how they are quantised."""

    model: str | None = Field(description="text")
    revision: str | None = Field(description="text")
    numbers: str = Field(description="text")
    scenes: _Scenes = Field(description="what tells the scenes")
    settings: dict[str, Any] = Field(description="settings")
    methods: list[str] = Field(description="names of methods")
    equal: dict[str, str] = Field({}, description="methods that find the same, as nothing was chosen for the model")
    versions: dict[str, str] = Field(description="versions by package")


_types = get_type_hints(Report)
_Report: type[Config] = create_model(
    "_Report",
    __base__=Config,
    format=(str, Field(description="text")),
    ok=(bool, Field(description="true or false")),
    **{part.name: (_types[part.name], Field(description=f"{part.type}")) for part in fields(Report)},  # type: ignore[call-overload]
)
_VERSIONS = ("steer-utils", "transformers", "torch")
_VERSION = re.compile(r"\d+(\.[\w+-]+)+")
#: A GPU's name; or the kind of CPU and how many cores (`verification`).
_DEVICE = re.compile(r"(NVIDIA|Tesla|Quadro|AMD|Intel|Apple|GRID) ?[\w ()/-]*|\w+, \w*, \d+ cores")
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
        """The summary of each method over all slots, by its name; where two find the same, `same_as` names the one that
        was run."""
        rows = {row["method"]: row for row in summary(self.table).to_dict("records") if row["slot"] == "all"}
        equal: dict[str, str] = self.table.attrs.get("equal", {})
        return rows | {name: rows[other] | {"same_as": other} for name, other in equal.items()}


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
    kept.attrs = {fact: full.attrs[fact] for fact in _Facts.model_fields if fact in full.attrs}
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
    facts = table.attrs
    if differing := _differing(table, COLUMNS):
        return [f"the table's columns {differing}"]
    if strange := [name for name in COLUMNS if name not in _TEXTS and not pd.api.types.is_numeric_dtype(table[name])]:
        return [f"the table's columns hold no numbers: {', '.join(strange)}"]
    try:
        scenes = config(_Facts, facts, "the table's facts").scenes
        settings = Settings(**facts["settings"])
    except (ValueError, TypeError) as error:
        return [f"the table's facts: {error}"]
    wrong, equal = list[str](), facts.get("equal", {})
    if scenes.scenes != table["scene"].nunique():
        wrong.append(f"its facts say {scenes.scenes} scenes, its rows hold {table['scene'].nunique()}")
    methods = set(table["method"])
    known = {
        "methods": (methods, METHODS),
        "slots": (set(table["slot"]), SLOTS),
        "events that its facts do not name": (set(table["event"]), scenes.classes),
        "reasons why an answer was not read": (set(table["unread"]), ("", "no time", "ambiguous", "outside")),
    }
    for what, (names, right) in known.items():
        if unknown := names.difference(right):
            wrong.append(f"{'' if what.startswith('events') else 'unknown '}{what}: {', '.join(sorted(unknown))}")
    if methods != set(facts["methods"]):
        wrong.append(f"its facts name the methods {', '.join(facts['methods'])}, its rows {', '.join(sorted(methods))}")
    if "random" not in methods:
        wrong.append("the random window is missing, which shows the chance of its scenes")
    if equal and without_equal_rows([*methods, *equal], settings)[1] != equal:
        wrong.append(f"methods that it says are equal are not under its settings: {equal}")
    if developed := set(table["event"]).intersection(settings.development_events):
        wrong.append(f"its settings were chosen on {', '.join(sorted(developed))}, which it tests")
    queries = table.groupby("method")[["scene", "slot"]].apply(
        lambda rows: tuple(sorted(zip(rows["scene"], rows["slot"], strict=True)))
    )
    if queries.nunique() != 1 or len(set(queries.iloc[0])) < len(queries.iloc[0]):
        wrong.append("not every method has one row for each query")
    return wrong + _wrong_scores(table) + _private("its facts", facts) + _versions("the table", facts["versions"])


def _wrong_scores(table: pd.DataFrame) -> list[str]:
    """Scores that are not those of their windows and events, as `metrics.score_row` makes them."""
    truth, width = table["truth_end"] - table["truth_start"], table["end"] - table["start"]
    shared = np.minimum(table["end"], table["truth_end"]) - np.maximum(table["start"], table["truth_start"])
    shared = shared.clip(lower=0)
    off = (table["start"] + table["end"] - table["truth_start"] - table["truth_end"]).abs() / 2
    scores = {
        "overlap": (shared / truth).fillna(0.0),
        "iou": (shared / (truth + width - shared)).fillna(0.0),
        "center_error": off,
        "failed": table["start"].isna(),
    }
    wrong = [
        f"{name} is not that of its windows and events"
        for name, expected in scores.items()
        if not np.allclose(
            table[name].astype(float), expected.astype(float), atol=1e-6, equal_nan=name == "center_error"
        )
    ]
    if ((width - truth).abs() > 0.51 * table["token_seconds"]).any() or not (truth > 0).all():
        wrong.append("windows are not as wide as their events")
    for name in ("chance", "auroc", "pointing"):
        if not table[name].dropna().between(0, 1).all() or (name == "chance" and not (table[name] > 0).all()):
            wrong.append(f"{name} is not between 0 and 1")
    return wrong


def _wrong_report(report: Mapping[str, Any]) -> list[str]:
    if report.get("format") != FORMAT:
        return [f"the report's format is {report.get('format')!r}, not {FORMAT!r}"]
    try:
        config(_Report, report, "the report")
    except ValueError as error:
        return [f"the report: {error}"]
    off = [
        f"{name}: {said}" for name, said in report["checks"].items() if not re.fullmatch(r"OK( up to token .*)?", said)
    ]
    wrong = [] if report["ok"] and not off else [f"the report is not OK ({'; '.join(off) or 'ok is false'})"]
    if set(report["checks"]) != set(CHECKS):
        wrong.append(f"the report's checks are {', '.join(report['checks']) or 'none'}, not {', '.join(CHECKS)}")
    if report["family"] not in {family.name for family in FAMILIES.values()}:
        wrong.append(f"the report's family is {report['family']!r}")
    if not _DEVICE.fullmatch(report["device"]):
        wrong.append(f"the report's device is {report['device']!r}, no name of a GPU")
    return wrong + _private("the report", report) + _versions("the report", report["versions"], "python")


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


def _differing(found: Any, needed: tuple[str, ...]) -> str:
    """Which columns are missing or unknown, in words; empty where none are."""
    lacking, more = [name for name in needed if name not in found], set(found) - set(needed)
    parts = [f"lack {', '.join(lacking)}"] * bool(lacking) + [f"hold {', '.join(sorted(more))} too"] * bool(more)
    return " and ".join(parts)


def _versions(what: str, versions: Mapping[str, str], *more: str) -> list[str]:
    strange = {name for name, version in versions.items() if not _VERSION.fullmatch(version)}
    strange |= set(_VERSIONS).difference(versions) | set(versions).difference(_VERSIONS, more)
    return [f"{what} does not say the version of {', '.join(sorted(strange))}"] if strange else []


def _private(what: str, value: Any) -> list[str]:
    """Texts in `value`, at any depth, that hold a path or an address."""
    return [f"{what} hold a path or an address: {text!r}" for text in _texts(value) if _PRIVATE.search(text)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, (list, tuple)):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []
