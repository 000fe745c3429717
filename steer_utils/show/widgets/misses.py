"""The worst misses of a benchmark run: which they are, where each window landed instead, each with its sound.

    table = run_benchmark(lm, scene_set(lm, settings, count=50, seed=0), settings)
    MissGallery(lm, table)                               # as the last line of a cell
    MissGallery(lm, read_table(Path("run.parquet")), method="prompting", clips=ClipBank.read("recordings"))

The same without widgets:

    worst  = misses(table, "steering")                   # worst first
    scenes = scenes_of(table, lm)                        # refuses what cannot be made again
    misses_figure(worst[:4], scenes)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import in_order, label_of
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.located import event_marks, events_text, mark, spectrogram
from steer_utils.show.widgets.intake import made_scene
from steer_utils.show.widgets.listening import Listening
from steer_utils.show.widgets.panels import Panel, StatusLine, aligned, panel_box, row, widgets
from steer_utils.sound.conditions import PLAIN
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.scenes import Scene
from steer_utils.sound.spans import AudioSpan, Interval
from steer_utils.study.benchmark import SceneSet, scene_set
from steer_utils.study.metrics import slot_of

BELOW = 0.5  # overlap below which a window is a miss
SHIFT = 2e-4  # seconds by which an event may lie elsewhere: times in a csv are rounded
NEEDED = (
    *"scene event source truth_start truth_end others".split(),
    *"token_seconds method start end overlap answer curve".split(),
)


@dataclass(frozen=True, eq=False)
class Miss:
    """One query that a method got wrong.

    `scene`: its index. `found` is None where an answer named no time. `landed`: the other event that the window shares
    most seconds with; "" where it shares some with none. `events`: names and intervals, in order of time. `curve`:
    (tokens,), or None for methods without one.
    """

    method: str
    scene: int
    event: str
    truth: Interval
    found: Interval | None
    overlap: float
    landed: str
    answer: str
    curve: np.ndarray | None
    token_seconds: float
    events: tuple[tuple[str, Interval], ...]

    def __repr__(self) -> str:
        return f"Miss({self.described()})"

    @property
    def title(self) -> str:
        """Which query it is, in a few words."""
        return f"scene {self.scene}, {self.event}: overlap {100 * self.overlap:.0f} %"

    def described(self) -> str:
        """What was found, what the truth is, and on which event the window landed."""
        sought = f"scene {self.scene}: the {self.event} is at {self.truth}"
        if self.found is None:
            return f"{sought}; {label_of(self.method)} names no time ({self.answer!r})"
        place = f"on the {self.landed}" if self.landed else "on no other event"
        said = f"{sought}; {label_of(self.method)} found {self.found}, {place} (overlap {100 * self.overlap:.0f} %)"
        return f"{said}; the model said {self.answer!r}" if self.answer else said

    def remade(self, scenes: SceneSet) -> Scene:
        """The scene that this query was about. Raises ValueError where another one is made (see `scenes_of`)."""
        scene = scenes.maker.scene(self.scene, scenes.seed)
        made = [(event.name, event.span) for event in scene.events]
        if [name for name, _ in made] != [name for name, _ in self.events] or any(
            abs(one - other) > SHIFT
            for (_, own), (_, given) in zip(made, self.events, strict=True)
            for one, other in ((own.start, given.start), (own.end, given.end))
        ):
            raise ValueError(
                f"scene {self.scene} holds {events_text(self.events)} in the table, but {events_text(made)} when it is "
                "made again; pass the recordings (clips) and the version that the run had"
            )
        return scene

    def listening(self, scene: Scene) -> Listening:
        """What the player shows: the remade scene, with the window and the curve of the run."""
        label = label_of(self.method)
        count = max(1, math.ceil(scene.duration / self.token_seconds - 1e-6)) if self.curve is None else len(self.curve)
        return Listening(
            scene.samples,
            scene.rate,
            AudioSpan(0, count, self.token_seconds),
            {} if self.curve is None else {label: self.curve[None, None]},
            title=f"{self.event} in scene {self.scene}, {label}",
            located=self.found,
            truth=self.truth,
            events=self.events,
            answers={label: self.answer} if self.answer else {},
        )


def misses(table: pd.DataFrame, method: str = "steering", *, below: float = BELOW) -> list[Miss]:
    """The queries in which `method` covers less than `below` of the event: the worst first.

    Worst: the least overlap; of equals an answer without a time, then the window farthest from the event. Raises
    ValueError for a table that is none of `run_benchmark`, a method that it does not hold, or a `below` outside 0..1.
    """
    check_run(table)
    names = list(dict.fromkeys(table["method"]))
    if method not in names:
        raise ValueError(f"the run has no method {method!r}; it has: {', '.join(map(str, names))}")
    if not 0 < below <= 1:
        raise ValueError(f"below is {below}; pass an overlap above 0 and at most 1")
    rows = table[table["method"] == method]
    events = {scene: _scene_events(own) for scene, own in rows.groupby("scene", sort=False)}
    made = [_miss(row, events[row["scene"]]) for row in rows[rows["overlap"] < below].to_dict("records")]
    return sorted(made, key=lambda miss: (miss.overlap, -_distance(miss), miss.scene, miss.truth.start))


def check_run(table: pd.DataFrame) -> None:
    """Raises ValueError for a table that is none of `run_benchmark` with everything in it (a csv has lost some)."""
    lacking = [name for name in NEEDED if name not in table.columns]
    if "analysis" in table.attrs or lacking or not {"scenes", "settings", "model"} <= set(table.attrs):
        what = f"it lacks {', '.join(lacking)}" if lacking else "its attrs do not say which scenes they were"
        what = f"it is one of `analyse {table.attrs['analysis']}`" if "analysis" in table.attrs else what
        raise ValueError(
            f"this is no whole table of run_benchmark: {what}; pass what it returned, or what report.read_table reads "
            "from a .parquet (a csv has lost curves and settings)"
        )


def scenes_of(table: pd.DataFrame, checkpoint: Checkpoint, *, clips: ClipBank | None = None) -> SceneSet:
    """The scenes of a run, as `benchmark.scene_set` makes them for its settings. `clips`: the recordings it was run on.

    Raises ValueError where they cannot be made again: recordings that were not passed (or passed for procedural
    sounds), other classes, counts or durations than the run's.
    """
    check_run(table)
    facts = table.attrs["scenes"]
    recorded = facts["sounds"] != "procedural"
    if recorded != (clips is not None):
        raise ValueError(
            f"the scenes were made of {facts['sounds']}; pass them as clips=ClipBank.read(folder)"
            if recorded
            else "the scenes were made of procedural sounds; pass no clips"
        )
    settings = Settings(**table.attrs["settings"])
    made = scene_set(
        checkpoint,
        settings,
        count=int(facts["scenes"]),
        seed=int(facts["seed"]),
        clips=clips,
        condition=facts.get("condition", PLAIN),
    )
    now = made.as_dict()
    other = [name for name in facts if now.get(name) != facts[name]]
    if other:
        said = "; ".join(f"{name} was {facts[name]!r}, now {now.get(name)!r}" for name in other)
        raise ValueError(
            f"these scenes of {table.attrs['model']} cannot be made again with {checkpoint.name}: {said}. Pass the "
            "model and the recordings of the run, or scenes=SceneSet(maker, count, seed) as it was made"
        )
    return made


def _scene_events(rows: pd.DataFrame) -> tuple[tuple[str, Interval], ...]:
    """All events of one scene: each is queried once."""
    known = {(row.truth_start, row.truth_end): str(row.event) for row in rows.itertuples()}
    return tuple((known[place], Interval(*place)) for place in sorted(known))


def _miss(row: dict[str, Any], events: tuple[tuple[str, Interval], ...]) -> Miss:
    truth = Interval(float(row["truth_start"]), float(row["truth_end"]))
    found = None if _missing(row["start"]) else Interval(float(row["start"]), float(row["end"]))
    others = [(name, span) for name, span in events if span != truth]
    landed = ""
    if found is not None and others:
        name, span = others[slot_of(found, [span for _, span in others])]
        landed = name if found.intersection(span) > 0 else ""
    curve = None if _missing(row["curve"]) else np.asarray(row["curve"], dtype=float)
    return Miss(
        str(row["method"]),
        int(row["scene"]),
        str(row["event"]),
        truth,
        found,
        float(row["overlap"]),
        landed,
        str(row["answer"] or ""),
        curve,
        float(row["token_seconds"]),
        events,
    )


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _distance(miss: Miss) -> float:
    return math.inf if miss.found is None else abs(miss.found.center - miss.truth.center)


# -- the figure ----------------------------------------------------------------------------------------------------
def misses_figure(worst: Sequence[Miss], scenes: SceneSet) -> Figure:
    """The sound of each miss (few: one panel each) with the window that was found, the true one and the other events.

    Raises ValueError for no misses, or scenes that are not those of the run.
    """
    if not worst:
        raise ValueError("there are no misses to draw")
    made = [miss.remade(scenes) for miss in worst]
    with house_style():
        figure = new_figure(8.0, 0.4 + 1.45 * len(worst))
        axes = figure.subplots(len(worst), 1, squeeze=False)[:, 0]
        for ax, miss, scene in zip(axes, worst, made, strict=True):
            spectrogram(ax, scene.samples, scene.rate)
            ax.set_yticks([])
            ax.set_ylabel(
                f"scene {miss.scene}\n{miss.event}\n{100 * miss.overlap:.0f} %",
                rotation=0,
                ha="right",
                va="center",
                labelpad=8,
            )
            if ax is not axes[-1]:
                ax.set_xlabel("")
        for ax, miss in zip(axes, worst, strict=True):
            found = [] if miss.found is None else [(miss.found, "found", "located")]
            mark(ax, [*found, *event_marks(miss.events, miss.truth, ", true")])
    return figure


def alt_text_misses(worst: Sequence[Miss]) -> str:
    """What `misses_figure` shows, in words."""
    return f"Spectrograms of {len(worst)} misses. {'. '.join(miss.described() for miss in worst)}."


DRAWN = 4  # misses in the static figure


class MissGallery(Panel):
    """Misses of a method, the worst first: what was found, what is true, on which event the window landed; playable.

    `table`: of `run_benchmark`, from `report.read_table` too. `clips`: the recordings it was run on. `scenes`: the
    SceneSet of a run whose scenes were not made by `benchmark.scene_set`. `below`: the overlap that a hit reaches.
    No model runs: windows and curves are those of the table. Raises ValueError for a table of another kind, a method
    that it does not hold, and scenes that cannot be made again (each is compared with the table before it is shown).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        table: pd.DataFrame,
        *,
        method: str = "steering",
        clips: ClipBank | None = None,
        scenes: SceneSet | None = None,
        below: float = BELOW,
    ) -> None:
        from steer_utils.show.widgets.player import ListeningPlayer

        self._table, self._below = table, below
        self.misses = misses(table, method, below=below)
        self.scenes = scenes if scenes is not None else scenes_of(table, checkpoint, clips=clips)
        if self.misses:
            self.misses[0].remade(self.scenes)  # refused here, not at the first click
        module = widgets()
        names = [(label_of(name), name) for name in in_order(table["method"])]
        self.method = aligned(module.Dropdown(description="Method", options=names, value=method))
        self.choice = aligned(module.Select(description="Misses", rows=8))
        self.previous = module.Button(description="Previous", tooltip="A worse miss")
        self.next = module.Button(description="Next", tooltip="A lesser miss")
        self.status = StatusLine()
        self.player = ListeningPlayer(self._listening(None))
        self.box = panel_box(
            row(self.method, self.previous, self.next), row(self.choice), self.status.line, self.player
        )
        self._fill()
        self.method.observe(lambda change: self._on_method(), "value")
        self.choice.observe(lambda change: self._show(), "value")
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))

    def __repr__(self) -> str:
        return f"MissGallery({self.caption()})"

    @property
    def miss(self) -> Miss | None:
        """The one that is shown; None where the method missed nothing."""
        return self.misses[self.choice.value] if self.misses and self.choice.value is not None else None

    def twin(self) -> Figure:
        """The worst few, as a figure."""
        if self.misses:
            return misses_figure(self.misses[:DRAWN], self.scenes)
        with house_style():
            figure = new_figure(6.0, 0.6)
            figure.text(0.01, 0.5, self.caption(), va="center")
        return figure

    def alt_text(self) -> str:
        """What `twin` shows, in words."""
        return alt_text_misses(self.misses[:DRAWN]) if self.misses else f"{self.caption()}."

    def caption(self) -> str:
        """How many misses of how many queries."""
        name = self.method.value
        queries = int((self._table["method"] == name).sum())
        return f"{label_of(name)}: {len(self.misses)} of {queries} windows cover less than {100 * self._below:.0f} %"

    def _fill(self) -> None:
        """The list of the method's misses, the worst chosen."""
        self.choice.options = [(miss.title, place) for place, miss in enumerate(self.misses)]
        self.choice.value = 0 if self.misses else None
        self._show()

    def _on_method(self) -> None:
        self.misses = misses(self._table, self.method.value, below=self._below)
        self._fill()

    def _step(self, by: int) -> None:
        if self.misses:
            self.choice.value = min(max(0, self.choice.value + by), len(self.misses) - 1)

    def _show(self) -> None:
        miss = self.miss
        place = 0 if miss is None else self.choice.value
        self.previous.disabled = miss is None or place == 0
        self.next.disabled = miss is None or place == len(self.misses) - 1
        self.player.layout.display = "none" if miss is None else None
        if miss is None:
            self.status.say(self.caption())
            return
        try:
            shown = self._listening(miss)
        except ValueError as error:  # a callback of a widget: nobody else would see it
            self.status.complain(str(error))
            return
        self.player.show(shown)
        self.status.say(f"{place + 1} of {len(self.misses)}: {miss.described()}")

    def _listening(self, miss: Miss | None) -> Listening:
        if miss is not None:
            return miss.listening(miss.remade(self.scenes))
        sound = made_scene(self.scenes.maker, 0, self.scenes.seed)  # stands there, unseen, until there is a miss
        return Listening(sound.samples, sound.rate, AudioSpan(0, 1, sound.duration))
