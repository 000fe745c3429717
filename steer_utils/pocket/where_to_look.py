"""Does the method carry to pictures? Train the pocket model that sees, choose settings, measure answers and boxes.

Methods, vectors and read-out are those of the audio models, as they are (`methods`); only the last step differs: a box
of the thing's known size (an oracle, as the window's width is) slides over the patches of a method's curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from steer_utils.lm.environment import library_versions
from steer_utils.lm.hearing import Seeing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.patch_grid import Box, PatchGrid, best_places
from steer_utils.methods.base import Query, find_together
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.table import METHODS, label_of
from steer_utils.methods.tuning import Opened, tune
from steer_utils.pocket.architecture import save
from steer_utils.pocket.card import gap_text, page
from steer_utils.pocket.commands import open_pocket, progress_bar, recipe_key, recipe_named
from steer_utils.pocket.evaluation import Answered, accuracies, answers_to
from steer_utils.pocket.seeing import PICTURE_RECIPES, build, train_answers, train_tower
from steer_utils.pocket.shape_questions import KINDS, turn
from steer_utils.pocket.shapes import DEVELOPMENT, NEVER_TRAINED, SIDE, TESTED, Picture, make_picture
from steer_utils.pocket.training import Progress
from steer_utils.sound.config_files import told_fields
from steer_utils.sound.files import read_json, write_json
from steer_utils.sound.tables import markdown_table
from steer_utils.study.resume import Record, analysis_identity, resumable_rows
from steer_utils.study.statistics import cluster_mean, paired_difference

#: In the model's own words, by the reasons of `commands.POCKET_SETTINGS`. It was taught no words for a place, so that
#: asking it where a thing is means nothing: `ask` is there because settings have one.
PICTURE_SETTINGS = Settings(
    negative="Look at the whole picture.",
    question="How many shapes are there?",
    vector_question="Is it plain or striped?",
    prompt_question="Describe the picture.",
    ask="What is the {event} like?",
    presence="Do you see the {event}?",
)
PROMPT_QUESTIONS = ("Describe the picture.", "What do you see?", "Is it plain or striped?", "How large is it?")
DECLARED = "steering-paper"  # with its question in words that this model knows
#: Those methods of the audio models that read rows alone.
COMPARED = (
    *("steering", "prompting", "prompting-best", "contrast-prompting", "random-vector", "negative", "swapped"),
    *("unsteered", DECLARED),
)
CEILING = "best place of the box"


def train_picture_model(name: str, *, work: Path, out: Path | None = None, shorten: float = 1.0) -> Path:
    """Train the pocket model of this name from nothing; the folder it was saved in.

    Checkpoints go to `work`; the same command goes on after a kill. `shorten` scales the steps (for trials).
    """
    recipe, out = recipe_named(PICTURE_RECIPES, name, shorten), out or work / name
    progress = Progress(work / f"{name}-{recipe_key(recipe)}", every=100)
    model, processor = build(recipe.size, recipe.seed)
    for stage in (train_tower, train_answers):
        stage(model, processor, recipe, progress)
    taught = {"name": name, "events": list(recipe.events), "recipe": recipe.as_dict()}
    save(model, processor, out, {**taught, "versions": library_versions()})
    PICTURE_SETTINGS.save(out / "settings.json")
    return out


def unseen_pictures(names: Sequence[str], count: int, seed: int) -> list[Picture]:
    """Pictures of three of `names` each, none of any training."""
    return [make_picture(np.random.default_rng([seed, 77, number]), names) for number in range(count)]


def box_overlaps(curves: np.ndarray, grid: PatchGrid, truth: Box) -> np.ndarray:
    """Overlap |B ∩ E| / |E| of each curve's best box, as large as `truth`, with it: (..., patches) -> (...)."""
    overlaps = np.array([box.covers(truth) for box in grid.boxes(*truth.size)])
    return overlaps[best_places(curves, grid, *truth.size)]


def choose_settings(lm: AudioLM, scenes: int, work: Path, quiet: bool) -> Settings:
    """What `tuning.tune` chooses, out of the same candidates, on pictures of development combinations."""
    pictures = unseen_pictures(DEVELOPMENT, scenes, 1000)

    def opened(number: int) -> Opened:
        seeing, things = lm.see(pictures[number].pixels), pictures[number].things
        return seeing, {thing.name: partial(box_overlaps, grid=seeing.grid, truth=thing.box) for thing in things}

    return tune(
        lm,
        DEVELOPMENT,
        start=PICTURE_SETTINGS,
        scenes=scenes,
        opened=opened,
        prompt_questions=PROMPT_QUESTIONS,
        resume_file=work / "picture-settings.safetensors",
        progress=progress_bar("settings", quiet),
    ).settings


