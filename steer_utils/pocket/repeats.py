"""One recipe trained several times: how far apart do the figures of two trainings lie?

The intervals on a model card are over scenes, of one training. Another training by the same recipe starts from other
first weights and meets other scenes and questions (`pocket train --seed`), and may differ by more than they say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steer_utils.lm.models import POCKET_MODELS, WEIGHTS
from steer_utils.methods.table import METHODS
from steer_utils.show.plots.figures import save_figure
from steer_utils.show.plots.repeats import alt_text_repeats, repeats_figure
from steer_utils.sound.files import read_json, write_json, write_whole
from steer_utils.sound.tables import markdown_parts, markdown_table

COMPARED = ("steering", "steering-heads", "steering-paper", "prompting", "prompting-best", "asking")
KINDS = {"procedural": "Procedural scenes never seen", "recordings": "Scenes of recordings never seen"}


def training_of(folder: Path) -> dict[str, Any]:
    """What one training came to: recipe and seed from pocket.json, figures from evaluation.json of its folder.

    Raises ValueError for a folder without them, or with a damaged one.
    """
    try:
        facts, measured = (read_json(folder / name) for name in ("pocket.json", "evaluation.json"))
        entry = {
            "model": facts["name"],
            "seed": facts["recipe"]["seed"],
            "weights": measured["revision"].removeprefix("sha256:")[:8],
            "ships": folder.resolve().parent == WEIGHTS.resolve(),
        }
        return entry | {kind: _figures(measured[kind]) for kind in KINDS if kind in measured}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder} does not hold a pocket model and its figures ({type(error).__name__}: {error}); make them with: "
            "steer-utils pocket train, then steer-utils pocket evaluate --model FOLDER"
        ) from error


def _figures(measured: dict[str, Any]) -> dict[str, Any]:
    """Of one kind of scene: lists right, and for each method compared the overlap and its 95 % interval."""
    rows = {row["method"]: row for row in measured["where"]["rows"] if row["slot"] == "all"}
    listing = next(row for row in measured["answers"] if row["kind"] == "listing")
    return {
        "scenes": measured["where"]["settings"]["scenes"]["scenes"],
        "listing": listing["right"],
        "chance": rows["steering"]["chance"],
        "overlap": {name: [rows[name][figure] for figure in ("overlap", "low", "high")] for name in COMPARED},
    }


def compare_trainings(folders: Sequence[Path], out: Path, figures: Path) -> Path:
    """Add the trainings in `folders` to those in `out` (json), write the page beside it (.md) and the figure
    `repeats` (.png, .svg) in the folder `figures`; the page's path.

    A training that is in `out` already (by its weights) is written anew. Raises ValueError, with nothing written, for
    a folder that is not a measured pocket model, where no model was trained twice, and for an `out` that is something
    else.
    """
    if out.suffix != ".json":
        raise ValueError(f"out is {out}; pass the name of a .json file, the page is written beside it")
    added = [training_of(folder) for folder in folders]
    by_weights = {(training["model"], training["weights"]): training for training in [*_read(out), *added]}
    trainings = sorted(by_weights.values(), key=_order)
    drawn = repeats_figure(trainings)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, trainings, indent=1)
    page = out.with_suffix(".md")
    write_whole(page, repeats_page(trainings))
    figures.mkdir(parents=True, exist_ok=True)
    save_figure(drawn, figures / "repeats", alt_text_repeats(trainings), "Overlap by method, one mark a training.")
    return page


def _order(training: Mapping[str, Any]) -> tuple[Any, ...]:
    """Models in the order of POCKET_MODELS, then others; the weights that ship first, then by seed."""
    models, model = list(POCKET_MODELS), training["model"]
    place = models.index(model) if model in models else len(models)
    return place, model, not training["ships"], training["seed"], training["weights"]


def _read(out: Path) -> list[dict[str, Any]]:
    if not out.is_file():
        return []
    try:
        known = read_json(out)
        repeats_page(known)  # reads every value
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{out} is no list of trainings as this command writes it: {error}") from error
    return list(known)


def repeats_page(trainings: Sequence[dict[str, Any]]) -> str:
    """What `compare_trainings` has gathered, as a page in Markdown."""
    parts: list[str | Sequence[str]] = [
        "# One recipe, several trainings",
        "Each row is one training: the tower is shared, all else begins anew. Rows of one seed differ only in how sums "
        "are rounded. Settings are chosen anew for each training, on development classes. Lists: all events in order. "
        "The other columns: overlap with the true interval, three queries a scene; in brackets the 95 % interval over "
        "scenes, which knows nothing of other trainings. Written by `steer-utils pocket repeats`.",
    ]
    for model in dict.fromkeys(training["model"] for training in trainings):
        for kind, title in KINDS.items():
            of_model = [training for training in trainings if training["model"] == model and kind in training]
            if len(of_model) > 1:
                parts += [f"## {model}: {title[0].lower()}{title[1:]}", _table(of_model, kind)]
    return markdown_parts(*parts) + "\n"


def _table(trainings: Sequence[dict[str, Any]], kind: str) -> list[str]:
    """The trainings of one model, measured on one kind of scene; below them the spans of their figures."""
    rows: list[Sequence[object]] = []
    for training in trainings:
        figures = training[kind]
        ships = ", ships" if training["ships"] else ""
        cells = [f"{overlap:.1%} ({low:.1%} - {high:.1%})" for overlap, low, high in figures["overlap"].values()]
        first = (f"{training['seed']}{ships}", f"`{training['weights']}`", figures["scenes"])
        rows.append([*first, f"{figures['listing']:.0%}", *cells])
    overlaps = {name: [training[kind]["overlap"][name][0] for training in trainings] for name in COMPARED}
    listings = [training[kind]["listing"] for training in trainings]
    spans = [f"{min(values):.1%} to {max(values):.1%}" for values in overlaps.values()]
    rows.append(["all", None, None, f"{min(listings):.0%} to {max(listings):.0%}", *spans])
    gaps = []
    for name in COMPARED[1:]:
        points = [100 * (first - other) for first, other in zip(overlaps["steering"], overlaps[name], strict=True)]
        gaps.append(f"{min(points):+.1f} to {max(points):+.1f}")
    rows.append(["steering minus it", None, None, None, None, *gaps])
    heads = ("seed", "weights", "scenes", "lists exact", *(METHODS[name].label for name in COMPARED))
    return markdown_table(heads, rows)
