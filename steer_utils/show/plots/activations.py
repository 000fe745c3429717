"""Figures of what hooks keep, each with its words: how long states are, what each block would say, what maps weigh.

figure = norm_figure({"audio": norms})                  # norms: (blocks + 1, tokens)
lesson.keep(figure, "03_norms", alt_text_norms({"audio": norms}), "The residual stream, block by block.")
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import seaborn
from matplotlib.figure import Figure

from steer_utils.show.palette import FOUND, INK, SOFT, TRUE
from steer_utils.show.plots.end_labels import CurveEnd, end_labels
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.titles import headline

#: Colour, line and marker in order; they differ in grey too.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": SOFT, "linestyle": (0, (1, 1)), "marker": "D", "markerfacecolor": "white"},
    {"color": FOUND, "linestyle": "-", "marker": "o"},
    {"color": TRUE, "linestyle": (0, (5, 1.5)), "marker": "s", "markerfacecolor": "white"},
    {"color": INK, "linestyle": "-.", "marker": "^"},
)
_LEAVE = 0.4  # of the distance of two blocks: how far the kinds of token at one block are spread
_LONGEST = 12  # characters of a word in a cell
BUDGET = 80e9  # bytes of the dotted line: a large GPU
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


# -- the length of states ------------------------------------------------------------------------------------------
def norm_figure(norms: Mapping[str, np.ndarray]) -> Figure:
    """‖h‖ by decoder block on a log axis: median of each kind of token, and the range of its middle 80 %.

    `norms`: kind -> (blocks + 1, tokens), the first row for what enters block 0, then the output of each block.
    Raises ValueError for no kind, more kinds than there are looks, or kinds with different numbers of blocks.
    """
    stations = _stations(norms)
    with house_style():
        figure = new_figure(7.5, 3.5)
        headline(figure, _norm_message(norms))
        ax = figure.subplots()
        ends = []
        for place, (kind, values) in enumerate(norms.items()):
            at = np.arange(stations) + _LEAVE * ((place + 0.5) / len(norms) - 0.5)
            low, middle, high = np.quantile(np.asarray(values, dtype=float), (0.1, 0.5, 0.9), axis=1)
            if np.asarray(values).shape[1] > 1:
                ax.vlines(at, low, high, color=LOOKS[place]["color"], linewidth=1.1)
            ax.plot(at, middle, linewidth=1.2, markersize=4.5, **LOOKS[place])
            ends.append(CurveEnd(at[-1], middle[-1], textwrap.fill(kind, 18), LOOKS[place]["color"]))
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        step = max(1, stations // 12)
        ticks = [0, *range(1, stations, step)]
        ax.set_xticks(ticks, ["in", *(str(tick - 1) for tick in ticks[1:])])
        ax.set(xlabel="after decoder block (in: what enters block 0)", ylabel="length of the state, ‖h‖")
        seaborn.despine(ax=ax)
        end_labels(ax, ends)
    return figure


def _norm_message(norms: Mapping[str, np.ndarray]) -> str:
    """Which kind of token grows most from what enters block 0 to the last block, by its medians."""
    medians = {kind: np.median(np.asarray(values, dtype=float), axis=1)[[0, -1]] for kind, values in norms.items()}
    most = max(medians, key=lambda kind: float(medians[kind][1] / medians[kind][0]))
    first, last = medians[most]
    return f"Most growth from the first block to the last: {most}, {first:.2g} to {last:.2g}, {last / first:.1f} times"


def alt_text_norms(norms: Mapping[str, np.ndarray]) -> str:
    """What `norm_figure` shows, in words: medians where each kind enters, after the first block and after the last."""
    _stations(norms)
    said = []
    for kind, values in norms.items():
        medians = np.median(np.asarray(values, dtype=float), axis=1)
        said.append(f"{kind}: {medians[0]:.2g} on entering, {medians[1]:.2g} after block 0, {medians[-1]:.2g} at last")
    return (
        f"{_norm_message(norms)}. Median length of the residual stream by decoder block, log scale. {'; '.join(said)}."
    )


def _stations(norms: Mapping[str, np.ndarray]) -> int:
    shapes = {kind: np.asarray(values).shape for kind, values in norms.items()}
    if not 1 <= len(norms) <= len(LOOKS) or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(f"pass 1 to {len(LOOKS)} kinds of token, each (blocks + 1, tokens); got {shapes}")
    counts = {shape[0] for shape in shapes.values()}
    if len(counts) != 1 or counts <= {0, 1}:
        raise ValueError(f"every kind must have the same blocks, and at least one; got {shapes}")
    return counts.pop()


# -- logit lens ----------------------------------------------------------------------------------------------------
def lens_figure(columns: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> Figure:
    """A grid of words, a row a decoder block and a column an instruction; the darker, the more probable.

    `columns`: instruction -> (words, probabilities), one of each a block. Raises ValueError for no instruction, or
    columns that differ in their number of blocks.
    """
    blocks = _blocks(columns)
    chances = np.stack([np.asarray(chance, dtype=float) for _, chance in columns.values()], axis=1)
    with house_style():
        figure = new_figure(7.5, 1.3 + 0.3 * blocks)
        headline(figure, _lens_message(columns))
        ax = figure.subplots()
        image = ax.imshow(chances, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for column, (words, chance) in enumerate(columns.values()):
            for block, word in enumerate(words):
                ax.text(
                    column,
                    block,
                    f"{plain(word)}  {chance[block]:.2f}",
                    ha="center",
                    va="center",
                    fontsize="small",
                    color="white" if chance[block] > 0.55 else INK,
                )
        ax.set_xticks(range(len(columns)), [textwrap.fill(plain(one, 60), 16) for one in columns], fontsize="small")
        ax.set_yticks(range(blocks))
        ax.set_ylabel("after decoder block")
        ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        figure.colorbar(image, ax=ax, label="probability", ticks=(0, 0.5, 1), pad=0.01)
    return figure


def _lens_message(columns: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> str:
    """From which block on each instruction has the word that it has at last."""
    since = []
    for words, _ in columns.values():
        other = [block for block, word in enumerate(words) if plain(word) != plain(words[-1])]
        since.append(f"{other[-1] + 1 if other else 0} (“{plain(words[-1])}”)")
    return f"The last block's words are there from block {', '.join(since)} on"


def alt_text_lens(columns: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> str:
    """What `lens_figure` shows, in words: every word, in the order of the blocks."""
    _blocks(columns)
    said = [
        f"{instruction} {', '.join(f'{plain(word)} {chance:.2f}' for word, chance in zip(words, chances, strict=True))}"
        for instruction, (words, chances) in columns.items()
    ]
    return (
        f"{_lens_message(columns)}. The word that each decoder block would say, first block first, with its "
        f"probability: {'; '.join(said)}."
    )


def plain(word: str, longest: int = _LONGEST) -> str:
    """A word that every font has and matplotlib takes as it is: no line breaks, no formulas, at most so long."""
    shown = word.strip().encode("unicode_escape").decode("ascii").replace("$", r"\$")
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _blocks(columns: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> int:
    counts = {len(part) for column in columns.values() for part in column}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(f"every instruction needs a word and a probability for each block; got counts {counts}")
    return counts.pop()


# -- memory of attention maps --------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class MapMemory:
    """Attention weights of one model in bytes, by seconds of audio: all rows (`full`), and `rows` of them (`kept`).

    `seconds`, `full` and `kept` are arrays of one length, the longest audio last.
    """

    name: str
    seconds: np.ndarray
    full: np.ndarray
    kept: np.ndarray
    rows: int


def memory_figure(models: Sequence[MapMemory]) -> Figure:
    """Bytes of attention weights by seconds of audio, log-log, a panel a model: full maps and chosen rows.

    Dotted: BUDGET. Raises ValueError for no model, or more than three.
    """
    if not 1 <= len(models) <= 3:
        raise ValueError(f"pass one to three models, got {len(models)}")
    with house_style():
        figure = new_figure(max(4.0, 0.7 + 3.4 * len(models)), 3.9)
        headline(figure, _memory_message(models))
        axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
        for ax, model in zip(axes, models, strict=True):
            for values, what, color, line, lift in (
                (model.full, "full maps", FOUND, "-", 7),
                (model.kept, f"{model.rows} rows", TRUE, (0, (5, 1.5)), -22),  # below its line as it rises
            ):
                ax.plot(model.seconds, values, color=color, linestyle=line, linewidth=1.6)
                ax.plot(model.seconds[-1:], values[-1:], color=color, marker="o", markersize=5)
                ax.annotate(
                    f"{what}: {size(float(values[-1]))}",
                    (float(model.seconds[-1]), float(values[-1])),
                    xytext=(4, lift),
                    textcoords="offset points",
                    ha="right",
                    va="bottom" if lift > 0 else "top",
                    color=color,
                    fontsize="small",
                )
            longest = float(model.seconds[-1])
            ticks = [
                second for second in ((1, 2, 4, 8, 16, 30) if longest <= 60 else (1, 10, 100, 600)) if second <= longest
            ]
            ax.set(xscale="log", xlabel="audio (s)")
            ax.set_title(f"{model.name}, up to {longest:g} s", loc="left", fontsize="medium")
            ax.set_xticks(ticks, [str(second) for second in ticks])
            ax.axhline(BUDGET, color=SOFT, linewidth=0.9, linestyle=(0, (1, 1.5)))
            seaborn.despine(ax=ax)
        top = 40 * max(BUDGET, *(float(model.full[-1]) for model in models))
        axes[0].set(yscale="log", ylabel="attention weights (bytes)", ylim=(None, top))
        start = float(models[0].seconds[0])
        axes[0].text(start, 1.3 * BUDGET, f"a GPU of {size(BUDGET)}", color=SOFT, fontsize="small", va="bottom")
        powers = [10.0**power for power in range(3, 16, 2) if axes[0].get_ylim()[0] <= 10.0**power <= top]
        axes[0].set_yticks(powers, [size(power) for power in powers])
        for ax in axes:
            ax.minorticks_off()
    return figure


def _memory_message(models: Sequence[MapMemory]) -> str:
    """What the rows take of the full maps, of each model's longest audio."""
    parts = [f"{size(float(model.kept[-1]))} in place of {size(float(model.full[-1]))}" for model in models]
    return f"{models[0].rows} rows take {' and '.join(parts)}"


def alt_text_memory(models: Sequence[MapMemory]) -> str:
    """What `memory_figure` shows, in words: both ends of each line, and where full maps pass the budget."""
    said = []
    for model in models:
        over = model.seconds[model.full > BUDGET]
        passes = f"more than {size(BUDGET)} from {over[0]:.0f} s" if len(over) else f"never more than {size(BUDGET)}"
        said.append(
            f"{model.name}, {model.seconds[0]:g} to {model.seconds[-1]:g} s: full maps {size(model.full[0])} to "
            f"{size(model.full[-1])} ({passes}), {model.rows} rows {size(model.kept[0])} to {size(model.kept[-1])}"
        )
    message = _memory_message(models)
    return f"{message}. Bytes of attention weights by length of the audio, both axes logarithmic. {'; '.join(said)}."


def size(count: float) -> str:
    """Bytes in decimal units with three digits: 353 GB, 188 MB, 12 B."""
    unit, name = next(((unit, name) for unit, name in _UNITS if count >= unit), (1.0, "B"))
    return f"{count / unit:.3g} {name}"
