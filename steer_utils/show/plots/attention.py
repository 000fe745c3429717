"""Figures of attention over time: on the spectrogram, and as heat maps with one row a block, head or word.

    panels = [RowPanel("unsteered", curves, labels, notes), RowPanel("steered", ...)]      # curves: (rows, tokens)
    figure = rows_figure(panels, scene, span, "decoder block", query="dog bark", noted="in the dog bark")

All panels of a figure share one time axis and one scale, so that they can be compared; the scale grows darker only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from steer_utils.show.palette import FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.located import (
    MARKS,
    event_marks,
    events_of,
    events_text,
    mark,
    mark_edges,
    spectrogram,
)
from steer_utils.show.plots.titles import headline
from steer_utils.sound.spans import AudioSpan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steer_utils.sound.scenes import Scene

#: Colour and line of the curves in order; they differ in grey too.
LOOKS = ((INK, (0, (4, 1.5))), (FOUND, "-"), (TRUE, (0, (1, 1))))
MOST_LABELS = 16  # rows of a panel up to which each has its label
CLIPPED = 0.995  # the quantile of all values that is darkest: one sharp row must not wash the others out


@dataclass(frozen=True, eq=False)
class RowPanel:
    """Curves of one condition: `curves` (rows, tokens) of audio shares, a label a row, and a note right of each.

    Raises ValueError unless there is a label for every row, and a note for every row or none.
    """

    title: str
    curves: np.ndarray
    labels: Sequence[str]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.curves.ndim != 2 or len(self.labels) != len(self.curves):
            raise ValueError(f"{self.title!r} has curves {self.curves.shape}, and {len(self.labels)} labels")
        if self.notes and len(self.notes) != len(self.curves):
            raise ValueError(f"{self.title!r} has {len(self.curves)} rows, and {len(self.notes)} notes")


# -- curves on the sound ---------------------------------------------------------------------------------------------
def sound_figure(scene: Scene, curves: Mapping[str, np.ndarray], span: AudioSpan, query: str | None = None) -> Figure:
    """Up to three curves (label -> (tokens,) of shares), drawn over the spectrogram of their scene.

    The curves have the right-hand axis, in multiples of the even share. Raises ValueError for none, or more than three.
    """
    if not 1 <= len(curves) <= len(LOOKS):
        raise ValueError(f"{len(curves)} curves cannot be told apart in one panel; pass 1 to {len(LOOKS)}")
    with house_style():
        figure = new_figure(7.5, 3.6)
        headline(figure, _sound_message(scene, curves, span, query))
        ax = figure.subplots()
        _faint(spectrogram(ax, scene.samples, scene.rate), darkest=0.55)
        over = ax.twinx()
        for (label, curve), (color, line) in zip(curves.items(), LOOKS, strict=False):
            over.plot(
                span.centers(),
                np.asarray(curve) * span.count,
                color=color,
                linestyle=line,
                linewidth=1.7,
                label=label,
                path_effects=[withStroke(linewidth=3.6, foreground="white")],
            )
        over.axhline(1, color=SOFT, linewidth=0.9)
        over.set(ylim=(0, None), ylabel="attention (times even share)")
        figure.legend(loc="outside lower center", ncols=len(curves), frameon=False, fontsize="small", handlelength=3)
        _mark_events(ax, scene, query)
    return figure


def _sound_message(scene: Scene, curves: Mapping[str, np.ndarray], span: AudioSpan, query: str | None) -> str:
    """Of each curve its mean in the query, in even shares; with no query where it is highest."""
    if query is None:
        peaks = [(label, span.centers()[int(np.argmax(curve))]) for label, curve in curves.items()]
        return f"Highest: {', '.join(f'{label} at {peak:.1f} s' for label, peak in peaks)}"
    within = span.tokens(scene.event(query).span)
    levels = [f"{label} {span.count * np.asarray(curve)[within].mean():.1f}" for label, curve in curves.items()]
    return f"In the {query}, in times even share: {', '.join(levels)}"


def alt_text_sound(scene: Scene, curves: Mapping[str, np.ndarray], span: AudioSpan, query: str | None = None) -> str:
    """What `sound_figure` shows, in words: the highest point of each curve, and its mean in the query."""
    said = []
    for label, curve in curves.items():
        values = np.asarray(curve) * span.count
        peak = span.centers()[int(np.argmax(values))]
        top = f"{label}: highest at {peak:.2f} s ({values.max():.1f} times even share)"
        inside = f", {values[span.tokens(scene.event(query).span)].mean():.1f} in the {query}" if query else ""
        said.append(top + inside)
    message = _sound_message(scene, curves, span, query)
    return f"{message}. Curves of attention over the spectrogram of a scene ({_events(scene)}). {'; '.join(said)}."


# -- rows over time --------------------------------------------------------------------------------------------------
def rows_figure(
    panels: Sequence[RowPanel],
    scene: Scene,
    span: AudioSpan,
    rows: str,
    *,
    query: str | None = None,
    noted: str = "",
) -> Figure:
    """The spectrogram with its events, and below it a heat map a panel, darker where a row looks more.

    `rows` says what a row is; `noted` what the notes are. Of many rows only some are labelled. Raises ValueError for
    no panels.
    """
    if not panels:
        raise ValueError("there is nothing to draw: pass at least one panel")
    heights = [0.35 + 0.21 * min(len(panel.curves), MOST_LABELS) for panel in panels]
    every = span.count * np.concatenate([panel.curves for panel in panels])
    darkest = max(2.0, float(np.quantile(every, CLIPPED)))
    with house_style():
        figure = new_figure(7.5, 2.3 + sum(heights))
        headline(figure, _rows_message(panels, scene, span, rows, query))
        top, *axes = figure.subplots(1 + len(panels), 1, sharex=True, height_ratios=(0.9, *heights))
        _faint(spectrogram(top, scene.samples, scene.rate))
        top.set(xlabel="", ylabel="Hz")
        for ax, panel in zip(axes, panels, strict=True):
            extent = (0.0, span.duration, len(panel.curves) - 0.5, -0.5)
            image = ax.imshow(
                panel.curves * span.count,
                cmap="Blues",
                vmin=0,
                vmax=darkest,
                aspect="auto",
                interpolation="nearest",
                extent=extent,
            )
            _label_rows(ax, panel, rows, noted)
            for event in scene.events:
                kind = "true" if event.name == query else "event"
                mark_edges(ax, event.span, kind, 0.6 * MARKS[kind]["linewidth"])
        axes[-1].set_xlabel("time (s)")
        bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.5, aspect=40, extend="max")
        bar.set_label("attention (times even share)", fontsize="small")
        figure.align_ylabels()
        _mark_events(top, scene, query)
    return figure


def _rows_message(panels: Sequence[RowPanel], scene: Scene, span: AudioSpan, rows: str, query: str | None) -> str:
    """Which row of each panel looks most at the sought event, in even shares; with none sought, how many rows peak in
    an event."""
    if query is None:
        peaks = [span.centers()[int(np.argmax(curve))] for panel in panels for curve in panel.curves]
        inside = sum(any(event.span.start <= peak < event.span.end for event in scene.events) for peak in peaks)
        return f"{inside} of {len(peaks)} rows have their peak in one of the sounds"
    within = span.tokens(scene.event(query).span)
    said = []
    for panel in panels:
        levels = span.count * panel.curves[:, within].mean(axis=1)
        most = int(np.argmax(levels))
        said.append(f"{panel.title} {levels[most]:.1f} in {rows} {panel.labels[most]}")
    return f"Most attention to the {query}, in times even share: {'; '.join(said)}"


def _label_rows(ax: Axes, panel: RowPanel, rows: str, noted: str) -> None:
    step = -(-len(panel.labels) // MOST_LABELS)
    shown = range(0, len(panel.labels), step)
    ax.set_yticks(list(shown), [panel.labels[row] for row in shown])
    ax.tick_params(axis="y", length=0)
    ax.set_ylabel(rows)
    ax.set_title(panel.title, loc="left", fontsize="small", pad=3)
    if panel.notes:
        ax.set_title(noted, loc="right", fontsize="small", pad=3, color=SOFT)
        for row in shown:
            ax.text(1.01, row, panel.notes[row], transform=ax.get_yaxis_transform(), va="center", fontsize="small")


def alt_text_rows(
    panels: Sequence[RowPanel],
    scene: Scene,
    span: AudioSpan,
    rows: str,
    *,
    query: str | None = None,
    noted: str = "",
) -> str:
    """What `rows_figure` shows, in words: for each row the time it looks at most, and its note."""
    said = []
    for panel in panels:
        peaks = span.centers()[np.argmax(panel.curves, axis=1)]
        notes = panel.notes or [""] * len(peaks)
        parts = [
            f"{label} at {peak:.2f} s" + (f" ({note})" if note else "")
            for label, peak, note in zip(panel.labels, peaks, notes, strict=True)
        ]
        said.append(f"{panel.title}: {', '.join(parts)}.")
    sought = f"; sought is the {query}" if query else ""
    meant = f", in brackets what it has {noted}" if noted else ""
    return (
        f"{_rows_message(panels, scene, span, rows, query)}. "
        f"Heat maps of attention over time under the spectrogram of a scene ({_events(scene)}{sought}). Where each "
        f"{rows} looks most{meant}. {' '.join(said)}"
    )


# -- shared ----------------------------------------------------------------------------------------------------------
def _faint(ax: Axes, darkest: float = 1.0) -> None:
    """Draw the spectrogram in a few greys, its background white: what lies over it is read more easily."""
    image = ax.images[0]
    levels = np.asarray(image.get_array())
    image.set_clim(float(np.quantile(levels, 0.6)), float(levels.max()))
    image.set_cmap(matplotlib.colormaps["Greys"].resampled(10))
    image.set_alpha(darkest)


def _mark_events(ax: Axes, scene: Scene, query: str | None) -> None:
    mark(ax, event_marks(events_of(scene), scene.event(query).span if query else None))


def _events(scene: Scene) -> str:
    return events_text(events_of(scene))
