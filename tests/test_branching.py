"""Rows that share their first blocks: the same numbers as rows run apart, and fewer rows in the early blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steer_utils.batches import Row
from steer_utils.branching import Branches, branched
from steer_utils.hearing import Hearing, Reading
from steer_utils.models import AudioLM
from steer_utils.steering import Injection

SHORT, LONG = "Describe the sound.", "Focus on the dog bark. Is the bell high or low?"
BLOCKS = 4


# -- which rows run where ------------------------------------------------------------------------------------------
def test_a_row_leaves_its_trunk_at_its_first_block() -> None:
    branches = Branches.of(["a", "a", "a", "b"], [1, None, 0, 2], BLOCKS)
    assert branches.trunks == (0, 3) and branches.trunk_of == (0, 0, 0, 1)
    assert branches.inside[0] == ((0, None), (1, None))
    assert branches.after[0] == ((0, None), (1, None), (0, 2)) == branches.inside[1]
    assert branches.after[1] == ((0, None), (1, None), (0, 0), (0, 2))
    assert branches.after[2] == ((0, None), (0, 0), (0, 2), (1, 3))  # nobody needs the second trunk any more
    assert branches.rows_after(2) == [None, 0, 2, 3]
    assert branches.places_inside(2).tolist() == [2, 0, 3, 1]
    assert branches.places_after(2).tolist() == [1, 0, 2, 3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, BLOCKS - 1)), min_size=1, max_size=12))
def test_never_more_rows_than_were_asked_for(rows: list[tuple[str, int | None]]) -> None:
    prompts, starts = zip(*rows, strict=True)
    branches = Branches.of(prompts, starts, BLOCKS)
    for block in range(BLOCKS):
        assert 0 < len(branches.inside[block]) <= len(rows)
        assert 0 < len(branches.after[block]) <= len(rows)
        for row, (inside, after) in enumerate(
            zip(branches.places_inside(block).tolist(), branches.places_after(block).tolist(), strict=True)
        ):
            for place, running in ((inside, branches.inside[block]), (after, branches.after[block])):
                trunk, own = running[place]
                assert prompts[branches.trunks[trunk]] == prompts[row] and own in (None, row)
            assert (branches.after[block][after][1] == row) == (starts[row] is not None and starts[row] <= block)


def test_apart_every_row_is_its_own() -> None:
    branches = Branches.apart(3, BLOCKS)
    assert branches.trunks == (0, 1, 2)
    assert {len(running) for running in (*branches.inside, *branches.after)} == {3}
    assert branches.places_after(0).tolist() == [0, 1, 2] and branches.rows_after(3) == [0, 1, 2]


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
    monkeypatch.setattr(Branches, "of", classmethod(lambda cls, prompts, *_: cls.apart(len(prompts), BLOCKS)))
    for one, other in zip(shared, hearing.read_rows(rows), strict=True):
        same(one, other)


def test_blocks_before_the_steered_one_run_once(hearing: Hearing, lm: AudioLM) -> None:
    vector = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
    seen: list[int] = []

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(len(args[0] if args else kwargs["hidden_states"]))

    handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in lm.blocks]
    try:
        hearing.read_rows([Row(SHORT, Injection(vector.select([block]), strength))
                           for block in range(BLOCKS) for strength in (1.0, 2.0, 3.0)])  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [1, 1 + 3, 1 + 6, 1 + 9]


def test_nothing_is_left_on_the_model_after_an_exception(lm: AudioLM) -> None:
    before = [(len(block._forward_hooks), len(block._forward_pre_hooks)) for block in lm.blocks]
    with pytest.raises(RuntimeError, match="inside"), branched(lm, Branches.of(["a", "a"], [0, 1], BLOCKS)):
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
        hearing.read(SHORT, rows="text")  # other query rows are not what was kept
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
