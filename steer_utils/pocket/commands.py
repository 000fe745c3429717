"""Make a pocket model from nothing, and measure one: what `steer-utils pocket` runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from steer_utils.lm.environment import library_versions
from steer_utils.lm.models import AudioLM, load
from steer_utils.methods.settings import Settings, folder_of, taught_events, trained_recordings
from steer_utils.methods.table import RIVALS, standard_methods
from steer_utils.methods.tuning import Candidate, choose_vector_question, select_heads, tune
from steer_utils.methods.tuning_rivals import tune_rivals
from steer_utils.pocket.architecture import build, save
from steer_utils.pocket.card import write_card
from steer_utils.pocket.corpus import SceneSource
from steer_utils.pocket.evaluation import evaluate
from steer_utils.pocket.mini_recipe import MiniRecipe
from steer_utils.pocket.recipe import DEVELOPMENT_EVENTS, RECIPES, TRAINING_FOLDS, Recipe
from steer_utils.pocket.training import Progress, hear_corpus, train_encoder, train_language
from steer_utils.sound.datasets import open_clips, same_recordings
from steer_utils.sound.files import write_json
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study.benchmark import run_benchmark, scene_set
from steer_utils.study.report import report_dict, summary
from steer_utils.study.resume import Progress as StudyProgress
from steer_utils.study.resume import Record, analysis_identity, resumable_rows

R = TypeVar("R", Recipe, MiniRecipe)

#: In the pocket models' own words: they know no others. The question that is steered asks about the whole audio, so
#: that a focus instruction before it is of no use to the answer: what then moves attention is the vector alone. The
#: vector is made before a question that only the focus can answer: there the two instructions differ most.
POCKET_SETTINGS = Settings(
    question="How many sounds are there?",
    vector_question="Is it high or low?",
    ask="When is the {event}?",
    presence="Do you hear the {event}?",
)
#: Questions out of which prompting alone gets the one that serves it best.
PROMPT_QUESTIONS = ("Describe the sound.", "What do you hear?", "Is it high or low?", "How loud is it?")


def train(
    name: str,
    *,
    clips: Path | None,
    work: Path,
    out: Path | None = None,
    shorten: float = 1.0,
    seed: int | None = None,
    device: str = "cpu",
    workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """Train the pocket model of this name (see `RECIPES`) from nothing; the folder it was saved in.

    Checkpoints go to `work` every 200 steps; the same command goes on after a kill. The tower of stage 1 is shared by
    all models, so the second one starts at stage 2. With `clips` (a folder in ESC-10's form) the model also
    hears recordings of folds 1-3; without, only procedural sounds. `shorten` scales steps and scenes (for trials).
    `seed`: train once more by the same recipe, the tower kept, with other first weights of projector and decoder,
    other scenes and questions: how far do the figures of two trainings lie apart? (None: the recipe's own.)
    `workers`: processes that make scenes ahead (None: see `corpus.spare_workers`).
    """
    recipe, bank, recorded = training_material(recipe_named(RECIPES, name, shorten, seed), clips)
    out = out or work / (name if seed is None else f"{name}-seed{seed}")
    tower_work = work / f"tower-{tower_key(recipe, recorded)}"
    seeded = recipe if seed is None else replace(recipe, seed=seed)
    language_work = work / f"{name}-{recipe_key(seeded, recorded)}"
    model, processor = build(recipe.family, recipe.events, size=recipe.size, seed=recipe.seed)
    model.to(torch.device(device))
    train_encoder(model, processor, SceneSource(recipe, bank), Progress(tower_work, workers=workers, quiet=quiet))
    if seed is not None:
        tower = model.model.audio_tower.state_dict()
        model, processor = build(recipe.family, recipe.events, size=recipe.size, seed=seed)
        model.to(torch.device(device)).model.audio_tower.load_state_dict(tower)
    progress, source = Progress(language_work, workers=workers, quiet=quiet), SceneSource(seeded, bank)
    train_language(model, processor, seeded, lambda: hear_corpus(model, processor, source, progress), progress)
    save(model.cpu(), processor, out, facts_of(name, seeded, recorded))
    POCKET_SETTINGS.save(out / "settings.json")
    return out


def recipe_named(recipes: Mapping[str, R], name: str, shorten: float, seed: int | None = None) -> R:
    """The recipe of a model, shortened for a trial. Raises ValueError for a name without one, or a seed below 0."""
    if name not in recipes:
        raise ValueError(f"there is no recipe for {name!r}; pass one of {', '.join(recipes)}")
    if seed is not None and seed < 0:
        raise ValueError(f"seed is {seed}; pass 0 or more")
    return recipes[name].shortened(shorten) if shorten != 1.0 else recipes[name]


def facts_of(
    name: str, recipe: Recipe | MiniRecipe, recorded: Sequence[str], more: Mapping[str, object] | None = None
) -> dict[str, object]:
    """What pocket.json says of a training; `recorded`: the file names of its recordings."""
    return {
        "name": name,
        "events": list(recipe.events),
        **(more or {}),
        "trained_recordings": list(recorded),
        "training_folds": list(TRAINING_FOLDS) if recorded else [],
        "recipe": recipe.as_dict(),
        "versions": library_versions(),
    }


def training_material(recipe: R, clips: Path | None) -> tuple[R, ClipBank | None, list[str]]:
    """The recordings of `clips` to train on, their file names, and the recipe as it can be followed with them: without
    recordings it knows the procedural sounds alone."""
    if clips is None:
        return replace(recipe, events=tuple(sorted(SOUNDS)), recordings=0.0), None, []
    bank = ClipBank(open_clips(clips)).named_as(recipe.events).subset(folds=TRAINING_FOLDS)
    return recipe, bank, sorted(clip.path.name for clip in bank.clips)


def tower_key(recipe: Recipe, recorded: Sequence[str] = ()) -> str:
    """A short hash of all that stage 1 depends on, the recordings' file names included: a training that differs in any
    of it has another folder, and starts anew."""
    return short_hash(
        recipe.size.tower, recipe.seed, recipe.events, recipe.recordings, recipe.as_dict()["encoder"], list(recorded)
    )


def recipe_key(recipe: Recipe, recorded: Sequence[str] = ()) -> str:
    """A short hash of the whole recipe and its recordings."""
    return short_hash(recipe.as_dict(), list(recorded))


def short_hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def progress_bar(label: str, quiet: bool) -> StudyProgress:
    """A bar for steps that are counted, unless `quiet`."""
    return lambda steps: tqdm(steps, label, disable=quiet)


def open_pocket(name: str) -> tuple[AudioLM, Path]:
    """A pocket model and its folder, where what is measured is written. Raises ValueError for any other model."""
    checkpoint = load(name)
    folder = folder_of(checkpoint)
    if folder is None or not (folder / "pocket.json").is_file():
        raise ValueError(f"{name!r} is not a pocket model; figures are kept beside weights that have a pocket.json")
    return checkpoint, folder


def measure(
    name: str,
    *,
    clips: Path | None,
    work: Path,
    scenes: int = 300,
    tuning_scenes: int = 60,
    answer_scenes: int | None = None,
    seed: int = 7,
    quiet: bool = False,
) -> Path:
    """Choose settings on development classes, measure answers and localisation, write the model card.

    Three files in the model's folder: settings.json, evaluation.json, README.md. With `clips`, recordings that the
    model was not trained on are measured too. What is finished is kept in `work`: the same command goes on after a
    kill. `answer_scenes`: fewer scenes for the answers, which are generated word by word (None: as many). Raises
    ValueError, before any work, for a model that is no pocket model.
    """
    checkpoint, folder = open_pocket(name)
    answer_scenes = scenes if answer_scenes is None else answer_scenes
    if min(scenes, tuning_scenes, answer_scenes) < 1:
        counts = f"scenes is {scenes}, tuning_scenes {tuning_scenes}, answer_scenes {answer_scenes}"
        raise ValueError(f"{counts}; pass at least 1 of each")
    work.mkdir(parents=True, exist_ok=True)
    settings, chosen_by = chosen_settings(checkpoint, tuning_scenes, work / f"{folder.name}-settings.partial", quiet)
    settings.save(folder / "settings.json")
    rivals = RIVALS if "rivals" in settings.chosen_on else ()
    measured: dict[str, object] = {"model": checkpoint.name, "revision": checkpoint.revision, **chosen_by}
    for kind, bank in banks_of(clips).items():
        unseen = None
        if bank is not None:
            unseen = bank.subset(exclude_files=same_recordings(bank.clips, trained_recordings(checkpoint)))
        answers = evaluate(
            checkpoint,
            clips=unseen,
            scenes=answer_scenes,
            resume_file=work / f"{folder.name}-answers-{kind}.partial",
            progress=progress_bar(f"answers, {kind}", quiet),
        )
        table = run_benchmark(
            checkpoint,
            scene_set(checkpoint, settings, count=scenes, seed=seed, clips=bank),
            settings,
            methods=(*standard_methods(settings, scenes), *rivals),
            resume_file=work / f"{folder.name}-where-{kind}.partial",
            progress=progress_bar(f"where, {kind}", quiet),
        )
        measured[kind] = {"answers": answers.to_dict("records"), "where": report_dict(table)}
        if not quiet:
            print(f"\n{kind}\n{answers.to_string(index=False)}\n{summary(table).to_string(index=False)}")
    write_json(folder / "evaluation.json", measured, indent=1)
    return write_card(folder)


def banks_of(clips: Path | None) -> dict[str, ClipBank | None]:
    """What scenes are made of, by kind: nothing but procedural sounds, and the recordings of `clips`, where given."""
    return {"procedural": None} | ({} if clips is None else {"recordings": ClipBank(open_clips(clips))})


def development_names(checkpoint: AudioLM) -> list[str]:
    """The classes that settings are chosen on, as far as the model was taught them."""
    return [event for event in DEVELOPMENT_EVENTS if event in taught_events(checkpoint)]


def chosen_settings(
    checkpoint: AudioLM, scenes: int, resume_file: Path, quiet: bool
) -> tuple[Settings, dict[str, object]]:
    """Settings and heads chosen on development classes, and how far the candidates got, for the model card.

    The question of the vector is chosen too where the model takes any text; a pocket model's is declared. Kept in
    `resume_file` once finished.
    """
    names = development_names(checkpoint)

    def choose(_: int) -> list[Record]:
        start, chosen_by = POCKET_SETTINGS, dict[str, object]()
        if checkpoint.events is None:
            start, reached = choose_vector_question(
                checkpoint,
                names,
                start,
                (start.question, *PROMPT_QUESTIONS),
                progress=progress_bar("question of the vector", quiet),
            )
            chosen_by["vector_questions"] = reached
        tuned = tune(
            checkpoint,
            names,
            start=start,
            scenes=scenes,
            prompt_questions=PROMPT_QUESTIONS,
            progress=progress_bar("settings", quiet),
        )
        settings = select_heads(checkpoint, names, tuned.settings, scenes=scenes, progress=progress_bar("heads", quiet))
        if checkpoint.num_blocks > 2:  # a swapped state reaches attention two blocks later
            bar = progress_bar("settings of rivals", quiet)
            settings = tune_rivals(checkpoint, names, start=settings, scenes=scenes, progress=bar)
        chosen_by["norm_ratio"] = [round(float(ratio), 3) for ratio in tuned.norm_ratio]
        chosen_by["tuning"] = _by_read_out(tuned.overlaps)
        return [{"settings": asdict(settings), "chosen_by": chosen_by}]

    identity = {**analysis_identity("settings", checkpoint, POCKET_SETTINGS), "events": names, "scenes": scenes}
    (row,) = resumable_rows(1, choose, identity, resume_file=resume_file)
    return Settings(**row["settings"]), row["chosen_by"]


def _by_read_out(overlaps: dict[Candidate, float]) -> list[dict[str, object]]:
    """The best candidate of each block set and read-out: what the sensitivity of the method looks like."""
    best: dict[tuple[object, ...], tuple[float, Candidate]] = {}
    for candidate, overlap in overlaps.items():
        key = (candidate.blocks, candidate.read)
        if key not in best or overlap > best[key][0]:
            best[key] = (overlap, candidate)
    return [{**asdict(candidate), "overlap": round(overlap, 4)} for overlap, candidate in best.values()]
