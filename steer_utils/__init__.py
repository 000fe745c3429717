"""Steering what audio-language models listen to.

    import steer_utils as su

    lm      = su.load("pocket-qwen2-audio")
    hearing = lm.hear("street.wav")
    focus   = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
    reading = hearing.read("Describe the sound.", steer=0.5 * focus.late())
    shift   = reading.attention - hearing.read("Describe the sound.").attention
    shift.window(seconds=2.0)

Names are imported when they are first used, so `import steer_utils` is quick and loads no torch.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attention import attention_rows as attention_rows
    from .audio import AudioError as AudioError
    from .audio import read_audio as read_audio
    from .batches import Row as Row
    from .capture import hidden_states as hidden_states
    from .checkpoints import Checkpoint as Checkpoint
    from .checkpoints import CheckpointError as CheckpointError
    from .checkpoints import open_checkpoint as open_checkpoint
    from .exports.control_vectors import from_gguf as from_gguf
    from .exports.control_vectors import to_gguf as to_gguf
    from .exports.intervals import read_intervals as read_intervals
    from .exports.intervals import write_intervals as write_intervals
    from .exports.labels import Labelled as Labelled
    from .families import FAMILIES as FAMILIES
    from .families import UnsupportedModelError as UnsupportedModelError
    from .hearing import Hearing as Hearing
    from .hearing import Reading as Reading
    from .locating import Located as Located
    from .locating import UnknownEventError as UnknownEventError
    from .locating import locate as locate
    from .maps import AttentionMap as AttentionMap
    from .models import POCKET_MODELS as POCKET_MODELS
    from .models import AudioLM as AudioLM
    from .models import load as load
    from .recordings import ClipBank as ClipBank
    from .recordings import read_clips as read_clips
    from .scenemaker import SceneMaker as SceneMaker
    from .scenes import Event as Event
    from .scenes import Scene as Scene
    from .sounds import SOUNDS as SOUNDS
    from .sounds import synthesise as synthesise
    from .spans import AudioSpan as AudioSpan
    from .spans import Interval as Interval
    from .spans import best_window as best_window
    from .steering import Injection as Injection
    from .steering import steer as steer
    from .vectors import SteeringVector as SteeringVector
    from .vectors import VectorMismatchError as VectorMismatchError

_MODULE_OF = {
    "AttentionMap": "maps",
    "AudioError": "audio",
    "AudioLM": "models",
    "AudioSpan": "spans",
    "Checkpoint": "checkpoints",
    "CheckpointError": "checkpoints",
    "ClipBank": "recordings",
    "Event": "scenes",
    "FAMILIES": "families",
    "Hearing": "hearing",
    "Injection": "steering",
    "Interval": "spans",
    "Labelled": "exports.labels",
    "Located": "locating",
    "POCKET_MODELS": "models",
    "Reading": "hearing",
    "Row": "batches",
    "SOUNDS": "sounds",
    "Scene": "scenes",
    "SceneMaker": "scenemaker",
    "SteeringVector": "vectors",
    "UnsupportedModelError": "families",
    "UnknownEventError": "locating",
    "VectorMismatchError": "vectors",
    "attention_rows": "attention",
    "best_window": "spans",
    "from_gguf": "exports.control_vectors",
    "hidden_states": "capture",
    "load": "models",
    "locate": "locating",  # a module named as its function would hide it once imported
    "open_checkpoint": "checkpoints",
    "read_audio": "audio",
    "read_clips": "recordings",
    "read_intervals": "exports.intervals",
    "steer": "steering",
    "synthesise": "sounds",
    "to_gguf": "exports.control_vectors",
    "write_intervals": "exports.intervals",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            return metadata.version("steer-utils")
        except metadata.PackageNotFoundError:  # used from its source folder
            return "0+unknown"
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
