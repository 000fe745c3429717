"""Which slots a word means, with padding, events and generated tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steer_utils.lm.models import AudioLM
from steer_utils.lm.positions import Layout, TokenMask, event_tokens, prompt_slots, steers_generated, token_mask

# 0 1 | audio 2 3 4 | padding 5 6 | text 7 8 9
ROW = Layout(length=10, audio=range(2, 5), padding=range(5, 7), event=(8,))


@pytest.mark.parametrize(
    ("positions", "slots", "generated"),
    [
        ("last", [9], True),
        ("text", [7, 8, 9], True),
        ("audio", [2, 3, 4], False),
        ("all", [0, 1, 2, 3, 4, 7, 8, 9], True),
        ("event", [8], False),
        ([0, 4, 5], [0, 4, 7], False),  # slot 5 of the unpadded prompt
        (range(6, 8), [8, 9], False),
    ],
)
def test_table(positions: object, slots: list[int], generated: bool) -> None:
    assert prompt_slots(positions, ROW) == slots  # type: ignore[arg-type]
    assert steers_generated(positions) is generated  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["lats", "", [], [-1], [1.5], [True], None, 3, ["last"]])
def test_unknown_positions(bad: object) -> None:
    with pytest.raises(ValueError, match=r"positions|slots"):
        prompt_slots(bad, ROW)  # type: ignore[arg-type]


def test_the_mask_of_one_row_alone() -> None:
    mask = token_mask("last", [Layout(5, range(1, 3))])
    assert mask.prompt.tolist() == [[False, False, False, False, True]] and mask.generated


def test_what_a_row_does_not_have() -> None:
    with pytest.raises(ValueError, match="name of the event"):
        prompt_slots("event", Layout(4, range(1, 2)))
    for positions in ("audio", "text"):
        with pytest.raises(ValueError, match="where the audio is"):
            prompt_slots(positions, Layout(4, range(0)))
    with pytest.raises(ValueError, match=r"slot 8 is beyond the prompt, which has 8 tokens"):
        prompt_slots([8], ROW)


@given(st.integers(0, 14), st.integers(1, 6))
def test_slices_of_a_mask_do_not_depend_on_the_calls(offset: int, length: int) -> None:
    """Cut in any way, the calls of a generation see the mask of the whole sequence."""
    mask = token_mask("text", [ROW, Layout(10, range(2, 5), range(5, 6))])
    whole = mask.slice(0, 20)
    assert torch.equal(mask.slice(offset, length), whole[:, offset : offset + length])
    assert whole[:, 10:].all()
    assert torch.equal(whole[:, :10], mask.prompt)
    assert whole[0, 6] != whole[1, 6]  # padding in row 0, text in row 1


def test_union() -> None:
    mask = TokenMask(torch.tensor([[True, False, False], [False, False, True]]), generated=False)
    assert mask.union().prompt.tolist() == [[True, False, True]]
    assert not mask.union().slice(3, 2).any()


def words(lm: AudioLM, instruction: str, event: str) -> list[str]:
    tokens = lm.tokens(instruction)
    ids = [tokens.tail[index] for index in event_tokens(tokens, event)]
    return lm.processor.tokenizer.convert_ids_to_tokens(ids)


def test_event_words_are_found_in_the_instruction(lm: AudioLM) -> None:
    assert words(lm, "Focus on the Dog bark.", "dog bark") == ["dog", "bark"]
    assert words(lm, "The bell, after the siren, is a bell.", "bell") == ["bell", "bell"]
    # The chat template's own words are not the instruction's.
    assert words(lm, "Is the assistant a bell?", "assistant") == ["assistant"]


@pytest.mark.parametrize("event", ["siren", "bel", "ell", "", " ", "b.ll"])
def test_absent_events(lm: AudioLM, event: str) -> None:
    with pytest.raises(ValueError, match="does not name the event"):
        event_tokens(lm.tokens("Focus on the bell."), event)
