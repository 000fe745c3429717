"""What is kept beside a model's weights: the settings chosen for it, and what it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

from .checkpoints import Checkpoint, CheckpointError
from .models import pocket_folder
from .settings import PAPER, Settings


def folder_of(checkpoint: Checkpoint) -> Path | None:
    """The local folder a model was opened from; None for a hub id or a model made in memory."""
    try:
        folder = pocket_folder(checkpoint.name) or Path(checkpoint.name).expanduser()
    except CheckpointError:  # a pocket model that is not installed (yet)
        return None
    return folder if (folder / "config.json").is_file() else None


def model_settings(checkpoint: Checkpoint) -> Settings:
    """settings.json of the model's folder (chosen on development classes), or the paper's setting as declared.

    Raises ValueError for a settings file that cannot be read.
    """
    folder = folder_of(checkpoint)
    path = folder / "settings.json" if folder else None
    return Settings.load(path) if path is not None and path.is_file() else PAPER


def trained_recordings(checkpoint: Checkpoint) -> frozenset[str]:
    """File names of the recordings a pocket model was trained on: a test must leave them out.

    Raises CheckpointError for a damaged list: to take it for an empty one would test on training data.
    """
    folder = folder_of(checkpoint)
    path = folder / "pocket.json" if folder else None
    if path is None or not path.is_file():
        return frozenset()
    try:
        names = json.loads(path.read_text(encoding="utf-8")).get("trained_recordings", [])
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path} is damaged: trained_recordings must be a list of file names")
    return frozenset(names)
