"""How many rows one forward takes. What the rows give is tested in test_hearing."""

from __future__ import annotations

import pytest
import torch

from steer_utils.lm import plan
from steer_utils.lm.hearing import Hearing
from steer_utils.lm.plan import MAX_BATCH, MAX_COPIES, MAX_LINE, Row, rows_at_once
from steer_utils.lm.steering import Injection
from steer_utils.lm.vectors import SteeringVector


def test_rows_at_once() -> None:
    assert rows_at_once(1) == MAX_BATCH
    assert rows_at_once(MAX_COPIES // 4) == 4
    assert rows_at_once(MAX_COPIES // 4 + 1) == 3
    assert rows_at_once(100 * MAX_COPIES) == 1  # a call must go on, whatever it takes
    # Qwen2-Audio in bfloat16: 32 blocks of keys and values, 32 heads of 128, for 17 s and for 30 s of audio.
    assert [rows_at_once(2 * 2 * 32 * 32 * 128 * tokens) for tokens in (20 + 425, 20 + 750)] == [18, 10]


def test_large_caches_are_copied_a_few_at_a_time(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = hearing._prefix
    assert prefix.cache_bytes == 2 * 4 * 2 * 12 * prefix.length * 4  # blocks, key/value heads, head width, float32
    rows = [Row(f"Describe the sound. {word}") for word in ("one", "two two", "three three three")]
    together = hearing.read_rows(rows)
    monkeypatch.setattr(plan, "MAX_COPIES", 2 * prefix.cache_bytes)
    assert [indices for indices, _ in plan.batches(rows, prefix, "last")] == [[0, 1], [2]]
    for few, all_at_once in zip(hearing.read_rows(rows), together, strict=True):
        assert few.instruction == all_at_once.instruction
        torch.testing.assert_close(few.logits, all_at_once.logits, atol=1e-4, rtol=1e-4)


# Rows in one line ------------------------------------------------------------------------------------------------

ASKED, OTHER = "Describe the sound.", "Focus on the dog bark."


@pytest.fixture
def focus(hearing: Hearing) -> SteeringVector:
    return hearing.contrast(OTHER, "Listen to the whole audio.")


def steered(vector: SteeringVector, count: int, instruction: str = ASKED) -> list[Row]:
    """So many rows of one prompt, each steered in another way at its last token."""
    blocks = len(vector.directions) - 1
    return [
        Row(instruction, (Injection(vector.select(number % blocks), 0.1 + number / count),)) for number in range(count)
    ]


def lines(rows: list[Row], hearing: Hearing, capture: str = "last") -> list[list[int]]:
    return [indices for indices, _ in plan.batches(rows, hearing._prefix, capture, copied=False)]


def test_a_line_takes_rows_until_it_is_long(hearing: Hearing, focus: SteeringVector) -> None:
    """A steered row adds the tokens from the first steered one on, and its prompt once."""
    tail = len(hearing.checkpoint.tokens(ASKED).tail)
    room = MAX_LINE - tail
    assert [len(line) for line in lines(steered(focus, room), hearing)] == [room]
    assert [len(line) for line in lines(steered(focus, room + 1), hearing)] == [room, 1]
    assert [len(line) for line in lines(steered(focus, 2 * room + 5), hearing)] == [room, room, 5]
    two = [*steered(focus, 100), *steered(focus, room, OTHER)]
    others = len(hearing.checkpoint.tokens(OTHER).tail)
    assert [len(line) for line in lines(two, hearing)] == [room - others, 100 + others]
    assert [index for line in lines(two, hearing) for index in line] == list(range(len(two)))


def test_a_line_takes_so_many_rows_however_long_they_are(
    hearing: Hearing, focus: SteeringVector, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = steered(focus, 2 * MAX_BATCH + 3)
    monkeypatch.setattr(plan, "MAX_LINE", 1)
    assert [len(line) for line in lines(rows, hearing)] == [MAX_BATCH, MAX_BATCH, 3]


def test_a_row_steered_from_the_first_word_on_adds_its_whole_prompt(hearing: Hearing, focus: SteeringVector) -> None:
    tail = len(hearing.checkpoint.tokens(ASKED).tail)
    room = MAX_LINE // tail - 1
    assert room > MAX_BATCH
    rows = [Row(ASKED, (Injection(focus, 0.1 + number, "text"),)) for number in range(room + 1)]
    assert [len(line) for line in lines(rows, hearing)] == [room, 1]


def test_long_audio_leaves_large_maps(hearing: Hearing, focus: SteeringVector, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = hearing._prefix
    assert prefix.map_bytes == hearing.read(ASKED).attention.share.nbytes
    rows = steered(focus, 50)
    monkeypatch.setattr(plan, "MAX_MAPS", 40 * prefix.map_bytes)
    assert hearing.maps_at_once() == 40 and [len(line) for line in lines(rows, hearing)] == [40, 10]
    assert hearing.maps_at_once(2) == MAX_BATCH
    monkeypatch.setattr(plan, "MAX_MAPS", 1)
    assert [len(line) for line in lines(rows, hearing)] == [MAX_BATCH, 18]


def test_long_and_short_lines_read_the_same(
    hearing: Hearing, focus: SteeringVector, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*steered(focus, 40), Row(OTHER), *steered(focus, 40, OTHER), Row(ASKED)]
    assert len(lines(rows, hearing)) == 1
    together = hearing.read_rows(rows)
    monkeypatch.setattr(plan, "MAX_LINE", 1)
    assert len(lines(rows, hearing)) == 3
    for long, short in zip(together, hearing.read_rows(rows), strict=True):
        torch.testing.assert_close(long.attention.share, short.attention.share, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(long.logits, short.logits, atol=1e-4, rtol=1e-4)
