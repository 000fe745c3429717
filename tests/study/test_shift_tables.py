"""Tables of shifts: what a row holds, resuming, question sets, and what summaries say of tables with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from tinies import knowing_five

from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.models import AudioLM
from steer_utils.methods.base import Query
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.sound.audio import AudioError
from steer_utils.study import attention_shift as shift_tables
from steer_utils.study.attention_shift import (
    CONDITIONS,
    averaged,
    question_shift_table,
    shift,
    shift_differences,
    shift_summary,
    shift_table,
)
from steer_utils.study.benchmark import SceneSet, hash_seed, query_in, scene_set
from steer_utils.study.statistics import estimate_columns, holm

OWN = replace(PAPER, blocks=(1,), chosen_on={"events": []})
FEW = {name: CONDITIONS[name] for name in ("steering", "prompting")}
RATE = 16_000


@pytest.fixture
def lm(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return knowing_five(tiny_models["qwen2_audio"])


@pytest.fixture
def scenes(lm: AudioLM) -> SceneSet:
    return scene_set(lm, OWN, count=2, seed=4)


# Scenes ----------------------------------------------------------------------------------------------------------


def test_each_row_is_the_shift_of_its_query(lm: AudioLM, scenes: SceneSet) -> None:
    table = shift_table(lm, scenes, OWN)
    assert len(table) == 2 * 3 * len(CONDITIONS) * lm.num_blocks
    assert not table.duplicated(["scene", "event", "condition", "block"]).any() and not table.isna().any().any()
    assert list(dict.fromkeys(table["condition"])) == list(CONDITIONS)
    scene = scenes.maker.scene(1, 4)
    hearing, event = Hearing(lm, scene.samples), scene.events[2]
    query = query_in(scene, 2, 4)
    assert query == Query(event.name, event.span.duration, hash_seed(4, 1, 2), scene.names[:2])
    base = hearing.read(OWN.question).attention
    for name, condition in CONDITIONS.items():
        others = [each.span for each in scene.events[:2]]
        moved = shift(base, condition(hearing, query, OWN).attention, event.span, others)
        own = table[(table["scene"] == 1) & (table["event"] == event.name) & (table["condition"] == name)]
        assert set(own["slot"]) == {"last"} and set(own["tokens"]) == {hearing.span.count}
        tokens = hearing.span.tokens(event.span)
        assert set(own["event_tokens"]) == {tokens.stop - tokens.start}
        for column in ("mass_base", "mass", "entropy_base", "entropy", "js", "inside_base", "inside", "others"):
            np.testing.assert_allclose(own[column], getattr(moved, column), atol=1e-6, err_msg=f"{name} {column}")
        np.testing.assert_allclose(own["head_js"], moved.head_js.mean(axis=1), atol=1e-6)
    bases = table.groupby(["scene", "event", "block"])[["mass_base", "entropy_base", "inside_base"]]
    assert bases.nunique().eq(1).all().all()  # one base for all conditions


def test_a_killed_run_goes_on_to_the_identical_table(lm: AudioLM, scenes: SceneSet, tmp_path: Path) -> None:
    whole = shift_table(lm, scenes, OWN, conditions=FEW)
    shift_table(lm, scenes, OWN, conditions=FEW, resume_file=tmp_path / "run")
    lines = (tmp_path / "run").read_bytes().splitlines(keepends=True)
    (tmp_path / "run").write_bytes(b"".join(lines[:2]) + lines[2][:50])
    made: list[int] = []
    resumed = shift_table(lm, scenes, OWN, conditions=noted(FEW, made), resume_file=tmp_path / "run")
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    assert resumed.attrs == whole.attrs and len(made) == 3  # the queries of the second scene
    assert whole.attrs["conditions"] == list(FEW) and whole.attrs["scenes"]["seed"] == 4
    shift_table(lm, scenes, replace(OWN, strength=2.0), conditions=noted(FEW, made), resume_file=tmp_path / "run")
    assert len(made) == 9  # other settings: anew


def noted(conditions: dict[str, Callable], made: list[int]) -> dict[str, Callable]:
    def steering(hearing: Hearing, query: Query, settings: Settings) -> Reading:
        made.append(1)
        return CONDITIONS["steering"](hearing, query, settings)

    return {**conditions, "steering": steering}


def test_conditions_may_be_ones_own(lm: AudioLM, scenes: SceneSet) -> None:
    asked: list[Query] = []

    def nothing(hearing: Hearing, query: Query, settings: Settings) -> Reading:
        asked.append(query)
        return hearing.read(settings.question)

    table = shift_table(lm, scenes, OWN, conditions={"nothing": nothing})
    assert set(table["condition"]) == {"nothing"} and not table[["js", "head_js", "head_entropy"]].any().any()
    assert (table["mass"] == table["mass_base"]).all() and len(asked) == 6
    with pytest.raises(ValueError, match="no conditions; pass some of steering, steering-paper"):
        shift_table(lm, scenes, OWN, conditions={})


# Question sets ---------------------------------------------------------------------------------------------------


@pytest.fixture
def items(tmp_path: Path) -> list[tuple[Path, str]]:
    """Two files (one longer than the model takes), three questions."""
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 1.0), ("b", 6.0)):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.normal(size=int(seconds * RATE)), RATE)
    a, b = tmp_path / "a.wav", tmp_path / "b.wav"
    return [(a, "Which sound is there?"), (b, "How many sounds are there?"), (a, " What do you hear? ")]


def test_questions_take_the_place_of_the_neutral_one(
    lm: AudioLM, items: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[float] = []

    class Counted(Hearing):
        def __init__(self, checkpoint: AudioLM, samples: np.ndarray) -> None:
            heard.append(len(samples) / RATE)
            super().__init__(checkpoint, samples)

    monkeypatch.setattr(shift_tables, "Hearing", Counted)
    table = question_shift_table(lm, iter(items), OWN, conditions=FEW)
    assert heard == [1.0, 4.0]  # a file is heard once, and cut to what the model takes
    assert len(table) == 3 * 2 * lm.num_blocks and not {"inside", "others", "event"} & set(table.columns)
    assert list(dict.fromkeys(zip(table["scene"], table["item"], strict=True))) == [(0, 0), (0, 2), (1, 1)]
    assert set(table.loc[table["scene"] == 1, "duration"]) == {6.0}
    own = table[(table["item"] == 2) & (table["condition"] == "prompting")]
    assert set(own["question"]) == {"What do you hear?"}
    hearing = lm.hear(items[0][0])
    base = hearing.read("What do you hear?").attention
    prompted = hearing.read("Focus on the meaningful parts. What do you hear?").attention
    np.testing.assert_allclose(own["js"], shift(base, prompted).js, atol=1e-9)
    assert len(shift_summary(table)) and len(shift_differences(table))


def test_question_sets_resume_and_are_told_apart(lm: AudioLM, items: list[tuple[Path, str]], tmp_path: Path) -> None:
    resume_file, made = tmp_path / "run", list[int]()
    whole = question_shift_table(lm, items, OWN, conditions=FEW, resume_file=resume_file)
    again = question_shift_table(lm, items, OWN, conditions=noted(FEW, made), resume_file=resume_file)
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    assert not made
    question_shift_table(lm, items[:1], OWN, conditions=noted(FEW, made), resume_file=resume_file)
    assert len(made) == 1


def test_question_sets_are_checked_before_any_work(lm: AudioLM, items: list[tuple[Path, str]], tmp_path: Path) -> None:
    for wrong, said in (
        ([], "got 0 pairs"),
        ([*items, (tmp_path / "c.wav", "What?")], "4 pairs, 1 without their file .*c.wav"),
        ([(items[0][0], "  ")], "a question that is not empty"),
    ):
        with pytest.raises(ValueError, match=said):
            question_shift_table(lm, wrong, OWN, conditions={"none": lambda *_: pytest.fail("worked")})
    late = np.zeros(6 * RATE)
    late[5 * RATE :] = 0.1
    soundfile.write(tmp_path / "late.wav", late, RATE)
    with pytest.raises(AudioError, match=r"the first 4 s of .*late\.wav' are silent"):
        question_shift_table(lm, [(tmp_path / "late.wav", "What?")], OWN, conditions=FEW)


# Summaries -------------------------------------------------------------------------------------------------------


@pytest.fixture
def table() -> pd.DataFrame:
    """Ten scenes of two events, two blocks: steering raises mass by 0.1 in block 1, prompting lowers it in both."""
    rng, rows = np.random.default_rng(0), []
    for scene in range(10):
        for event in ("bell", "rain"):
            noise = 0.01 * rng.normal()
            for condition, changes in (("steering", (0.0, 0.1)), ("prompting", (-0.05, -0.05))):
                for block, change in enumerate(changes):
                    moved = change + (noise if change else 0.0)
                    rows.append(
                        {"scene": scene, "event": event, "condition": condition, "block": block, "mass_base": 0.5,
                         "mass": 0.5 + moved, "entropy_base": 2.0, "entropy": 2.0 + moved, "js": abs(moved),
                         "inside_base": 0.2, "inside": 0.2 + 2 * moved, "tokens": 20}
                    )  # fmt: skip
    return pd.DataFrame(rows)


def test_summary_of_known_changes(table: pd.DataFrame) -> None:
    rows = shift_summary(table.sample(frac=1, random_state=0)).set_index(["measure", "condition", "block"]).sort_index()
    assert set(rows.index.get_level_values("measure")) == {"mass", "entropy", "js", "inside"}
    assert len(rows) == 16 and set(rows["n"]) == {20} and set(rows["scenes"]) == {10}
    own = table[(table["condition"] == "steering") & (table["block"] == 1)]
    change = (own["mass"] - own["mass_base"]).to_numpy()
    expected = estimate_columns(change[:, None], own["scene"].to_numpy())
    found = rows.loc[("mass", "steering", 1)]
    np.testing.assert_allclose(found[["mean", "low", "high", "p"]].to_list(),
                               [expected.mean[0], expected.low[0], expected.high[0], expected.p[0]])  # fmt: skip
    assert found["base"] == 0.5 and abs(found["mean"] - 0.1) < 0.01 and found["p"] == pytest.approx(2 / 2**10)
    still = rows.loc[("mass", "steering", 0)]
    assert (still["mean"], still["low"], still["high"], still["p"], still["p_holm"]) == (0.0, 0.0, 0.0, 1.0, 1.0)
    assert rows.loc[("inside", "prompting", 0), "mean"] == pytest.approx(2 * rows.loc[("mass", "prompting", 0), "mean"])
    assert rows.loc["js", ["p", "p_holm", "base"]].isna().all().all() and rows.loc["js", "mean"].min() >= 0
    family = rows.loc["mass", "p"]
    assert rows.loc["mass", "p_holm"].to_list() == list(holm({str(key): p for key, p in family.items()}).values())


def test_differences_are_paired(table: pd.DataFrame) -> None:
    rows = shift_differences(table.sample(frac=1, random_state=1)).set_index(["measure", "other", "block"])
    assert set(rows["condition"]) == {"steering"} and {name for _, name, _ in rows.index} == {"prompting"}
    gap = rows.loc[("mass", "prompting", 1)]
    # Both carry the same noise: paired, nothing of it is left.
    assert [gap["mean"], gap["low"], gap["high"]] == pytest.approx([0.15] * 3)
    assert rows.loc[("js", "prompting", 1), "p"] == pytest.approx(2 / 2**10)  # of divergences too
    back = shift_differences(table, "prompting").set_index(["measure", "other", "block"])
    assert back.loc[("mass", "steering", 1), "mean"] == pytest.approx(-0.15)
    for condition, part in (("stearing", table), ("steering", table[table["condition"] == "steering"])):
        with pytest.raises(ValueError, match="the table has steering"):
            shift_differences(part, condition)


def test_blocks_are_averaged(table: pd.DataFrame) -> None:
    both = shift_summary(averaged(table)).set_index(["measure", "condition"])
    alone = shift_summary(table).set_index(["measure", "condition", "block"]).sort_index()
    assert set(both["block"]) == {-1}
    for name in ("steering", "prompting"):
        expected = np.mean([alone.loc[("mass", name, block), "mean"] for block in (0, 1)])
        assert both.loc[("mass", name), "mean"] == pytest.approx(expected)
    one = shift_summary(averaged(table, [1])).set_index(["measure", "condition"])
    assert one.loc[("mass", "steering"), "mean"] == alone.loc[("mass", "steering", 1), "mean"]
    for blocks in ([], [0, 2]):
        with pytest.raises(ValueError, match=r"the table has blocks \[0, 1\]"):
            averaged(table, blocks)


def test_an_incomplete_table_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="NaN"):
        shift_summary(table.drop(index=3))
    with pytest.raises(ValueError, match="empty"):
        shift_summary(table.iloc[:0])
