"""Where the audio tower of a mini model comes from: a pocket model, or the encoder of a Whisper checkpoint.

The towers of both classes have the layout of Whisper's encoder, name by name, so its weights go in as they are. Behind
them the classes pool by two, which Whisper does not; the projector learns on what comes out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, WhisperModel

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.lm.models import POCKET_MODELS, WEIGHTS
from steer_utils.pocket.architecture import POSITIONS_PER_SECOND, Size
from steer_utils.pocket.language_model import no_bars
from steer_utils.pocket.recipe import RECIPES

TOWER = "audio_tower."
LEAST_SECONDS = 8  # scenes of the training last as long as the tower hears, and hold up to four events


@dataclass(frozen=True, eq=False)
class Tower:
    """The state of an audio tower by the names inside it, its size, and (of a Whisper) a hash of its weights."""

    state: dict[str, torch.Tensor]
    size: Size
    sha256: str = ""


def read_tower(name: str) -> Tower:
    """The tower of a pocket model, by its name, or else the encoder of a Whisper checkpoint, a folder or a hub id.

    Raises CheckpointError, in one line, for a Whisper that cannot be read, or whose encoder a tower cannot hold.
    """
    if name in POCKET_MODELS:
        return Tower(tower_state(WEIGHTS / name / "model.safetensors"), RECIPES[name].size)
    try:
        with no_bars():
            size = whisper_size(name, AutoConfig.from_pretrained(name, trust_remote_code=False))
            read: Any = WhisperModel.from_pretrained(
                name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, StrictDataclassError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"cannot read the tower {name!r}: {reason}; pass {', '.join(POCKET_MODELS)}, or a Whisper checkpoint with "
            "safetensors (a folder or a hub id)"
        ) from error
    whisper, loaded = read
    if missing := sorted(key for key in loaded["missing_keys"] if key.startswith("encoder.")):
        raise CheckpointError(
            f"the Whisper {name!r} has no {missing[0]} ({len(missing)} such weights); it is not whole"
        )
    state = dict(whisper.encoder.state_dict())
    return Tower(state, size, _digest(state))


def whisper_size(name: str, config: Any) -> Size:
    """The size of a tower with a Whisper's encoder in it. CheckpointError where there is none."""
    if config.model_type != "whisper":
        raise CheckpointError(f"the tower {name!r} is a {config.model_type} model; pass a Whisper checkpoint")
    seconds, rest = divmod(config.max_source_positions, POSITIONS_PER_SECOND)
    faults = {
        f"hears {config.max_source_positions} positions, not {POSITIONS_PER_SECOND} a second for {LEAST_SECONDS} or "
        "more whole seconds (1500 in OpenAI's)": rest or seconds < LEAST_SECONDS,
        f"has a feed-forward of {config.encoder_ffn_dim}, not four times its width {config.d_model}": (
            config.encoder_ffn_dim != 4 * config.d_model
        ),
        f"has the activation {config.activation_function!r}, not 'gelu'": config.activation_function != "gelu",
        "scales its embeddings": config.scale_embedding,  # the towers' own code reads it and then does not scale
    }
    for fault, there in faults.items():
        if there:
            raise CheckpointError(f"the Whisper {name!r} {fault}; a tower cannot hold it, pass another one")
    return Size(
        seconds=seconds,
        mel_bins=config.num_mel_bins,
        encoder_width=config.d_model,
        encoder_blocks=config.encoder_layers,
        encoder_heads=config.encoder_attention_heads,
    )


def tower_state(weights: Path) -> dict[str, torch.Tensor]:
    """The audio tower out of a model's safetensors file, by the names inside the tower."""
    with safe_open(weights, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith((TOWER, f"model.{TOWER}"))]  # noqa: SIM118
        return {name[name.index(TOWER) + len(TOWER) :]: file.get_tensor(name) for name in names}


def _digest(state: dict[str, torch.Tensor]) -> str:
    """A short hash of the weights: what was heard through others is not taken for what these hear."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
