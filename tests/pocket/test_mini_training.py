"""A mini model's training: packed questions are what inference sees, a killed run goes on, only our parts learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from minis import FAMILIES, small_language_model, small_tower
from transformers import Qwen2Config, Qwen2ForCausalLM

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.lm.families import FAMILIES as KNOWN
from steer_utils.lm.models import AudioLM
from steer_utils.pocket import training
from steer_utils.pocket.adapters import attach, detach
from steer_utils.pocket.architecture import Size, word_tokenizer
from steer_utils.pocket.corpus import HeardScenes, SceneSource
from steer_utils.pocket.language_model import LanguageModel
from steer_utils.pocket.mini_architecture import build_mini
from steer_utils.pocket.mini_commands import with_questions
from steer_utils.pocket.mini_questions import shares_right
from steer_utils.pocket.mini_recipe import AdapterStage, MiniRecipe
from steer_utils.pocket.mini_training import (
    Learnt,
    Step,
    answer_logits,
    exactly_answered,
    load_heard,
    save_heard,
    train_adapters,
)
from steer_utils.pocket.packing import Packer
from steer_utils.pocket.text import Turn, ask, vocabulary_words
from steer_utils.pocket.training import Progress, hear_corpus
from steer_utils.sound.scenemaker import SceneMaker
from steer_utils.sound.sounds import SOUNDS


@pytest.fixture(params=FAMILIES)
def mini(request: pytest.FixtureRequest) -> tuple[Any, Any, MiniRecipe]:
    stage = AdapterStage(scenes=8, steps=4, batch=2, turns=3, rank=2, warm_up=2, ridge_scenes=4)
    recipe = MiniRecipe(family=request.param, events=tuple(sorted(SOUNDS)), recordings=0.0, stage=stage)
    model, processor = build_mini(request.param, small_language_model(), small_tower(), Size())
    return model, processor, recipe


@pytest.fixture
def heard(mini: tuple[Any, Any, MiniRecipe]) -> HeardScenes:
    model, processor, recipe = mini
    return hear_corpus(model, processor, SceneSource(recipe.scenes_recipe(), None), quiet(Path(".")))


def quiet(folder: Path, every: int = 2) -> Progress:
    return Progress(folder, every=every, workers=0, quiet=True)


def test_a_packed_question_is_predicted_as_the_whole_model_predicts_it(mini: tuple[Any, Any, MiniRecipe]) -> None:
    model, processor, recipe = mini
    lm = AudioLM(model, processor, KNOWN[recipe.family], "small", revision="test")
    scene = SceneMaker(tuple(SOUNDS), seconds=8.0).scene(0, 3)
    turns = [Turn("listing", "What do you hear?", "dog bark, siren"), Turn("presence", "Is it loud or quiet?", "quiet")]
    packer = Packer(processor)
    inputs = [
        lm.family.inputs(processor, lm.prompt(turn.instruction) + turn.answer, scene.samples, scene.rate)
        for turn in turns
    ]
    count = int((inputs[0]["input_ids"] == lm.audio_token_id).sum())
    with torch.inference_mode():
        plain = [model(**one).logits[0] for one in inputs]
        captured: list[torch.Tensor] = []
        hook = model.model.multi_modal_projector.register_forward_pre_hook(
            lambda module, args: captured.append(args[0])
        )
        model(**inputs[0])
        hook.remove()
    states = captured[0].reshape(1, -1, captured[0].shape[-1])
    step = Step.of(packer.pack([count], [turns]), np.array([0]), [count], states.shape[1], multiple=64)
    with torch.inference_mode():
        logits = answer_logits(model, step, states)
    assert step.ids.shape[1] % 64 == 0
    for turn, one, expected in zip(turns, inputs, plain, strict=True):
        words = packer.words(turn.answer)
        assert one["input_ids"][0, -len(words) :].tolist() == words, "the answer is not tokenised as it is packed"
        wanted, logits = logits[: len(words) + 1], logits[len(words) + 1 :]
        torch.testing.assert_close(wanted, expected[-len(words) - 1 :], rtol=1e-3, atol=1e-4)


def test_only_projector_and_adapters_learn_and_merging_gives_the_same_answers(
    mini: tuple[Any, Any, MiniRecipe], heard: HeardScenes, tmp_path: Path
) -> None:
    model, processor, recipe = mini
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learnt = train_adapters(model, processor, recipe, lambda: heard, quiet(tmp_path))
    names = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name].to(value.dtype))}
    assert names and all("multi_modal_projector" in name for name in names)
    assert any(value.abs().sum() > 0 for name, value in learnt.adapters.items() if name.endswith(".up"))
    assert Learnt.of(learnt.tensors()).adapters.keys() == learnt.adapters.keys()
    fresh, _ = build_mini(recipe.family, small_language_model(), small_tower(), Size())
    fresh.model.multi_modal_projector.load_state_dict(learnt.projector)
    matrices = attach(fresh.model.language_model, recipe.stage.rank, seed=0)
    with torch.no_grad():
        for name, value in learnt.adapters.items():
            matrices[name].copy_(value)
    packer = Packer(processor)
    step = Step.of(
        packer.pack([heard.tokens[0]], [[Turn("count", "How many sounds are there?", "three")]]),
        np.array([0]),
        [heard.tokens[0]],
        heard.states.shape[1],
    )
    with torch.inference_mode():
        beside = answer_logits(fresh, step, heard.states)
        detach(fresh.model.language_model)
        learnt.put_into(fresh)
        merged = answer_logits(fresh, step, heard.states)
    torch.testing.assert_close(beside, merged, rtol=1e-3, atol=1e-3)


def test_a_killed_training_goes_on_bit_for_bit(
    mini: tuple[Any, Any, MiniRecipe], heard: HeardScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor, recipe = mini
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    expected = train_adapters(model, processor, recipe, lambda: heard, quiet(tmp_path / "whole"))
    update = training.take_step

    def killed(loss: Any, optimizer: Any, parameters: Any, stage: Any, step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt
        update(loss, optimizer, parameters, stage, step)

    monkeypatch.setattr(training, "take_step", killed)
    model, processor = build_mini(recipe.family, small_language_model(), small_tower(), Size())
    with pytest.raises(KeyboardInterrupt):
        train_adapters(model, processor, recipe, lambda: heard, quiet(tmp_path / "killed"))
    monkeypatch.setattr(training, "take_step", update)
    model, processor = build_mini(recipe.family, small_language_model(), small_tower(), Size())
    resumed = train_adapters(model, processor, recipe, lambda: heard, quiet(tmp_path / "killed"))
    assert all(torch.equal(value, resumed.tensors()[name]) for name, value in expected.tensors().items())


def test_snapshots_are_taken_at_the_steps_asked_for(
    mini: tuple[Any, Any, MiniRecipe], heard: HeardScenes, tmp_path: Path
) -> None:
    model, processor, recipe = mini
    seen: list[tuple[int, float]] = []

    def look(step: int, learnt: Learnt) -> None:
        seen.append((step, sum(float(value.abs().sum()) for value in learnt.adapters.values())))

    train_adapters(model, processor, recipe, lambda: heard, quiet(tmp_path), (0, 2, 4, 9), look)
    assert [step for step, _ in seen] == [0, 2, 4]
    assert len({size for _, size in seen}) == 3


def test_heard_scenes_are_kept_whole(heard: HeardScenes, tmp_path: Path) -> None:
    save_heard(tmp_path / "scenes.safetensors", heard)
    again = load_heard(tmp_path / "scenes.safetensors")
    assert torch.equal(again.states, heard.states) and again.tokens == heard.tokens
    assert [scene.events for scene in again.scenes] == [scene.events for scene in heard.scenes]
    assert [scene.duration for scene in again.scenes] == [scene.duration for scene in heard.scenes]
    rng = np.random.default_rng(1), np.random.default_rng(1)
    mix = AdapterStage().mix
    for one, other in zip(again.scenes, heard.scenes, strict=True):
        assert ask(one, tuple(SOUNDS), rng[0], mix) == ask(other, tuple(SOUNDS), rng[1], mix)


def test_an_exact_answer_is_one_that_greedy_decoding_gives(mini: tuple[Any, Any, MiniRecipe]) -> None:
    """The untrained model's own greedy answers count as exact; with another last word they do not."""
    model, processor, recipe = mini
    lm = AudioLM(model, processor, KNOWN[recipe.family], "small", revision="test")
    scene = SceneMaker(tuple(SOUNDS), seconds=8.0).scene(1, 3)
    hearing = lm.hear(scene.samples, sampling_rate=scene.rate)
    hook_states: list[torch.Tensor] = []
    hook = model.model.multi_modal_projector.register_forward_pre_hook(lambda module, args: hook_states.append(args[0]))
    hearing = lm.hear(scene.samples, sampling_rate=scene.rate)
    hook.remove()
    states = hook_states[0].reshape(1, -1, hook_states[0].shape[-1])
    heard = HeardScenes(states, [hearing.span.count], [scene])
    packer = Packer(processor)
    question = "How many sounds are there?"
    first = int(hearing.read(question).logits.argmax())
    said = processor.tokenizer.decode([first])
    wrong = exactly_answered(model, packer, heard, [[Turn("count", question, said + " three")]])
    packer._cache["?"] = []  # an answer of no words: right only if the model would end at once
    ends = exactly_answered(model, packer, heard, [[Turn("count", question, "?")]])
    assert ends == [[first == packer.end]]
    assert wrong[0][0] in (True, False)


