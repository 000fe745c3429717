"""The design of the grid: every combination once, one factor at a time, nothing that cannot change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.lm.blocks import blocks_text
from steer_utils.lm.steering import Injection
from steer_utils.methods.settings import PAPER, Settings
from steer_utils.methods.tuning import block_sets
from steer_utils.study.sensitivity import (
    AFTER,
    FACTORS,
    STRENGTHS,
    Combination,
    SteeredRun,
    blocks_order,
    count_passes,
    grid_combinations,
    star_centers,
)

OWN = replace(PAPER, question="How many sounds are there?", strength=6.0, blocks=(2,), keep_norm=False, read="share",
              read_blocks=(5,), ask="When is the {event}?")  # fmt: skip


def test_the_count_is_as_stated() -> None:
    for blocks in (4, 6, 8, 32):
        made = grid_combinations(blocks, PAPER)
        assert count_passes(made) == 6 * (blocks + 2) + 4
    own = replace(OWN, strength=1.0, read_blocks=None, blocks=(0,))  # as many as there can be
    made = grid_combinations(8, own)
    assert (len(made), count_passes(made)) == (256, 128)


@pytest.mark.parametrize("thorough", [False, True])
def test_each_point_has_its_plane_and_its_star(thorough: bool) -> None:
    made = grid_combinations(8, OWN, thorough=thorough, event_named=["own"])
    assert len(set(made)) == len(made) == len({tuple(each.levels().values()) for each in made})
    for around, own in star_centers(OWN).items():
        here = [each for each in made if each.around == around]
        (point,) = [each for each in here if not each.varied]
        assert point.run == SteeredRun(own.strength, own.steered_blocks(8), "last", own.keep_norm)
        assert (point.read, point.read_blocks, point.rows) == (own.read, own.read_blocks, "last")
        strengths = {*STRENGTHS, own.strength}
        for read in ("share", "difference"):
            for keep in (True, False) if thorough else (own.keep_norm,):
                cells = [(each.run.strength, each.run.blocks) for each in here
                         if each.read == read and each.run.keep_norm == keep and each.read_blocks == own.read_blocks
                         and each.run.positions == each.rows == "last"]  # fmt: skip
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
    by_point = {each.around: each for each in grid_combinations(8, OWN) if not each.varied}
    for each in grid_combinations(8, OWN, thorough=True):
        own, point = each.levels(), by_point[each.around].levels()
        assert each.varied == ", ".join(factor for factor in FACTORS if own[factor] != point[factor])


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.data())  # of two blocks the later half is the last: nothing to read after it
def test_only_what_can_change_is_measured(blocks: int, data: st.DataObject) -> None:
    steered = data.draw(st.lists(st.integers(0, blocks - 1), min_size=1, unique=True).map(tuple))
    read = data.draw(st.lists(st.integers(0, blocks - 1), min_size=1, unique=True).map(tuple))
    own = replace(OWN, blocks=steered, read_blocks=read)
    if max(read) <= min(steered):
        with pytest.raises(ValueError, match=r"the own settings steer blocks .* read"):
            grid_combinations(blocks, own)
        return
    for each in grid_combinations(blocks, own):
        read_blocks = each.read_blocks or range(min(each.run.blocks) + 1, blocks)
        assert max(read_blocks, default=-1) > min(each.run.blocks) and each.run.strength != 0
        assert each.rows == "last" or each.run.positions == "text"


def test_negative_block_numbers_count_from_the_end() -> None:
    from_end = replace(OWN, blocks=(-6,), read_blocks=(-3, -1))
    assert grid_combinations(8, from_end) == grid_combinations(8, replace(OWN, blocks=(2,), read_blocks=(5, 7)))


def test_one_point_where_the_model_has_no_settings_of_its_own() -> None:
    assert list(star_centers(OWN)) == ["own", "paper"] and star_centers(OWN)["paper"].ask == OWN.ask
    assert list(star_centers(Settings(ask="When is the {event}?"))) == ["paper"]
    assert list(star_centers(replace(PAPER, question="What is it?"))) == ["own", "paper"]
    assert {each.around for each in grid_combinations(8, PAPER)} == {"paper"}


@pytest.mark.parametrize(
    ("blocks", "own", "message"),
    [
        (1, PAPER, "the model has 1 block; pass one"),
        (8, replace(OWN, blocks=(8,)), "blocks has 8, but the model has blocks 0 to 7"),
        (8, replace(OWN, read_blocks=(-9,)), "read_blocks has -9"),
        (8, replace(OWN, blocks=(7,), read_blocks=None), "steer blocks 7 .* read after"),
        (8, replace(OWN, strength=0.0), "at strength 0"),
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
