"""Opening models from folders, what a prompt becomes, where an answer ends, and two threads in one model."""

from __future__ import annotations

import copy
import json
import re
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AddedToken, GenerationConfig

from steer_utils.lm.checkpoints import (
    Checkpoint,
    CheckpointError,
    alone,
    fingerprint,
    greedy,
    open_checkpoint,
    stop_tokens,
)
from steer_utils.lm.families import FAMILIES, UnsupportedModelError
from steer_utils.lm.models import AudioLM, load
from steer_utils.lm.plan import Row, tokenised
from steer_utils.lm.steering import Injection
from steer_utils.lm.vectors import SteeringVector
from steer_utils.pocket.text import FOCUS, NEUTRAL, WHOLE


def test_open_from_a_folder(model_folder: Path, lm: AudioLM) -> None:
    opened = open_checkpoint(model_folder)
    assert opened.family is lm.family
    assert (opened.num_blocks, opened.hidden_size) == (4, 48)
    for fact in ("sampling_rate", "seconds_per_token", "window_seconds"):
        assert getattr(opened, fact) == getattr(lm, fact)
    assert opened.events == ("dog bark", "bell", "siren")
    assert opened.dtype == torch.float32 and opened.device.type == "cpu"
    assert opened.model.config.text_config._attn_implementation == "sdpa"
    assert not opened.model.training
    assert not any(parameter.requires_grad for parameter in opened.model.parameters())
    for name, value in lm.model.state_dict().items():
        assert torch.equal(opened.model.state_dict()[name], value)


def test_small_models_are_float32_unless_asked(one_model: AudioLM, tmp_path: Path) -> None:
    copy.deepcopy(one_model.model).to(torch.bfloat16).save_pretrained(tmp_path)
    one_model.processor.save_pretrained(tmp_path)
    assert open_checkpoint(tmp_path).dtype == torch.float32
    assert open_checkpoint(tmp_path, dtype="bfloat16").dtype == torch.bfloat16


def test_the_revision_follows_the_weights(one_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(one_folder, folder)
    assert open_checkpoint(folder).revision == fingerprint(one_folder)
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(bytes(raw))
    assert fingerprint(folder) != fingerprint(one_folder)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match=r"no config\.json; it holds: notes\.txt"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="is a file"):
        open_checkpoint(tmp_path / "notes.txt")
    with pytest.raises(CheckpointError, match="there is no folder"):
        open_checkpoint("./not/there")


def test_another_kind_of_model_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(UnsupportedModelError, match="supported are: Qwen2-Audio"):
        open_checkpoint(tmp_path)


def test_a_model_with_code_of_its_own_is_refused_with_the_reason_where_it_is_known(tmp_path: Path) -> None:
    """Not with the advice to trust that code."""
    code = {"model_type": "phi4mm", "auto_map": {"AutoConfig": "phi.Phi"}}
    (tmp_path / "config.json").write_text(json.dumps(code))
    with pytest.raises(UnsupportedModelError, match="'phi4mm' is not supported: its decoder"):
        open_checkpoint(tmp_path)


def test_remote_code_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Model"}})
    )
    (tmp_path / "mine.py").write_text("raise SystemExit('remote code was run')")
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path)


def test_pickled_weights_are_refused(one_folder: Path, one_model: AudioLM, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(one_folder, folder)
    (folder / "model.safetensors").unlink()
    torch.save(one_model.model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        open_checkpoint(folder)


def test_damaged_pocket_facts(one_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(one_folder, folder)
    (folder / "pocket.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"pocket\.json is damaged"):
        open_checkpoint(folder)
    (folder / "pocket.json").unlink()
    assert open_checkpoint(folder).events is None


def test_device_and_device_map_exclude_each_other() -> None:
    with pytest.raises(CheckpointError, match="not both"):
        open_checkpoint("anything/at-all", device="cpu", device_map="auto")


def test_a_device_map_without_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steer_utils.lm.checkpoints.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install accelerate"):
        open_checkpoint("anything/at-all", device_map="auto")


def test_embeddings_that_a_device_map_keeps_on_disk(model_folder: Path, lm: AudioLM, samples: np.ndarray) -> None:
    """What a GPU has no room for lies on the meta device until it runs: ids must go where it runs."""
    pytest.importorskip("accelerate", reason="device maps need accelerate")
    parts = {f"model.{name}": "cpu" for name, _ in lm.model.model.named_children()} | {"lm_head": "cpu"}
    spread = load(model_folder, device_map={**parts, "model.language_model": "disk"})
    assert spread.decoder.get_input_embeddings().weight.device.type == "meta"
    assert spread.device == torch.device("cpu")
    readings = [
        checkpoint.hear(samples, sampling_rate=16_000).read(
            "Describe the sound.", steer=SteeringVector(torch.ones(4, 48), (1, 2), torch.ones(4)), strength=2.0
        )
        for checkpoint in (spread, lm)
    ]
    torch.testing.assert_close(readings[0].logits, readings[1].logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(readings[0].attention.share, readings[1].attention.share, atol=1e-5, rtol=0)


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


def test_non_commercial_weights_from_the_hub_say_so(
    tiny_models: dict[str, AudioLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_models["audioflamingo3"].model.config
    monkeypatch.setattr("steer_utils.lm.checkpoints.AutoConfig.from_pretrained", lambda *_, **__: config)
    with pytest.warns(UserWarning, match="Noncommercial"), pytest.raises(CheckpointError, match="cannot load"):
        open_checkpoint("nvidia/audio-flamingo-3-hf")  # offline: the weights cannot be had


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
    config = greedy(one_model, 5)
    assert (config.do_sample, config.num_beams, config.max_length, config.max_new_tokens) == (False, 1, None, 5)
    assert (config.temperature, config.top_p, config.top_k, config.repetition_penalty) == (None, None, None, 1.2)
    assert config.eos_token_id == stop_tokens(one_model)
    assert config.pad_token_id == one_model.processor.tokenizer.pad_token_id
    assert (theirs.do_sample, theirs.max_length, theirs.eos_token_id) == (True, 20, None)


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


def test_one_lock_a_model_which_may_be_nested(one_model: AudioLM) -> None:
    assert alone(one_model) is alone(one_model)
    with alone(one_model), alone(one_model):
        pass
