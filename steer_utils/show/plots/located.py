"""Figures: where a sound was found, how attention moved, and how the methods compare.

Every function takes or returns matplotlib objects and leaves pyplot's state alone. Figures can be read in grey:
what differs in colour also differs in line style, marker or place. For each there is a function that says it in a
sentence (`alt_text_...`), for people who cannot see it.

    figure = located_figure(located, truth)
    save_figure(figure, Path("figures/street"), alt_text_located(located, truth), "A dog bark, found.")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from steer_utils.methods.table import in_order, label_of
from steer_utils.show.palette import FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.dots import beside, chance_mark, dots_frame, dots_legend, interval_dot, percents
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.figures import save_figure as save_figure
from steer_utils.show.plots.figures import show as show
from steer_utils.show.plots.figures import write_figure as write_figure
from steer_utils.show.plots.overlap_titles import overlap_title, slot_title
from steer_utils.show.plots.titles import headline
from steer_utils.sound.measures import mel_band, mel_spectrogram
from steer_utils.sound.spans import AudioSpan, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from steer_utils.methods.locate import Located
    from steer_utils.sound.scenes import Scene

#: How `mark` draws each kind of interval.
MARKS: dict[str, dict[str, Any]] = {
    "located": {"color": FOUND, "linestyle": "-", "linewidth": 2.6},
    "true": {"color": TRUE, "linestyle": (0, (4, 1.5)), "linewidth": 1.8},
    "event": {"color": SOFT, "linestyle": (0, (1, 1.2)), "linewidth": 1.5},
}
LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), "-.")
LONG = 60.0  # seconds from which a spectrogram is drawn with fewer frames


# -- sound and attention over time ---------------------------------------------------------------------------------
def spectrogram(ax: Axes, samples: np.ndarray, rate: int) -> Axes:
    """Mel spectrogram of `samples` (n,) in greys."""
    duration = len(samples) / rate
    mel = mel_spectrogram(samples, rate, hop=0.01 * max(1.0, duration / LONG))
    ax.imshow(
        mel,
        origin="lower",
        aspect="auto",
        cmap="Greys",
        interpolation="nearest",
        extent=(0, duration, -0.5, len(mel) - 0.5),
    )
    ticks = [hz for hz in (250, 1000, 2500, 6000, 15000) if hz < rate / 2]
    ax.set_yticks([mel_band(hz, rate, len(mel)) for hz in ticks], [str(hz) for hz in ticks])
    ax.set(xlim=(0, duration), xlabel="time (s)", ylabel="frequency (Hz)")
    return ax


def mark(ax: Axes, intervals: Sequence[tuple[Interval, str, str]]) -> None:
    """Draw each (interval, label, kind) as a labelled bar above the axes; kinds are the keys of MARKS.

    Its edges run down through the axes. A label stays over the axes, and one that would touch another goes a row
    up; this is measured, so call it when all else is drawn. Raises ValueError for an unknown kind.
    """
    order = list(MARKS)
    if unknown := sorted({kind for *_, kind in intervals} - set(order)):
        raise ValueError(f"unknown kind {', '.join(map(repr, unknown))}; pass one of {', '.join(order)}")
    assert ax.figure is not None
    ax.figure.canvas.draw()  # settles the layout: from here on only room above the axes is still to be found
    low, high = ax.get_xlim()
    second = ax.get_window_extent().width / (high - low)  # in pixels
    rows: list[list[tuple[float, float]]] = []  # what is taken in each row, in seconds
    for interval, label, kind in sorted(intervals, key=lambda marked: (order.index(marked[2]), marked[0])):
        style = MARKS[kind]
        text = ax.text(0, 1, label, color=style["color"], ha="center", va="bottom", fontsize="small")
        half = 0.55 * text.get_window_extent().width / second
        middle = float(np.clip(interval.center, low + half, max(low + half, high - half)))
        left, right = min(interval.start, middle - half), max(interval.end, middle + half)
        free = (i for i, taken in enumerate(rows) if all(left > b or right < a for a, b in taken))
        row = next(free, len(rows))
        rows += [[]] if row == len(rows) else []
        rows[row].append((left, right))
        points = 4 + row * 1.9 * float(text.get_fontsize())
        lift = ScaledTranslation(0, points / 72, ax.figure.dpi_scale_trans)
        over = ax.get_xaxis_transform() + lift
        ax.plot([interval.start, interval.end], [1, 1], transform=over, clip_on=False, **style)
        text.set_transform(over + ScaledTranslation(0, 2.5 / 72, ax.figure.dpi_scale_trans))
        text.set_x(middle)
        mark_edges(ax, interval, kind, 0.6 * style["linewidth"])
    ax.set_xlim(low, high)


def mark_edges(ax: Axes, interval: Interval, kind: str, linewidth: float) -> None:
    """Lines from top to bottom at both ends of an interval, in the style of a kind of MARKS."""
    for edge in (interval.start, interval.end):
        ax.axvline(edge, **{**MARKS[kind], "linewidth": linewidth})


def event_marks(
    events: Iterable[tuple[str, Interval]], truth: Interval | None, also: str = ""
) -> list[tuple[Interval, str, str]]:
    """What `mark` takes of the events of a scene, (name, interval) each; `also` follows the name of the true one. A
    truth that is none of them is marked by itself."""
    marks = [(span, name + also, "true") if span == truth else (span, name, "event") for name, span in events]
    if truth is not None and truth not in [span for span, *_ in marks]:
        marks.append((truth, "true", "true"))
    return marks


def events_of(scene: Scene) -> list[tuple[str, Interval]]:
    """The names and intervals of a scene's events."""
    return [(event.name, event.span) for event in scene.events]


