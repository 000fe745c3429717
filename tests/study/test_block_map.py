"""The map of blocks: each cell is what steering with these blocks finds; the strip is what prompting finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from steer_utils.lm.models import AudioLM
from steer_utils.methods.prompting import contrast_prompting, prompting
from steer_utils.methods.settings import Settings
from steer_utils.methods.steering import steering
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.study.benchmark import SceneSet
from steer_utils.study.block_map import PROMPTING, block_map_summary, block_map_table

SETTINGS = Settings(strength=3.0, vector_question="How loud is it?")


@pytest.fixture(scope="module")
def scenes() -> SceneSet:
    return SceneSet(SceneMaker(("bell", "siren", "rain"), seconds=4.0, event_seconds=(0.6, 1.0)), 2, 5)


@pytest.fixture(scope="module")
def table(one_model: AudioLM, scenes: SceneSet) -> pd.DataFrame:
    return block_map_table(one_model, scenes, SETTINGS)


@pytest.mark.parametrize("read", ["share", "difference"])
def test_each_cell_is_the_method_with_these_blocks(
    table: pd.DataFrame, one_model: AudioLM, scenes: SceneSet, read: Literal["share", "difference"]
) -> None:
    heard = scenes.heard(one_model, 1)
    for event, query, _ in heard.queries():
        rows = table[table["scene"].eq(1) & table["event"].eq(event.name) & table["read"].eq(read)].set_index("steered")
        for steered, block in ((0, 1), (0, 3), (2, 3), (PROMPTING, 2), (PROMPTING, 3)):
            if steered == PROMPTING:
                method = prompting if read == "share" else contrast_prompting
                chosen = replace(SETTINGS, prompt_blocks=(block,))
            else:
                method, chosen = steering, replace(SETTINGS, blocks=(steered,), read=read, read_blocks=(block,))
            interval = method(heard.hearing, query, chosen).interval
            assert interval is not None
            assert rows.loc[steered, "overlaps"][block] == pytest.approx(interval.covers(event.span), abs=1e-6)


def test_what_cannot_have_changed_is_left_out(table: pd.DataFrame) -> None:
    assert list(table["steered"].unique()) == [PROMPTING, 0, 1, 2]
    for steered, overlaps in zip(table["steered"], table["overlaps"], strict=True):
        assert [overlap is None for overlap in overlaps] == [block <= steered for block in range(4)]


def test_the_summary_holds_the_means_of_the_cells(table: pd.DataFrame) -> None:
    summary = block_map_summary(table)
    assert len(summary) == 2 * (4 + 3 + 2 + 1)
    rows = table[table["steered"].eq(1) & table["read"].eq("share")]
    (cell,) = summary[summary["steered"].eq(1) & summary["read"].eq("share") & summary["read_block"].eq(3)].itertuples()
    assert cell.overlap == pytest.approx(np.mean([overlaps[3] for overlaps in rows["overlaps"]]))
    assert cell.low <= cell.overlap <= cell.high and (cell.n, cell.scenes) == (6, 2)
    with pytest.raises(ValueError, match="empty"):
        block_map_summary(table.iloc[:0])
