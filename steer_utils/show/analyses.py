"""The analyses beside the benchmark, in one table, ANALYSES: what each asks, how it is run, summed up and drawn.

table = ANALYSES["shift"].run(lm, scene_set(lm, settings, count=100, seed=0), settings)
ANALYSES["shift"].summary(table)
for name, drawn in ANALYSES["shift"].figures(table).items(): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from steer_utils.lm.checkpoints import Checkpoint
from steer_utils.methods.calibration import Calibration
from steer_utils.methods.settings import Settings
from steer_utils.show.plots.block_map import alt_text_block_map, block_map_figure
from steer_utils.show.plots.field import alt_text_field, field_figure
from steer_utils.show.plots.free_words import alt_text_words, words_figure
from steer_utils.show.plots.harder_scenes import (
    alt_text_conditions,
    alt_text_presence,
    conditions_figure,
    presence_figure,
)
from steer_utils.show.plots.sample_curves import alt_text_curves, curves_figure
from steer_utils.show.plots.sensitivity import POINTS, alt_text_plane, alt_text_star, plane_figure, star_figure
from steer_utils.show.plots.shifts import (
    alt_text_occlusion,
    alt_text_shift,
    alt_text_swap,
    occlusion_figure,
    shift_figure,
    swap_figure,
)
from steer_utils.sound.files import json_safe
from steer_utils.sound.tables import text_table
from steer_utils.study.attention_shift import averaged, shift_summary, shift_table
from steer_utils.study.benchmark import SceneSet
from steer_utils.study.block_map import PROMPTING, block_map_summary, block_map_table
from steer_utils.study.causality import occlusion_summary, occlusion_table, swap_summary, swap_table
from steer_utils.study.field import field_summary, field_table, lacking_of_settings, presence_summary
from steer_utils.study.free_words import word_summary, word_table
from steer_utils.study.harder_scenes import harder_summary, harder_table, limits
from steer_utils.study.report import left_out_lines, numbers_text, p_text
from steer_utils.study.resume import Progress
from steer_utils.study.sample_curves import curve_summary, curve_table, findings
from steer_utils.study.sensitivity import FACTORS, one_at_a_time, sensitivity_summary, sensitivity_table

SHIFT_MEASURES = ("mass", "js", "inside")


@dataclass(frozen=True)
class Drawn:
    """A figure with its words."""

    figure: Figure
    alt: str
    caption: str


def drawn_as(
    name: str, figure: Callable[[pd.DataFrame], Figure], alt: Callable[[pd.DataFrame], str], caption: str
) -> Callable[[pd.DataFrame], dict[str, Drawn]]:
    """What draws a summary as one figure of this name: how it is made, put into words, and its caption."""
    return lambda summary: {name: Drawn(figure(summary), alt(summary), caption)}


class Runner(Protocol):
    """How a table is made: resumable from the file `resume_file`."""

    def __call__(
        self,
        checkpoint: Checkpoint,
        scenes: SceneSet,
        settings: Settings,
        *,
        resume_file: Path | None = None,
        progress: Progress = iter,
    ) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Analysis:
    """One analysis: the question it answers, and its three steps. `kind` is what its tables' attrs call it.

    `draw`: of the summary; or, where the figures need more than its rows hold, of what `detail` makes of a table.
    `any_text`: only for models that take any text, not for those that know their own words alone. `recordings`: of a
    pocket model it is run on recordings too. `first`: sentences made of the summary, which stand before its rows.
    `lacking`: why settings will not do for procedural scenes; empty where they do.
    """

    name: str
    kind: str
    question: str
    run: Runner
    summary: Callable[[pd.DataFrame], pd.DataFrame]
    draw: Callable[[pd.DataFrame], dict[str, Drawn]]
    detail: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    any_text: bool = False
    recordings: bool = False
    first: Callable[[pd.DataFrame], list[str]] = lambda summary: []
    lacking: Callable[[Settings], str] = lambda settings: ""

    def refusal(self, checkpoint: Checkpoint, settings: Settings) -> str:
        """Why it cannot be run on procedural scenes with this model and these settings; empty where it can."""
        if self.any_text and checkpoint.events is not None:
            return f"{checkpoint.name} knows no words but its own"
        return self.lacking(settings)

    def figures(self, table: pd.DataFrame) -> dict[str, Drawn]:
        """The figures of a run by name."""
        return self.draw((self.detail or self.summary)(table))

    def figures_of_rows(self, rows: list[dict[str, Any]]) -> dict[str, Drawn]:
        """The same of the rows of a report (`analysis_report`); none where they do not hold all that is drawn."""
        if self.detail:
            return {}
        numbers = [{name: np.nan if value is None else value for name, value in row.items()} for row in rows]
        return self.draw(pd.DataFrame(numbers))


def analysis_named(name: str) -> Analysis:
    """One of ANALYSES. Raises ValueError for another name."""
    if name not in ANALYSES:
        raise ValueError(f"there is no analysis {name!r}; pass one of {', '.join(ANALYSES)}")
    return ANALYSES[name]


def analysis_of(attrs: Mapping[Any, Any]) -> Analysis | None:
    """The analysis that a table with these attrs came from; None for a table of the benchmark."""
    return next((analysis for analysis in ANALYSES.values() if analysis.kind == attrs.get("analysis")), None)


# -- what they say ---------------------------------------------------------------------------------------------------
def analysis_report(analysis: Analysis, table: pd.DataFrame) -> dict[str, Any]:
    """The run as one json object: what was run on what, and the rows of its summary."""
    return {
        "analysis": analysis.name,
        **{key: value for key, value in json_safe(table.attrs).items() if key != "analysis"},
        "rows": json_safe(analysis.summary(table).to_dict("records")),
    }


def analysis_text(analysis: Analysis, table: pd.DataFrame) -> str:
    """The same to read: a line a row of the summary."""
    on = f"{table.attrs['model']}{numbers_text(table.attrs)}: {_run_on(table)}"
    summary = analysis.summary(table)
    return "\n".join([analysis.question, on, "", *analysis.first(summary), *_lines(summary)])


def _run_on(table: pd.DataFrame) -> str:
    """What it was run on, in words: scenes, or (`shift_tables.question_shift_table`) questions about files."""
    if "items" not in table.attrs:
        scenes = table.attrs["scenes"]
        return "\n".join(
            [f"{scenes['scenes']} scenes, seed {scenes['seed']}, {scenes['sounds']}", *left_out_lines(scenes)]
        )
    items, files = table.attrs["items"], table.drop_duplicates("scene")
    cut = int((files["duration"] > files["seconds"] + 0.01).sum())
    heard = f"\n{cut} files are longer than the model hears in one go, and were cut" if cut else ""
    return f"{items['questions']} questions on {items['files']} audio files{heard}"


def _lines(rows: pd.DataFrame) -> list[str]:
    """A summary as lines of text under its column names."""
    cells = [[cell_text(name, value) for name, value in row.items()] for row in rows.to_dict("records")]
    return text_table([list(map(str, rows.columns)), *cells])


def cell_text(name: Any, value: Any) -> str:
    """A value of a summary's column `name` to read: numbers to three digits, "-" for what is not there."""
    if value is None or value == "" or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    if str(name) in ("p", "p_holm"):
        return p_text(value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def calibration_text(table: pd.DataFrame, calibration: Calibration) -> str:
    """How well presence is told on the test files of `analyse field`, as the model says it and calibrated."""
    facts = calibration.fitted_on
    return "\n".join(
        [
            f"{table.attrs['model']}: fitted on {facts['questions']} questions about {facts['files']} development "
            f"files ({facts['sounds']}); there from {calibration.threshold:.2f} on",
            "",
            *_lines(presence_summary(table, calibration)),
        ]
    )


# -- summaries and figures of their own ------------------------------------------------------------------------------
def _sensitivity_summary(table: pd.DataFrame) -> pd.DataFrame:
    """The star around each point: what one factor at a time does."""
    summary = sensitivity_summary(table)
    stars = [one_at_a_time(summary, point) for point in _points(summary)]
    columns = ["around", "factor", "level", "chosen", "overlap", "low", "high", "iou", "chance", "n", "scenes"]
    return pd.concat(stars, ignore_index=True)[columns]


def _sensitivity_figures(summary: pd.DataFrame) -> dict[str, Drawn]:
    drawn = {}
    for point in _points(summary):
        plane = f"Strength against steered blocks, {POINTS[point]}."
        star = f"{len(FACTORS)} factors and the window's width, one at a time, around {POINTS[point]}."
        drawn[f"plane_{point}"] = Drawn(plane_figure(summary, point), alt_text_plane(summary, point), plane)
        drawn[f"star_{point}"] = Drawn(star_figure(summary, point), alt_text_star(summary, point), star)
    return drawn


def _points(summary: pd.DataFrame) -> list[str]:
    """ "own" and "paper"; the latter alone for a model without settings of its own."""
    return list(dict.fromkeys(summary["around"]))


def _condition_figures(summary: pd.DataFrame) -> dict[str, Drawn]:
    found, heard = (
        "How much of the sound is found, by condition.",
        "Sounds that are not there, and a sound that is twice.",
    )
    return {
        "overlap": Drawn(conditions_figure(summary), alt_text_conditions(summary), found),
        "presence": Drawn(presence_figure(summary), alt_text_presence(summary), heard),
    }


def _shift_summary(table: pd.DataFrame) -> pd.DataFrame:
    return shift_summary(averaged(table)).drop(columns="block")


def _block_map_summary(table: pd.DataFrame) -> pd.DataFrame:
    """For each steered block and read-out the block that is best read; the whole map is in the figure."""
    summary = block_map_summary(table)
    best = summary.loc[summary.groupby(["read", "steered"])["overlap"].idxmax()]
    return best.replace({"steered": {PROMPTING: "none, prompting"}}).reset_index(drop=True)


ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (
        Analysis(
            "sensitivity",
            "sensitivity",
            "Does the result hang on what the paper leaves open?",
            sensitivity_table,
            _sensitivity_summary,
            _sensitivity_figures,
            sensitivity_summary,
        ),
        Analysis(
            "shift",
            "attention shift",
            "How do steering and prompting change attention to the audio?",
            shift_table,
            _shift_summary,
            drawn_as(
                "by_block",
                partial(shift_figure, measures=SHIFT_MEASURES),
                partial(alt_text_shift, measures=SHIFT_MEASURES),
                "What each condition changes, by decoder block: attention to the audio, and where in it.",
            ),
            shift_summary,
        ),
        Analysis(
            "occlusion",
            "occlusion",
            "Does the answer change when the window found is taken away?",
            occlusion_table,
            occlusion_summary,
            drawn_as(
                "windows",
                occlusion_figure,
                alt_text_occlusion,
                "What the model says before and after a window is taken out of the audio.",
            ),
        ),
        Analysis(
            "swap",
            "swap",
            "Does the answer follow the vector?",
            swap_table,
            swap_summary,
            drawn_as(
                "answers",
                swap_figure,
                alt_text_swap,
                "What the answer to a question that names no event speaks of, by the vector added.",
            ),
        ),
        Analysis(
            "blocks",
            "block map",
            "Where must the vector go in, and where does attention answer?",
            block_map_table,
            _block_map_summary,
            drawn_as(
                "map",
                block_map_figure,
                alt_text_block_map,
                "Each block steered alone, and each later block read alone: how much of the sound is found.",
            ),
            block_map_summary,
        ),
        Analysis(
            "words",
            "words",
            "Does it find sounds by words that it was never trained with?",
            word_table,
            word_summary,
            drawn_as(
                "texts",
                words_figure,
                alt_text_words,
                "Each sound by its name, by synonyms and by a phrase: found by steering and by prompting.",
            ),
            partial(word_summary, by="text"),
            any_text=True,
        ),
        Analysis(
            "field",
            "field",
            "Is what locate says of a field recording true?",
            field_table,
            field_summary,
            drawn_as(
                "scores",
                field_figure,
                alt_text_field,
                "Files of 6 to 20 s with one to three events over a bed: what each method finds, and what of it is "
                "true.",
            ),
            lacking=lacking_of_settings,
        ),
        Analysis(
            "conditions",
            "conditions",
            "Where does a method stop? Scenes that are less kind, and sounds that are not there",
            harder_table,
            harder_summary,
            _condition_figures,
            recordings=True,
            first=limits,
        ),
        Analysis(
            "curves",
            "sample curves",
            "How much does it take? Strength, contrast pairs, wording, language",
            curve_table,
            curve_summary,
            drawn_as(
                "levels",
                curves_figure,
                alt_text_curves,
                "What it takes: strength, contrast pairs, other audios, wording, language.",
            ),
            first=findings,
        ),
    )
}
