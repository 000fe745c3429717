"""Figures of how a model takes sound in: one second on its way to audio tokens, what a token has heard, and the slots
of a prompt.

Each returns a matplotlib Figure and leaves pyplot alone; parts differ by hatch as well as by colour. For each there is
a function that says it in words (`alt_text_...`).

    figure = prompt_figure({name: prompt_slots(lm, name, hearing.span) for name in instructions}, hearing.span)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.show.palette import AUDIO_TINT, FILL, FOUND, INK, INSTRUCTION_TINT, SOFT, TEMPLATE_TINT, TRUE
from steer_utils.show.plots.dots import legend_below
from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.sound.spans import AudioSpan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: How each part of a prompt is drawn, and what the legend calls it.
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "template": ("chat template", {"facecolor": TEMPLATE_TINT, "edgecolor": SOFT}),
    "audio": ("audio tokens", {"facecolor": AUDIO_TINT, "edgecolor": FOUND, "hatch": "////"}),
    "instruction": ("instruction", {"facecolor": INSTRUCTION_TINT, "edgecolor": TRUE, "hatch": "...."}),
    "answer": ("last slot: the answer begins after it", {"facecolor": INK, "edgecolor": INK}),
}
EDGE = 2  # audio tokens drawn at each end; those between are one wide box
GAP = 4.0  # width of that box, in slots
NEAR = 10  # tokens of distance up to which the mean change is drawn


# -- the slots of a prompt -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Slot:
    """One slot of a prompt: its number, the text of its token, and the part it belongs to (a key of PARTS)."""

    number: int
    text: str
    part: str


def prompt_slots(checkpoint: Checkpoint, instruction: str, span: AudioSpan) -> list[Slot]:
    """Every slot of the prompt of `instruction` behind an audio at `span`, in order.

    Raises as `Checkpoint.tokens`, and ValueError for a model whose padding has slots, too.
    """
    if checkpoint.family.covers_padding:
        raise ValueError(f"this figure does not draw the padding that {checkpoint.family.name} hears behind the audio")
    tokens = checkpoint.tokens(instruction)
    start, stop = tokens.instruction_start, tokens.instruction_start + len(tokens.instruction)
    tail = ["instruction" if a < stop and start < b else "template" for a, b in tokens.tail_characters]
    parts = ["template"] * span.first + ["audio"] * span.count + tail[:-1] + ["answer"]
    ids = [*tokens.head[:-1], *[checkpoint.audio_token_id] * span.count, *tokens.tail]
    words = {token: checkpoint.processor.tokenizer.decode([token]).strip(" ").replace("\n", "\\n") for token in ids}
    return [Slot(number, words[ids[number]], part) for number, part in enumerate(parts)]


def prompt_figure(prompts: Mapping[str, Sequence[Slot]], span: AudioSpan) -> Figure:
    """One strip a prompt (its name -> its slots), audio tokens in the middle left out; above, what all of them share.

    Raises ValueError without prompts.
    """
    if not prompts:
        raise ValueError("there is nothing to draw: pass at least one prompt")
    with house_style():
        figure = new_figure(8.6, 0.75 + 1.6 * len(prompts))
        axes = figure.subplots(len(prompts), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (name, slots) in zip(axes, prompts.items(), strict=True):
            shared_until = _strip(ax, slots, span)
            ax.set_title(name, loc="left", fontsize="small", pad=16)
            ends = {"arrowstyle": "|-|,widthA=0.2,widthB=0.2", "color": INK, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", (0, 1.06), (shared_until, 1.06), annotation_clip=False, arrowprops=ends)
            ax.text(
                shared_until / 2,
                1.09,
                f"the same under every instruction: slots 0 to {span.stop - 1}",
                ha="center",
                va="bottom",
                fontsize="x-small",
            )
            ax.set(ylim=(-0.42, 1.06), yticks=[], xticks=[])
            seaborn.despine(ax=ax, left=True, bottom=True)
        handles = [Patch(label=label, **style) for label, style in PARTS.values()]
        legend_below(figure, handles, ncols=len(handles))
    return figure


def _strip(ax: Axes, slots: Sequence[Slot], span: AudioSpan) -> float:
    """One prompt as a strip of boxes; returns where the last audio token ends on it."""
    left = shared_until = 0.0
    hidden = range(span.first + EDGE, span.stop - EDGE)  # empty where the audio is short enough to be drawn whole
    for slot in slots:
        if slot.number in hidden and slot.number != hidden[0]:
            continue
        width = GAP if slot.number in hidden else 1.0
        _box(ax, left, width, PARTS[slot.part][1])
        middle = left + width / 2
        if slot.number in hidden:
            words = f"{span.count} audio\ntokens,\n{span.duration:.2f} s"
            ax.text(middle, 0.6, words, ha="center", va="center", fontsize="x-small")
        else:
            ax.text(middle, 0.6, slot.text, rotation=90, ha="center", va="center", fontsize=7)
            ax.text(middle, -0.06, str(slot.number), ha="center", va="top", fontsize=6.5, rotation=90)
        left += width
        shared_until = left if slot.number < span.stop else shared_until
    ax.set_xlim(-0.05, max(left + 0.05, ax.get_xlim()[1]))  # shared: room for the longest prompt
    return shared_until


def _box(ax: Axes, left: float, width: float, style: Mapping[str, Any]) -> None:
    """A white box for the words, standing on a band that says by colour and hatch which part it is."""
    ax.add_patch(Rectangle((left, 0.2), width, 0.8, facecolor="white", edgecolor=SOFT, linewidth=0.5))
    ax.add_patch(Rectangle((left, 0), width, 0.2, linewidth=0.5, **style))


def alt_text_prompt(prompts: Mapping[str, Sequence[Slot]], span: AudioSpan) -> str:
    """What `prompt_figure` shows, in words."""
    said = []
    for name, slots in prompts.items():
        places = {part: [slot.number for slot in slots if slot.part == part] for part in PARTS}
        words = " ".join(slot.text for slot in slots if slot.part == "instruction")
        said.append(
            f"{name!r} has {len(slots)} slots; its instruction, {words!r}, is in slots "
            f"{_runs(places['instruction'])}, chat template in {_runs(places['template'])}, "
            f"and the answer begins after slot {places['answer'][0]}."
        )
    return (
        f"The slots of {len(prompts)} prompt{'s' * (len(prompts) > 1)}. Slots 0 to {span.stop - 1} are the same under "
        f"every instruction: the chat template, then {span.count} audio tokens ({span.duration:.2f} s) from slot "
        f"{span.first}. {' '.join(said)}"
    )


def _runs(numbers: Sequence[int]) -> str:
    """ "0-14, 215, 222-223" """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "none"


# -- one second ----------------------------------------------------------------------------------------------------
def second_figure(samples: np.ndarray, rate: int, mel: np.ndarray, span: AudioSpan) -> Figure:
    """A short sound on its way in: waveform (n,), mel features (bands, frames), and below them the grid of mel frames,
    tower positions and audio tokens, which are numbered."""
    duration = len(samples) / rate
    with house_style():
        figure = new_figure(8.6, 4.6)
        wave, bands, grid = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.5, 1))
        wave.plot(np.arange(len(samples)) / rate, samples, color=INK, linewidth=0.5)
        wave.set_ylabel("amplitude")
        bands.imshow(
            mel,
            origin="lower",
            aspect="auto",
            cmap="Greys",
            interpolation="nearest",
            extent=(0, duration, -0.5, len(mel) - 0.5),
        )
        bands.set_ylabel("mel band")
        rows = {"mel frames": mel.shape[1], "tower positions": 2 * span.count, "audio tokens": span.count}
        for place, count in enumerate(rows.values()):
            width = span.duration / count if count != mel.shape[1] else duration / count
            for index in range(count):
                shade = AUDIO_TINT if index % 2 else "white"
                grid.add_patch(
                    Rectangle(
                        (index * width, place - 0.42), width, 0.84, facecolor=shade, edgecolor=FOUND, linewidth=0.4
                    )
                )
        for index, center in enumerate(span.centers()):
            grid.text(center, len(rows) - 1, str(index), ha="center", va="center", fontsize=6.5)
        labels = [f"{name} ({count})" for name, count in rows.items()]
        grid.set(yticks=range(len(rows)), yticklabels=labels, ylim=(len(rows) - 0.4, -0.6), xlim=(0, duration))
        grid.set_xlabel("time (s)")
        for ax in (wave, bands, grid):
            seaborn.despine(ax=ax)
        figure.align_ylabels([wave, bands])
    return figure


def alt_text_second(samples: np.ndarray, rate: int, mel: np.ndarray, span: AudioSpan) -> str:
    """What `second_figure` shows, in words."""
    return (
        f"{len(samples) / rate:.2f} s of sound on one time axis: the waveform ({len(samples)} samples, largest "
        f"amplitude {np.abs(samples).max():.2f}), its mel spectrogram ({mel.shape[0]} bands, {mel.shape[1]} frames), "
        f"and a grid of {mel.shape[1]} mel frames, {2 * span.count} tower positions and {span.count} audio tokens, "
        f"numbered 0 to {span.count - 1}; an audio token is {1000 * span.seconds_per_token:.0f} ms wide and stands "
        "under two positions."
    )


# -- what a token has heard ----------------------------------------------------------------------------------------
def reach(change: np.ndarray, silenced: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean change by distance: (distances, means). `change`: (len(silenced), tokens), a row for each silenced token.

    A distance of +1 is the token after the silenced one.
    """
    lags = np.arange(change.shape[1])[None, :] - np.asarray(silenced)[:, None]
    distances = np.unique(lags)
    return distances, np.array([change[lags == lag].mean() for lag in distances])


