"""Free words: each text is located as the methods locate it, presence is what the model's logits say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata
from tinies import knowing_five, taking_any_text

from steer_utils.lm.models import AudioLM
from steer_utils.methods.asking import presence_probability
from steer_utils.methods.base import Query
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import finder
from steer_utils.pocket.recipe import DEVELOPMENT_EVENTS
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study.benchmark import SceneSet
from steer_utils.study.free_words import METHODS, PHRASES, SYNONYMS, presence_auc, word_summary, word_table

SETTINGS = Settings(blocks=(0, 1), strength=3.0)
FEW = {name: SYNONYMS[name][:1] for name in ("bell", "engine", "rain", "bird")}


@pytest.fixture(scope="module")
def scenes() -> SceneSet:
    return SceneSet(SceneMaker(tuple(FEW), seconds=4.0, event_seconds=(0.6, 1.0)), 3, 5)


@pytest.fixture(scope="module")
def lm(one_model: AudioLM) -> AudioLM:
    return taking_any_text(one_model)


@pytest.fixture(scope="module")
def table(lm: AudioLM, scenes: SceneSet) -> pd.DataFrame:
    return word_table(lm, scenes, SETTINGS, synonyms=FEW)


def test_every_test_class_has_other_words_and_no_word_stands_for_two() -> None:
    classes = set(SOUNDS) - set(DEVELOPMENT_EVENTS)
    texts = [text for words in (SYNONYMS, PHRASES) for name in words for text in words[name]]
    assert classes <= set(SYNONYMS) and set(SYNONYMS) == set(PHRASES)
    assert len(texts) >= 40 and len(set(texts)) == len(texts)
    assert not set(texts) & set(SOUNDS)


def test_each_text_is_located_and_asked_for_as_it_stands(table: pd.DataFrame, lm: AudioLM, scenes: SceneSet) -> None:
    heard = scenes.heard(lm, 2)
    rows = table[table["scene"].eq(2)].set_index("text")
    for event, query, _ in heard.queries():
        texts = [event.name, *FEW[event.name], *PHRASES[event.name]]
        assert [rows.loc[text, "kind"] for text in texts] == ["name", "synonym", "phrase"]
        for text in texts:
            for name in METHODS:
                window = finder(name, SETTINGS)(heard.hearing, Query(text, query.seconds, query.seed), SETTINGS)
                assert window.interval is not None
                assert rows.loc[text, name] == pytest.approx(window.interval.covers(event.span), abs=1e-6)
            asked = presence_probability(heard.hearing, text, SETTINGS)
            assert 1 / (1 + np.exp(-rows.loc[text, "yes"])) == pytest.approx(asked, abs=1e-5)


def test_sounds_that_are_not_there_are_asked_for_too(table: pd.DataFrame) -> None:
    for _, rows in table.groupby("scene"):
        there, absent = (set(rows.loc[rows["there"] == value, "event"]) for value in (True, False))
        assert len(there) == 3 and len(absent) == 1 and not there & absent  # of four classes one is left
    assert table.loc[~table["there"], list(METHODS)].isna().all(axis=None)


def test_the_summary_has_a_row_a_kind_or_a_text(table: pd.DataFrame) -> None:
    summary = word_summary(table)
    assert list(summary["kind"]) == ["name", "synonym", "phrase"] and list(summary["n"]) == [9, 9, 9]
    names = table[table["kind"].eq("name") & table["there"]]
    assert summary["steering"][0] == pytest.approx(names["steering"].mean())
    assert summary["more"][0] == pytest.approx((names["steering"] - names["prompting-best"]).mean())
    assert summary["yes"][0] == pytest.approx((names["yes"] > 0).mean())
    by_text = word_summary(table, by="text")
    assert set(by_text["text"]) == set(table.loc[table["there"], "text"])
    with pytest.raises(ValueError, match="empty"):
        word_summary(table.iloc[:0])


def test_presence_area_is_the_share_of_pairs_in_order() -> None:
    drawn = np.random.default_rng(0).normal(size=30).round(1)  # with ties
    texts = pd.DataFrame({"there": np.arange(30) % 3 == 0, "yes": drawn})
    ranks = rankdata(drawn)
    count = texts["there"].sum()
    expected = (ranks[texts["there"]].sum() - count * (count + 1) / 2) / (count * (30 - count))
    assert presence_auc(texts) == pytest.approx(expected)
    assert np.isnan(presence_auc(texts[texts["there"]]))


def test_models_of_few_words_and_classes_without_others_are_refused(lm: AudioLM, scenes: SceneSet) -> None:
    with pytest.raises(ValueError, match="by these names only"):
        word_table(knowing_five(lm), scenes, SETTINGS)
    with pytest.raises(ValueError, match="no synonyms for bird"):
        word_table(lm, scenes, SETTINGS, synonyms={name: FEW[name] for name in ("bell", "engine", "rain")})
