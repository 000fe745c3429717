"""MissGallery: the worst misses of a benchmark run, one after the other, each with its sound.

    table = run(lm, scene_set(lm, settings, count=50, seed=0), settings)
    MissGallery(lm, table)                        # as the last line of a cell
    MissGallery(lm, read_table(Path("run.parquet")), method="prompting", clips=ClipBank.read("recordings"))
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.methods.table import in_order, label_of
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.widgets.intake import made_scene
from steer_utils.show.widgets.listening import Listening
from steer_utils.show.widgets.misses import BELOW, Miss, alt_text_misses, misses, misses_figure, scenes_of
from steer_utils.show.widgets.panels import Panel, StatusLine, aligned, panel_box, row, widgets
from steer_utils.sound.recordings import ClipBank
from steer_utils.sound.spans import AudioSpan
from steer_utils.study.benchmark import SceneSet

DRAWN = 4  # misses in the static figure


class MissGallery(Panel):
    """Misses of a method, the worst first: what was found, what is true, on which event the window landed; playable.

    `table`: of `run_benchmark`, from `tables.read_table` too. `clips`: the recordings it was run on. `scenes`: the
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

    def close(self) -> None:
        """Take the widgets away."""
        self.player.close()
        self.box.close()

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
