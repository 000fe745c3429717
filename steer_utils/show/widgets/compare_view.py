"""CompareView: the methods side by side on one sound, each to be seen and heard.

    CompareView(lm, scene)                                      # every event of the scene can be asked for
    CompareView(lm, "street.wav", query="dog bark", seconds=2.0)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from steer_utils.lm.checkpoints import Checkpoint, alone
from steer_utils.methods.base import Query
from steer_utils.methods.locate import known_event
from steer_utils.methods.settings import Settings, model_settings
from steer_utils.show.widgets.comparison import Comparison, alt_text_comparison, compare, comparison_figure
from steer_utils.show.widgets.intake import Sound, as_sound
from steer_utils.show.widgets.latest import Latest
from steer_utils.show.widgets.panels import Panel, StatusLine, aligned, panel_box, row, table_block, text_line, widgets
from steer_utils.sound.scenes import Scene

WIDTH = 2.0  # seconds of a window where nothing says how wide the event is


class CompareView(Panel):
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
        self.box = panel_box(
            row(self.query, self._busy, self.status.line), row(self.method), self._table, self.player
        )
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

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the query asked for last has been compared; False if that takes longer than `seconds`."""
        return self._latest.wait(seconds)

    def close(self) -> None:
        """End the worker and take the widgets away."""
        self._latest.close()
        self.player.close()
        self.box.close()

    def _work(self, query: str) -> Comparison:
        truth = next((event.span for event in self.events if event.name == query), None)
        width = self._seconds or (WIDTH if truth is None else truth.duration)
        others = tuple(event.name for event in self.events if event.name != query)
        asked = Query(query, min(width, self._hearing.duration), others=others)
        return compare(self._hearing, asked, self.settings, methods=self._methods, events=self.events)

    def _ask(self) -> None:
        self._busy.value = text_line("working …", mark="busy")
        self._latest.submit(self.query.value)

    def _show(self, query: str, compared: Comparison) -> None:
        self.compared = compared
        header = ["method", "interval", "overlap", "chance", "took (s)"]
        cells = [
            [row.label, row.where(), *("–" if value is None else f"{100 * value:.0f} %" for value in
                                       (row.overlap, row.chance)), f"{row.took:.2f}"]
            for row in compared.rows
        ]  # fmt: skip
        truth = "" if compared.truth is None else f", truly at {compared.truth}"
        self._table.value = table_block(header, cells, f"{compared.query.event}{truth}")
        self._pick()
        self._busy.value = ""
        self.status.say(f"took {sum(row.took for row in compared.rows):.1f} s")

    def _pick(self) -> None:
        with self._showing:
            self.player.show(self.compared.listening(self.method.value))
