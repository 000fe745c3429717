"""Train a mini model: what `steer-utils pocket train` runs for a name of `MINI_RECIPES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from steer_utils.pocket.commands import facts_of, recipe_named, short_hash, training_material
from steer_utils.pocket.corpus import HeardScenes, SceneSource
from steer_utils.pocket.language_model import read_language_model
from steer_utils.pocket.mini_architecture import build_mini
from steer_utils.pocket.mini_questions import Asked, questions_about, shares_right
from steer_utils.pocket.mini_recipe import MINI_RECIPES, MiniRecipe
from steer_utils.pocket.mini_training import SNAPSHOTS, Learnt, exactly_answered, kept_scenes, train_adapters
from steer_utils.pocket.packing import Packer
from steer_utils.pocket.parts import save_parts
from steer_utils.pocket.recipe import Recipe
from steer_utils.pocket.towers import read_tower
from steer_utils.pocket.training import Progress, hear_corpus
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene
from steer_utils.sound.sounds import SOUNDS

HELD_OUT_SEED = 500  # the seed of `evaluation.evaluate`: its first scenes are those looked at along the training


def train_mini(
    name: str,
    *,
    clips: Path | None,
    work: Path,
    out: Path | None = None,
    shorten: float = 1.0,
    seed: int | None = None,
    language_model: str | None = None,
    tower: str | None = None,
    device: str = "cpu",
    workers: int | None = None,
    quiet: bool = False,
) -> Path:
    """Train the mini model of this name (see `MINI_RECIPES`); the folder of its parts, which `load` takes.

    As `commands.train`: resumable from `work`, `shorten` for trials, `seed` for another training by the same recipe.
    `language_model`: another one than the recipe's, a hub id such as "HuggingFaceTB/SmolLM2-360M-Instruct" or a folder.
    `tower`: another pocket model than the recipe's, or a Whisper checkpoint (a folder, or a hub id such as
    "openai/whisper-small"), whose encoder is then the tower; the model hears as long as it does, 30 s. With either the
    name of `out` says so, unless you choose it. What had been learnt along the way is kept in `work`: snapshots, and
    the answers of each (answers.csv). Raises CheckpointError, before any work, if language model or tower cannot be
    had, or do not fit.
    """
    recipe, bank, recorded = training_material(recipe_named(MINI_RECIPES, name, shorten, seed), clips)
    title = "-".join([name, *(Path(other).resolve().name for other in (tower, language_model) if other is not None)])
    if language_model is not None:
        place = Path(language_model)  # a folder is read again when the parts are assembled, from wherever that is
        recipe = replace(recipe, language_model=str(place.resolve()) if place.is_dir() else language_model)
    ears = read_tower(tower or recipe.tower)
    recipe = replace(recipe, tower=tower or recipe.tower, tower_sha256=ears.sha256, size=ears.size)
    out = out or work / (title if seed is None else f"{title}-seed{seed}")
    recipe = recipe if seed is None else replace(recipe, seed=seed)
    model, processor = build_mini(recipe.family, read_language_model(recipe.language_model), ears.state, recipe.size)
    model.to(torch.device(device))
    progress = Progress(
        work / f"{name}-{short_hash(recipe.as_dict(), recorded)}", every=100, workers=workers, quiet=quiet
    )
    progress.folder.mkdir(parents=True, exist_ok=True)
    hear, held_out = heard_scenes(model, processor, recipe, bank, work, progress)
    learnt = train_and_watch(model, processor, recipe, hear, held_out, progress)
    save_mini(out, title, model, recipe, learnt, recorded)
    return out


@dataclass(frozen=True)
class HeldOut:
    """Scenes that are in no training, heard, with every question about them."""

    heard: HeardScenes
    asked: list[list[Asked]]


def heard_scenes(
    model: Any, processor: Any, recipe: MiniRecipe, bank: ClipBank | None, work: Path, progress: Progress
) -> tuple[Callable[[], HeardScenes], Callable[[], HeldOut]]:
    """What hears the training's scenes, and what hears a hundred others.

    Both are kept in `work` and shared there by all trainings on the same scenes.
    """
    recorded = sorted(clip.path.name for clip in bank.clips) if bank else []
    scenes_of = recipe.scenes_recipe()
    heard_by = [recipe.tower, recipe.tower_sha256] if recipe.tower_sha256 else [recipe.tower]
    key = short_hash(scenes_of.as_dict(), recorded, *heard_by)

    def hear() -> HeardScenes:
        source = SceneSource(scenes_of, bank)
        return kept_scenes(work / f"scenes-{key}.safetensors", lambda: hear_corpus(model, processor, source, progress))

    def held_out() -> HeldOut:
        source = HeldOutSource(scenes_of, count=100)
        path = work / f"held-out-{short_hash(*heard_by)}.safetensors"
        heard = kept_scenes(path, lambda: hear_corpus(model, processor, source, progress))
        return with_questions(heard, recipe.events)

    return hear, held_out


def with_questions(heard: HeardScenes, events: Sequence[str]) -> HeldOut:
    """Every question about each heard scene of three events; the same ones at every call."""
    asked = [
        questions_about(scene, events, np.random.default_rng([HELD_OUT_SEED, index, 5]))
        for index, scene in enumerate(heard.scenes)
    ]
    return HeldOut(heard, asked)


class HeldOutSource(SceneSource):
    """Procedural three-event scenes made anew (no bank): scene i is that of `evaluation.evaluate`."""

    def __init__(self, recipe: Recipe, count: int, clips: ClipBank | None = None) -> None:
        self.recipe = replace(recipe, language=replace(recipe.language, scenes=count))
        names = [name for name in (SOUNDS if clips is None else clips.categories) if name in recipe.events]
        self.maker = SceneMaker(names, clips=clips, seconds=float(recipe.size.seconds))

    def scene(self, index: int) -> Scene:
        return self.maker.scene(index % 1_000_000, HELD_OUT_SEED)  # a corpus counts its scenes from ten million on


def train_and_watch(
    model: Any,
    processor: Any,
    recipe: MiniRecipe,
    hear: Callable[[], HeardScenes],
    held_out: Callable[[], HeldOut],
    progress: Progress,
    snapshots: Sequence[int] = SNAPSHOTS,
) -> Learnt:
    """`train_adapters`, keeping in `progress.folder` what had been learnt after each of the steps `snapshots` (and at
    the end) as float16, and which share of the held-out questions was then answered right."""
    watched: list[HeldOut] = []

    def look(step: int, learnt: Learnt) -> None:
        watched[:] = watched or [held_out()]
        save_snapshot(progress.folder / f"step-{step:05d}.safetensors", learnt)
        table = answers_now(model, processor, watched[0]).assign(step=step)
        path = progress.folder / "answers.csv"
        table.to_csv(path, mode="a", header=not path.exists(), index=False)

    steps = sorted({step for step in snapshots if step < recipe.stage.steps} | {recipe.stage.steps})
    return train_adapters(model, processor, recipe, hear, progress, steps, look)


def save_snapshot(path: Path, learnt: Learnt) -> None:
    """Projector and adapters in float16, as one safetensors file."""
    save_file({name: value.to(torch.float16).contiguous() for name, value in learnt.tensors().items()}, path)


def answers_now(model: Any, processor: Any, held_out: HeldOut) -> pd.DataFrame:
    """The share of held-out questions that the model, as it is now, answers to the letter (see `shares_right`)."""
    turns = [[each.turn for each in scene] for scene in held_out.asked]
    return shares_right(held_out.asked, exactly_answered(model, Packer(processor), held_out.heard, turns))


def save_mini(out: Path, name: str, model: Any, recipe: MiniRecipe, learnt: Learnt, recorded: Sequence[str]) -> None:
    """The trained parts and what they were taught, as a folder that `load` takes."""
    any_text = {"any_text": True}  # the decoder knows more words than it was taught here
    save_parts(out, model.model.audio_tower.state_dict(), learnt, facts_of(name, recipe, recorded, any_text))