def method_curves(seeing: Seeing, names: Sequence[str], settings: Settings, seed: int) -> list[dict[str, np.ndarray]]:
    """Of each thing the curve over patches (patches,) that every method of `COMPARED` gives."""
    others = {name: tuple(other for other in names if other != name) for name in names}
    queries = [Query(name, 1.0, seed + number, others[name]) for number, name in enumerate(names)]
    finders: dict[str, Any] = {method: METHODS[method].find for method in COMPARED if method != DECLARED}
    declared = replace(PAPER, negative=settings.negative, question=PROMPT_QUESTIONS[0])
    ours = find_together(seeing, list(finders.values()), queries, settings)
    papers = find_together(seeing, [finders["steering"]], queries, declared)
    return [
        dict(zip((*finders, DECLARED), (np.asarray(where.curve) for where in (*one, *other)), strict=True))
        for one, other in zip(ours, papers, strict=True)
    ]


def picture_rows(lm: AudioLM, picture: Picture, number: int, settings: Settings) -> list[Record]:
    """One row a thing and method: overlap and IoU of its box with the true one, beside chance (the mean over all places
    of the box) and the ceiling (its best place: boxes move by whole patches)."""
    seeing, rows = lm.see(picture.pixels), []
    curves_of = method_curves(seeing, picture.names, settings, 100 * number)
    for thing, curves in zip(picture.things, curves_of, strict=True):
        boxes = seeing.grid.boxes(*thing.box.size)
        overlaps, ious = ([getattr(box, score)(thing.box) for box in boxes] for score in ("covers", "iou"))
        size, chance = thing.box.size, {"chance": float(np.mean(overlaps)), "chance_iou": float(np.mean(ious))}
        places = {method: int(best_places(curve, seeing.grid, *size)) for method, curve in curves.items()}
        places[CEILING] = int(np.argmax(overlaps))
        for method, place in places.items():
            found = {"method": method, "overlap": overlaps[place], "iou": ious[place]}
            rows.append({"scene": number, "thing": thing.name, **chance, **found})
    return rows


def box_summary(rows: Sequence[Record]) -> pd.DataFrame:
    """Overlap with its 95 % interval over pictures, IoU and chance, one row a method, in the columns of
    `report.summary`; `minus`: what steering has more than it, with `minus_low` and `minus_high`."""
    table, summary = pd.DataFrame(rows), []
    steering = table.loc[table["method"] == "steering", "overlap"].to_numpy()
    for method, part in table.groupby("method", sort=False):
        values, clusters = part["overlap"].to_numpy(), part["scene"].to_numpy()
        overlap, gap = cluster_mean(values, clusters), paired_difference(steering, values, clusters)
        means = {name: float(part[name].mean()) for name in ("iou", "chance", "chance_iou")}
        figures = {"overlap": overlap.mean, "low": overlap.low, "high": overlap.high, "n": overlap.n, **means}
        gaps = {"minus": gap.mean, "minus_low": gap.low, "minus_high": gap.high}
        summary.append({"method": method, "slot": "all", **figures, **gaps})
    return pd.DataFrame(summary)


def answer_rows(lm: AudioLM, pictures: Sequence[Picture], seed: int) -> pd.DataFrame:
    """Share of right answers of each kind with its 95 % interval, one question of each kind a picture."""
    answered = list[Answered]()
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng([seed, number, 3])
        turns = [asked for kind in KINDS if (asked := turn(kind, picture, rng)).kind == kind]
        answered += answers_to(turns, lm.see(picture.pixels), number)
    return accuracies(answered, {kind: kind for kind in KINDS})


