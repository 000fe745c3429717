"""What a prompt becomes, where an answer ends, and two threads in one model."""

from __future__ import annotations

import copy
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AddedToken, GenerationConfig

from steer_utils.lm.checkpoints import Checkpoint, CheckpointError, alone, greedy, stop_tokens
from steer_utils.lm.families import FAMILIES
from steer_utils.lm.models import AudioLM
from steer_utils.lm.plan import Row, tokenised
from steer_utils.lm.run import generate
from steer_utils.lm.steering import Injection
from steer_utils.pocket.text import FOCUS, NEUTRAL, WHOLE


@pytest.mark.parametrize("instruction", ["", "   ", "\n"])
def test_empty_instructions(one_model: AudioLM, instruction: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        one_model.prompt(instruction)


def test_an_instruction_cannot_smuggle_in_audio_or_a_turn(lm: AudioLM) -> None:
    tokenizer = lm.processor.tokenizer
    plain = set(lm.tokens("Describe the sound.").tail)
    turn = {"[INST]", "</s>"} if lm.family.model_type == "voxtral" else {"<|im_start|>", "<|im_end|>"}
    assert {*turn, "<unk>", lm.processor.audio_token} <= set(tokenizer.all_special_tokens)
    for token in tokenizer.all_special_tokens:
        for text in (token, f"Describe {token}.", f"a bell{token}system"):
            with pytest.raises(ValueError, match=re.escape(f"the instruction holds {token!r}, a special token")):
                lm.prompt(text)
        with pytest.raises(ValueError, match="the event holds"):
            lm.check_text(f"bell {token}", "the event")
    for text in ("a < b | c > d", "im_end", "<| im_end |>", "sound", "<b>bell</b>"):  # text that looks like it
        assert not set(lm.tokens(text).tail) & set(tokenizer.all_special_ids) - plain - {tokenizer.unk_token_id}
    with pytest.raises(TypeError, match="string"):
        lm.prompt(3)  # type: ignore[arg-type]


def test_special_tokens_that_only_the_list_of_added_ones_has(one_model: AudioLM) -> None:
    """Qwen2-Audio's <|audio_bos|> is such a one."""
    processor = copy.deepcopy(one_model.processor)
    processor.tokenizer.add_tokens([AddedToken("<|later|>", special=True), AddedToken("gong", special=False)])
    other = Checkpoint(one_model.model, processor, one_model.family, "other")
    with pytest.raises(ValueError, match=re.escape("'<|later|>'")):
        other.prompt("What is <|later|>?")
    assert "gong" in other.prompt("What is the gong?")


def test_words_that_the_model_does_not_know_are_named_once(
    one_model: AudioLM, tiny_models: dict[str, AudioLM], samples: np.ndarray
) -> None:
    lm = AudioLM(one_model.model, one_model.processor, one_model.family, "little", events=one_model.events)
    hearing = lm.hear(samples, sampling_rate=16_000)
    with pytest.warns(UserWarning, match="^little does not know 'dgo', '🔔': all unknown words are one") as told:
        hearing.answer("Focus on the dgo bark 🔔 dgo", max_new_tokens=1)
    assert len(told) == 1
    with pytest.warns(UserWarning, match="^little does not know 'Hund': ") as told:  # not those of before
        hearing.read_rows([Row("dgo"), Row("Hund?"), Row("Hund.")])
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hearing.read("dgo Hund 🔔")
        for model in tiny_models.values():  # whose own template, and whatever pocket models are asked, is known
            for text in (*FOCUS, *WHOLE, *NEUTRAL):
                tokenised(model, [Row(text.format(x="dog bark"))])
    with pytest.warns(UserWarning, match=r"'w11' and 3 more: "):
        tokenised(lm, [Row(" ".join(f"w{number}" for number in range(15)))])


@pytest.mark.parametrize("instruction", ["Focus on the bell.", "assistant", "audio", "user", "  the bell  "])
def test_prompt_tokens_know_where_the_instruction_is(lm: AudioLM, instruction: str) -> None:
    tokens = lm.tokens(instruction)
    assert tokens.text[tokens.instruction_start :].startswith(instruction.strip())
    assert tokens.head[-1] == lm.audio_token_id
    assert len(tokens.tail) == len(tokens.tail_characters)
    whole = lm.processor.tokenizer(tokens.text)["input_ids"]
    assert [*tokens.head, *tokens.tail] == whole
    inside = [tokens.text[a:b] for a, b in tokens.tail_characters if a >= tokens.instruction_start]
    assert inside[0].strip() == instruction.split()[0]


def test_a_template_with_the_instruction_first_is_refused(one_model: AudioLM) -> None:
    processor = copy.copy(one_model.processor)
    processor.chat_template = "{{ messages[0]['content'][1]['text'] }} " + one_model.processor.audio_token
    other = Checkpoint(one_model.model, processor, FAMILIES[one_model.family.model_type], "other")
    with pytest.raises(CheckpointError, match="before the audio"):
        other.tokens("Describe the sound.")


# -- answers ---------------------------------------------------------------------------------------------------------
def test_every_kind_of_end_stops_an_answer(one_model: AudioLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint's own ends, the tokenizer's, and the end of a turn, which need not be one token."""
    tokenizer = one_model.processor.tokenizer
    eos, (first, second, turn) = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(["bell", "dog", "siren"])
    assert len({eos, first, second, turn}) == 4
    other = replace(one_model, family=replace(one_model.family, turn_end="siren"))
    for configured, more in ((None, set()), (first, {first}), ([first, second], {first, second}), (0, {0})):
        monkeypatch.setattr(one_model.model.generation_config, "eos_token_id", configured)
        assert set(stop_tokens(other)) == {eos, turn, *more}


def test_answers_are_greedy_whatever_the_checkpoint_is_set_to(
    one_model: AudioLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = GenerationConfig(
        do_sample=True, num_beams=4, temperature=0.3, top_p=0.5, top_k=7, max_length=20, repetition_penalty=1.2
    )
    monkeypatch.setattr(one_model.model, "generation_config", theirs)
    with pytest.raises(InterruptedError), greedy(one_model, 5) as config:
        assert one_model.model.generation_config.top_k is None  # transformers would fill it in from there
        raise InterruptedError
    assert (config.do_sample, config.num_beams, config.max_length, config.max_new_tokens) == (False, 1, None, 5)
    assert (config.temperature, config.top_p, config.top_k, config.repetition_penalty) == (None, None, None, 1.2)
    assert config.eos_token_id == stop_tokens(one_model)
    assert config.pad_token_id == one_model.processor.tokenizer.pad_token_id
    assert one_model.model.generation_config is theirs
    assert (theirs.do_sample, theirs.max_length, theirs.eos_token_id) == (True, 20, None)


@pytest.mark.parametrize(
    "theirs",
    [
        {"cache_implementation": "static"},
        {"return_dict_in_generate": True, "output_scores": True, "output_attentions": True},
        {"do_sample": True, "num_beams": 3, "num_return_sequences": 3},
        {"prompt_lookup_num_tokens": 3},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"guidance_scale": 2.0},
        {"max_time": 1e-6},
        {"stop_strings": ["e"]},
        {"prefill_chunk_size": 8},
    ],
    ids=lambda theirs: next(iter(theirs)),
)
def test_how_an_answer_is_made_is_not_left_to_the_checkpoint(
    theirs: dict[str, Any], one_model: AudioLM, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing, rows = one_model.hear(samples, sampling_rate=16_000), [Row("Describe the sound."), Row("bell")]
    expected = hearing.answers(rows, max_new_tokens=5)
    monkeypatch.setattr(one_model.model, "generation_config", GenerationConfig(**theirs))
    assert hearing.answers(rows, max_new_tokens=5) == expected


def test_a_repetition_penalty_does_not_count_padding(
    one_model: AudioLM, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qwen2-Audio pads with a token that also ends its answers, and has a penalty."""
    model, padding = one_model.model, one_model.processor.tokenizer.pad_token_id
    monkeypatch.setattr(model, "generation_config", GenerationConfig(repetition_penalty=4.0))
    hearing, rows = one_model.hear(samples, sampling_rate=16_000), [Row("bell"), Row("Listen to the whole audio.")]
    first = hearing.read_rows(rows)[0].logits
    plans = hearing.plan(rows, answers=True)
    assert len(plans) == 1 and len({row.length for row in plans[0].rows}) == 2
    head = model.lm_head.weight
    before = head[padding].clone()
    head[padding] = head[first.argmax()] * 1.5  # so that padding comes first, if it is not counted
    try:
        assert generate(hearing._prefix, plans[0], 1)[0] == [padding]
    finally:
        head[padding] = before


def test_an_answer_ends_with_the_turn_also_where_text_would_go_on(one_model: AudioLM, samples: np.ndarray) -> None:
    tokenizer, question = one_model.processor.tokenizer, "Describe the sound."
    answer = one_model.hear(samples, sampling_rate=16_000).answer(question, max_new_tokens=6)
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    end = next(place for place in range(2, len(ids)) if ids[place] not in ids[:place])
    other = replace(one_model, family=replace(one_model.family, turn_end=tokenizer.convert_ids_to_tokens(ids[end])))
    shorter = other.hear(samples, sampling_rate=16_000).answer(question, max_new_tokens=6)
    assert shorter == tokenizer.decode(ids[:end]).strip() and answer.startswith(shorter)


# -- threads ---------------------------------------------------------------------------------------------------------
def test_threads_that_share_a_model_do_not_disturb_each_other(one_model: AudioLM, samples: np.ndarray) -> None:
    hearing = one_model.hear(samples, sampling_rate=16_000)
    vector = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
    steers = [None, Injection(vector, 3.0), Injection(vector, -2.0), None]
    right = [hearing.read("Describe the sound.", steer=steer).hidden for steer in steers]

    def read(place: int) -> torch.Tensor:
        return hearing.read("Describe the sound.", steer=steers[place % 4]).hidden

    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(read, range(40)))
    for place, hidden in enumerate(states):
        torch.testing.assert_close(hidden, right[place % 4], atol=1e-5, rtol=1e-5)


def test_one_lock_a_model_which_may_be_nested(tiny_models: dict[str, AudioLM]) -> None:
    one, other, *_ = tiny_models.values()

    def free(checkpoint: AudioLM) -> bool:
        """Whether another thread gets in."""
        entered = threading.Event()

        def enter() -> None:
            with alone(checkpoint):
                entered.set()

        threading.Thread(target=enter, daemon=True).start()
        return entered.wait(0.2)

    with alone(one), alone(one):
        assert not free(one) and free(other)
    assert free(one)
