"""The figure of repeated trainings: each method's overlap, one mark a training.

figure = repeats_figure(trainings)
save_figure(figure, Path("figures/repeats"), alt_text_repeats(trainings), "One mark a training.")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from steer_utils.methods.table import METHODS
from steer_utils.show.palette import FOUND, INK, TRUE
from steer_utils.show.plots.dots import grid_behind, legend_below
from steer_utils.show.plots.figures import house_style, new_figure

KIND = "procedural"  # the scenes that every training was measured on


def repeats_figure(trainings: Sequence[dict[str, Any]]) -> Figure:
    """One panel a model, one line a method, one mark a training (`pocket.repeats.training_of`): overlap in %. Over each
    panel stands how far the first method's trainings lie apart.

    Raises ValueError where no model was trained twice.
    """
    models = _by_model(trainings)
    methods = list(next(iter(models.values()))[0][KIND]["overlap"])
    with house_style():
        figure = new_figure(2.6 + 2.3 * len(models), 1.5 + 0.34 * len(methods))
        axes = figure.subplots(1, len(models), squeeze=False)[0]
        for ax, (model, own) in zip(axes, models.items(), strict=True):
            ax.axvline(100 * own[0][KIND]["chance"], color=TRUE, linestyle=(0, (4, 1.5)), linewidth=1.2)
            for place, method in enumerate(methods):
                values = [100 * training[KIND]["overlap"][method][0] for training in own]
                ax.plot([min(values), max(values)], [place, place], color=INK, linewidth=0.8, zorder=1)
                for training, value in zip(own, values, strict=True):
                    color, over = (FOUND, 3) if training["ships"] else ("white", 2)
                    ax.plot(
                        [value],
                        [place],
                        "o",
                        color=color,
                        markersize=7,
                        markeredgecolor=FOUND,
                        zorder=over,
                        clip_on=False,
                    )
            ax.set(xlim=(0, 103), xticks=range(0, 101, 25), xlabel="overlap (%)", ylim=(len(methods) - 0.5, -0.5))
            ax.set_yticks(range(len(methods)), [METHODS[name].label for name in methods] if ax is axes[0] else [])
            ax.tick_params(left=False)
            first = METHODS[methods[0]].label.partition(" (")[0]
            ax.set_title(
                f"{model.removeprefix('pocket-')}\n{first}: {_range(own, methods[0])} in {len(own)} trainings",
                fontsize="small",
            )
            grid_behind(ax)
            seaborn.despine(ax=ax, left=True)
        mark: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 7, "markeredgecolor": FOUND}
        handles = [
            Line2D([], [], label="the training that ships", color=FOUND, **mark),
            Line2D([], [], label="another by the same recipe", color="white", **mark),
            Line2D([], [], label="chance", color=TRUE, linestyle=(0, (4, 1.5))),
        ]
        legend_below(figure, handles, ncols=3)
    return figure


def _by_model(trainings: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The trainings of each model that was trained more than once."""
    names = dict.fromkeys(training["model"] for training in trainings)
    models = {
        name: [training for training in trainings if training["model"] == name and KIND in training] for name in names
    }
    repeated = {name: own for name, own in models.items() if len(own) > 1}
    if not repeated:
        raise ValueError(f"no model among {', '.join(names) or 'none'} was trained and measured more than once")
    return repeated


def _range(own: Sequence[dict[str, Any]], method: str) -> str:
    """Between which overlaps the trainings of one model lie."""
    values = [100 * training[KIND]["overlap"][method][0] for training in own]
    return f"{min(values):.0f} to {max(values):.0f} %"


def alt_text_repeats(trainings: Sequence[dict[str, Any]]) -> str:
    """What `repeats_figure` shows, in words: of each model and method the lowest and the highest overlap."""
    said = []
    for model, own in _by_model(trainings).items():
        parts = [f"{METHODS[name].label} {_range(own, name)}" for name in own[0][KIND]["overlap"]]
        said.append(f"{model}, {len(own)} trainings: {', '.join(parts)}; chance {100 * own[0][KIND]['chance']:.0f} %.")
    return f"Overlap with the true interval by method, one mark a training. {' '.join(said)}"
