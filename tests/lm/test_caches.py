"""The name of the key/value cache: where it is another one, nothing goes on by guessing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from steer_utils.lm.caches import CACHE, cache_of
from steer_utils.lm.models import AudioLM


def test_every_familys_blocks_are_called_with_it(lm: AudioLM, samples: np.ndarray) -> None:
    seen: list[Any] = []
    handles = [
        block.register_forward_pre_hook(lambda _, args, kwargs: seen.append(cache_of(kwargs)), with_kwargs=True)
        for block in lm.blocks
    ]
    try:
        lm.hear(samples, sampling_rate=16_000)
    finally:
        for handle in handles:
            handle.remove()
    assert len(seen) == lm.num_blocks and all(cache.get_seq_length(0) >= 0 for cache in seen)


def test_a_call_without_it_is_refused() -> None:
    """As of a transformers that has yet another name for it: tokens would be counted from the wrong place."""
    assert cache_of({CACHE: None, "use_cache": False}) is None
    with pytest.raises(RuntimeError, match=f"without {CACHE}=, .*install the version in requirements.lock"):
        cache_of({"memory": object(), "hidden_states": torch.zeros(1)})
