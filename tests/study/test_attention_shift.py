"""Shifts of attention: maps with known answers, conditions, tables against readings made by hand, summaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tinies import knowing_five

from steer_utils.lm import hearing as hearings
from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.models import AudioLM
from steer_utils.lm.prefixes import Prefix, encode_many
from steer_utils.lm.steering import Injection
from steer_utils.methods.base import Query
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.sound.audio import AudioError
from steer_utils.sound.spans import AudioSpan, Interval
from steer_utils.study import attention_shift as shifts
from steer_utils.study.attention_shift import (
    CONDITIONS,
    Shift,
    averaged,
    question_shift_table,
    shift,
    shift_differences,
    shift_summary,
    shift_table,
)
from steer_utils.study.benchmark import SceneSet, hash_seed, query_in, scene_set
from steer_utils.study.statistics import estimate_columns, holm

# -- one reading against another -------------------------------------------------------------------------------------
SPAN = AudioSpan(5, 20)  # 0.8 s
EVENT, OTHER = Interval(0.2, 0.4), Interval(0.6, 0.8)
OWN = replace(
    PAPER, positive="Listen for the {event}.", question="What do you hear?", blocks=(1,), strength=2.0, keep_norm=False
)
QUERY = Query("dog bark", 0.5, seed=4)


def attention(weights: np.ndarray) -> AttentionMap:
    """A map from weights (blocks, heads, tokens), which may sum to less than one."""
    return AttentionMap.from_weights(torch.tensor(weights)[:, :, None, :], SPAN)


def drawn(seed: int, blocks: int = 3, heads: int = 4) -> AttentionMap:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(0.3 * np.ones(SPAN.count), (blocks, heads))
    return attention(shares * rng.uniform(0.1, 0.9, (blocks, heads, 1)))


EVEN = attention(np.full((1, 2, 20), 0.5 / 20))
PEAK = attention(0.8 * np.eye(20)[None, [7, 7]])


def test_known_answers() -> None:
    moved = shift(EVEN, PEAK, EVENT, [OTHER])
    assert moved.mass_base[0] == pytest.approx(0.5) and moved.mass[0] == pytest.approx(0.8)
    assert moved.entropy_base[0] == pytest.approx(np.log(20)) and moved.entropy[0] == pytest.approx(0.0, abs=1e-6)
    mixed = -19 / 40 * np.log2(1 / 40) - 21 / 40 * np.log2(21 / 40)  # of the mean of both shares
    assert moved.js[0] == pytest.approx(mixed - 0.5 * np.log2(20), abs=1e-6)
    assert [moved.inside_base[0], moved.inside[0]] == pytest.approx([0.25, 1.0])  # type: ignore[index]
    assert [moved.others_base[0], moved.others[0]] == pytest.approx([0.25, 0.0], abs=1e-6)  # type: ignore[index]
    (row,) = moved.rows()
    assert row["block"] == 0 and row["effective_base"] == pytest.approx(20) and row["effective"] == pytest.approx(1)


def test_heads_in_opposite_ways_are_lost_in_their_average_only() -> None:
    left, right = attention(np.eye(20)[None, [2, 15]]), attention(np.eye(20)[None, [15, 2]])
    moved = shift(left, right)
    assert moved.js[0] == 0.0 and moved.head_js.tolist() == [[1.0, 1.0]]
    assert moved.head_mass.tolist() == [[0.0, 0.0]] and moved.rows()[0]["head_js"] == 1.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_definitions(seed: int) -> None:
    base, changed = drawn(seed), drawn(seed + 1)
    moved = shift(base, changed, EVENT, [OTHER, Interval(0.35, 0.5)])
    p, q = (each.share.double().mean(dim=(1, 2)).numpy() for each in (base, changed))

    def bits(share: np.ndarray) -> np.ndarray:
        return -(share * np.log2(np.maximum(share, 1e-300))).sum(axis=-1)

    np.testing.assert_allclose(moved.js, bits((p + q) / 2) - (bits(p) + bits(q)) / 2, atol=1e-6)
    np.testing.assert_allclose(moved.entropy, bits(q) * np.log(2), atol=1e-6)
    np.testing.assert_allclose(moved.mass - moved.mass_base, moved.head_mass.mean(axis=1), atol=1e-9)
    centers = SPAN.centers()
    inside, other = (centers >= 0.2) & (centers < 0.4), (centers >= 0.6) | ((centers >= 0.4) & (centers < 0.5))
    np.testing.assert_allclose(moved.inside, q[:, inside].sum(axis=1), atol=1e-7)
    np.testing.assert_allclose(moved.others, q[:, other].sum(axis=1), atol=1e-7)  # a shared token is the event's
    assert np.all(moved.js >= 0) and np.all(moved.js <= moved.head_js.mean(axis=1) + 1e-9)  # JS is convex
    back = shift(changed, base)
    np.testing.assert_allclose(back.js, moved.js, atol=1e-9)
    np.testing.assert_allclose(back.head_entropy, -moved.head_entropy, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, (2, 2, 20), elements=st.floats(1e-6, 1.0)), st.floats(1e-3, 1.0))
def test_nothing_moves_where_only_the_mass_changes(weights: np.ndarray, factor: float) -> None:
    weights = weights / weights.sum(axis=-1, keepdims=True)
    moved = shift(attention(weights), attention(factor * weights), EVENT, [OTHER])
    np.testing.assert_allclose(moved.mass, factor * moved.mass_base, rtol=1e-5)
    assert np.all(moved.js < 1e-9) and np.all(moved.head_js < 1e-9) and np.isfinite(moved.js).all()
    np.testing.assert_allclose(moved.inside, moved.inside_base, atol=1e-6)  # type: ignore[arg-type]
    same = shift(attention(weights), attention(weights))
    assert not same.js.any() and not same.head_js.any() and not same.head_entropy.any()


def test_without_an_event_there_is_no_inside() -> None:
    moved = shift(EVEN, PEAK)
    assert moved.inside is None and moved.others_base is None
    assert not {"inside", "inside_base", "others", "others_base"} & set(moved.rows()[0])
    assert {"inside", "inside_base", "others", "others_base"} < set(shift(EVEN, PEAK, EVENT).rows()[0])


def test_maps_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 1, 20\).*\(3, 4, 1, 20\)"):
        shift(EVEN, drawn(0))
    with pytest.raises(ValueError, match="same audio"):
        shift(EVEN, AttentionMap(PEAK.share, PEAK.mass, AudioSpan(9, 20)))
    with pytest.raises(ValueError, match="does not sum to 1"):
        shift(EVEN, PEAK - EVEN)


# Conditions ------------------------------------------------------------------------------------------------------


def moved_by(name: str, hearing: Hearing, own: object = OWN, query: Query = QUERY) -> Shift:
    settings = own if isinstance(own, type(OWN)) else OWN
    base = hearing.read(settings.question).attention
    return shift(base, CONDITIONS[name](hearing, query, settings).attention)


def test_steering_is_the_reading_it_is_made_of(hearing: Hearing) -> None:
    vector = hearing.contrast("Listen for the dog bark.", OWN.negative, prompt=OWN.question).select(1)
    reading = hearing.read(OWN.question, steer=Injection(vector, 2.0), keep_norm=False)
    found = CONDITIONS["steering"](hearing, QUERY, OWN)
    assert torch.allclose(found.attention.share, reading.attention.share, atol=1e-6)
    moved = moved_by("steering", hearing)
    assert moved.js[2:].min() > 1e-6


@pytest.mark.parametrize("name", ["steering", "random vector"])
def test_blocks_up_to_the_steered_one_do_not_move_at_all(hearing: Hearing, name: str) -> None:
    moved = moved_by(name, hearing)
    assert not moved.js[:2].any() and not (moved.mass - moved.mass_base)[:2].any()  # exactly: tests go by it
    still = moved_by(name, hearing, replace(OWN, strength=0.0))
    assert not still.js.any() and not still.head_mass.any()


def test_the_papers_steering_asks_the_same_question(hearing: Hearing) -> None:
    as_paper = replace(PAPER, question=OWN.question)
    found, expected = (moved_by(name, hearing, own) for name, own in (("steering-paper", OWN), ("steering", as_paper)))
    np.testing.assert_array_equal(found.js, expected.js)
    assert not np.array_equal(found.js, moved_by("steering", hearing).js)


def test_prompting_is_the_instruction_before_the_question(hearing: Hearing) -> None:
    for name, words in (("prompting", "Listen for the dog bark."), ("neutral prompting", OWN.negative)):
        found = CONDITIONS[name](hearing, QUERY, OWN)
        assert found.instruction == f"{words} What do you hear?"
        assert torch.equal(found.attention.share, hearing.read(found.instruction).attention.share)


def test_a_random_vector_follows_its_seed(hearing: Hearing) -> None:
    first, same, other = (moved_by("random vector", hearing, query=replace(QUERY, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.js, same.js)
    assert not np.allclose(first.js, other.js) and not np.allclose(first.js, moved_by("steering", hearing).js)


def test_audio_steering_knows_no_query(hearing: Hearing) -> None:
    first = moved_by("audio steering", hearing)
    np.testing.assert_array_equal(first.js, moved_by("audio steering", hearing, query=Query("siren", 1.0)).js)
    assert not first.js[0].any() and first.js[1:].min() > 0
    vector = shifts.audio_contrast(hearing, OWN.question)
    by_hand = hearing.read(OWN.question, steer=Injection(vector, 0.05))
    found = CONDITIONS["audio steering"](hearing, QUERY, OWN)
    assert torch.allclose(found.attention.share, by_hand.attention.share, atol=1e-6)


def test_conditions_leave_the_model_as_it_was(
    lm: AudioLM, hearing: Hearing, hook_count: Callable[[AudioLM], int]
) -> None:
    hooks = hook_count(lm)  # transformers leaves some where a test asked it for all attention maps
    before = hearing.read(OWN.question).attention.share
    for name in CONDITIONS:
        moved_by(name, hearing)
    assert hook_count(lm) == hooks
    assert torch.equal(before, hearing.read(OWN.question).attention.share)


# -- tables ----------------------------------------------------------------------------------------------------------
SETTINGS = replace(PAPER, blocks=(1,), chosen_on={"events": []})
FEW = {name: CONDITIONS[name] for name in ("steering", "prompting")}
RATE = 16_000


@pytest.fixture
def lm(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return knowing_five(tiny_models["qwen2_audio"])


@pytest.fixture
def scenes(lm: AudioLM) -> SceneSet:
    return scene_set(lm, SETTINGS, count=2, seed=4)


# Scenes ----------------------------------------------------------------------------------------------------------


def test_each_row_is_the_shift_of_its_query(lm: AudioLM, scenes: SceneSet) -> None:
    table = shift_table(lm, scenes, SETTINGS)
    assert len(table) == 2 * 3 * len(CONDITIONS) * lm.num_blocks
    assert not table.duplicated(["scene", "event", "condition", "block"]).any() and not table.isna().any().any()
    assert list(dict.fromkeys(table["condition"])) == list(CONDITIONS)
    scene = scenes.maker.scene(1, 4)
    hearing, event = Hearing(lm, scene.samples), scene.events[2]
    query = query_in(scene, 2, 4)
    assert query == Query(event.name, event.span.duration, hash_seed(4, 1, 2), scene.names[:2])
    base = hearing.read(SETTINGS.question).attention
    for name, condition in CONDITIONS.items():
        others = [each.span for each in scene.events[:2]]
        moved = shift(base, condition(hearing, query, SETTINGS).attention, event.span, others)
        own = table[(table["scene"] == 1) & (table["event"] == event.name) & (table["condition"] == name)]
        assert set(own["slot"]) == {"last"} and set(own["tokens"]) == {hearing.span.count}
        tokens = hearing.span.tokens(event.span)
        assert set(own["event_tokens"]) == {tokens.stop - tokens.start}
        for column in ("mass_base", "mass", "entropy_base", "entropy", "js", "inside_base", "inside", "others"):
            np.testing.assert_allclose(own[column], getattr(moved, column), atol=1e-6, err_msg=f"{name} {column}")
        np.testing.assert_allclose(own["head_js"], moved.head_js.mean(axis=1), atol=1e-6)
    bases = table.groupby(["scene", "event", "block"])[["mass_base", "entropy_base", "inside_base"]]
    assert bases.nunique().eq(1).all().all()  # one base for all conditions


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

    table = shift_table(lm, scenes, SETTINGS, conditions={"nothing": nothing})
    assert set(table["condition"]) == {"nothing"} and not table[["js", "head_js", "head_entropy"]].any().any()
    assert (table["mass"] == table["mass_base"]).all() and len(asked) == 6
    with pytest.raises(ValueError, match="no conditions; pass some of steering, steering-paper"):
        shift_table(lm, scenes, SETTINGS, conditions={})


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
    heard: list[list[float]] = []

    def counted(checkpoint: AudioLM, audios: list[np.ndarray]) -> list[Prefix]:
        heard.append([len(samples) / RATE for samples in audios])
        return encode_many(checkpoint, audios)

    monkeypatch.setattr(hearings, "encode_many", counted)
    table = question_shift_table(lm, iter(items), SETTINGS, conditions=FEW)
    assert heard == [[1.0], [4.0]]  # a file is heard once, and cut to what the model takes
    together = question_shift_table(lm, items, SETTINGS, conditions=FEW, batch=2)
    assert heard[2:] == [[1.0, 4.0]]
    pd.testing.assert_frame_equal(together, table, atol=1e-4)
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
    whole = question_shift_table(lm, items, SETTINGS, conditions=FEW, resume_file=resume_file)
    again = question_shift_table(lm, items, SETTINGS, conditions=noted(FEW, made), resume_file=resume_file)
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    assert not made
    question_shift_table(lm, items[:1], SETTINGS, conditions=noted(FEW, made), resume_file=resume_file)
    assert len(made) == 1


def test_question_sets_are_checked_before_any_work(lm: AudioLM, items: list[tuple[Path, str]], tmp_path: Path) -> None:
    for wrong, said in (
        ([], "got 0 pairs"),
        ([*items, (tmp_path / "c.wav", "What?")], "4 pairs, 1 without their file .*c.wav"),
        ([(items[0][0], "  ")], "a question that is not empty"),
        ([items[0], (items[0][0], "What?<|im_end|>")], "the instruction holds '<.im_end.>'"),
    ):
        with pytest.raises(ValueError, match=said):
            question_shift_table(lm, wrong, SETTINGS, conditions={"none": lambda *_: pytest.fail("worked")})
    late = np.zeros(6 * RATE)
    late[5 * RATE :] = 0.1 * np.sin(0.3 * np.arange(RATE))
    soundfile.write(tmp_path / "late.wav", late, RATE)
    with pytest.raises(AudioError, match=r"the first 4 s of .*late\.wav' are silent"):
        question_shift_table(lm, [(tmp_path / "late.wav", "What?")], SETTINGS, conditions=FEW)


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
                        {
                            "scene": scene,
                            "event": event,
                            "condition": condition,
                            "block": block,
                            "mass_base": 0.5,
                            "mass": 0.5 + moved,
                            "entropy_base": 2.0,
                            "entropy": 2.0 + moved,
                            "js": abs(moved),
                            "inside_base": 0.2,
                            "inside": 0.2 + 2 * moved,
                            "tokens": 20,
                        }
                    )
    return pd.DataFrame(rows)


def test_summary_of_known_changes(table: pd.DataFrame) -> None:
    rows = shift_summary(table.sample(frac=1, random_state=0)).set_index(["measure", "condition", "block"]).sort_index()
    assert set(rows.index.get_level_values("measure")) == {"mass", "entropy", "js", "inside"}
    assert len(rows) == 16 and set(rows["n"]) == {20} and set(rows["scenes"]) == {10}
    own = table[(table["condition"] == "steering") & (table["block"] == 1)]
    change = (own["mass"] - own["mass_base"]).to_numpy()
    expected = estimate_columns(change[:, None], own["scene"].to_numpy())
    found = rows.loc[("mass", "steering", 1)]
    np.testing.assert_allclose(
        found[["mean", "low", "high", "p"]].to_list(),
        [expected.mean[0], expected.low[0], expected.high[0], expected.p[0]],
    )
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