def reach_figure(change: np.ndarray, silenced: Sequence[int]) -> Figure:
    """How much each token changes, ‖Δ‖/‖x‖, when the sound under one of them is silenced: all pairs in greys, and the
    mean by distance up to NEAR tokens."""
    distances, means = reach(change, silenced)
    near = np.abs(distances) <= NEAR
    with house_style():
        figure = new_figure(8.6, 3.4)
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.set(w_pad=0.12)  # type: ignore[call-arg]  # inches between the colour bar's label and the next panel
        pairs, profile = figure.subplots(1, 2, width_ratios=(1, 1.15))
        image = pairs.imshow(
            100 * change, cmap="Greys", vmin=0, vmax=100 * float(change.max()), aspect="auto", interpolation="nearest"
        )
        shown = range(0, len(silenced), max(1, len(silenced) // 5))
        pairs.set(
            xlabel="audio token that changes",
            ylabel="audio token silenced",
            yticks=list(shown),
            yticklabels=[str(silenced[place]) for place in shown],
        )
        figure.colorbar(image, ax=pairs, label="change (% of its norm)")
        own = distances[near] == 0
        bars = profile.bar(
            distances[near], 100 * means[near], color=np.where(own, FOUND, FILL), edgecolor=INK, linewidth=0.6
        )
        bars[int(np.flatnonzero(own)[0])].set_hatch("////")
        for lag in (0, 1):
            if lag in distances:
                value = 100 * float(means[distances == lag][0])
                profile.annotate(
                    f"{value:.0f}",
                    (lag, value),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize="small",
                )
        profile.set(
            xlabel="distance from the silenced token (tokens)",
            ylabel="mean change (% of its norm)",
            ylim=(0, 112 * float(means.max())),
        )
        for ax in (pairs, profile):
            seaborn.despine(ax=ax)
    return figure


def alt_text_reach(change: np.ndarray, silenced: Sequence[int]) -> str:
    """What `reach_figure` shows, in words."""
    distances, means = reach(change, silenced)
    value = {int(lag): 100 * float(mean) for lag, mean in zip(distances, means, strict=True)}
    beyond = [100 * float(mean) for lag, mean in zip(distances, means, strict=True) if abs(lag) > 1]
    nearest = ", ".join(
        f"{label} {value[lag]:.0f} %"
        for lag, label in ((0, "itself"), (1, "the one after it"), (-1, "the one before it"))
        if lag in value
    )
    return (
        f"Change of each of {change.shape[1]} audio tokens when the sound under one of them is silenced, "
        f"{len(silenced)} silenced in turn. Left, all pairs in greys; right, the mean by distance. Mean change: "
        f"{nearest}, those further away {np.mean(beyond):.0f} % on average."
    )
