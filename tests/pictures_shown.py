"""An untrained pocket model that sees, with sharp attention, a short recipe, and a picture."""

from __future__ import annotations

from dataclasses import replace

import torch

from steer_utils.lm.models import AudioLM
from steer_utils.lm.picture_families import PICTURE_FAMILIES
from steer_utils.pocket.architecture import Size
from steer_utils.pocket.seeing import PICTURE_RECIPES, build
from steer_utils.pocket.shapes import NAMES, Picture, picture_of

SMALL = Size(encoder_width=32, encoder_blocks=1, encoder_heads=2, width=48, blocks=4, heads=4, key_value_heads=2)
_RECIPE = PICTURE_RECIPES["pocket-llava"]
#: Four steps of each stage.
SHORT = replace(
    _RECIPE,
    size=SMALL,
    encoder=replace(_RECIPE.encoder, steps=4, batch=2, warm_up=1),
    language=replace(_RECIPE.language, steps=4, batch=2, turns=2, warm_up=1),
)


def tiny_llava() -> AudioLM:
    model, processor = build(SMALL, seed=3)
    generator = torch.Generator().manual_seed(7)
    for block in model.model.language_model.layers:
        for name, factor in (("q_proj", 12), ("k_proj", 12), ("v_proj", 6), ("o_proj", 6)):
            getattr(block.self_attn, name).weight.mul_(factor)
    model.model.language_model.embed_tokens.weight.normal_(0, 1, generator=generator)
    model.lm_head.weight.normal_(0, 1, generator=generator)
    model.lm_head.weight[processor.image_token_id] = 0  # no answer holds a picture
    return AudioLM(model, processor, PICTURE_FAMILIES["llava"], "tiny-llava", revision="test", events=NAMES)


def shown() -> Picture:
    return picture_of(["red circle", "blue ring", "green cross"], seed=3)
