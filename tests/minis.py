"""Small untrained parts of the real kinds, Llama or Qwen2 with byte-level BPE, Whisper: a mini model in a blink."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
    WhisperModel,
)

from steer_utils.pocket.architecture import FAMILIES, build
from steer_utils.pocket.language_model import LanguageModel
from steer_utils.pocket.recipe import EVENTS
from steer_utils.pocket.text import vocabulary_words

__all__ = ["FAMILIES", "small_language_model", "small_tower", "tiny_whisper"]

KINDS: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),  # with biases
}


def small_language_model(kind: str = "llama") -> LanguageModel:
    """Three blocks with grouped heads, tied embeddings, ChatML tokens; multi-token names, as in the real one."""
    return deepcopy(_made_once(kind))


@cache  # the trainer breaks ties by chance: two tokenizers of one process would differ
def _made_once(kind: str) -> LanguageModel:
    config_class, model_class = KINDS[kind]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(vocabulary_words(EVENTS))] * 3, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    config = config_class(
        vocab_size=len(fast),
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=2,
        pad_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = model_class(config)
    with (
        torch.no_grad()
    ):  # at random initialisation attention is nearly flat, and any comparison would pass by accident
        for block in model.model.layers:
            block.self_attn.q_proj.weight.mul_(12)
            block.self_attn.k_proj.weight.mul_(12)
        model.model.embed_tokens.weight.normal_(0, 1)
    return LanguageModel(model.eval().requires_grad_(False), fast, "a small one for tests")


def small_tower() -> dict[str, torch.Tensor]:
    """The state of an untrained tower of the shipped size."""
    model, _ = build("qwen2_audio", ("bell",), seed=5)
    return dict(model.model.audio_tower.state_dict())


def tiny_whisper(folder: Path, seed: int = 1, **changed: Any) -> Path:
    """An untrained Whisper of two encoder blocks that hears 30 s, saved in `folder`; `changed`: of its config."""
    sizes = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    rest = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 60}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        WhisperModel(WhisperConfig(**{**sizes, **rest, **tokens, **changed})).save_pretrained(folder)
    return folder
