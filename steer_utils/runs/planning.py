"""From a grid to the units of a sweep, checked against each model's configuration before any weights are read.

    sweep_plan = plan_sweep(read_grid(Path("grid.yaml")))
    sweep_plan.units, sweep_plan.notes

A unit is a dict that json can hold and that says all its result depends on; its name ends in a hash of that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from transformers import AutoConfig

from steer_utils.lm.blocks import block_numbers, blocks_text, named_blocks
from steer_utils.lm.checkpoints import Checkpoint, CheckpointError
from steer_utils.lm.environment import library_versions
from steer_utils.lm.families import family_of, listening_config
from steer_utils.lm.family import UnsupportedModelError
from steer_utils.lm.loading import check_numbers, fingerprint, known_events
from steer_utils.lm.models import pocket_folder
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.runs.executors import Unit
from steer_utils.runs.grids import Grid, NotebookGrid, SteeringGrid
from steer_utils.runs.identity import HASH_LENGTH, digest, run_identity
from steer_utils.runs.lesson_paths import lesson_path
from steer_utils.runs.measuring import blocks_read, points_of, scenes_of
from steer_utils.sound.datasets import open_clips

#: Of a unit: where something lies, or what it is called. All else decides what comes out.
PLACES = ("name", "model", "source", "clips")


@dataclass(frozen=True)
class Plan:
    """The units of a grid, and what a reader should know of them before they start."""

    units: tuple[Unit, ...]
    notes: tuple[str, ...] = ()


def plan_sweep(grid: Grid) -> Plan:
    """The units of `grid`, model by model, so that a worker seldom changes its model.

    Raises ValueError, naming the model where it is about one: a model that is not there or of another kind, blocks that
    it lacks or that leave nothing to read, classes that it does not know or that are too few, a settings file or a
    folder of recordings that cannot be read, parameters that a notebook does not have.
    """
    return _notebook_plan(grid) if isinstance(grid, NotebookGrid) else _steering_plan(grid)


@dataclass(frozen=True)
class _Outline:
    """A model without its weights: enough to make its scenes and to know its blocks."""

    checkpoint: Checkpoint
    source: str
    num_blocks: int


def _outlined(name: str) -> _Outline:
    pocket = pocket_folder(name)
    folder = pocket or Path(name).expanduser()
    local = (folder / "config.json").is_file()
    where = str(folder) if local else name
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        family = family_of(config)
        processor = family.processor(where)
    except UnsupportedModelError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read a model configuration from {name!r}: {error}") from error
    checkpoint = Checkpoint(
        model=None,
        processor=processor,
        family=family,
        name=name,
        revision=fingerprint(folder) if local else getattr(config, "_commit_hash", None),
        events=known_events(folder) if local else None,
    )
    source = name if pocket is not None or not local else str(folder.resolve())
    return _Outline(checkpoint, source, int(listening_config(config).text_config.num_hidden_layers))


# -- steering --------------------------------------------------------------------------------------------------------
def _steering_plan(grid: SteeringGrid) -> Plan:
    check_numbers(grid.dtype, grid.quantise)
    given = None if grid.settings is None else Settings.load(Path(grid.settings))
    clips = None if grid.clips is None else Path(grid.clips).resolve()
    recordings = None
    if clips is not None:
        recordings = digest([[one.path.name, one.category] for one in open_clips(clips)])[:HASH_LENGTH]
    units, notes = [], []
    for model in grid.models:
        outline = _outlined(model)
        settings = given or model_settings(outline.checkpoint)
        development = grid.split.development or settings.development_events
        if not development:
            raise ValueError(
                f"the settings of {model} were chosen on no classes; name those to choose on, such as "
                "split: {development: [siren, knock, drum]}"
            )
        read = grid.read_blocks if isinstance(grid.read_blocks, tuple) else None
        read = settings.read_blocks if grid.read_blocks == "own" else read
        unit: Unit = {
            "kind": "steering",
            "model": model,
            "source": outline.source,
            "revision": outline.checkpoint.revision,
            "num_blocks": outline.num_blocks,
            "scenes": grid.scenes,
            "choosing": grid.split.scenes or grid.scenes,
            "development": list(development),
            "settings": json.loads(json.dumps(asdict(settings))),
            "questions": list(grid.questions or (settings.question,)),
            "strengths": list(grid.strengths),
            "read_blocks": read and list(block_numbers(read, outline.num_blocks, "read_blocks", model)),
            "clips": None if clips is None else str(clips),
            "recordings": recordings,
            "dtype": grid.dtype,
            "device": grid.device,
            "quantise": grid.quantise,
            "version": library_versions()["steer-utils"],
        }
        for question in unit["questions"]:
            outline.checkpoint.prompt(question)  # refuses what no prompt can hold
        every = dict(_block_choices(grid, model, outline.num_blocks))
        kept = {label: blocks for label, blocks in every.items() if _moves(unit, blocks)}
        if not kept:
            raise ValueError(f"{model}: no block that is read comes after {', '.join(every)}; steer earlier blocks")
        if lost := [label for label in every if label not in kept]:
            notes.append(f"{model}: {', '.join(lost)} left out, since no block that is read comes after")
        unit["blocks"] = [[label, blocks] for label, blocks in kept.items()]
        scenes_of(outline.checkpoint, {**unit, "seed": 0})
        units += [_named({**unit, "seed": seed}) for seed in grid.seeds]
        notes.append(f"{model}: {len(points_of(unit))} settings a query, controls among them")
    return Plan(tuple(units), tuple(notes))


def _block_choices(grid: SteeringGrid, model: str, count: int) -> Iterator[tuple[str, list[int]]]:
    """(label, block numbers) of each choice in a model of `count` blocks."""
    for choice in grid.blocks:
        if choice == "each":
            yield from ((str(block), [block]) for block in range(count - 1))  # the last moves no attention
        elif isinstance(choice, str):
            yield choice, list(named_blocks(choice, count))
        else:
            yield blocks_text(choice), list(block_numbers(choice, count, owner=model))


def _moves(unit: Unit, blocks: Sequence[int]) -> bool:
    """Whether anything that is read can change when these blocks are steered."""
    read = blocks_read(unit, blocks) if blocks else []
    return bool(read) and max(read) > min(blocks)


# -- notebooks -------------------------------------------------------------------------------------------------------
def _notebook_plan(grid: NotebookGrid) -> Plan:
    notebook = _notebook(grid.notebook)
    lists = {name: value if isinstance(value, list) else [value] for name, value in grid.parameters.items()}
    swept = [name for name, value in grid.parameters.items() if isinstance(value, list)]
    units = []
    for model, *values, seed in product(grid.models or (None,), *lists.values(), grid.seeds or (None,)):
        parameters = dict(zip(lists, values, strict=True))
        parameters |= {name: value for name, value in (("model", model), ("seed", seed)) if value is not None}
        facts = run_identity(notebook, parameters)  # checks names and types
        units.append(
            {
                "name": f"{_slug(model or notebook.stem)}-{0 if seed is None else seed}-{facts.hash}",
                "kind": "notebook",
                "model": model,
                "seed": seed,
                "notebook": str(notebook),
                "parameters": facts.given,
                "swept": {name: parameters[name] for name in swept},
                "version": library_versions()["steer-utils"],
            }
        )
    if len({unit["name"] for unit in units}) < len(units):
        raise ValueError("parameters has a value twice in a list; give each once")
    return Plan(tuple(units))


def _notebook(name: str) -> Path:
    """A notebook by its path, by a lesson's number, or by an elective's name."""
    path = lesson_path(name)
    if not path.is_file():
        raise ValueError(f"there is no notebook {name!r}; pass a path, a lesson's number or an elective's name")
    return path.resolve()


# -- names -----------------------------------------------------------------------------------------------------------
def _named(unit: Unit) -> Unit:
    told = digest({key: value for key, value in unit.items() if key not in PLACES})[:HASH_LENGTH]
    return {"name": f"{_slug(unit['model'])}-{unit['seed']}-{told}", **unit}


def _slug(model: str) -> str:
    return re.sub(r"[^\w.-]+", "-", Path(model).name)
