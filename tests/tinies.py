"""Two tiny models of the real classes, untrained. Identities need no training.

The attention weights are scaled up, because at random initialisation attention is nearly flat and every
comparison of attention rows would pass by accident.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.models import AudioLM
from steer_utils.pocket.architecture import Size, build
from steer_utils.sound.sounds import SOUNDS

EVENTS = ("dog bark", "bell", "siren")
FIVE = tuple(SOUNDS)[:5]
TINY = Size(
    seconds=4,
    mel_bins=40,
    encoder_width=32,
    encoder_blocks=1,
    encoder_heads=2,
    width=48,
    blocks=4,
    heads=4,
    key_value_heads=2,  # grouped queries, as in Audio Flamingo 3
    feed_forward=64,
)


def tiny(family: str) -> AudioLM:
    """An untrained model whose attention is sharp and whose answers vary."""
    model, processor = build(family, EVENTS, size=TINY, seed=3)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for block in model.model.language_model.layers:
            block.self_attn.q_proj.weight.mul_(12)
            block.self_attn.k_proj.weight.mul_(12)
            block.self_attn.v_proj.weight.mul_(6)
            block.self_attn.o_proj.weight.mul_(6)
            for layer in (block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj):
                layer.weight.mul_(6)
        model.model.language_model.embed_tokens.weight.normal_(0, 1, generator=generator)
        model.lm_head.weight.normal_(0, 1, generator=generator)
    model.requires_grad_(False)
    return AudioLM(model, processor, FAMILIES[family], f"tiny-{family}", revision="test", events=EVENTS)


def covering_padding(lm: AudioLM) -> AudioLM:
    """The same model behind a processor that fills the last window with silence, as Voxtral's does: audio tokens stand
    for the silence too, and its family says so."""
    extractor = lm.processor.feature_extractor

    class Padding(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            return getattr(lm.processor, name)

        def __call__(self, *, audio: list[np.ndarray], **options: Any) -> Any:
            return lm.processor(
                audio=[np.pad(clip, (0, -len(clip) % extractor.n_samples)) for clip in audio], **options
            )

    return AudioLM(lm.model, Padding(), replace(lm.family, covers_padding=True), "padded", "test", lm.events)


def taking_any_text(one: AudioLM) -> AudioLM:
    """The same model, said to know no list of words, as those that take any text."""
    return AudioLM(one.model, one.processor, one.family, "tiny", revision="test", events=None)


def knowing_five(one: AudioLM) -> AudioLM:
    """The same model, said to know five procedural classes: enough for scenes of three without the queried ones."""
    return AudioLM(one.model, one.processor, one.family, "tiny", revision="test", events=FIVE)
