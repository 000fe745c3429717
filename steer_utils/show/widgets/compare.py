"""Methods side by side on one sound: where each puts it, how right it is, what it took, and the curve it was read from.

compared = compare(hearing, Query("dog bark", 2.0), settings, events=scene.events)
compared.table()                                     # one row a method
comparison_figure(compared)                          # one row a method, on one time axis
CompareView(lm, scene)                               # pick a method: see and hear what it found
CompareView(lm, "street.wav", query="dog bark", seconds=2.0)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from steer_utils.lm.checkpoints import Checkpoint, alone
from steer_utils.lm.hearing import Hearing
from steer_utils.methods.base import Localisation, Query
from steer_utils.methods.locate import known_event
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.methods.table import METHODS, finder, in_order, label_of
from steer_utils.show.palette import FILL, FOUND, GRID, INK, SOFT
from steer_utils.show.plots.dots import beside
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.located import event_marks, mark
from steer_utils.show.widgets.intake import Sound, as_sound
from steer_utils.show.widgets.latest import Latest
from steer_utils.show.widgets.listening import Listening
from steer_utils.show.widgets.panels import (
    BUSY,
    StatusLine,
    WorkingPanel,
    aligned,
    panel_box,
    row,
    table_block,
    widgets,
)
from steer_utils.sound.scenes import Event, Scene
from steer_utils.sound.spans import Interval
from steer_utils.study.statistics import random_overlap

#: What is compared where nothing is said: what steers, what prompts, what does neither.
COMPARED = (
    *"steering steering-heads prompting prompting-best contrast-prompting".split(),
    *"negative unsteered asking loudest random".split(),
)


@dataclass(frozen=True, eq=False)
class Compared:
    """One method: what it found, how right that is (None where the truth is not known), and the seconds it took."""

    method: str
    found: Localisation
    overlap: float | None
    chance: float | None
    took: float

    @property
    def label(self) -> str:
        """What tables call the method."""
        return label_of(self.method)

    def where(self) -> str:
        """The interval in words."""
        return "names no time" if self.found.interval is None else str(self.found.interval)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods on one query of one hearing. `truth`: where the event is, None where that is not known."""

    hearing: Hearing
    query: Query
    rows: tuple[Compared, ...]
    truth: Interval | None
    events: tuple[Event, ...]

    def row(self, method: str) -> Compared:
        """The row of a method; ValueError lists those that there are."""
        by_method = {compared.method: compared for compared in self.rows}
        if method not in by_method:
            raise ValueError(f"{method!r} was not compared; there are: {', '.join(by_method)}")
        return by_method[method]

    def table(self) -> pd.DataFrame:
        """One row a method: method, label, start, end (s), overlap, chance (0..1), seconds it took, answer."""
        return pd.DataFrame(
            [
                {
                    "method": row.method,
                    "label": row.label,
                    "start": getattr(row.found.interval, "start", None),
                    "end": getattr(row.found.interval, "end", None),
                    "overlap": row.overlap,
                    "chance": row.chance,
                    "seconds": row.took,
                    "answer": row.found.answer,
                }
                for row in self.rows
            ]
        ).astype(dict.fromkeys(("start", "end", "overlap", "chance"), float))

    def listening(self, method: str) -> Listening:
        """What the player shows of one method: its interval, and its one curve for all blocks and heads, if any."""
        row = self.row(method)
        found = row.found
        return Listening(
            self.hearing.samples,
            self.hearing.checkpoint.sampling_rate,
            self.hearing.span,
            {} if found.curve is None else {row.label: np.asarray(found.curve)[None, None]},
            title=f"{self.query.event}, {row.label}",
            located=found.interval,
            truth=self.truth,
            events=tuple((event.name, event.span) for event in self.events),
            answers={row.label: found.answer} if found.answer else {},
        )


