"""How an answer is decoded: greedily, with the model's own settings, up to the end of its turn."""

from __future__ import annotations

import copy
from typing import Any

from .checkpoints import Checkpoint


def stop_tokens(checkpoint: Checkpoint) -> list[int]:
    """Ids that end an answer: the model's own, the tokenizer's, and the end of a chat turn."""
    tokenizer = checkpoint.processor.tokenizer
    configured = checkpoint.model.generation_config.eos_token_id
    ids = list(configured) if isinstance(configured, (list, tuple)) else [configured]
    ids += [tokenizer.eos_token_id, tokenizer.get_vocab().get("<|im_end|>")]
    return sorted({int(token) for token in ids if token is not None})


def greedy(checkpoint: Checkpoint, max_new_tokens: int) -> Any:
    """The model's own generation settings (a repetition penalty stays), without sampling or beams."""
    config = copy.deepcopy(checkpoint.model.generation_config)
    config.do_sample, config.num_beams = False, 1
    config.temperature = config.top_p = config.top_k = None  # they mean nothing without sampling, and would warn
    config.max_length, config.max_new_tokens = None, max_new_tokens
    config.eos_token_id = stop_tokens(checkpoint)
    config.pad_token_id = checkpoint.processor.tokenizer.pad_token_id
    return config


def until(ids: list[int], stops: list[int]) -> list[int]:
    """What comes before the first stop token."""
    return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]
