"""Scenes: a few sound events on one track with faint noise, and the exact seconds in which each one sounds.

    scene = SceneMaker(["siren", "dog bark", "bell"]).make(7)        # scenemaker.py
    scene.event("dog bark").span                                     # Interval(start=..., end=...)
    scene.play(); scene.draw(); Scene.load(scene.save("street"))
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from steer_utils.sound.audio import mel_band, mel_spectrogram, read_audio
from steer_utils.sound.files import whole_file
from steer_utils.sound.spans import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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

    def draw(self, ax: Axes | None = None) -> Axes:
        """Mel spectrogram (greys) with a bracket and a label over each event; labels never overlap."""
        from matplotlib import pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
        mel = mel_spectrogram(self.samples, self.rate)
        top = mel.shape[0]
        ax.imshow(mel, origin="lower", aspect="auto", cmap="Greys", extent=(0, self.duration, 0, top))
        ax.set(xlim=(0, self.duration), xlabel="seconds", ylabel="Hz (mel scale)")
        ticks = [hz for hz in (250, 1000, 4000, 12000) if hz < self.rate / 2]
        ax.set_yticks([mel_band(hz, self.rate, mel.shape[0]) for hz in ticks], [str(hz) for hz in ticks])
        _draw_labels(ax, self.events, float(top))
        return ax

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
        with whole_file(wav) as part:
            soundfile.write(part, self.samples, self.rate, subtype="PCM_16", format="WAV")
        with whole_file(table) as part:
            part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return wav

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scene:
        """Read a saved scene: the stem, the .wav or the .json. Samples are equal to 16-bit precision."""
        wav, table = _pair(path)
        for file in (wav, table):
            if not file.is_file():
                raise ValueError(f"there is no {str(file)!r}; a saved scene is a .wav and a .json of one name")
        try:
            facts = json.loads(table.read_text(encoding="utf-8"))
            events = tuple(Event(**{**event, "span": Interval(**event["span"])}) for event in facts["events"])
            rate, seed, index = facts["rate"], facts["seed"], facts["index"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{str(table)!r} does not describe a saved scene ({error!r})") from error
        return cls(read_audio(wav, target_rate=rate), rate, events, seed, index)


def _pair(stem: str | os.PathLike[str]) -> tuple[Path, Path]:
    path = Path(stem)
    base = path.with_suffix("") if path.suffix in (".wav", ".json") else path
    return base.with_name(base.name + ".wav"), base.with_name(base.name + ".json")


def _draw_labels(ax: Axes, events: Sequence[Event], top: float) -> None:
    """Brackets at the top edge; a label that would touch an earlier one moves up a row."""
    to_seconds = ax.transData.inverted()
    ends: list[float] = []  # right edge (s) of the last label in each row
    for event in events:
        start, end = event.span.start, event.span.end
        ax.plot([start, start, end, end], [0, top, top, 0], color="black", lw=1.2, ls="--", clip_on=False)
        label = ax.annotate(event.name, (event.span.center, top), ha="center", va="bottom",
                            xytext=(0, 2), textcoords="offset points", annotation_clip=False)  # fmt: skip
        (left, _), (right, _) = to_seconds.transform(label.get_window_extent())
        row = next((i for i, taken in enumerate(ends) if left > taken), len(ends))
        ends[row : row + 1] = [float(right + 0.1 * (right - left))]  # room for the layout to shrink the axes a little
        label.xyann = (0, 2 + row * 1.3 * float(label.get_fontsize()))
