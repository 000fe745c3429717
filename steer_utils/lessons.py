"""What the notebooks share: how much to run, which scene, and where figures are kept.

    lesson = lessons.begin(preset, figures)
    scenes = lesson.size(smoke=4, course=30, paper=200)
    scene  = lessons.scene_of(events, lm, seed)
    lesson.keep(figure, "05_shift", alt, caption)          # figures/05_shift.png and .svg, shown under the cell
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from .checkpoints import Checkpoint
from .figures import save_figure, show
from .runs import PRESETS
from .scenemaker import SceneMaker
from .scenes import Scene

T = TypeVar("T")
SECONDS = 8.0  # of a scene that a lesson looks at closely


@dataclass(frozen=True)
class Lesson:
    """One run of a notebook: its preset, and the folder its figures go to."""

    preset: str
    figures: Path

    def size(self, *, smoke: T, course: T, paper: T) -> T:
        """What this preset takes of the three."""
        return {"smoke": smoke, "course": course, "paper": paper}[self.preset]

    def keep(self, figure: Figure, name: str, alt: str, caption: str) -> None:
        """Write `name`.png and .svg, show the figure with its alt text, and print the caption."""
        save_figure(figure, self.figures / name, alt, caption)
        show(figure, alt, caption)


def begin(preset: str, figures: str | Path = "figures") -> Lesson:
    """A lesson with this preset. `figures`: a folder, made if need be; a relative one lies in the project, beside
    notebooks/. Raises ValueError for an unknown preset."""
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; pass one of {', '.join(PRESETS)}")
    folder = project_folder(Path.cwd()) / figures
    folder.mkdir(parents=True, exist_ok=True)
    return Lesson(preset, folder)


def project_folder(here: Path) -> Path:
    """The folder that holds notebooks/, seen from within it (at any depth); `here` itself elsewhere."""
    within = [folder for folder in (here, *here.parents) if folder.name == "notebooks"]
    return within[-1].parent if within else here


def scene_of(events: str, checkpoint: Checkpoint, seed: int) -> Scene:
    """A scene of the sounds named, separated by commas, in that order; at most 8 s, and as long as the model hears.

    Raises ValueError for a sound that cannot be synthesised, naming those that can.
    """
    names = [name.strip() for name in events.split(",")]
    count = (len(names), len(names))
    return SceneMaker(names, events=count, seconds=min(SECONDS, checkpoint.window_seconds)).make_with(names, seed)