def events_text(events: Iterable[tuple[str, Interval]]) -> str:
    """ "bell 0.20-1.20 s, siren 1.30-2.40 s" """
    return ", ".join(f"{name} {span}" for name, span in events)


def _relative(curve: np.ndarray) -> tuple[np.ndarray, float]:
    """A curve in units of its even share, and the level that means "nothing": 1, or 0 for a difference of shares."""
    mean = float(np.mean(curve))
    if np.min(curve) < 0 or mean <= 0:
        return curve * len(curve), 0.0
    return curve / mean, 1.0


def _curve(
    ax: Axes, times: np.ndarray, curve: np.ndarray, inside: Interval | None, line: Any = "-", linewidth: float = 1.3
) -> float:
    """One curve over time, its interval shaded; returns its neutral level."""
    values, level = _relative(np.asarray(curve))
    ax.axhline(level, color=SOFT, linewidth=0.7)
    if inside is not None:
        ax.axvspan(inside.start, inside.end, color=FOUND, alpha=0.16, linewidth=0)
    ax.plot(times, values, color=INK, linewidth=linewidth, linestyle=line)
    seaborn.despine(ax=ax)
    return level


def located_figure(located: Located, truth: Interval | None = None) -> Figure:
    """The spectrogram with what was located (and the truth, if known); below it the curve it was read from."""
    with house_style():
        figure = new_figure(7.5, 4.4 if located.curve is not None else 2.9)
        if located.curve is None:
            ax = figure.subplots()
        else:
            ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
            times = located.window.start + AudioSpan(0, len(located.curve)).centers()
            level = _curve(below, times, located.curve, located.interval)
            what = "loudness" if located.method == "loudest" else "attention" if level else "attention gained"
            unit = "times its mean" if located.method == "loudest" else "times even share"
            below.set(xlabel="time (s)", ylabel=f"{what}\n({unit})")
        spectrogram(ax, located.samples, located.sampling_rate)
        if located.curve is not None:
            ax.set_xlabel("")
        marks = [(located.interval, f"{located.event}, located", "located")]
        if truth is not None:
            marks.append((truth, f"{located.event}, true", "true"))
        if located.windows > 1:
            marks.append((located.window, "window it was sought in", "event"))
        mark(ax, marks)
    return figure


def alt_text_located(located: Located, truth: Interval | None = None) -> str:
    """What `located_figure` shows, in words."""
    said = (
        f"Spectrogram of {located.duration:.1f} s of sound; the {located.event} is located at {located.interval} "
        f"by {label_of(located.method)}"
    )
    if truth is not None:
        said += f", its true place is {truth} (overlap {100 * located.interval.covers(truth):.0f} %)"
    if located.curve is None:
        return f"{said}."
    values, level = _relative(located.curve)
    peak = located.window.start + AudioSpan(0, len(values)).centers()[int(np.argmax(values))]
    height = f"{values.max():.1f} against {level:.0f}"
    return f"{said}. Below, the curve it was read from: highest at {peak:.2f} s, {height}."


