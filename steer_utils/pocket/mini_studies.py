"""Two questions about the trainings of a mini model: when does it learn to be steered, and do vectors carry over?

`over_steps`        snapshots along one training, each with settings of its own: answers learnt, steering, prompting
`between_trainings` vectors made by other trainings, by the twin and by a pocket model, added to the one that ships

Both keep finished parts in `work`, and write their rows into analyses.json and analyses.md beside the weights.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM, load
from steer_utils.lm.vectors import SteeringVector
from steer_utils.methods.base import Query
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.methods.tuning import tune
from steer_utils.pocket.analyses import add_results
from steer_utils.pocket.commands import POCKET_SETTINGS, PROMPT_QUESTIONS, development_names, open_pocket, progress_bar
from steer_utils.pocket.language_model import read_language_model
from steer_utils.pocket.mini_architecture import build_mini
from steer_utils.pocket.mini_training import Learnt
from steer_utils.pocket.parts import load_parts
from steer_utils.sound.files import json_safe
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.study.alignment import align_all, shared_states
from steer_utils.study.benchmark import run_benchmark, scene_set
from steer_utils.study.report import summary
from steer_utils.study.resume import Record, resumable_rows
from steer_utils.study.transfer import (
    Carrier,
    Maker,
    VectorSource,
    own_vector,
    random_vector,
    silent_vector,
    swapped_vector,
    vector_summary,
    vector_table,
)

ALONG_METHODS = ("steering", "prompting", "prompting-best", "contrast-prompting", "unsteered", "random-vector")
ALONG_STRENGTHS = (2.0, 8.0)  # of each snapshot's own settings
MAP_SCENES = 36  # scenes that a linear map between two models is fitted on


def over_steps(
    name: str,
    snapshots: Sequence[Path],
    *,
    work: Path,
    scenes: int = 40,
    tuning_scenes: int = 8,
    seed: int = 7,
    quiet: bool = False,
) -> Path:
    """Steering and prompting at each snapshot (a safetensors file whose name ends in its step); the page's path.

    Each snapshot gets settings of its own, chosen on development classes: those of the last step would put the earlier
    ones at a disadvantage. Raises ValueError, before any work, for no snapshots, or a file without a step in its name.
    """
    steps = {step_of(path): path for path in snapshots}
    if len(steps) < len(snapshots) or not steps:
        raise ValueError(f"got {len(snapshots)} snapshots of {len(steps)} steps; pass one file a step, at least one")
    checkpoint, folder = open_pocket(name)
    model, processor, family = untrained(folder)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    names = development_names(checkpoint)
    order = sorted(steps)
    contrast = model_settings(checkpoint).vector_question

    def rows_of(place: int) -> list[Record]:
        step = order[place]
        model.load_state_dict(start)
        Learnt.of(load_file(steps[step])).put_into(model)
        lm = AudioLM(model, processor, FAMILIES[family], f"{folder.name}, step {step}")
        settings = tune(
            lm,
            names,
            start=replace(POCKET_SETTINGS, vector_question=contrast),
            scenes=tuning_scenes,
            strengths=ALONG_STRENGTHS,
            prompt_questions=PROMPT_QUESTIONS,
            progress=progress_bar(f"step {step}, settings", quiet),
        ).settings
        table = run_benchmark(
            lm,
            scene_set(lm, settings, count=scenes, seed=seed),
            settings,
            methods=ALONG_METHODS,
            progress=progress_bar(f"step {step}", quiet),
        )
        every = summary(table).query("slot == 'all'")
        columns = ["method", "overlap", "low", "high", "chance", "n"]
        return [{"step": step, **row} for row in json_safe(every[columns].to_dict("records"))] + [
            {"step": step, "settings": json_safe(asdict(settings))}
        ]

    identity = {"analysis": "over steps", "model": folder.name, "steps": order, "scenes": scenes, "seed": seed}
    rows = resumable_rows(len(order), rows_of, identity, resume_file=work / f"{folder.name}-over-steps.partial")
    found = {
        "scenes": {"scenes": scenes, "seed": seed, "sounds": "procedural"},
        "tuning_scenes": tuning_scenes,
        "rows": [row for row in rows if "method" in row],
        "settings": [row for row in rows if "settings" in row],
    }
    return add_results(folder, checkpoint.revision, {"over steps": found})


def untrained(folder: Path) -> tuple[Any, Any, str]:
    """Model and processor of a mini model's parts without what was learnt, and the name of their family."""
    parts = load_parts(folder)
    recipe = parts.facts["recipe"]
    language_model = read_language_model(recipe["language_model"])
    return *build_mini(recipe["family"], language_model, parts.tower, parts.size), recipe["family"]


