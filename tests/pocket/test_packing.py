"""Packed pairs: each is worth a forward pass of its own, sees the audio and itself, and learns only its answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from steer_utils.lm.models import AudioLM
from steer_utils.pocket.corpus import audio_tokens, tower_states
from steer_utils.pocket.packing import IGNORE, Packed, Packer
from steer_utils.pocket.text import Turn
from steer_utils.pocket.training import answer_loss

TURNS = (
    Turn("describe", "Describe the siren.", "loud high siren"),
    Turn("presence", "Do you hear the dog bark?", "no"),
    Turn("listing", "What do you hear?", "bell, dog bark, siren"),
)


@pytest.fixture
def packer(lm: AudioLM) -> Packer:
    return Packer(lm.processor)


def heard(lm: AudioLM, *sounds: np.ndarray) -> tuple[torch.Tensor, list[int]]:
    """States of the tower (sounds, tokens, width) and the audio tokens of each sound."""
    made = lm.processor.feature_extractor(
        list(sounds), sampling_rate=16_000, return_attention_mask=True, return_tensors="pt"
    )
    lengths = made["attention_mask"].sum(1)
    with torch.inference_mode():
        states = tower_states(lm.model, made["input_features"], lengths)
    return states.clone(), [audio_tokens(int(length)) for length in lengths]


@torch.no_grad()
def packed_logits(lm: AudioLM, packed: Packed, states: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """(batch, T, vocabulary): the decoder on the packed sequence, as `answer_loss` runs it."""
    audio = lm.model.model.multi_modal_projector(states)
    embedded = lm.model.get_input_embeddings()(packed.ids)
    for row, count in enumerate(tokens):
        embedded[row, packed.audio_slots[row]] = audio[row, :count]
    hidden = lm.model.model.language_model(
        inputs_embeds=embedded, attention_mask=packed.mask, position_ids=packed.positions, use_cache=False
    ).last_hidden_state
    return lm.model.lm_head(hidden)


@torch.no_grad()
def plain_logits(lm: AudioLM, turn: Turn, samples: np.ndarray) -> tuple[torch.Tensor, list[int]]:
    """The unmodified model on the whole text of one pair: logits that predict each token of the answer, and those."""
    answer = [*lm.processor.tokenizer(turn.answer).input_ids, lm.processor.tokenizer.eos_token_id]
    text = lm.prompt(turn.instruction) + turn.answer + "<|im_end|>"
    made = lm.processor(text=[text], audio=[samples], sampling_rate=16_000, return_tensors="pt")
    inputs = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
    assert inputs["input_ids"][0, -len(answer) :].tolist() == answer
    return lm.model(**inputs).logits[0, -len(answer) - 1 : -1], answer


def answer_slots(packed: Packed, row: int = 0) -> list[torch.Tensor]:
    """For each pair of a row, the slots that predict its answer."""
    slots = torch.nonzero(packed.labels[row] != IGNORE).flatten()
    ends = torch.nonzero(slots.diff() != 1).flatten() + 1
    return [part - 1 for part in torch.tensor_split(slots, ends)]


def test_each_pair_is_worth_its_own_forward_pass(
    lm: AudioLM, packer: Packer, samples: np.ndarray, other_samples: np.ndarray
) -> None:
    sounds = [samples, other_samples[:20_000]]
    states, tokens = heard(lm, *sounds)
    assert tokens[0] > tokens[1]
    turns = [TURNS, TURNS[::-1]]
    packed = packer.pack(tokens, turns)
    logits = packed_logits(lm, packed, states, tokens)
    losses = []
    for row, sound in enumerate(sounds):
        parts = answer_slots(packed, row)
        assert len(parts) == 3
        for turn, slots in zip(turns[row], parts, strict=True):
            expected, answer = plain_logits(lm, turn, sound)
            assert expected.std() > 1  # a model whose logits differ: equality means something
            assert torch.allclose(logits[row, slots], expected, atol=1e-4 * float(expected.abs().max()))
            losses.append(functional.cross_entropy(expected, torch.tensor(answer), reduction="none"))
    with torch.no_grad():
        loss = answer_loss(lm.model, packed, states, tokens)
    assert float(loss) == pytest.approx(float(torch.cat(losses).mean()), rel=1e-4)


def test_pairs_do_not_see_each_other(lm: AudioLM, packer: Packer, samples: np.ndarray) -> None:
    states, tokens = heard(lm, samples)

    def second(first: Turn) -> torch.Tensor:
        packed = packer.pack(tokens, [[first, TURNS[2]]])
        return packed_logits(lm, packed, states, tokens)[0, answer_slots(packed)[1]]

    same_length = second(Turn("presence", "Do you hear the bell?", "yes"))
    assert torch.allclose(same_length, second(Turn("presence", "Do you hear the siren?", "no")), atol=1e-4)
    longer = second(Turn("listing", "Listen to the whole audio. Name the sounds.", "siren, bell"))
    assert torch.allclose(same_length, longer, atol=1e-4)


def test_padding_does_not_matter(lm: AudioLM, packer: Packer, samples: np.ndarray, other_samples: np.ndarray) -> None:
    states, tokens = heard(lm, other_samples[:20_000], samples)
    together = packer.pack(tokens, [TURNS[:1], TURNS])
    alone = packer.pack(tokens[:1], [TURNS[:1]])
    length = alone.ids.shape[1]
    assert length < together.ids.shape[1] - 10
    first = packed_logits(lm, together, states, tokens)[0, :length]
    assert torch.allclose(first, packed_logits(lm, alone, states[:1], tokens[:1])[0], atol=1e-4)
    assert (together.ids[0, length:] == lm.processor.tokenizer.pad_token_id).all()
    assert not together.mask[0, 0, :length, length:].any()
    assert together.mask.any(-1).all()  # a row that sees nothing would be NaN


def test_positions_go_on_after_the_audio(packer: Packer) -> None:
    packed = packer.pack([7], [TURNS])
    shared = len(packer.head) + 7
    assert packed.positions[0, :shared].tolist() == list(range(shared))
    cursor = shared
    for turn in TURNS:
        length = len(packer.pair(turn)[0])
        assert packed.positions[0, cursor : cursor + length].tolist() == list(range(shared, shared + length))
        cursor += length
    assert packed.ids.shape == (1, cursor)
    assert torch.nonzero(packed.audio_slots[0]).flatten().tolist() == list(range(len(packer.head), shared))


def test_local_audio_sees_only_itself_and_text_sees_all_audio(packer: Packer) -> None:
    packed = packer.pack([6, 6], [TURNS[:2], TURNS[:2]], local_audio=np.array([True, False]))
    head, shared = len(packer.head), len(packer.head) + 6
    local, usual = packed.mask[:, 0]
    assert torch.equal(local[head:shared, head:shared], torch.eye(6, dtype=torch.bool))
    assert torch.equal(usual[head:shared, head:shared], torch.ones(6, 6, dtype=torch.bool).tril())
    for mask in (local, usual):
        assert mask[head:, :head].all()  # the system turn, for everything after it
        assert mask[shared:, head:shared].all()  # the whole audio, for every pair
        assert not mask.triu(1).any()
    assert torch.equal(local[shared:], usual[shared:])
    first = shared + len(packer.pair(TURNS[0])[0])
    assert not usual[first:, shared:first].any()
    assert usual[shared:first, shared:first].equal(torch.ones(first - shared, first - shared, dtype=torch.bool).tril())


def test_only_answers_are_learnt(lm: AudioLM, packer: Packer) -> None:
    tokenizer = lm.processor.tokenizer
    packed = packer.pack([4], [TURNS])
    learnt = packed.labels[0] != IGNORE
    assert torch.equal(packed.labels[0][learnt], packed.ids[0][learnt])
    wanted = [token for turn in TURNS for token in (*tokenizer(turn.answer).input_ids, tokenizer.eos_token_id)]
    assert packed.labels[0][learnt].tolist() == wanted


def test_a_pair_is_the_prompt_of_inference(lm: AudioLM, packer: Packer) -> None:
    tokens = lm.tokens("Do you hear the dog bark?")
    ids, labels = packer.pair(TURNS[1])
    question = labels.count(IGNORE)
    assert tuple(packer.head) == tokens.head[:-1]
    assert tuple(ids[:question]) == tokens.tail


def test_rows_must_match(one_model: AudioLM) -> None:
    with pytest.raises(ValueError, match="zip"):
        Packer(one_model.processor).pack([4, 4], [TURNS])


def test_a_batch_moves_as_a_whole(one_model: AudioLM) -> None:
    packed = Packer(one_model.processor).pack([4], [TURNS[:1]]).to(torch.device("meta"))
    assert {getattr(packed, name).device.type for name in Packed.__dataclass_fields__} == {"meta"}