def listening_figure(
    scene: Scene, curves: Mapping[str, np.ndarray], span: AudioSpan, interval: Interval, truth: Interval
) -> Figure:
    """The spectrogram of a scene, and below it one small panel for each of `curves` (label -> (tokens,) of shares).

    `interval` is what was located, `truth` where the event is. All panels share the time axis, and all shares one axis
    of attention, so that their peaks can be compared; a difference has its own.
    """
    with house_style():
        figure = new_figure(7.5, 2.3 + 1.05 * len(curves))
        top, *panels = figure.subplots(
            1 + len(curves), 1, sharex=True, height_ratios=(1.9, *[1] * len(curves)), squeeze=False
        )[:, 0]
        shares: list[Axes] = []
        for index, (ax, (label, curve)) in enumerate(zip(panels, curves.items(), strict=True)):
            level = _curve(ax, span.centers(), curve, interval, LINES[index % len(LINES)])
            if level:
                shares.append(ax)
            mark_edges(ax, truth, "true", 1.0)
            ax.set_title(
                f"{label} ({'times even share' if level else 'gained, times even share'})",
                loc="left",
                fontsize="small",
                pad=3,
            )
        _one_scale(shares)
        spectrogram(top, scene.samples, scene.rate)
        top.set_xlabel("")
        (panels or [top])[-1].set_xlabel("time (s)")
        figure.align_ylabels()
        mark(top, [(interval, "located", "located"), *event_marks(events_of(scene), truth)])
    return figure


def alt_text_listening(
    scene: Scene, curves: Mapping[str, np.ndarray], span: AudioSpan, interval: Interval, truth: Interval
) -> str:
    """What `listening_figure` shows, in words: each curve by how much of it lies in the true interval."""
    inside = span.tokens(truth)
    parts = [f"{label} {_mean_inside(curve, inside):+.1f}" for label, curve in curves.items()]
    return (
        f"Spectrogram of a scene ({events_text(events_of(scene))}) and attention over it. Located: {interval}; true: "
        f"{truth} (overlap {100 * interval.covers(truth):.0f} %). Mean attention in the true interval, in even "
        f"shares: {', '.join(parts)}."
    )


def _mean_inside(curve: np.ndarray, inside: slice) -> float:
    return float(np.mean(_relative(np.asarray(curve))[0][inside]))


@dataclass(frozen=True)
class Listened:
    """One query of a scene for `side_by_side_figure`: the curves ((tokens,) of shares, by label), and what was found.

    `truth`: where the event is. `windows`: the window read out of a curve, by the curve's label, where one was read.
    """

    scene: Scene
    event: str
    truth: Interval
    curves: Mapping[str, np.ndarray]
    windows: Mapping[str, Interval]
    span: AudioSpan


def side_by_side_figure(queries: Sequence[Listened]) -> Figure:
    """Several queries beside each other, a column each: the sound, and below it its curves, all on one scale.

    Under each curve with a window stands how much of the event that window covers. Raises ValueError for no query, or
    for queries with other curves.
    """
    labels = [list(query.curves) for query in queries]
    if not labels or any(one != labels[0] for one in labels):
        raise ValueError("pass at least one query, and the same curves for each")
    with house_style():
        figure = new_figure(0.9 + 2.7 * len(queries), 2.1 + 1.25 * len(labels[0]))
        heights = (1.5, *[1] * len(labels[0]))
        axes = figure.subplots(1 + len(labels[0]), len(queries), sharex=True, height_ratios=heights, squeeze=False)
        for column, query in enumerate(queries):
            for row, (label, curve) in enumerate(query.curves.items()):
                _one_query(axes[row + 1, column], query, label, curve, first=column == 0, line=LINES[row % len(LINES)])
            axes[-1, column].set_xlabel("time (s)")
        _one_scale([ax for ax in axes[1:].ravel() if ax.get_lines()])
        for column, query in enumerate(queries):
            spectrogram(axes[0, column], query.scene.samples, query.scene.rate).set_xlabel("")
            if column:
                axes[0, column].set_ylabel("")
        figure.align_ylabels(axes[:, 0])
        for ax, query in zip(axes[0], queries, strict=True):
            mark(ax, event_marks(events_of(query.scene), query.truth))
    return figure


def _one_query(ax: Axes, query: Listened, label: str, curve: np.ndarray, *, first: bool, line: Any) -> None:
    window = query.windows.get(label)
    _curve(ax, query.span.centers(), curve, window, line, linewidth=1.2)
    mark_edges(ax, query.truth, "true", 1.0)
    overlap = "" if window is None else f": window covers {100 * window.covers(query.truth):.0f} %"
    ax.set_title(f"{label}{overlap}", loc="left", fontsize="small", pad=3)
    if first:
        ax.set_ylabel("times\neven share")


def _one_scale(axes: Sequence[Axes]) -> None:
    """The same limits of the vertical axis for all."""
    top = max((ax.get_ylim()[1] for ax in axes), default=1.0)
    for ax in axes:
        ax.set_ylim(0.0, top)


