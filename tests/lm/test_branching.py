"""Rows that share blocks and tokens: the same numbers as rows run apart, and fewer tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.lm.branching import Branch, Branches, branched, last_states
from steer_utils.lm.hearing import Hearing, Reading
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row
from steer_utils.lm.steering import Injection

SHORT, LONG = "Describe the sound.", "Focus on the dog bark. Is the bell high or low?"
BLOCKS = 4


# -- which tokens run where ----------------------------------------------------------------------------------------
def test_a_row_leaves_its_trunk_at_its_first_block_and_token() -> None:
    branches = Branches.of(["a", "a", "a", "b"], [3, 3, 3, 5], [(1, 6), None, (0, 4), (2, 6)], 7, BLOCKS)
    assert branches.trunks == (0, 3) and branches.trunk_of == (0, 0, 0, 1)
    first, alone = Branch(0, None, 3), Branch(1, 3, 5)  # nobody else has the prompt of row 3
    assert branches.inside[0].branches == (first, alone)
    assert branches.after[0].branches == (first, Branch(0, 2, 4), alone) == branches.inside[1].branches
    assert branches.after[3].branches == (first, Branch(0, 0, 6), Branch(0, 2, 4), alone)
    line = branches.after[1]
    assert line.slots.tolist() == [3, 4, 5, 6, 6, 4, 5, 6, 5, 6]
    assert line.rows.tolist() == [-1, -1, -1, -1, 0, 2, 2, 2, 3, 3]
    assert branches.last_places(line).tolist() == [4, 3, 7, 9]
    assert branches.last_places(branches.inside[0]).tolist() == [3, 3, 3, 5]
    assert branches.places(line, [[3, 6], [5], [3, 4], []]).tolist() == [0, 4, 2, 0, 5]
    assert line.source(branches.inside[1]).tolist() == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8]
    assert line.source(branches.inside[0]).tolist() == [0, 1, 2, 3, 3, 1, 2, 3, 4, 5]


def test_who_sees_whom() -> None:
    line = Branches.of(["a"] * 3, [0] * 3, [(0, 2), None, (0, 1)], 3, BLOCKS).after[0]
    assert line.branches == (Branch(0, None, 0), Branch(0, 0, 2), Branch(0, 2, 1))
    assert line.mask().int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],  # row 0 has its own last token, and the trunk's first two
        [1, 0, 0, 0, 1, 0],  # row 2 has its own last two
        [1, 0, 0, 0, 1, 1],
    ]


def test_a_trunk_that_nobody_needs_any_more_ends() -> None:
    branches = Branches.of(["a", "a"], [2, 2], [(0, 2), (1, 2)], 4, BLOCKS)  # both change all tokens
    assert [[branch.row for branch in line.branches] for line in branches.after] == [[None, 0], *[[0, 1]] * 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.none() | st.tuples(st.integers(0, BLOCKS - 1), st.integers(0, 5))),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_never_more_tokens_than_were_asked_for(rows: list[tuple[str, tuple[int, int] | None]]) -> None:
    prompts, starts = zip(*rows, strict=True)
    firsts = [{"a": 0, "b": 1, "c": 4}[prompt] for prompt in prompts]
    stop = 6
    branches = Branches.of(prompts, firsts, starts, stop, BLOCKS)
    whole = sum(stop - first for first in firsts)
    for block, (inside, after) in enumerate(zip(branches.inside, branches.after, strict=True)):
        # a trunk whose rows have all left goes on for the tokens before them
        trunks = sum(stop - firsts[row] for row in branches.trunks)
        for line in (inside, after):
            assert 0 < len(line.slots) == len(line.rows) <= whole + trunks
            assert bool(line.mask().diagonal().all())
            for row, place in enumerate(branches.last_places(line).tolist()):
                branch = line.branches[int(line.numbers[place])]
                assert line.slots[place] == stop - 1 and prompts[branches.trunks[branch.trunk]] == prompts[row]
                # it sees each earlier slot of its prompt once
                assert line.slots[line.mask()[place]].sort().values.tolist() == list(range(firsts[row], stop))
        for row, (start, place) in enumerate(zip(starts, branches.last_places(after).tolist(), strict=True)):
            shared = prompts.count(prompts[row]) > 1
            assert (int(after.rows[place]) == row) == (not shared or (start is not None and start[0] <= block))


# -- the model run so ----------------------------------------------------------------------------------------------
def same(one: Reading, other: Reading) -> None:
    torch.testing.assert_close(one.hidden, other.hidden, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.logits, other.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.attention.share, other.attention.share, atol=1e-4, rtol=0)
    assert one.attention.first_block == other.attention.first_block


def many_rows(hearing: Hearing) -> list[Row]:
    vector = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.", prompt=SHORT)
    blocks = range(len(vector.directions))
    rows = [Row(SHORT), Row(LONG)]
    for block in blocks:
        for strength in (-1.0, 2.0):
            rows.append(Row(SHORT, Injection(vector.select([block]), strength), keep_norm=strength > 0))
    rows.append(Row(LONG, (Injection(vector.select([0]), 1.0), Injection(vector.select([2]), 3.0, "text"))))
    rows.append(Row(LONG, Injection(vector, 0.0)))
    rows.append(Row(SHORT, Injection(vector.select([1, 3]), 1.0, rule="vista")))
    return rows


def test_together_and_alone_give_the_same(hearing: Hearing) -> None:
    rows = many_rows(hearing)
    for together, row in zip(hearing.read_rows(rows), rows, strict=True):
        (alone,) = hearing.read_rows([row])
        same(together, alone)


def test_sharing_equals_running_apart(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = many_rows(hearing)
    shared = hearing.read_rows(rows)
    of = Branches.of

    def apart(cls: type[Branches], prompts: list[Any], firsts: list[int], *rest: Any) -> Branches:
        return of(range(len(prompts)), firsts, *rest)

    monkeypatch.setattr(Branches, "of", classmethod(apart))
    for one, other in zip(shared, hearing.read_rows(rows), strict=True):
        same(one, other)


def tokens_in_blocks(lm: AudioLM, hearing: Hearing, rows: list[Row]) -> list[int]:
    """How many tokens run through each block."""
    seen: list[int] = []

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"]).shape[:2].numel())

    handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in lm.blocks]
    try:
        hearing.read_rows(rows)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def test_only_what_a_vector_can_change_is_run_again(hearing: Hearing, lm: AudioLM) -> None:
    vector = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
    prompt = len(lm.tokens(SHORT).tail)
    rows = [Row(SHORT, Injection(vector.select([block]), strength))
            for block in range(BLOCKS) for strength in (1.0, 2.0, 3.0)]  # fmt: skip
    assert tokens_in_blocks(lm, hearing, rows) == [prompt, prompt + 3, prompt + 6, prompt + 9]
    whole = [Row(SHORT, Injection(vector.select([1]), strength, "text")) for strength in (1.0, 2.0)]
    assert tokens_in_blocks(lm, hearing, whole) == [prompt, prompt, 2 * prompt, 2 * prompt]
    assert tokens_in_blocks(lm, hearing, rows[:1]) == [prompt] * BLOCKS  # as anybody would run it


def test_nothing_is_left_on_the_model_after_an_exception(lm: AudioLM) -> None:
    before = [(len(block._forward_hooks), len(block._forward_pre_hooks)) for block in lm.blocks]
    branches = Branches.of(["a", "a"], [0, 0], [(0, 1), (1, 1)], 2, BLOCKS)
    with pytest.raises(RuntimeError, match="inside"), branched(lm, branches), last_states(lm, branches):
        assert [(len(block._forward_hooks), len(block._forward_pre_hooks)) for block in lm.blocks] != before
        raise RuntimeError("inside")
    assert [(len(block._forward_hooks), len(block._forward_pre_hooks)) for block in lm.blocks] == before


# -- remembering ---------------------------------------------------------------------------------------------------
def test_what_is_remembered_is_read_once(lm: AudioLM, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    hearing = lm.hear(samples, sampling_rate=16_000)
    vector = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
    rows = [Row(SHORT), Row(SHORT, Injection(vector, 2.0)), Row(LONG)]
    plain = hearing.read_rows(rows)
    made: list[int] = []
    read = Hearing._read
    monkeypatch.setattr(Hearing, "_read", lambda self, batch, *rest: made.append(len(batch.rows)) or read(
        self, batch, *rest))  # fmt: skip
    with hearing.remembering():
        first, second = hearing.read_rows(rows), hearing.read_rows(rows)
        assert made == [3, 1]  # the steered row is made again
        assert second[0] is first[0] and second[2] is first[2]
        hearing.read(SHORT, query_positions="text")  # other query rows are not what was kept
        assert made == [3, 1, 1]
    for one, two, three in zip(plain, first, second, strict=True):
        same(one, two)
        same(one, three)
    hearing.read(SHORT)
    assert made == [3, 1, 1, 1]


def test_silence_is_remembered_as_long_as_its_hearing(lm: AudioLM, samples: np.ndarray) -> None:
    hearing = lm.hear(samples, sampling_rate=16_000)
    with hearing.remembering():
        first = hearing.silence.read(SHORT)  # encoded inside
        assert hearing.silence.read(SHORT) is first
        with hearing.remembering():
            assert hearing.silence.read(SHORT) is first
        assert hearing.silence.read(SHORT) is first
    assert hearing.silence.read(SHORT) is not first
    with hearing.remembering():  # encoded before
        assert hearing.silence.read(SHORT) is hearing.silence.read(SHORT)