def compare(
    hearing: Hearing,
    query: Query,
    settings: Settings,
    *,
    methods: Sequence[str] | None = None,
    events: Iterable[Event] = (),
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Comparison:
    """Run each method on one query. `events`: what sounds, where that is known; the queried one gives the truth.

    `methods`: names, each once; None: `COMPARED`, as far as the settings allow. Cost: the passes that each method
    states, nothing shared. Raises ValueError for an unknown method or one that one sound cannot serve, before any runs.
    """
    if methods is None:
        methods = [name for name in COMPARED if not METHODS[name].lacks(settings, others=bool(query.others))]
    if not methods or len(set(methods)) != len(methods):
        raise ValueError(f"methods is {', '.join(methods) or 'empty'}; pass each name at most once, and at least one")
    finders = {name: finder(name, settings, others=bool(query.others)) for name in methods}
    events = tuple(events)
    truth = next((event.span for event in events if event.name == query.event), None)
    rows = []
    for name in progress(in_order(methods)):
        with alone(hearing.checkpoint):
            begin = time.perf_counter()
            found = finders[name](hearing, query, settings)
            took = time.perf_counter() - begin
        overlap = chance = None
        if truth is not None:
            overlap = 0.0 if found.interval is None else found.interval.covers(truth)
            chance = random_overlap(truth, hearing.span, query.seconds)
        rows.append(Compared(name, found, overlap, chance, took))
    return Comparison(hearing, query, tuple(rows), truth, events)


# -- the figure ----------------------------------------------------------------------------------------------------
def comparison_figure(compared: Comparison) -> Figure:
    """A row a method: its curve (scaled to the row, without what is below zero), its interval as a bar, its overlap."""
    rows, duration = compared.rows, compared.hearing.duration
    with house_style():
        figure = new_figure(8.0, 1.5 + 0.42 * len(rows))
        ax = figure.subplots()
        for place, row in enumerate(rows):
            ours = row.method.startswith("steering")
            if row.found.curve is not None:
                curve = np.clip(row.found.curve, 0.0, None)
                base = np.full(len(curve), place + 0.2)
                times = compared.hearing.span.centers()
                ax.fill_between(
                    times, base, base - 0.6 * curve / max(float(curve.max()), 1e-12), color=FILL, linewidth=0
                )
            found = row.found.interval
            if found is not None:
                ax.plot(
                    [found.start, found.end],
                    [place + 0.32] * 2,
                    color=FOUND if ours else INK,
                    linewidth=4,
                    solid_capstyle="butt",
                )
            said = "" if row.overlap is None else f"{100 * row.overlap:.0f} %"
            beside(ax, place, said if found is not None else "no time", x=1.01)
        ax.set_yticks(range(len(rows)), [row.label for row in rows])
        ax.set(xlim=(0, duration), ylim=(len(rows) - 0.45, -0.55), xlabel="time (s)")
        ax.hlines(np.arange(1, len(rows)) - 0.5, 0, duration, color=GRID, linewidth=0.6)
        seaborn.despine(ax=ax, left=True)
        ax.tick_params(left=False)
        if compared.truth is not None:
            ax.text(1.01, 1.0, "overlap", transform=ax.transAxes, va="bottom", fontsize="small", color=SOFT)
        mark(ax, event_marks(((event.name, event.span) for event in compared.events), compared.truth, ", true"))
    return figure


def alt_text_comparison(compared: Comparison) -> str:
    """What `comparison_figure` shows, in words: every interval and overlap in it."""
    said = f"The {compared.query.event} in {compared.hearing.duration:.1f} s of sound"
    if compared.truth is not None:
        said += f", truly at {compared.truth}"
    parts = [
        f"{row.label} {row.where()}" + ("" if row.overlap is None else f" (overlap {100 * row.overlap:.0f} %)")
        for row in compared.rows
    ]
    return f"{said}, by method: {'; '.join(parts)}."


WIDTH = 2.0  # seconds of a window where nothing says how wide the event is


class CompareView(WorkingPanel):
    """A list of methods, a table of what they found, and the player with the curve and interval of the one picked.

    `sound`: a Scene, a file, samples with their `sampling_rate`, or the `sound` of an explorer. `query`: default the
    first event of a scene. `seconds`: width of the window; default that of the event where it is known, else 2 s.
    `methods`: names; None: those of `comparison.COMPARED`. The first comparison runs here: AudioError,
    UnknownEventError and ValueError are raised.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        sound: Sound | Scene | str | os.PathLike[str] | np.ndarray,
        *,
        sampling_rate: int | None = None,
        query: str | None = None,
        seconds: float | None = None,
        methods: Sequence[str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        from steer_utils.show.widgets.player import ListeningPlayer

        self.checkpoint = checkpoint
        self.settings = settings or model_settings(checkpoint)
        self._seconds, self._methods = seconds, methods
        self._showing = threading.Lock()  # a comparison that is done and a reader who picks may come at once
        heard = as_sound(sound, sampling_rate, checkpoint)
        self.events = heard.events
        if query is None and not self.events:
            raise ValueError("say what is sought: CompareView(lm, sound, query='dog bark')")
        first = known_event(checkpoint, query or self.events[0].name)
        with alone(checkpoint):
            self._hearing = heard.heard(checkpoint)
        self.compared = self._work(first)
        module = widgets()
        names = list(dict.fromkeys([first, *(event.name for event in self.events)]))
        self.query = aligned(module.Dropdown(description="Query", options=names, value=first))
        options = [(row.label, row.method) for row in self.compared.rows]
        self.method = aligned(module.Select(description="Method", options=options, rows=min(12, len(options))))
        self.status = StatusLine()
        self._busy, self._table = module.HTML(), module.HTML()
        self._latest = Latest(self._work, done=self._show, failed=lambda query, error: self.status.complain(str(error)))
        self.player = ListeningPlayer(self.compared.listening(self.method.value))
        self.box = panel_box(row(self.query, self._busy, self.status.line), row(self.method), self._table, self.player)
        self._show(first, self.compared)
        self.query.observe(lambda change: self._ask(), "value")
        self.method.observe(lambda change: self._pick(), "value")

    def __repr__(self) -> str:
        return f"CompareView({self.checkpoint.name}, {self.caption()})"

    def twin(self) -> Figure:
        """All methods, as a figure."""
        return comparison_figure(self.compared)

    def alt_text(self) -> str:
        """What `twin` shows, in words."""
        return alt_text_comparison(self.compared)

    def caption(self) -> str:
        """How many methods looked for what."""
        return f"{len(self.compared.rows)} methods look for the {self.compared.query.event}"

    def _work(self, query: str) -> Comparison:
        truth = next((event.span for event in self.events if event.name == query), None)
        width = self._seconds or (WIDTH if truth is None else truth.duration)
        others = tuple(event.name for event in self.events if event.name != query)
        asked = Query(query, min(width, self._hearing.duration), others=others)
        return compare(self._hearing, asked, self.settings, methods=self._methods, events=self.events)

    def _ask(self) -> None:
        self._busy.value = BUSY
        self._latest.submit(self.query.value)

    def _show(self, query: str, compared: Comparison) -> None:
        self.compared = compared
        header = ["method", "interval", "overlap", "chance", "took (s)"]
        cells = [
            [
                row.label,
                row.where(),
                *("–" if value is None else f"{100 * value:.0f} %" for value in (row.overlap, row.chance)),
                f"{row.took:.2f}",
            ]
            for row in compared.rows
        ]
        truth = "" if compared.truth is None else f", truly at {compared.truth}"
        self._table.value = table_block(header, cells, f"{compared.query.event}{truth}")
        self._pick()
        self._busy.value = ""
        self.status.say(f"took {sum(row.took for row in compared.rows):.1f} s")

    def _pick(self) -> None:
        with self._showing:
            self.player.show(self.compared.listening(self.method.value))