def test_every_kind_is_asked_about_every_event_and_counted_by_its_slot() -> None:
    scene = SceneMaker(tuple(SOUNDS), seconds=8.0).scene(0, 3)
    held = with_questions(HeardScenes(torch.zeros(1, 200, 4), [200], [scene]), tuple(SOUNDS))
    (asked,) = held.asked
    kinds = [each.turn.kind for each in asked]
    assert kinds.count("presence") == 6 and sum(each.turn.answer == "no" for each in asked) == 3
    assert kinds.count("order") == kinds.count("describe") == 3
    table = shares_right(held.asked, [[each.slot == "middle" or not each.slot for each in asked]])
    by = table.set_index(["kind", "slot"])["right"]
    assert by["listing", ""] == 1 and by["order", "middle"] == 1 and by["order", "first"] == 0
    assert by["presence, no", ""] == 1 and by["presence", ""] == pytest.approx(4 / 6)


def test_a_shortened_recipe_keeps_all_but_its_length() -> None:
    recipe = MiniRecipe(family="qwen2_audio")
    short = recipe.shortened(0.01)
    assert short.stage.steps == round(recipe.stage.steps / 100)
    assert replace(short.stage, steps=1, scenes=1) == replace(recipe.stage, steps=1, scenes=1)


def test_another_language_model_can_take_its_place(tmp_path: Path) -> None:
    """Qwen2 with biases, a head of its own and more embeddings than words, as the larger ones on the hub have them."""
    language_model = small_language_model()
    config = Qwen2Config(
        vocab_size=len(language_model.tokenizer) + 32,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    other = LanguageModel(Qwen2ForCausalLM(config).eval(), language_model.tokenizer, "another")
    model, processor = build_mini("qwen2_audio", other, small_tower(), Size())
    decoder, head = model.model.language_model, model.lm_head.weight
    assert torch.equal(decoder.layers[1].self_attn.q_proj.bias, other.model.model.layers[1].self_attn.q_proj.bias)
    assert torch.equal(head[:100], other.model.lm_head.weight[:100]) and len(head) == len(processor.tokenizer)
    stage = AdapterStage(scenes=4, steps=1, batch=2, turns=2, rank=2, warm_up=1, ridge_scenes=2)
    recipe = MiniRecipe(family="qwen2_audio", events=tuple(sorted(SOUNDS)), recordings=0.0, stage=stage)
    heard = hear_corpus(model, processor, SceneSource(recipe.scenes_recipe(), None), quiet(tmp_path))
    learnt = train_adapters(model, processor, recipe, lambda: heard, quiet(tmp_path))
    assert len(learnt.adapters) == 2 * 2 * 7


QWEN = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"


@pytest.mark.parametrize("system", [QWEN, ""])
def test_turns_are_told_as_the_language_model_was_taught_them(system: str) -> None:
    language_model = small_language_model("qwen2")
    language_model.tokenizer.chat_template = (
        f"{{{{ {system!r} }}}}{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}<|im_end|>\n"
        "{% endfor %}"
    )
    _, processor = build_mini("audioflamingo3", language_model, small_tower(), Size())
    talk = [{"role": "user", "content": [{"type": "audio", "audio": ""}, {"type": "text", "text": "What?"}]}]
    told = processor.apply_chat_template(talk, tokenize=False)
    assert told == f"{system}<|im_start|>user\n<sound>What?<|im_end|>\n"


def test_a_language_model_without_chatml_or_with_other_layers_is_refused() -> None:
    language_model = small_language_model()
    for block in language_model.model.model.layers:
        del block.mlp.gate_proj
    with pytest.raises(CheckpointError, match="is a llama without gate_proj"):
        build_mini("qwen2_audio", language_model, small_tower(), Size())
    other = LanguageModel(
        language_model.model, word_tokenizer(("<pad>", "<unk>", "</s>"), vocabulary_words(()), end="</s>"), "another"
    )
    with pytest.raises(CheckpointError, match=r"\(another\) has no token <\|im_start\|>"):
        build_mini("qwen2_audio", other, small_tower(), Size())
