"""results.jsonl, and the table that README.md shows of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steer_utils.sound.files import whole_file
from steer_utils.sound.tables import markdown_table

SCRIPTS = (
    "locate_sweep",
    "locate_floor",
    "attention_rows",
    "long_audio",
    "steering_overhead",
    "whole_benchmark",
    "import_time",
    "training",
    "scaling",
    "under_load",
    "gpu",
)
HERE = Path(__file__).parent
RESULTS, README = HERE / "results.jsonl", HERE / "README.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
#: Why a target was missed, by script; shown only where it was.
WHY_MISSED: dict[str, str] = {}
#: Claim and target of the script `gpu`, which has its row before anybody has run it.
GPU = (
    "one GPU: a checkpoint of full size (random weights) in bfloat16 and in nf4",
    "stated with the card's name; under eight minutes",
)


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The results so far, oldest first. Raises ValueError naming a line that is no result."""
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            _ = record["script"], record["environment"]["machine"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} of {path.name} is not a result ({error}); remove it") from error
        found.append(record)
    return found


def append(record: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Add one result; a reader meets the file with it or without it."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    with whole_file(path) as part:
        part.write_text(before + json.dumps(record) + "\n", encoding="utf-8")


def latest(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last result of each script on each machine and number type, in the table's order; no smoke runs."""
    newest: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for record in records:
        options = record["environment"]["options"]
        if options["smoke"]:
            continue
        where = (record["environment"]["machine"], options["dtype"], options["full_depth"])
        newest[record["script"], *where] = record
    return sorted(newest.values(), key=lambda each: (SCRIPTS.index(each["script"]), each["environment"]["machine"]))


def written(records: Sequence[Mapping[str, Any]]) -> str:
    """The table, and below it what a number rests on, what was missed and what could not run."""
    rows: list[list[str]] = []
    notes: list[str] = []
    told: set[tuple[str, str]] = set()  # a script's second row says only what the first did not
    for record in latest(records):
        where, options = record["environment"], record["environment"]["options"]
        met = {True: "yes", False: "**no**", None: "-"}[record["met"]]
        how = ", full depth" if options["full_depth"] else ""
        number_type = "" if options["dtype"] == "float32" else f", {options['dtype']}"
        cells = (record["claim"], record["target"], record["measured"], met, f"{where['machine']}{number_type}{how}")
        rows.append([cell.replace("|", "/") for cell in cells])
        said = list(record["notes"])
        if record["met"] is False and record["script"] in WHY_MISSED:
            said.append(f"missed: {WHY_MISSED[record['script']]}")
        said += [f"{peer} did not run: {why}" for peer, why in record["missing"].items()]
        loads = where["load_before"]
        if loads and loads[0] > 0.5 * (where["cores"] or 1):
            said.append(f"load {loads[0]:g} before it began: of the script before it, or times are too long")
        script = record["script"]
        if new := [each for each in said if (script, each) not in told]:
            notes.append(f"- {script}{number_type}{how}: {'; '.join(new)}.")
        told |= {(script, each) for each in said}
    versions = sorted(
        {
            f"{package} {number}"
            for record in latest(records)
            for package, number in record["environment"]["versions"].items()
        }
    )
    if not rows:
        return "No results yet: `make bench`."
    if all(record["script"] != "gpu" for record in latest(records)):
        rows.append([*GPU, "no GPU was at hand", "-", "-"])
    table = markdown_table(("claim", "target", "measured", "met", "machine"), rows)
    return "\n".join([*table, "", *notes, "", f"Versions: {', '.join(versions)}."])


def write(readme: Path = README, results: Path = RESULTS) -> None:
    """Put the table of `results` between the marks of `readme`. Raises ValueError if the marks are not there."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{readme.name} must hold the lines {BEGIN} and {END} once each")
    made = written(read(results))
    with whole_file(readme) as part:
        filled = re.sub(f"{BEGIN}.*{END}", lambda found: f"{BEGIN}\n{made}\n{END}", text, flags=re.DOTALL)
        part.write_text(filled, encoding="utf-8")
