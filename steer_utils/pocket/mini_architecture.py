"""A pretrained language model as the decoder of an unmodified audio-language class, behind a tower that can hear.

audio -> tower (see `towers`) -> projector -> audio tokens among the text's -> language model -> answer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steer_utils.lm.checkpoints import CheckpointError
from steer_utils.pocket.adapters import LAYERS
from steer_utils.pocket.architecture import (
    SYSTEM_TURN,
    Size,
    audio_config,
    audio_processor,
    chat_template,
    new_model,
    special_tokens,
)
from steer_utils.pocket.language_model import LanguageModel

_AUDIO = {
    "qwen2_audio": "Audio: <|audio_bos|><|AUDIO|><|audio_eos|>\n",  # a line of its own before the text
    "audioflamingo3": "<sound>",
}


def build_mini(
    family: str, language_model: LanguageModel, tower: Mapping[str, torch.Tensor], size: Size
) -> tuple[Any, Any]:
    """Model and processor: the language model's weights, the tower's, and a projector that nobody has trained.

    `tower`: the state of the audio tower, names as in the tower itself. The weights of the language model are taken
    over as they are; `family` says which class hears. Raises ValueError for a family that is not in `FAMILIES`,
    CheckpointError for a language model that knows no ChatML, or whose blocks are not as Llama's and Qwen2's.
    """
    special = special_tokens(family)
    _check(language_model)
    processor = _processor(family, language_model.tokenizer, size, special)
    tokenizer = processor.tokenizer
    config = language_model.model.config.to_dict()
    # What reading left there (a quantisation that is undone, another class) is not true of the new model. Neither
    # audio class ties the head to the embeddings, so each has its own copy.
    untrue = ("quantization_config", "architectures", "_name_or_path", "transformers_version", "model_type", "dtype")
    config = {name: value for name, value in config.items() if name not in untrue}
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config |= {"vocab_size": len(tokenizer), "tie_word_embeddings": False, "eos_token_id": end, "pad_token_id": end}
    whole = audio_config(family, size, type(language_model.model.config)(**config), processor.audio_token_id)
    whole.tie_word_embeddings = False
    model = new_model(whole)
    _copy_language_model(model, language_model.model)
    model.model.audio_tower.load_state_dict(dict(tower))
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = end
    return model.eval().requires_grad_(False), processor


def _check(language_model: LanguageModel) -> None:
    known = language_model.tokenizer.get_vocab()
    if missing := [token for token in ("<|im_start|>", "<|im_end|>") if token not in known]:
        raise CheckpointError(
            f"the language model ({language_model.source}) has no token {missing[0]}, as ChatML wants; "
            "pass one that has, such as HuggingFaceTB/SmolLM2-360M-Instruct or Qwen/Qwen2.5-0.5B-Instruct"
        )
    layers = {name.rpartition(".")[2] for name, _ in language_model.model.named_modules()}
    if missing := [name for name in LAYERS if name not in layers]:
        raise CheckpointError(
            f"the language model ({language_model.source}) is a {language_model.model.config.model_type} without "
            f"{missing[0]}, which an adapter goes to; pass one whose blocks are as Llama's or Qwen2's"
        )


def _system_turn(tokenizer: Any) -> str:
    """The turn that the language model's own template puts before a user's; "" where it puts none."""
    if tokenizer.chat_template is None:
        return SYSTEM_TURN
    turns = tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    before = turns.partition("<|im_start|>user")[0]
    return before if before.startswith("<|im_start|>system\n") and before.endswith("<|im_end|>\n") else ""


def _processor(family: str, tokenizer: Any, size: Size, special: tuple[str, ...]) -> Any:
    """The processor with the language model's own ChatML, its system turn included, and the audio before the text."""
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.eos_token = "<|im_end|>"
    system = _system_turn(tokenizer)
    tokenizer.chat_template = None  # the processor's counts
    template = chat_template("{% raw %}" + system + "{% endraw %}", _AUDIO[family])
    return audio_processor(family, tokenizer, size, template)


@torch.no_grad()
def _copy_language_model(model: Any, language_model: Any) -> None:
    """Embeddings and blocks as they are; a new special token starts as the mean of all words; the head is a copy."""
    state = language_model.model.state_dict()
    known = state.pop("embed_tokens.weight")
    missing, unexpected = model.model.language_model.load_state_dict(state, strict=False)
    assert missing == ["embed_tokens.weight"] and not unexpected, (missing, unexpected)
    count = min(len(known), model.model.language_model.embed_tokens.num_embeddings)
    for weight, source in (
        (model.model.language_model.embed_tokens.weight, known),
        (model.lm_head.weight, language_model.get_output_embeddings().weight),
    ):
        weight[:count] = source[:count]
        weight[count:] = source[:count].mean(dim=0)
