"""The families that see instead of hearing: `lm.see(picture)`. The methods that give seconds do not fit them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import CLIPImageProcessorPil

from steer_utils.lm.family import Family, UnsupportedModelError
from steer_utils.lm.patch_grid import PatchGrid


class Llava(Family):
    """A model that sees: one token a patch, row by row. PIL makes its pixels, torchvision there or not."""

    def processor(self, source: str, revision: str | None = None) -> Any:
        processor = super().processor(source, revision)
        processor.image_processor = CLIPImageProcessorPil.from_pretrained(source, revision=revision or "main")
        return processor

    def expanded(self, processor: Any, text: str, tokens: int) -> str:
        return text.replace(processor.image_token, processor.image_token * tokens)

    def media_inputs(self, processor: Any, text: str, media: np.ndarray) -> dict[str, torch.Tensor]:
        """`media`: (side, side, 3), 0 to 255."""
        return dict(processor(text=[text], images=[media], return_tensors="pt"))

    def span(self, processor: Any, media: np.ndarray, first: int, count: int) -> PatchGrid:
        side = processor.image_processor.crop_size["height"] // processor.patch_size
        if count != side**2:
            raise ValueError(
                f"makes {count} image tokens of a picture, where {self.name} makes {side} x {side}: boxes would be "
                "wrong, so this checkpoint is not supported"
            )
        return PatchGrid(first, side, side, media.shape[0] / side)

    def extractor(self, processor: Any) -> Any:
        raise UnsupportedModelError(f"{self.name} sees pictures and hears nothing: show it one with lm.see(picture)")


PICTURE_FAMILIES: dict[str, Family] = {
    "llava": Llava(
        name="LLaVA",
        model_type="llava",
        model_class="LlavaForConditionalGeneration",
        checkpoint="llava-hf/llava-1.5-7b-hf",
        licence="LLaVA 1.5 weights: Llama 2 Community License",
        non_commercial=False,
        parameters=7_063_427_072,
        full_size={"text_config": {"model_type": "llama", "vocab_size": 32064}},  # the rest are LlavaConfig's defaults
        turn_end="</s>",
        medium="image",
        audio_tower_path="model.vision_tower",
    ),
}
