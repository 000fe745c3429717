"""Sample curves: each level is what the methods themselves find with it, and averages are averages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tinies import knowing_five, taking_any_text

from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import Settings
from steer_utils.methods.table import finder
from steer_utils.pocket.recipe import DEVELOPMENT_EVENTS, EVENTS
from steer_utils.pocket.text import vocabulary_words
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.sounds import SOUNDS
from steer_utils.study.benchmark import SceneSet
from steer_utils.study.sample_curves import (
    FOCUS,
    LANGUAGES,
    METHODS,
    OWN,
    STRENGTHS,
    WHOLE,
    Language,
    curve_summary,
    curve_table,
    findings,
)

SETTINGS = Settings(blocks=(0, 1), strength=3.0, vector_question="What do you hear?", prompt_blocks=(2,))
COUNTS = (1, 2, 20)
#: In words that a tiny model knows.
OTHER = Language(
    "Attend only to {event}.",
    "Consider the whole clip.",
    {"bell": "the high sound", "engine": "the low sound", "rain": "the quiet sound", "bird": "the loud sound"},
)


@pytest.fixture(scope="module")
def scenes() -> SceneSet:
    names = ("bell", "engine", "rain", "bird")
    return SceneSet(SceneMaker(names, seconds=4.0, events=(2, 2), event_seconds=(0.6, 1.0)), 2, 5)


@pytest.fixture(scope="module")
def lm(one_model: AudioLM) -> AudioLM:
    return taking_any_text(one_model)


@pytest.fixture(scope="module")
def table(lm: AudioLM, scenes: SceneSet) -> pd.DataFrame:
    return curve_table(lm, scenes, SETTINGS, counts=COUNTS, languages={"Other": OTHER})


def test_twenty_wordings_in_words_that_pocket_models_know() -> None:
    known = set(vocabulary_words(EVENTS))
    for texts in (FOCUS, WHOLE):
        assert len(texts) == len(set(texts)) == 20
        for text in texts:
            assert {word.lower() for word in text.replace("{event}", "rain").rstrip(".").split()} <= known
    assert all("{event}" in text for text in FOCUS) and not any("{event}" in text for text in WHOLE)


def test_every_test_class_is_translated() -> None:
    for language in LANGUAGES.values():
        assert set(language.names) == set(SOUNDS) - set(DEVELOPMENT_EVENTS)
        assert "{event}" in language.positive and len(set(language.names.values())) == len(language.names)


def test_a_level_is_what_the_method_finds_with_those_settings(
    table: pd.DataFrame, lm: AudioLM, scenes: SceneSet
) -> None:
    heard = scenes.heard(lm, 1)
    rows = table[table["scene"].eq(1)].set_index(["event", "axis", "level", "method"])["overlap"]
    pair = {"positive": FOCUS[4], "negative": WHOLE[4]}
    other = {"positive": OTHER.positive, "negative": OTHER.negative}
    for event, query, _ in heard.queries():
        told = {
            (OWN, OWN): (SETTINGS, query),
            ("strength", "0.5"): (replace(SETTINGS, strength=0.5), query),
            ("wording", FOCUS[4]): (replace(SETTINGS, **pair), query),
            ("language", "Other"): (replace(SETTINGS, **other), replace(query, event=OTHER.names[event.name])),
            ("language", "Other, English name"): (
                replace(SETTINGS, **other),
                replace(query, event=f"the {event.name}"),
            ),
        }
        for (axis, level), (settings, asked) in told.items():
            for method in METHODS if axis != "strength" else METHODS[:1]:
                window = finder(method, settings)(heard.hearing, asked, settings).interval
                assert window is not None
                found = rows.loc[event.name, axis, level, method]
                assert found == pytest.approx(window.covers(event.span), abs=1e-6), (axis, level, method)


def test_averages(table: pd.DataFrame) -> None:
    for (_, _, method), rows in table.groupby(["scene", "event", "method"]):
        levels = rows.set_index(["axis", "level"])["overlap"]
        assert levels["pairs", "1"] == pytest.approx(levels["wording"].mean())
        assert set(levels["pairs"].index) == {str(count) for count in COUNTS}
        assert ("strength" in set(rows["axis"])) == (method == "steering") == ("other audios" in set(rows["axis"]))


def test_a_seed_makes_the_same_table(table: pd.DataFrame, lm: AudioLM, scenes: SceneSet) -> None:
    again = curve_table(lm, replace(scenes, count=1), SETTINGS, counts=COUNTS, languages={"Other": OTHER})
    first = table[table["scene"].eq(0)].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, first)


def test_models_of_few_words_and_sounds_without_translation_skip_languages(lm: AudioLM, one_model: AudioLM) -> None:
    five = knowing_five(one_model)
    names = tuple(five.events or ())[:3]
    few = SceneSet(SceneMaker(names, seconds=4.0, events=(1, 1)), 1, 5)
    table = curve_table(five, few, SETTINGS, counts=(1,))
    assert "few words of English" in table.attrs["skipped"] and "language" not in set(table["axis"])
    other = SceneSet(SceneMaker(("bell", "siren"), seconds=4.0, events=(1, 1)), 1, 5)
    table = curve_table(lm, other, SETTINGS, counts=(1,))
    assert table.attrs["skipped"] == "no translation is here of siren" and "language" not in set(table["axis"])


@pytest.mark.parametrize("counts", [(), (0, 1), (1, 21)])
def test_counts_that_are_none_are_refused(lm: AudioLM, scenes: SceneSet, counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="from 1 to 20"):
        curve_table(lm, scenes, SETTINGS, counts=counts)


def test_the_summary_compares_with_the_settings_as_they_are(table: pd.DataFrame) -> None:
    summary = curve_summary(table)
    strengths = summary[summary["axis"].eq("strength")]
    assert [float(level) for level in strengths["level"]] == list(STRENGTHS)
    pairs = summary[summary["axis"].eq("pairs") & summary["method"].eq("prompting")]
    assert list(pairs["level"]) == [str(count) for count in COUNTS]
    own = summary[summary["axis"].eq(OWN)].set_index("method")
    assert (own["more"] == 0).all()
    for row in summary.to_dict("records"):
        assert row["more"] == pytest.approx(row["overlap"] - own.loc[row["method"], "overlap"])
        assert row["low"] <= row["overlap"] <= row["high"] and row["n"] == 4
    assert np.allclose(summary["chance"], summary["chance"].iloc[0])
    with pytest.raises(ValueError, match="empty"):
        curve_summary(table.iloc[:0])


def test_findings_have_the_figures_of_the_summary(table: pd.DataFrame) -> None:
    summary = curve_summary(table)
    told = " ".join(findings(summary))
    found = summary[summary["level"].eq("Other") & summary["method"].eq("steering")]["overlap"].item()
    assert f"Other {100 * found:.1f} %" in told
    for word in ("Strength", "Wording, steering", "Wording, prompting", "other audios"):
        assert word in told
