"""What is planned for rows, without a model: which tokens run where, how rows fill calls, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.lm import plan as module
from steer_utils.lm.checkpoints import PromptTokens
from steer_utils.lm.plan import (
    MAX_BATCH,
    MAX_COPIES,
    MAX_LINE,
    MAX_MAPS,
    Plan,
    PlannedRow,
    Row,
    check_rows,
    maps_at_once,
    plan_rows,
    rows_at_once,
)
from steer_utils.lm.prefixes import PrefixShape
from steer_utils.lm.steering import Edit, Injection
from steer_utils.lm.vectors import Provenance, SteeringVector
from steer_utils.sound.spans import AudioSpan

BLOCKS = 4
VECTOR = SteeringVector(torch.ones(BLOCKS, 8), tuple(range(BLOCKS)), torch.ones(BLOCKS), Provenance(recipe="v"))
SHAPE = PrefixShape(head=(1, 2, 99), span=AudioSpan(2, 10), length=12, num_blocks=BLOCKS, cache_bytes=1, map_bytes=1)
ASKED, OTHER = "Describe the sound", "Focus on the dog bark"


def tokens(instruction: str) -> PromptTokens:
    """A token a word, and one on either side: the prompt as a tokenizer of whole words would give it."""
    start, words = 6, list(re.finditer(r"\w+", instruction))
    characters = [(5, 6), *((start + word.start(), start + word.end()) for word in words), (90, 91)]
    ids = (3, *(10 + len(word.group()) for word in words), 4)
    return PromptTokens(f"audio {instruction}", instruction, start, SHAPE.head, ids, tuple(characters))


def planned(
    rows: list[Row], shape: PrefixShape = SHAPE, positions: object = "last", answers: bool = False
) -> list[Plan]:
    prompts = [tokens(row.instruction) for row in rows]
    return plan_rows(rows, prompts, [0] * len(rows), [shape], positions, answers=answers)  # type: ignore[arg-type]


# -- what a row comes to -------------------------------------------------------------------------------------------
def test_a_row_in_numbers() -> None:
    steer = (Injection(VECTOR.select([1, 2]), 2.0, "text"), Injection(VECTOR, 0.0), Injection(0 * VECTOR, 3.0, "audio"))
    (plan,) = planned([Row(OTHER, steer, keep_norm=False)], positions=[12, 13])
    (row,) = plan.rows
    assert (row.tail, row.length, row.keep_norm, row.query_slots) == (tokens(OTHER).tail, 19, False, (12, 13))
    # The two that change nothing are gone, wherever they would have acted.
    assert row.edits == (Edit(steer[0].vector, 2.0, "add", (1, 2), tuple(range(12, 19)), generated=True),)
    assert (row.first_steered_block, row.first_steered_slot, row.first_changed_block) == (1, 12, 2)
    assert (row.prefix_length, plan.num_blocks, plan.recompute, plan.prefixes) == (12, BLOCKS, False, (0,))
    (plain,) = planned([Row(OTHER)])[0].rows
    assert (plain.edits, plain.first_steered_block, plain.first_steered_slot, plain.first_changed_block) == (
        (),
        None,
        19,
        0,
    )


def test_events_are_found_in_the_tail() -> None:
    (plan,) = planned([Row(OTHER, Injection(VECTOR, positions="event"), event="dog bark")], positions="event")
    assert plan.rows[0].query_slots == plan.rows[0].edits[0].slots == (16, 17)
    assert not plan.rows[0].edits[0].generated


@pytest.mark.parametrize(
    ("row", "positions", "recompute"),
    [
        (Row(ASKED), "last", False),
        (Row(ASKED), "text", False),
        (Row(ASKED), [12], False),
        (Row(ASKED), [11, 14], True),
        (Row(ASKED), "audio", True),
        (Row(ASKED, Injection(VECTOR, positions="text")), "last", False),
        (Row(ASKED, (Injection(VECTOR), Injection(VECTOR, positions="all"))), "last", True),
        (Row(ASKED, Injection(VECTOR, 0.0, "all")), "last", False),
    ],
)
def test_when_the_prefix_must_be_recomputed(row: Row, positions: object, recompute: bool) -> None:
    assert [plan.recompute for plan in planned([row], positions=positions)] == [recompute]


def test_a_plan_can_be_printed() -> None:
    vista = Injection(VECTOR.select(1), 0.5, [3, 4], "vista")
    plans = planned([Row(ASKED), Row(OTHER, vista), Row(ASKED, Injection(VECTOR.late(), -2.0), keep_norm=False)])
    assert "\n".join(map(str, plans)) == (
        "behind a prefix of 12 slots, which all rows share:\n"
        "  row 0: 'Describe the sound' in slots 12-16; attention of slot 16; not steered\n"
        "  row 2: 'Describe the sound' in slots 12-16; attention of slot 16; -2 * ((v)[2-3]) at block 2-3, slot 16 and "
        "generated tokens; norm not kept\n"
        "  tokens that enter each block: 5, 5, 5, 6\n"
        "behind a prefix of 12 slots, which runs again with each row:\n"
        "  row 1: 'Focus on the dog bark' in slots 12-18; attention of slot 18; +0.5 * ((v)[1]), rule 'vista', at "
        "block 1, slot 3-4"
    )


# -- what is refused -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "positions", "message"),
    [
        (Row(ASKED), "lats", "unknown positions"),
        (Row(ASKED), [], "positions must be"),
        (Row(ASKED), [17], "slot 17 is beyond the prompt, which has 17 tokens"),
        (Row(ASKED), "event", "name of the event"),
        (Row(ASKED, Injection(VECTOR, 0.0, [17])), "last", "beyond the prompt"),
        (Row(ASKED, event="siren"), "last", "does not name the event 'siren'"),
    ],
)
def test_what_a_row_does_not_have(row: Row, positions: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planned([row], positions=positions)


def test_a_prompt_must_begin_as_the_prefix_does() -> None:
    with pytest.raises(ValueError, match="begins otherwise before the audio: 'audio Describe the sound'"):
        plan_rows([Row(ASKED)], [replace(tokens(ASKED), head=(1, 99))], [0], [SHAPE])


def test_wrong_types() -> None:
    for rows in ([ASKED], Row(ASKED), ASKED):
        with pytest.raises(TypeError, match="list of Row"):
            check_rows(rows)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Injection objects, got SteeringVector"):
        Row(ASKED, (VECTOR,))  # type: ignore[arg-type]


# -- how rows fill calls -------------------------------------------------------------------------------------------
def steered(count: int, instruction: str = ASKED) -> list[Row]:
    """So many rows of one prompt, each steered in another way at its last token."""
    blocks = range(BLOCKS - 1)
    return [Row(instruction, Injection(VECTOR.select(blocks[number % 3]), 0.1 + number)) for number in range(count)]


def sizes(rows: list[Row], shape: PrefixShape = SHAPE, answers: bool = False) -> list[int]:
    plans = planned(rows, shape, answers=answers)
    assert [index for plan in plans for index in plan.indices] == list(range(len(rows)))
    return [len(plan.rows) for plan in plans]


def test_rows_at_once() -> None:
    assert rows_at_once(1) == MAX_BATCH
    assert rows_at_once(MAX_COPIES // 4) == 4
    assert rows_at_once(MAX_COPIES // 4 + 1) == 3
    assert rows_at_once(100 * MAX_COPIES) == 1  # a call must go on, whatever it takes
    # Qwen2-Audio in bfloat16: 32 blocks of keys and values, 32 heads of 128, for 17 s and for 30 s of audio.
    assert [rows_at_once(2 * 2 * 32 * 32 * 128 * count) for count in (20 + 425, 20 + 750)] == [18, 10]


def test_large_caches_are_copied_a_few_at_a_time() -> None:
    large = replace(SHAPE, cache_bytes=MAX_COPIES // 2)
    assert sizes(steered(5), large, answers=True) == [2, 2, 1]
    assert sizes([Row(ASKED, Injection(VECTOR, positions="all"))] * 3, large) == [2, 1]
    assert sizes(steered(5), large) == [5]  # readings behind the prefix copy nothing
    assert sizes(steered(MAX_BATCH + 1), answers=True) == [MAX_BATCH, 1]


def test_rows_that_recompute_the_prefix_come_last() -> None:
    rows = [Row(ASKED, Injection(VECTOR, positions="all")), Row(ASKED), Row(OTHER)]
    assert [(plan.indices, plan.recompute) for plan in planned(rows)] == [((1, 2), False), ((0,), True)]
    assert planned([]) == []


def test_a_line_takes_rows_until_it_is_long() -> None:
    """A steered row adds the tokens from the first steered one on, and its prompt once."""
    room, others = MAX_LINE - len(tokens(ASKED).tail), len(tokens(OTHER).tail)
    assert sizes(steered(room)) == [room]
    assert sizes(steered(room + 1)) == [room, 1]
    assert sizes(steered(2 * room + 5)) == [room, room, 5]
    assert sizes([*steered(100), *steered(room, OTHER)]) == [room - others, 100 + others]


def test_a_line_takes_so_many_rows_however_long_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 1)
    assert sizes(steered(2 * MAX_BATCH + 3)) == [MAX_BATCH, MAX_BATCH, 3]


def test_a_row_steered_from_the_first_word_on_adds_its_whole_prompt() -> None:
    room = MAX_LINE // len(tokens(ASKED).tail) - 1
    assert room > MAX_BATCH
    assert sizes([Row(ASKED, Injection(VECTOR, 0.1 + number, "text")) for number in range(room + 1)]) == [room, 1]


def behind_two(rows: list[Row], others: list[Row], **options: bool) -> list[Plan]:
    """The first rows behind `SHAPE`, the others behind a longer prefix."""
    prompts, behind = [tokens(row.instruction) for row in rows + others], [0] * len(rows) + [1] * len(others)
    longer = replace(SHAPE, span=AudioSpan(2, 25), length=27, map_bytes=MAX_MAPS // 40)
    return plan_rows(rows + others, prompts, behind, [SHAPE, longer], **options)


def test_rows_of_two_audios_fill_one_call_and_print_apart() -> None:
    (plan,) = behind_two([Row(ASKED)], [Row(ASKED), Row(OTHER)])
    assert plan.prefixes == (0, 1)
    assert str(plan) == (
        "behind a prefix of 12 slots, which all rows share:\n"
        "  row 0: 'Describe the sound' in slots 12-16; attention of slot 16; not steered\n"
        "in the same call behind a prefix of 27 slots, which all rows share:\n"
        "  row 1: 'Describe the sound' in slots 27-31; attention of slot 31; not steered\n"
        "  row 2: 'Focus on the dog bark' in slots 27-33; attention of slot 33; not steered\n"
        "  tokens that enter each block: 17, 17, 17, 17"
    )
    first, second = plan.lines[0].stretches
    assert (first.tokens, first.kept.tolist()) == (slice(0, 5), [4])
    assert (second.tokens, second.kept.tolist()) == (slice(5, 17), [4, 11])
    assert not plan.lines[0].mask[:5, 5:].any() and not plan.lines[0].mask[5:, :5].any()


def test_what_copies_its_prefix_runs_with_others_of_the_same_alone() -> None:
    audio = Row(ASKED, Injection(VECTOR, positions="audio"))
    plans = behind_two([Row(ASKED), audio], [audio, Row(ASKED)])
    assert [(plan.indices, plan.recompute) for plan in plans] == [((0, 3), False), ((1,), True), ((2,), True)]
    plans = behind_two([Row(ASKED), Row(OTHER)], [Row(ASKED)], answers=True)
    assert [plan.indices for plan in plans] == [(0, 1), (2,)]
    many = behind_two([Row(ASKED)] * 30, [Row(ASKED)] * 30)  # as much as the longer one's attention allows
    assert [len(plan.rows) for plan in many] == [40, 20]


def test_long_audio_leaves_large_maps() -> None:
    shape = replace(SHAPE, map_bytes=MAX_MAPS // 40)
    assert maps_at_once(shape.map_bytes, 1) == 40 and sizes(steered(50), shape) == [40, 10]
    assert maps_at_once(shape.map_bytes, 2) == MAX_BATCH
    assert sizes(steered(50), replace(SHAPE, map_bytes=2 * MAX_MAPS)) == [MAX_BATCH, 18]


# -- which tokens run where ----------------------------------------------------------------------------------------
def line_plan(
    prompts: list[str], starts: list[tuple[int, int] | None], prefix: int, queries: list[tuple[int, ...]] | None = None
) -> Plan:
    """Rows with these tails, a token a character, first steered at this block and slot."""
    rows = []
    for number, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
        edits = () if start is None else (Edit(VECTOR, 1.0, "add", (start[0],), (start[1],), False),)
        kept = (prefix + len(prompt) - 1,) if queries is None else queries[number]
        rows.append(PlannedRow("", tuple(map(ord, prompt)), prefix + len(prompt), edits, True, kept, kept[-1:]))
    return Plan(tuple(rows), tuple(range(len(rows))), BLOCKS, recompute=False)


def test_a_row_leaves_its_trunk_at_its_first_block_and_token() -> None:
    starts = [(1, 6), None, (0, 4), (2, 4)]
    plan = line_plan(["aaab", "aaab", "aaab", "bc"], starts, 3, [(3, 6), (5,), (3, 4), ()])
    trunk, alone = [(~0, slot) for slot in range(3, 7)], [(3, 3), (3, 4)]  # nobody else has the prompt of row 3
    left = [(2, slot) for slot in range(4, 7)]
    assert [list(plan.lines[number].tokens) for number in (0, 1, 4)] == [
        [*trunk, *alone],
        [*trunk, *left, *alone],
        [*trunk, (0, 6), *left, *alone],
    ]
    assert plan.lines[0].ids.tolist() == [*map(ord, "aaabbc")]
    line = plan.lines[2]
    assert plan.lines[3] is plan.lines[4] is line  # nobody leaves any more
    assert line.slots.tolist() == [3, 4, 5, 6, 6, 4, 5, 6, 3, 4]
    assert line.owners.tolist() == [~0, ~0, ~0, ~0, 0, 2, 2, 2, 3, 3]
    assert line.last_places.tolist() == [4, 3, 7, 9]
    assert plan.lines[0].last_places.tolist() == [3, 3, 3, 5]
    (stretch,) = line.stretches
    assert (stretch.tokens, stretch.kept.tolist()) == (slice(0, 10), [0, 4, 2, 0, 5])
    assert line.sources(plan.lines[1]).tolist() == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8]
    assert line.sources(plan.lines[0]).tolist() == [0, 1, 2, 3, 3, 1, 2, 3, 4, 5]


def test_who_sees_whom() -> None:
    line = line_plan(["abc"] * 3, [(0, 2), None, (0, 1)], 0).lines[1]
    assert line.tokens == ((~0, 0), (~0, 1), (~0, 2), (0, 2), (2, 1), (2, 2))
    assert line.mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],  # row 0 has its own last token, and the trunk's first two
        [1, 0, 0, 0, 1, 0],  # row 2 has its own last two
        [1, 0, 0, 0, 1, 1],
    ]


def test_a_trunk_that_nobody_needs_any_more_ends() -> None:
    lines = line_plan(["ab", "ab"], [(0, 2), (1, 2)], 2).lines  # both change all tokens
    assert [sorted({owner for owner, _ in line.tokens}) for line in lines[1:]] == [[~0, 0], *[[0, 1]] * 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["aaaaaa", "bbbbb", "cc"]),
            st.none() | st.tuples(st.integers(0, BLOCKS - 1), st.integers(0, 5)),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_never_more_tokens_than_were_asked_for(rows: list[tuple[str, tuple[int, int] | None]]) -> None:
    prompts = [prompt for prompt, _ in rows]
    starts = [None if start is None else (start[0], 2 + min(start[1], len(prompt) - 1)) for prompt, start in rows]
    plan = line_plan(prompts, starts, 2)
    whole = sum(map(len, prompts))
    # a trunk whose rows have all left goes on for the tokens before them
    trunks = sum(map(len, set(prompts)))
    for block, (inside, after) in enumerate(zip(plan.lines[:-1], plan.lines[1:], strict=True)):
        for line in (inside, after):
            assert 0 < len(set(line.tokens)) == len(line.tokens) <= whole + trunks
            assert bool(line.mask.diagonal().all())
            for row, place in enumerate(line.last_places.tolist()):
                owner, slot = line.tokens[place]
                assert slot == 1 + len(prompts[row]) and prompts[max(owner, ~owner)] == prompts[row]
                # it sees each earlier slot of its prompt once
                assert line.slots[line.mask[place]].sort().values.tolist() == list(range(2, 2 + len(prompts[row])))
        for row, (start, place) in enumerate(zip(starts, after.last_places.tolist(), strict=True)):
            shared = prompts.count(prompts[row]) > 1
            assert (after.tokens[place][0] == row) == (not shared or (start is not None and start[0] <= block))
