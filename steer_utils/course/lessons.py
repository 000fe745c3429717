"""What the notebooks share: how much to run, which scene, and where figures and results are kept.

    lesson = lessons.begin(preset, figures)
    scenes = lesson.size(smoke=4, course=30, paper=200)
    scene  = lessons.scene_of(events, lm, seed)
    lesson.show_method("push", "row")                      # the drawing that opens a lesson, with its parts lit
    lesson.keep(figure, "05_shift", alt, caption)          # figures/05_shift.png and .svg, shown under the cell

    # a killed run goes on from where it stopped:
    table = run_benchmark(lm, scenes, settings, resume_file=lesson.resume_file("table"))
    lesson.record("overlap", overlap)                      # into the run's result.json

The last two do something in a run that has a folder of its own (`steer-utils run`). Elsewhere, as in JupyterLab, they
change nothing, so that a lesson reads the same everywhere.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.runs.folder import PARTIALS, RECORDED
from steer_utils.runs.notebooks import RUN_FOLDER
from steer_utils.runs.parameters import PRESETS, as_plain
from steer_utils.show.plots.figures import save_figure, show
from steer_utils.show.plots.method import PARTS, alt_text_method, method_figure
from steer_utils.sound.files import json_safe, whole_file
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.scenes import Scene

T = TypeVar("T")
SECONDS = 8.0  # of a scene that a lesson looks at closely


@dataclass(frozen=True)
class Lesson:
    """One run of a notebook: its preset, the folder its figures go to, and the folder it has to itself, if any."""

    preset: str
    figures: Path
    folder: Path | None = None

    def size(self, *, smoke: T, course: T, paper: T) -> T:
        """What this preset takes of the three."""
        return {"smoke": smoke, "course": course, "paper": paper}[self.preset]

    def keep(self, figure: Figure, name: str, alt: str, caption: str) -> None:
        """Write `name`.png and .svg, show the figure with its alt text, and print the caption."""
        save_figure(figure, self.figures / name, alt, caption)
        show(figure, alt, caption)

    def show_method(self, *lit: str) -> None:
        """The drawing of the whole method that opens a lesson, its own parts lit (all, if none is named).

        Raises ValueError for a part that `show.plots.method.PARTS` does not have.
        """
        parts = lit or tuple(PARTS)
        caption = (
            "The method; lit: the part of this lesson." if lit else "The method, from a sound to a window in seconds."
        )
        show(method_figure(parts), alt_text_method(parts), caption)

    def record(self, name: str, value: Any) -> None:
        """Put a result into the run's result.json, under `recorded`; a name recorded again has the later value.

        `value`: numbers, text, lists and dicts, also of numpy or torch; nan and infinities become null, as json has
        none. Raises ValueError for an empty name or another kind of value, in a run or not.
        """
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"the name of a result is {name!r}; pass text such as 'overlap'")
        plain = json_safe(as_plain(name, value))
        if self.folder is None:
            return
        path = self.folder / RECORDED
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        with whole_file(path) as part:
            part.write_text(json.dumps({**before, name: plain}, allow_nan=False), encoding="utf-8")

    def resume_file(self, name: str) -> Path | None:
        """Where long work of that name keeps what is finished (see `resume`), in the run's folder; None without one.

        A run that was cut off or failed finds it again; each piece of work needs a name of its own. Raises ValueError
        for a name that is no file name.
        """
        if not isinstance(name, str) or not name.strip() or Path(name).name != name:
            raise ValueError(f"the name of a resume file is {name!r}; pass a file name such as 'table'")
        return None if self.folder is None else self.folder / PARTIALS / f"{name}.partial"


def begin(preset: str, figures: str | Path = "figures") -> Lesson:
    """A lesson with this preset. Raises ValueError for an unknown one.

    `figures`: a folder, made if need be; a relative one lies in the project, beside notebooks/. The folder that the run
    has to itself is named by an environment variable that `runs.folder` sets for the kernel it starts.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; pass one of {', '.join(PRESETS)}")
    folder = project_folder(Path.cwd()) / figures
    folder.mkdir(parents=True, exist_ok=True)
    run_folder = os.environ.get(RUN_FOLDER)
    return Lesson(preset, folder, Path(run_folder) if run_folder else None)


def project_folder(here: Path) -> Path:
    """The folder that holds notebooks/, seen from within it (at any depth); `here` itself elsewhere."""
    enclosing = [folder for folder in (here, *here.parents) if folder.name == "notebooks"]
    return enclosing[-1].parent if enclosing else here


def scene_of(events: str, checkpoint: Checkpoint, seed: int) -> Scene:
    """A scene of the sounds named, separated by commas, in that order; at most 8 s, and as long as the model hears.

    Raises ValueError for a sound that cannot be synthesised, naming those that can.
    """
    names = [name.strip() for name in events.split(",")]
    count = (len(names), len(names))
    return SceneMaker(names, events=count, seconds=min(SECONDS, checkpoint.window_seconds)).make_with(names, seed)
