"""The families that see: the published shape."""

from __future__ import annotations

import torch
from transformers import LlavaForConditionalGeneration

from steer_utils.lm.picture_families import PICTURE_FAMILIES


def test_the_published_shape_is_that_of_llava() -> None:
    family = PICTURE_FAMILIES["llava"]
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(family.full_size_config())
    assert sum(parameter.numel() for parameter in model.parameters()) == family.parameters
    assert len(family.decoder(model).layers) == 32 and family.audio_tower(model) is model.model.vision_tower  # type: ignore[arg-type]
