"""The analyses in one table: each runs, sums up, draws, and is known again from its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tinies import knowing_five, taking_any_text

from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER
from steer_utils.show.analyses import ANALYSES, Analysis, analysis_named, analysis_of, analysis_report, analysis_text
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.study.benchmark import SceneSet, scene_set
from steer_utils.study.causality import occlusion_summary
from steer_utils.study.free_words import SYNONYMS
from steer_utils.study.harder_scenes import harder_table
from steer_utils.study.report import read_table, write_table
from steer_utils.study.sample_curves import curve_table

OWN = replace(PAPER, blocks=(0, 1), chosen_on={"events": []})


@pytest.fixture(scope="module")
def five(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return knowing_five(tiny_models["audioflamingo3"])


@pytest.fixture(scope="module")
def scenes(five: AudioLM) -> SceneSet:
    return scene_set(five, OWN, count=2, seed=4)


@pytest.fixture(scope="module", params=sorted(ANALYSES))
def ran(request: pytest.FixtureRequest, five: AudioLM, scenes: SceneSet) -> tuple[Analysis, pd.DataFrame]:
    analysis = ANALYSES[request.param]
    if analysis.name == "conditions":  # three of them: all others are made and asked about alike
        few = ["plain", "twice", "20 s"]
        return analysis, harder_table(five, scenes, OWN, conditions=few, methods=("steering", "loudest"))
    if analysis.name == "curves":
        return analysis, curve_table(five, scenes, OWN, counts=(1, 2))
    if analysis.any_text:  # on scenes of sounds that have synonyms
        maker = SceneMaker(tuple(SYNONYMS)[:4], seconds=five.window_seconds)
        return analysis, analysis.run(taking_any_text(five), SceneSet(maker, 2, 4), OWN)
    if analysis.name == "field":  # a threshold needs development classes, and the tiny model knows five sounds
        with pytest.warns(UserWarning, match="were chosen on"):
            return analysis, analysis.run(five, scenes, replace(OWN, chosen_on={"events": list(scenes.maker.names)}))
    return analysis, analysis.run(five, scenes, OWN)


def test_a_table_knows_its_analysis(ran: tuple[Analysis, pd.DataFrame]) -> None:
    analysis, table = ran
    assert analysis_of(table.attrs) is analysis
    assert analysis_of({"model": "tiny", "methods": ["steering"]}) is None


def test_the_report_is_strict_json_of_the_summary(ran: tuple[Analysis, pd.DataFrame]) -> None:
    analysis, table = ran
    report = json.loads(json.dumps(analysis_report(analysis, table), allow_nan=False))
    assert report["analysis"] == analysis.name and report["model"] == "tiny" and report["scenes"]["seed"] == 4
    assert len(report["rows"]) == len(analysis.summary(table)) > 0


def test_the_text_has_the_question_and_a_line_a_row(ran: tuple[Analysis, pd.DataFrame]) -> None:
    analysis, table = ran
    lines = analysis_text(analysis, table).splitlines()
    assert lines[0] == analysis.question and "2 scenes, seed 4" in lines[1]
    summary = analysis.summary(table)
    assert len(lines) == 4 + len(analysis.first(summary)) + len(summary)


def test_every_figure_has_words_and_can_be_drawn(ran: tuple[Analysis, pd.DataFrame]) -> None:
    analysis, table = ran
    drawn = analysis.figures(table)
    assert drawn
    for one in drawn.values():
        assert len(one.alt) > 40 and one.caption.endswith(".")
        one.figure.canvas.draw()


def test_one_file_makes_the_same_report_again(ran: tuple[Analysis, pd.DataFrame], tmp_path: Path) -> None:
    analysis, table = ran
    write_table(table, tmp_path / "run.parquet")
    again = read_table(tmp_path / "run.parquet")
    assert analysis_of(again.attrs) is analysis
    assert analysis_text(analysis, again) == analysis_text(analysis, table)


def test_the_summary_is_that_of_the_analysis(five: AudioLM, scenes: SceneSet) -> None:
    table = ANALYSES["occlusion"].run(five, scenes, OWN)
    pd.testing.assert_frame_equal(ANALYSES["occlusion"].summary(table), occlusion_summary(table))


def test_an_unknown_analysis_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="'magic'; pass one of sensitivity, shift, occlusion, swap"):
        analysis_named("magic")