def step_of(path: Path) -> int:
    """The training step that a file's name ends in, as step-00050 or seed1-step050. Raises ValueError for none."""
    if (number := re.search(r"step-?(\d+)$", path.stem)) is None:
        raise ValueError(f"{path.name!r} does not end in its step; name it as step-00050.safetensors")
    return int(number[1])


def between_trainings(
    name: str,
    trainings: Mapping[str, Path],
    *,
    others: Sequence[str],
    work: Path,
    scenes: int = 40,
    seed: int = 7,
    quiet: bool = False,
) -> Path:
    """Vectors from elsewhere, added to the model that ships: the page's path.

    `trainings`: what other trainings by the same recipe learnt, by name; their vectors are added as they are, for the
    language model is the same. `others`: models that load by name. Those of the same width are tried as they are, and
    all of them by linear maps fitted on development classes (`alignment`), with shuffled pairs as the control.
    """
    lm, folder = open_pocket(name)
    settings = model_settings(lm)
    blocks = settings.steered_blocks(lm.num_blocks)
    makers: dict[str, Maker] = {
        "its own vector": own_vector(settings),
        "its own, made in silence": silent_vector(settings),
        "its own, of another event": swapped_vector(settings),
    }
    for title, path in trainings.items():
        model, processor, family = untrained(folder)
        Learnt.of(load_file(path)).put_into(model)
        trained = AudioLM(model, processor, FAMILIES[family], f"{folder.name}, {title}")
        makers[f"{title}, as it is"] = _as_it_is(VectorSource(trained, settings), blocks)
    audios, prompts, neutral = _shared_inputs(lm, settings, seed)
    target = shared_states(lm, audios, prompts, neutral)
    for other in others:
        elsewhere = load(other)
        source = VectorSource(elsewhere, settings)
        if (elsewhere.num_blocks, elsewhere.hidden_size) == (lm.num_blocks, lm.hidden_size):
            makers[f"{other}, as it is"] = _as_it_is(source, blocks)
        states = shared_states(elsewhere, audios, prompts, neutral)
        best = align_all(states, target, blocks)
        makers[f"{other}, by a map"] = Carrier(source, [best])
        shuffled = [align_all(states, target, blocks, like=best, shuffle=draw) for draw in range(4)]
        makers[f"{other}, by shuffled pairs"] = Carrier(source, shuffled)
    makers["random direction"] = random_vector(settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="this vector was made with")  # that is the question here
        table = vector_table(
            lm,
            scene_set(lm, settings, count=scenes, seed=seed),
            settings,
            makers,
            resume_file=work / f"{folder.name}-between.partial",
            progress=progress_bar("vectors", quiet),
        )
    rows = json_safe(vector_summary(table, against="random direction").to_dict("records"))
    found = {"scenes": {"scenes": scenes, "seed": seed, "sounds": "procedural"}, "rows": rows}
    return add_results(folder, lm.revision, {"between trainings": found})


def _as_it_is(source: VectorSource, blocks: Sequence[int]) -> Maker:
    """What the source makes for the audio, in these blocks."""

    def vector(hearing: Hearing, query: Query) -> SteeringVector:
        return source.vector(hearing, query.event).select(blocks)

    return vector


def _shared_inputs(lm: AudioLM, settings: Settings, seed: int) -> tuple[list[np.ndarray], list[str], str]:
    """Audios and prompts about development classes, which no scene of the test holds, and the neutral prompt."""
    names = settings.development_events
    maker = SceneMaker(names, seconds=lm.window_seconds)
    audios = [maker.scene(index, seed + 1).samples for index in range(MAP_SCENES)]
    question = settings.contrast_question
    return audios, [settings.focus(event, question) for event in names], f"{settings.negative} {question}"
