"""The parts of a mini model that are ours, in one folder: a few megabytes that ship with the package.

parts.safetensors   the tower (float32), projector and adapters (float16)
pocket.json         what it was taught, and by which recipe
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.pocket.architecture import Size
from steer_utils.pocket.mini_training import Learnt
from steer_utils.sound.files import read_json, whole_file, write_json

WEIGHTS_FILE, FACTS_FILE = "parts.safetensors", "pocket.json"
_TOWER = "tower."


@dataclass(frozen=True, eq=False)
class Parts:
    """The tower's state and size, what was learnt, and the facts of pocket.json."""

    tower: dict[str, torch.Tensor]
    size: Size
    learnt: Learnt
    facts: dict[str, Any]


def save_parts(folder: Path, tower: Mapping[str, torch.Tensor], learnt: Learnt, facts: Mapping[str, object]) -> None:
    """Write both files; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{_TOWER}{name}": value.float().cpu().contiguous() for name, value in tower.items()}
    tensors |= {name: value.to("cpu", torch.float16).contiguous() for name, value in learnt.tensors().items()}
    with whole_file(folder / WEIGHTS_FILE) as part:
        save_file(tensors, part)
    write_json(folder / FACTS_FILE, facts)


def load_parts(folder: Path) -> Parts:
    """Read both files. Raises CheckpointError where one is missing or damaged."""
    try:
        facts = read_json(folder / FACTS_FILE)
        tensors = load_file(folder / WEIGHTS_FILE)
        facts["recipe"]["family"], facts["recipe"]["language_model"]
        size = Size(**facts["recipe"].get("size", {}))  # the first parts that shipped do not say
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the parts of a mini model in {folder} cannot be read: {error!r}") from error
    except Exception as error:  # safetensors has an error class of its own for a damaged file
        raise CheckpointError(f"{folder / WEIGHTS_FILE} is damaged: {error}") from error
    tower = {name.removeprefix(_TOWER): value for name, value in tensors.items() if name.startswith(_TOWER)}
    return Parts(tower, size, Learnt.of(tensors), facts)