def measure_pictures(name: str, *, work: Path, scenes: int = 300, tuning_scenes: int = 60, quiet: bool = False) -> Path:
    """Choose settings on development combinations, measure answers and boxes on others, and write settings.json,
    evaluation.json and the model card beside the weights. What is finished is kept in `work`."""
    lm, folder = open_pocket(name)
    if min(scenes, tuning_scenes) < 1:
        raise ValueError(f"scenes is {scenes}, tuning_scenes {tuning_scenes}; pass at least 1 of each")
    work.mkdir(parents=True, exist_ok=True)
    settings = choose_settings(lm, tuning_scenes, work, quiet)
    settings.save(folder / "settings.json")
    measured: dict[str, Any] = {"model": lm.name, "revision": lm.revision, "scenes": scenes}
    for kind, names, seed in (("tested", TESTED, 7), ("never trained", (*TESTED, *NEVER_TRAINED), 8)):
        pictures = unseen_pictures(names, scenes if kind == "tested" else max(2, scenes // 2), seed)

        def rows_of(number: int, pictures: Sequence[Picture] = pictures) -> list[Record]:
            return picture_rows(lm, pictures[number], number, settings)

        rows = resumable_rows(
            len(pictures),
            rows_of,
            {**analysis_identity(f"boxes, {kind}", lm, settings), "seed": seed, "scenes": len(pictures)},
            resume_file=work / f"{folder.name}-boxes-{seed}.partial",
            progress=progress_bar(f"boxes, {kind}", quiet),
        )
        if kind == "tested":
            measured["answers"] = answer_rows(lm, pictures, seed).to_dict("records")
        kept = [row for row in rows if kind == "tested" or row["thing"] in NEVER_TRAINED]
        measured[kind] = box_summary(kept).to_dict("records")
    write_json(folder / "evaluation.json", measured, indent=1)
    return write_picture_card(folder)


def overlap_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of `box_summary` as a table in Markdown, with chance at its end."""
    lines: list[Sequence[object]] = []
    for row in rows:
        label = CEILING if row["method"] == CEILING else label_of(row["method"]).replace("event", "thing")
        gap = gap_text({"mean": row["minus"], "low": row["minus_low"], "high": row["minus_high"]})
        against = None if row["method"] in ("steering", CEILING) else gap
        interval = f"{row['low']:.1%} - {row['high']:.1%}"
        lines.append((label, f"{row['overlap']:.1%}", interval, f"{row['iou']:.1%}", against))
    lines.append(("chance (computed)", f"{rows[0]['chance']:.1%}", None, f"{rows[0]['chance_iou']:.1%}", None))
    return markdown_table(("method", "overlap", "95 %", "IoU", "steering minus it"), lines)


def write_picture_card(folder: Path) -> Path:
    """Write README.md in the model's folder from its pocket.json, settings.json and evaluation.json; its path."""
    facts, measured = (read_json(folder / name) for name in ("pocket.json", "evaluation.json"))
    tower, language = facts["recipe"]["encoder"], facts["recipe"]["language"]
    settings = Settings.load(folder / "settings.json")
    answers = [(row["kind"], f"{row['right']:.1%}", row["n"]) for row in measured["answers"]]
    tested, never = measured["tested"], measured["never trained"]
    return page(
        folder,
        f"# {facts['name']}",
        "A small vision-language model of the unmodified transformers class `LlavaForConditionalGeneration`, trained "
        f"from nothing by `steer-utils pocket train --model {facts['name']}`; what its figures say stands in "
        "docs/where_to_look.md. They are its own, and no paper's. Weights: "
        f"`{measured['revision']}`, float32, Apache-2.0; {SIDE} x {SIDE} pixels as 10 x 10 patches.",
        f"Its tower learnt patch labels first ({tower['steps']} steps of {tower['batch']} pictures: colour, shape, "
        "texture and size of the thing in whose box the middle of a patch lies), and was frozen. Its decoder learnt to "
        f"answer ({language['steps']} steps of {language['batch']} pictures, {language['turns']} questions each, "
        f"{language['mix']['focus']:.0%} of them with a focus instruction; patches that saw only themselves in "
        f"{language['local_audio']:.0%} of the pictures). It was told no coordinates and no words for a place: left "
        "and right are in its questions as an order, above and below are not.",
        f"{measured['scenes']} pictures of three things, a question of each kind; none was seen in training.",
        markdown_table(("question", "right", "n"), answers),
        f"Where it looks: the same pictures x 3 things, of {len(TESTED)} combinations. Overlap: the share of the true "
        "box that the found one covers; its size is given. 95 % interval over pictures.",
        overlap_table(tested),
        f"Combinations that were in no picture of the training ({never[0]['n']} things):",
        overlap_table(never),
        f"Settings, chosen on {len(DEVELOPMENT)} other combinations ({settings.chosen_on['scenes']} pictures): "
        + ", ".join(f"{name} {value!r}" for name, value in told_fields(settings).items() if name != "chosen_on"),
    )