def alt_text_side_by_side(queries: Sequence[Listened]) -> str:
    """What `side_by_side_figure` shows, in words: each curve by its mean in the event and what its window covers."""
    said = []
    for query in queries:
        inside = query.span.tokens(query.truth)
        parts = []
        for label, curve in query.curves.items():
            level = _mean_inside(curve, inside)
            window = query.windows.get(label)
            covered = "" if window is None else f" (window {window}, covers {100 * window.covers(query.truth):.0f} %)"
            parts.append(f"{label} {level:.1f} times even{covered}")
        names = ", ".join(event.name for event in query.scene.events)
        said.append(f"{query.event} at {query.truth} among {names}: {', '.join(parts)}")
    return f"Attention over {len(queries)} scenes, one column each, on one scale. {'; '.join(said)}."


# -- methods compared ----------------------------------------------------------------------------------------------
def overlap_figure(summaries: Mapping[str, DataFrame]) -> Figure:
    """Overlap of each method with its 95 % interval and its chance, one panel a model (`benchmark.summary` of each)."""
    panels = _all_slots(summaries)
    return _dot_figure(panels, lambda: overlap_title(panels))


def _all_slots(summaries: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    return {Path(model).name: table[table["slot"] == "all"] for model, table in summaries.items()}


def slot_figure(summary: DataFrame) -> Figure:
    """Overlap of each method for the first, middle and last event of a scene, beside that slot's own chance."""
    panels = _by_slot(summary)
    return _dot_figure({f"{slot} event": table for slot, table in panels.items()}, lambda: slot_title(panels))


def _by_slot(summary: DataFrame) -> dict[str, DataFrame]:
    slots = [slot for slot in ("first", "middle", "last") if (summary["slot"] == slot).any()]
    return {slot: summary[summary["slot"] == slot] for slot in slots}


def _dot_figure(panels: Mapping[str, DataFrame], message: Callable[[], str]) -> Figure:
    methods = in_order(name for table in panels.values() for name in table["method"])
    if not methods:
        raise ValueError("there is nothing to draw: no panel has a row of a known method")
    with house_style():
        figure = new_figure(2.6 + 2.7 * len(panels), 1.3 + 0.36 * len(methods))
        headline(figure, message())
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, table) in zip(axes, panels.items(), strict=True):
            _dots(ax, table.set_index("method"), methods)
            ax.set_title(title, fontsize="small")
            ax.tick_params(left=ax is axes[0])
            ax.set_xlabel("overlap (%)")
        axes[0].set_yticks(range(len(methods)), [label_of(name) for name in methods])
        axes[0].set_ylim(len(methods) - 0.5, -0.5)
        dots_legend(figure, INK, "mean, 95 % interval over scenes", "chance")
    return figure


def _dots(ax: Axes, table: DataFrame, methods: Sequence[str]) -> None:
    for place, name in enumerate(methods):
        if name not in table.index:
            continue
        ends, ours = percents(table.loc[name]), name.startswith("steering")
        chance_mark(ax, place, 100 * table.loc[name, "chance"])
        interval_dot(ax, place, ends, FOUND if ours else INK, hollow=not ours, clip_on=False)
        beside(ax, place, f"{ends[0]:.1f}{_fewer(table, name)}")
    dots_frame(ax)


def alt_text_overlap(summaries: Mapping[str, DataFrame]) -> str:
    """What `overlap_figure` shows, in words: every number in it."""
    panels = _all_slots(summaries)
    said = [f"{model}: {_in_words(table)}" for model, table in panels.items()]
    message = overlap_title(panels)
    return f"{message}. Overlap with the true interval by method, with 95 % intervals. {' '.join(said)}"


def alt_text_slots(summary: DataFrame) -> str:
    """What `slot_figure` shows, in words: every number in it."""
    panels = _by_slot(summary)
    said = [f"{slot.capitalize()} event: {_in_words(table)}" for slot, table in panels.items()]
    message = slot_title(panels)
    return f"{message}. Overlap with the true interval by method and place of the event in its scene. {' '.join(said)}"


def _fewer(table: DataFrame, method: str) -> str:
    """How many queries a method's row is from, where that is fewer than the others'. `table`: by method."""
    if "n" not in table or table.loc[method, "n"] == table["n"].max():
        return ""
    return f" (n = {table.loc[method, 'n']})"


def _in_words(table: DataFrame) -> str:
    by_method = table.set_index("method")
    parts = [
        f"{label_of(row.method)} {100 * row.overlap:.1f} %"
        + (f" ({100 * row.low:.1f} to {100 * row.high:.1f})" if np.isfinite(row.low) else "")
        + _fewer(by_method, row.method)
        for row in table.itertuples()
    ]
    return f"{', '.join(parts)}; chance {100 * float(table['chance'].mean()):.1f} %."
