"""The real classes at pocket size, saved so that anybody's transformers opens them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from steer_utils.lm.families import FAMILIES as KNOWN_FAMILIES
from steer_utils.pocket.architecture import FAMILIES, Size, build, build_processor, save, sinusoids
from steer_utils.pocket.recipe import EVENTS, RECIPES, Recipe


@pytest.mark.parametrize("name", RECIPES)
def test_the_classes_are_the_unmodified_ones(name: str) -> None:
    recipe = RECIPES[name]
    model, processor = build(recipe.family, recipe.events, size=recipe.size)
    known = KNOWN_FAMILIES[recipe.family]
    assert type(model) is getattr(transformers, known.model_class)
    assert type(processor).__module__.startswith("transformers.")
    assert known.window_seconds(processor) == recipe.size.seconds
    assert not model.training
    assert 4 * model.num_parameters() <= 16 * 2**20  # what may ship
    assert len(known.blocks(model)) == recipe.size.blocks
    assert model.config.text_config.num_key_value_heads == recipe.size.key_value_heads


def test_both_families_share_the_parts_of_the_tower(recipes: dict[str, Recipe]) -> None:
    shapes = []
    for family, recipe in recipes.items():
        model, _ = build(family, recipe.events, size=recipe.size)
        shapes.append({name: value.shape for name, value in model.model.audio_tower.state_dict().items()})
    assert shapes[0] == shapes[1]


def test_the_seed_decides_the_weights_and_nothing_else_changes(recipe: Recipe) -> None:
    state = torch.get_rng_state()
    one, two, other = (build(recipe.family, recipe.events, size=recipe.size, seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown family 'whisper'; pass one of qwen2_audio, audioflamingo3"):
        build("whisper", EVENTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_audio_comes_before_the_instruction(family: str) -> None:
    processor = build_processor(family, EVENTS, Size())
    content = [{"type": "text", "text": "What do you hear?"}, {"type": "audio", "audio": "a.wav"}]
    turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if family == "qwen2_audio":
        turns[0]["content"] = content[::-1]  # its template keeps the order it is given
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert text.index(processor.audio_token) < text.index("What do you hear?")
    assert text.startswith("<|im_start|>system")
    assert text.endswith("<|im_start|>assistant\n")


def test_words_are_tokens_and_case_does_not_matter() -> None:
    tokenizer = build_processor("qwen2_audio", EVENTS, Size()).tokenizer
    assert tokenizer.tokenize("Is the dog bark LOUD?") == ["is", "the", "dog", "bark", "loud", "?"]
    assert tokenizer.decode(tokenizer("siren, dog bark").input_ids) == "siren, dog bark"
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side) == ("<pad>", "<|im_end|>", "left")


def test_the_position_table_is_whispers() -> None:
    from transformers.models.whisper.modeling_whisper import sinusoids as whispers

    assert torch.allclose(sinusoids(50, 32), whispers(50, 32), atol=1e-6)


def test_saved_models_open_with_plain_transformers(recipe: Recipe, fresh: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = fresh
    folder = tmp_path / "deep" / "model"
    save(model, processor, folder, {"name": "x", "events": list(recipe.events)})
    assert json.loads((folder / "pocket.json").read_text())["events"] == list(recipe.events)
    assert [path.suffix for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".part")] == []
    opened = getattr(transformers, KNOWN_FAMILIES[recipe.family].model_class).from_pretrained(folder)
    for name, value in model.state_dict().items():
        assert torch.equal(value, opened.state_dict()[name])
    again = transformers.AutoProcessor.from_pretrained(folder)
    assert type(again) is type(processor)
    assert again.chat_template == processor.chat_template
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert again.feature_extractor.chunk_length == recipe.size.seconds


def test_the_facts_appear_whole_or_not_at_all(
    fresh: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pocket.json").write_text("old")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("steer_utils.sound.files.os.replace", killed)
        save(*fresh, tmp_path, {"name": "new"})
    assert (tmp_path / "pocket.json").read_text() == "old"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert os.replace is not killed
