"""The sensitivity grid: which combinations; against readings made by hand and the method itself; tables, resuming."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinies import EVENTS

from steer_utils.lm.blocks import blocks_text
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.models import AudioLM
from steer_utils.lm.steering import Injection
from steer_utils.methods.base import Query
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.steering import steering
from steer_utils.methods.tuning import block_sets
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.spans import AudioSpan, Interval, best_window
from steer_utils.study import benchmark, sensitivity
from steer_utils.study.benchmark import SceneSet
from steer_utils.study.sensitivity import (
    AFTER,
    FACTORS,
    STRENGTHS,
    WIDTHS,
    Combination,
    SteeredRun,
    blocks_order,
    count_passes,
    grid_combinations,
    one_at_a_time,
    sensitivity_summary,
    sensitivity_table,
    star_centers,
    window_scores,
)
from steer_utils.study.statistics import cluster_mean, random_overlap

# -- combinations ----------------------------------------------------------------------------------------------------
OF_EIGHT = replace(
    PAPER,
    question="How many sounds are there?",
    strength=6.0,
    blocks=(2,),
    keep_norm=False,
    read="share",
    read_blocks=(5,),
    ask="When is the {event}?",
)


def test_the_count_is_as_stated() -> None:
    for blocks in (4, 6, 8, 32):
        made = grid_combinations(blocks, PAPER)
        assert count_passes(made) == 6 * (blocks + 2) + 4
    own = replace(OF_EIGHT, strength=1.0, read_blocks=None, blocks=(0,))  # as many as there can be
    made = grid_combinations(8, own)
    assert (len(made), count_passes(made)) == (256, 128)


@pytest.mark.parametrize("thorough", [False, True])
def test_each_point_has_its_plane_and_its_star(thorough: bool) -> None:
    made = grid_combinations(8, OF_EIGHT, thorough=thorough, event_named=["own"])
    assert len(set(made)) == len(made) == len({tuple(each.levels().values()) for each in made})
    for around, own in star_centers(OF_EIGHT).items():
        here = [each for each in made if each.around == around]
        (point,) = [each for each in here if not each.varied]
        assert point.run == SteeredRun(own.strength, own.steered_blocks(8), "last", own.keep_norm)
        assert (point.read, point.read_blocks, point.rows) == (own.read, own.read_blocks, "last")
        strengths = {*STRENGTHS, own.strength}
        for read in ("share", "difference"):
            for keep in (True, False) if thorough else (own.keep_norm,):
                cells = [
                    (each.run.strength, each.run.blocks)
                    for each in here
                    if each.read == read
                    and each.run.keep_norm == keep
                    and each.read_blocks == own.read_blocks
                    and each.run.positions == each.rows == "last"
                ]
                reached = [blocks for blocks in block_sets(8) if around == "paper" or min(blocks) < 5]
                assert len(cells) == len(set(cells))
                assert set(cells) == {(strength, blocks) for strength in strengths for blocks in reached}
        alone = {factor: {each.levels()[factor] for each in here if each.varied in ("", factor)} for factor in FACTORS}
        assert alone["strength"] == strengths
        assert alone["norm"] == {"kept", "free"} and alone["read"] == {"share", "difference"}
        expected = {"last", "text", *(["event"] if around == "own" else []), *(["all", "audio"] if thorough else [])}
        assert alone["positions"] == expected
        assert [each.run.positions for each in here if each.rows == "instruction"] == ["text"]
        singles = range(3, 8) if around == "own" else range(5, 8)
        assert alone["read_blocks"] == {AFTER, *map(str, singles)}
        others = {each.varied for each in here if ", " in each.varied} - {"positions, rows"}
        assert "strength, blocks" in others
        # only the plane varies several together
        assert all(set(each.split(", ")) <= {"strength", "blocks", "norm", "read"} for each in others)


def test_varied_is_what_differs() -> None:
    by_point = {each.around: each for each in grid_combinations(8, OF_EIGHT) if not each.varied}
    for each in grid_combinations(8, OF_EIGHT, thorough=True):
        own, point = each.levels(), by_point[each.around].levels()
        assert each.varied == ", ".join(factor for factor in FACTORS if own[factor] != point[factor])


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.data())  # of two blocks the later half is the last: nothing to read after it
def test_only_what_can_change_is_measured(blocks: int, data: st.DataObject) -> None:
    steered = data.draw(st.lists(st.integers(0, blocks - 1), min_size=1, unique=True).map(tuple))
    read = data.draw(st.lists(st.integers(0, blocks - 1), min_size=1, unique=True).map(tuple))
    own = replace(OF_EIGHT, blocks=steered, read_blocks=read)
    if max(read) <= min(steered):
        with pytest.raises(ValueError, match=r"the own settings steer blocks .* read"):
            grid_combinations(blocks, own)
        return
    for each in grid_combinations(blocks, own):
        read_blocks = each.read_blocks or range(min(each.run.blocks) + 1, blocks)
        assert max(read_blocks, default=-1) > min(each.run.blocks) and each.run.strength != 0
        assert each.rows == "last" or each.run.positions == "text"


def test_negative_block_numbers_count_from_the_end() -> None:
    from_end = replace(OF_EIGHT, blocks=(-6,), read_blocks=(-3, -1))
    assert grid_combinations(8, from_end) == grid_combinations(8, replace(OF_EIGHT, blocks=(2,), read_blocks=(5, 7)))


def test_one_point_where_the_model_has_no_settings_of_its_own() -> None:
    assert list(star_centers(OF_EIGHT)) == ["own", "paper"] and star_centers(OF_EIGHT)["paper"].ask == OF_EIGHT.ask
    assert list(star_centers(Settings(ask="When is the {event}?"))) == ["paper"]
    assert list(star_centers(replace(PAPER, question="What is it?"))) == ["own", "paper"]
    assert {each.around for each in grid_combinations(8, PAPER)} == {"paper"}


@pytest.mark.parametrize(
    ("blocks", "own", "message"),
    [
        (1, PAPER, "the model has 1 block; pass one"),
        (8, replace(OF_EIGHT, blocks=(8,)), "blocks has 8, but the model has blocks 0 to 7"),
        (8, replace(OF_EIGHT, read_blocks=(-9,)), "read_blocks has -9"),
        (8, replace(OF_EIGHT, blocks=(7,), read_blocks=None), "steer blocks 7 .* read after"),
        (8, replace(OF_EIGHT, strength=0.0), "at strength 0"),
    ],
)
def test_settings_that_change_nothing_are_refused(blocks: int, own: Settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid_combinations(blocks, own)


def test_labels_are_sorted_by_size_and_first_block() -> None:
    for count in (4, 5, 8, 12):
        labels = [AFTER, *map(blocks_text, block_sets(count))]
        assert sorted(reversed(labels), key=blocks_order) == labels


def test_the_last_token_is_where_vectors_act_by_default() -> None:
    assert Injection.positions == "last"  # what methods do, and both points
    run = SteeredRun(1.0, (0,), "last", True)
    unmoved = Combination("own", run, "instruction", "share", None)
    assert not unmoved.moves(8) and replace(unmoved, run=replace(run, positions="text")).moves(8)


# -- measuring -------------------------------------------------------------------------------------------------------
#: Names an event, so that positions "event" applies to it, in a part of the queries.
OWN = replace(
    PAPER,
    question="How loud is the bell?",
    strength=6.0,
    blocks=(1,),
    keep_norm=False,
    read="share",
    read_blocks=(2, 3),
)
KEYS = ["scene", "event", "combination", "width"]


def scenes(count: int = 2) -> SceneSet:
    return SceneSet(SceneMaker(EVENTS, seconds=4.0), count, 3)


@pytest.fixture(scope="module")
def qwen2(tiny_models: dict[str, AudioLM]) -> AudioLM:
    return tiny_models["qwen2_audio"]


@pytest.fixture(scope="module")
def thorough(qwen2: AudioLM) -> pd.DataFrame:
    return sensitivity_table(qwen2, scenes(1), OWN, thorough=True)


@pytest.fixture(scope="module")
def table(qwen2: AudioLM) -> pd.DataFrame:
    return sensitivity_table(qwen2, scenes(), OWN)


@pytest.fixture(scope="module")
def summary(table: pd.DataFrame) -> pd.DataFrame:
    return sensitivity_summary(table)


def test_the_last_token_is_read_as_the_method_reads_it(thorough: pd.DataFrame, qwen2: AudioLM) -> None:
    scene = scenes(1).maker.scene(0, 3)
    hearing, event = Hearing(qwen2, scene.samples), scene.events[1]
    made = grid_combinations(4, OWN, thorough=True, event_named=["own"])
    own = thorough[thorough["event"] == event.name].set_index(["combination", "width"])
    checked = 0
    for number, each in list(enumerate(made))[::7]:
        if each.run.positions != "last":
            continue
        chosen = replace(
            star_centers(OWN)[each.around],
            strength=each.run.strength,
            blocks=each.run.blocks,
            read=each.read,
            keep_norm=each.run.keep_norm,
            read_blocks=each.read_blocks,
        )
        found = steering(hearing, Query(event.name, event.span.duration), chosen).interval
        assert found is not None
        scores = own.loc[(number, 1.0), ["overlap", "iou"]].tolist()
        assert scores == pytest.approx([found.covers(event.span), found.iou(event.span)], abs=1e-5)
        checked += 1
    assert checked > 20 and own["overlap"].nunique() > 20


@pytest.mark.parametrize("family", ["qwen2_audio", "audioflamingo3"])
def test_other_positions_and_rows_are_those_read_by_hand(family: str, tiny_models: dict[str, AudioLM]) -> None:
    lm = tiny_models[family]
    scene = scenes(1).maker.scene(0, 3)
    hearing = lm.hear(scene.samples, sampling_rate=16_000)
    event = next(each for each in scene.events if each.name == "bell")
    vector = hearing.contrast("Focus on the bell.", OWN.negative, prompt=OWN.question).select(1)
    table = sensitivity_table(lm, scenes(1), OWN, thorough=True)
    own = table[(table["event"] == "bell") & (table["around"] == "own") & (table["width"] == 1.0)]
    tokens = lm.tokens(OWN.question)
    first, end = tokens.instruction_start, tokens.instruction_start + len(OWN.question)
    inside = [place for place, (start, stop) in enumerate(tokens.tail_characters) if first <= start and stop <= end]
    assert 3 < len(inside) < len(tokens.tail)  # the template's own tokens follow
    base = hearing.read(OWN.question, query_positions="text").attention.share[2:].mean(dim=(0, 1))
    moved = 0
    for positions in ("text", "event", "all", "audio"):
        steer = Injection(vector, 6.0, positions)  # type: ignore[arg-type]
        reading = hearing.read(OWN.question, steer=steer, keep_norm=False, event="bell", query_positions="text")
        assert reading.recomputed_prefix == (positions in ("all", "audio"))
        share = reading.attention.share[2:].mean(dim=(0, 1))  # (tail, tokens)
        for rows, curve in (("last", share[-1]), ("instruction", share[inside].mean(dim=0))):
            row = own[(own["positions"] == positions) & (own["rows"] == rows)]
            if rows == "instruction" and positions != "text":
                assert row.empty
                continue
            (found,) = row["overlap"]
            interval = best_window(curve.double().numpy(), hearing.span, event.span.duration)[0]
            assert found == pytest.approx(interval.covers(event.span), abs=1e-5)
            moved += not np.allclose(curve, base[-1] if rows == "last" else base[inside].mean(dim=0), rtol=0, atol=1e-6)
    assert moved == 5  # no level is one that does nothing


def test_the_instruction_does_not_see_a_steered_last_token(qwen2: AudioLM) -> None:
    hearing = Hearing(qwen2, scenes(1).maker.scene(0, 3).samples)
    vector = hearing.contrast("Focus on the bell.", OWN.negative)
    base, steered = (
        hearing.read(OWN.question, steer=steer, strength=8.0, query_positions="text").attention.share
        for steer in (None, vector)
    )
    assert not (base - steered)[:, :, :-1].abs().max() > 1e-6  # why that combination is left out
    assert (base - steered)[:, :, -1].abs().max() > 1e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(0.05, 3.0), st.floats(0, 2), st.integers(0, 999), st.booleans())
def test_windows_are_those_of_best_window(count: int, seconds: float, start: float, seed: int, flat: bool) -> None:
    span, truth = AudioSpan(5, count), Interval(start, start + seconds)
    curves = np.full((3, count), 0.1) if flat else np.random.default_rng(seed).integers(-9, 50, (3, count)) / 7
    curves[2] = np.nan
    found = window_scores(curves, span, truth)
    assert found.shape == (2, 3, 4) and np.isnan(found[:, 2]).all()
    for place, curve in enumerate(curves[:2]):
        windows = [best_window(curve, span, width * truth.duration)[0] for width in WIDTHS]
        assert found[0, place] == pytest.approx([each.covers(truth) for each in windows], abs=2e-6)
        assert found[1, place] == pytest.approx([each.iou(truth) for each in windows], abs=2e-6)


def test_a_perfect_curve_by_width() -> None:
    span, truth = AudioSpan(0, 100), Interval(1.0, 2.0)
    centers = span.centers()
    curve = np.exp(-((centers - 1.5) ** 2))[None]
    overlap, iou = window_scores(curve, span, truth)
    assert overlap[0] == pytest.approx([0.48, 1.0, 1.0, 1.0]) and iou[0, :2] == pytest.approx([0.48, 1.0])
    assert iou[0, 2:] == pytest.approx([1 / 1.48, 0.5])  # 1.5 s are 37.5 tokens: 37, 1.48 s


def test_passes_are_as_stated(qwen2: AudioLM, rows_read: list[int]) -> None:
    plain = replace(OWN, question="How loud is it?")
    made = sensitivity_table(qwen2, scenes(1), plain)
    expected = count_passes(grid_combinations(4, plain))
    assert made.attrs["passes"] == expected and sum(rows_read) == 2 + 3 * expected
    assert len(rows_read) <= 2 + 3 * 2 * 4  # in batches: a contrast, the plane in at most two, the text


def test_nothing_is_left_changed(lm: AudioLM, hook_count: Any) -> None:
    state = (lm.decoder.config._attn_implementation, lm.model.training, hook_count(lm))
    sensitivity_table(lm, scenes(1), PAPER)
    assert (lm.decoder.config._attn_implementation, lm.model.training, hook_count(lm)) == state


def test_attention_that_is_no_number_is_refused(qwen2: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sensitivity._shares
    monkeypatch.setattr(
        sensitivity, "_shares", lambda *given: {name: values * np.nan for name, values in whole(*given).items()}
    )
    with pytest.raises(ValueError, match="NaN or infinite values; use a wider"):
        sensitivity_table(qwen2, scenes(1), PAPER)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (replace(OWN, chosen_on={"events": ["bell", "knock"]}), "chosen on bell; pass scenes without"),
        (replace(OWN, blocks=(9,)), "blocks has 9, but the model has blocks 0 to 3"),
        (replace(OWN, strength=0.0), "at strength 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    own: Settings, message: str, qwen2: AudioLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "Hearing", lambda *_: pytest.fail("refused before any work"))
    with pytest.raises(ValueError, match=message):
        sensitivity_table(qwen2, scenes(1), own)


# The table -------------------------------------------------------------------------------------------------------


def test_the_table_is_tidy(table: pd.DataFrame) -> None:
    made = grid_combinations(4, OWN, event_named=["own"])
    assert not table.duplicated(KEYS).any() and not table[["overlap", "iou", "chance"]].isna().any().any()
    assert table["overlap"].between(0, 1).all() and (table["iou"] <= table["overlap"] + 1e-9).all()
    for number, rows in table.groupby("combination"):
        each = made[int(number)]
        for name, level in each.levels().items():
            assert set(rows[name]) == {level}
        queries = 2 if each.run.positions == "event" else 6  # a bell in each scene
        assert len(rows) == queries * len(WIDTHS)
    assert set(table["combination"]) == set(range(len(made)))
    assert set(table.loc[table["positions"] == "event", "event"]) == {"bell"}
    assert set(table.loc[table["positions"] == "event", "around"]) == {"own"}


def test_chance_is_of_each_width(table: pd.DataFrame) -> None:
    event = scenes().maker.scene(1, 3).events[2]
    rows = table[(table["scene"] == 1) & (table["event"] == event.name)]
    span = AudioSpan(0, 100)
    for width in WIDTHS:
        expected = random_overlap(event.span, span, width * event.span.duration)
        assert rows.loc[rows["width"] == width, "chance"].to_numpy() == pytest.approx(expected)


def test_facts_and_norm_ratios(table: pd.DataFrame, qwen2: AudioLM, caplog: pytest.LogCaptureFixture) -> None:
    attrs = table.attrs
    assert (attrs["analysis"], attrs["model"], attrs["thorough"]) == ("sensitivity", "tiny-qwen2_audio", False)
    assert attrs["combinations"] == table["combination"].nunique() and attrs["settings"]["strength"] == 6.0
    json.dumps(attrs, allow_nan=False)
    found: dict[str, list[np.ndarray]] = {"own": [], "paper": []}
    for index in range(2):
        scene = scenes().maker.scene(index, 3)
        hearing = Hearing(qwen2, scene.samples)
        for around, own in star_centers(OWN).items():
            for name in scene.names:
                vector = hearing.contrast(own.positive.format(event=name), own.negative, prompt=own.question)
                found[around].append(vector.norm_ratio().numpy())
    for around, ratios in found.items():
        assert attrs["norm_ratio"][around] == pytest.approx(np.mean(ratios, axis=0), abs=1e-5)
    with caplog.at_level(logging.INFO, logger="steer_utils.study.sensitivity"):
        sensitivity_table(qwen2, scenes(1), PAPER)
    assert "paper settings: mean ‖v‖/‖h‖ by block [" in caplog.text


def test_parquet_keeps_all_of_it(table: pd.DataFrame, summary: pd.DataFrame, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "grid.parquet")
    back = pd.read_parquet(tmp_path / "grid.parquet")
    assert back.attrs == table.attrs
    pd.testing.assert_frame_equal(sensitivity_summary(back), summary, check_dtype=False, check_categorical=False)


# Summaries -------------------------------------------------------------------------------------------------------


def test_intervals_are_those_of_cluster_mean(table: pd.DataFrame) -> None:
    summary = sensitivity_summary(table.sample(frac=1, random_state=0))
    assert len(summary) == table.groupby(["combination", "width"]).ngroups
    assert summary["combination"].is_monotonic_increasing
    for row in summary.iloc[::37].itertuples():
        own = table[(table["combination"] == row.combination) & (table["width"] == row.width)]
        for measure, names in (("overlap", ("overlap", "low", "high")), ("iou", ("iou", "iou_low", "iou_high"))):
            expected = cluster_mean(own[measure].to_numpy(), own["scene"].to_numpy())
            assert [getattr(row, name) for name in names] == pytest.approx(
                [expected.mean, expected.low, expected.high], abs=1e-9
            )
            assert (row.n, row.scenes) == (expected.n, expected.clusters)
        assert row.chance == pytest.approx(own["chance"].mean()) and row.blocks == own["blocks"].iloc[0]
    event = summary[summary["positions"] == "event"]
    assert set(event["n"]) == {2} and set(event["scenes"]) == {2} and set(summary["n"]) == {2, 6}
    with pytest.raises(ValueError, match="empty"):
        sensitivity_summary(table.iloc[:0])


def test_one_scene_has_no_interval(thorough: pd.DataFrame) -> None:
    summary = sensitivity_summary(thorough)
    assert summary["low"].isna().all() and summary["overlap"].notna().all() and set(summary["scenes"]) == {1}


def test_one_factor_at_a_time(summary: pd.DataFrame) -> None:
    star = one_at_a_time(summary, "own")
    assert list(star["factor"].unique()) == [*FACTORS, "width"]
    (chosen,) = star[star["chosen"]].groupby(["combination", "width"]).size().items()
    assert chosen[1] == len(FACTORS) + 1  # once in every factor
    levels = {factor: list(rows["level"]) for factor, rows in star.groupby("factor")}
    assert levels["strength"] == ["0.5", "1", "2", "4", "6", "8", "16"] and levels["width"] == ["0.5", "1", "1.5", "2"]
    assert levels["blocks"] == ["0", "1", "2", "0-1", "2-3", "0-3"]
    assert levels["positions"] == ["last", "text", "event"] and levels["rows"] == ["last", "instruction"]
    assert levels["read_blocks"] == [AFTER, "2", "3", "2-3"] and levels["norm"] == ["free", "kept"]
    assert (star.loc[star["factor"] != "width", "width"] == 1.0).all()
    with pytest.raises(ValueError, match="around is 'other'; the summary has own, paper"):
        one_at_a_time(summary, "other")
