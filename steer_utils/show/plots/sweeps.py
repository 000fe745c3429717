"""Figures of a sweep, in the style of `plots`; each with its words.

figure = heat_figure(summary, best)
save_figure(figure, folder / "overlap", alt_text_heat(summary, best), CAPTION)
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from steer_utils.show.plots.figures import house_style, new_figure
from steer_utils.show.plots.heatmaps import outline_cell, overlap_map
from steer_utils.show.plots.titles import headline, percent, versus
from steer_utils.study.benchmark import DEVELOPMENT, TEST

if TYPE_CHECKING:
    from pandas import DataFrame

#: The rows of panels: split, vector, and what they are called.
ROWS = (
    (DEVELOPMENT, "steering", "development classes: chosen here"),
    (TEST, "steering", "test classes"),
    (TEST, "random", "test classes, random vector"),
)
_SETTING = ["model", "blocks", "strength"]
CAPTION = "Overlap by steered blocks and strength; the setting chosen on the development classes is outlined."


def heat_figure(summary: DataFrame, best: DataFrame, question: str | None = None) -> Figure:
    """Overlap by steered blocks and strength, a column of panels a model: mean and ± half of its 95 % interval over
    scenes, in %. Three rows: the development classes, the test classes, and these with a random vector.

    `summary`: of `results.summarised`; `best`: of `chosen`, whose setting is outlined. Strength 0 is nothing
    added. `question`: the one of several to draw, by default the first. A dash: not measured, since no block that is
    read comes after. Raises ValueError for a question that the sweep did not ask.
    """
    cells, asked = _of_question(summary, question)
    models = list(dict.fromkeys(cells["model"]))
    blocks = {model: list(dict.fromkeys(cells.loc[cells["model"] == model, "blocks"])) for model in models}
    strengths = sorted(cells["strength"].unique())
    most = max(map(len, blocks.values()))
    with house_style():
        width = 1.5 + len(models) * max(2.6, 0.7 + 0.56 * len(strengths))
        figure = new_figure(width, 1.3 + len(ROWS) * (0.75 + 0.25 * most))
        headline(figure, _message(cells, best, asked))
        axes = figure.subplots(len(ROWS), len(models), squeeze=False)
        for row, (split, vector, label) in enumerate(ROWS):
            for ax, model in zip(axes[row], models, strict=True):
                own = cells[(cells["model"] == model) & (cells["split"] == split)]
                own = own[own["vector"].isin([vector, "none"])]
                overlap_map(ax, own, blocks[model], strengths, fontsize=7)
                ax.set(xlabel="", ylabel="")
                above = f"{Path(model).name}\n" if row == 0 else ""
                title = f"{above}{label}\nchance {100 * own['chance'].mean():.0f} %"
                ax.set_title(title, fontsize="small", linespacing=1.25)
                picked = best[(best["model"] == model) & (best["question"] == asked)].to_dict("records")
                for setting in picked if vector == "steering" else []:
                    outline_cell(ax, blocks[model].index(setting["blocks"]), strengths.index(setting["strength"]))
                if ax is axes[row][0]:
                    ax.set_ylabel("steered blocks")
                if row == len(ROWS) - 1:
                    ax.set_xlabel("strength λ (0: nothing added)")
        bar = figure.colorbar(axes[0][0].collections[0], ax=axes, pad=0.015, fraction=0.03, aspect=40)
        bar.set_label("overlap (%)")
        bar.outline.set_visible(False)
        figure.supxlabel(textwrap.fill(_note(cells, asked), int(13 * width)), fontsize="small")
    return figure


def _of_question(summary: DataFrame, question: str | None) -> tuple[DataFrame, str]:
    asked = list(dict.fromkeys(summary["question"]))
    if question is not None and question not in asked:
        raise ValueError(f"question is {question!r}; the sweep asked {', '.join(map(repr, asked))}")
    wanted = asked[0] if question is None else question
    return summary[summary["question"] == wanted], wanted


def _message(cells: DataFrame, best: DataFrame, asked: str) -> str:
    """What the chosen settings find on the test classes, beside a random vector in the same blocks and as strong."""
    test = cells[cells["split"] == TEST]
    picked = best[best["question"] == asked].to_dict("records")
    said = []
    for setting in picked:
        same = (test[_SETTING] == [setting[name] for name in _SETTING]).all(axis=1)
        rows = test[same].set_index("vector").to_dict("index")
        if "steering" not in rows:
            continue
        words = percent(rows["steering"]["overlap"])
        if "random" in rows:
            level = versus(rows["steering"], rows["random"])
            words += f", {level} a random vector, {percent(rows['random']['overlap'])}"
        said.append((Path(setting["model"]).name, words))
    if not said:
        steered = test[test["vector"] == "steering"]["overlap"]
        return f"On test classes steering finds {percent(*steered)} in {len(steered)} settings"
    if len(said) == 1:
        return f"Chosen on other classes, steering finds {said[0][1]}"
    return f"Chosen on other classes, steering finds {'; '.join(f'{words} ({model})' for model, words in said)}"


def _note(cells: DataFrame, question: str) -> str:
    scenes, seeds = cells["scenes"].max(), cells["seeds"].max()
    half = "mean ± half of its 95 % interval" if cells["low"].notna().any() else "mean"
    counts = f"{scenes} scene{'' if scenes == 1 else 's'} of {seeds} seed{'' if seeds == 1 else 's'}"
    return f"“{question}”: {half}, {'up to ' if cells['scenes'].nunique() > 1 else ''}{counts}"


def alt_text_heat(summary: DataFrame, best: DataFrame, question: str | None = None) -> str:
    """What `heat_figure` shows, in words: for each model the range on the test classes, controls, and the choice."""
    cells, asked = _of_question(summary, question)
    said = []
    for model in dict.fromkeys(cells["model"]):
        own = cells[(cells["model"] == model) & (cells["split"] == TEST)]
        steering, random, none = (own[own["vector"] == vector] for vector in ("steering", "random", "none"))
        low, high = (steering.loc[steering["overlap"].agg(end)] for end in ("idxmin", "idxmax"))
        words = f"{Path(model).name}, test classes: from {_place(low)} to {_place(high)}"
        for name, control in (("random vectors", random), ("strength 0", none)):
            words += f"; {name} {100 * control['overlap'].min():.1f} to {100 * control['overlap'].max():.1f} %"
        picked = best[(best["model"] == model) & (best["question"] == asked)].to_dict("records")
        for row in picked:
            words += (
                f"; outlined, as chosen on the development classes ({100 * row['development']:.1f} % there): "
                f"{_place(row)}"
            )
        said.append(f"{words}; chance {100 * steering['chance'].mean():.1f} %.")
    message = _message(cells, best, asked)
    return f"{message}. Overlap by steered blocks and strength, asking “{asked}”. {' '.join(said)}"


def _place(row: Mapping[str, Any]) -> str:
    return f"{100 * row['overlap']:.1f} % at strength {row['strength']:g} in blocks {row['blocks']}"
