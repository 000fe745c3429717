"""Scenes: a few sound events on one track with faint noise, and the exact seconds in which each one sounds.

scene = SceneMaker(["siren", "dog bark", "bell"]).make(7)        # scenemaker.py
scene.event("dog bark").span                                     # Interval(start=..., end=...)
scene.play(); scene.draw(); Scene.load(scene.save("street"))
"""

from __future__ import annotations

import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from steer_utils.sound.audio import read_audio
from steer_utils.sound.files import read_text, strict_json, whole_file, write_json
from steer_utils.sound.spans import Interval


@dataclass(frozen=True)
class Event:
    """One event of a scene. `source` is "procedural" or the recording's file name; a recording has no pitch label."""

    name: str
    span: Interval
    pitch: str | None = None
    loudness: str | None = None
    source: str = "procedural"


@dataclass(frozen=True, eq=False)
class Scene:
    """Samples (n,) float32 with the events in them, in order of time. `seed` (and `index`) make it again."""

    samples: np.ndarray
    rate: int
    events: tuple[Event, ...]
    seed: int | None = None
    index: int | None = None

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the events in order of time."""
        return tuple(event.name for event in self.events)

    def event(self, name: str) -> Event:
        """The event of that name; ValueError lists what the scene has."""
        for event in self.events:
            if event.name == name:
                return event
        raise ValueError(f"the scene has no {name!r}; it has: {', '.join(self.names)}")

    def play(self) -> Any:
        """A player for a notebook (IPython.display.Audio)."""
        from IPython.display import Audio

        return Audio(self.samples, rate=self.rate, normalize=False)

    def save(self, stem: str | os.PathLike[str]) -> Path:
        """Write `stem`.wav (16-bit PCM) and `stem`.json (events, seed); each appears whole or not at all."""
        wav, table = _pair(stem)
        wav.parent.mkdir(parents=True, exist_ok=True)
        facts = {
            "rate": self.rate,
            "duration": self.duration,
            "seed": self.seed,
            "index": self.index,
            "events": [asdict(event) for event in self.events],
        }
        content = io.BytesIO()  # libsndfile does not say why a file could not be written
        soundfile.write(content, self.samples, self.rate, subtype="PCM_16", format="WAV")
        with whole_file(wav) as part:
            part.write_bytes(content.getvalue())
        write_json(table, facts, indent=1)
        return wav

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scene:
        """Read a saved scene: the stem, the .wav or the .json. Samples are equal to 16-bit precision."""
        wav, table = _pair(path)
        for file in (wav, table):
            if not file.is_file():
                raise ValueError(f"there is no {str(file)!r}; a saved scene is a .wav and a .json of one name")
        try:
            facts = strict_json(read_text(table))
            events = tuple(Event(**{**event, "span": Interval(**event["span"])}) for event in facts["events"])
            rate, seed, index = facts["rate"], facts["seed"], facts["index"]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{str(table)!r} does not describe a saved scene ({error!r})") from error
        return cls(read_audio(wav, target_rate=rate), rate, events, seed, index)


def _pair(stem: str | os.PathLike[str]) -> tuple[Path, Path]:
    path = Path(stem)
    base = path.with_suffix("") if path.suffix in (".wav", ".json") else path
    return base.with_name(base.name + ".wav"), base.with_name(base.name + ".json")
