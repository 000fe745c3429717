"""The models that are measured: the pocket ones, and random ones of the published checkpoints' true widths.

A true width is the configuration in `steer_utils.lm.families` with fewer blocks and the pocket models' short vocabulary
(its output head would otherwise be most of a shallow model). Weights are random: times do not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.common import Options, default_dtype
from steer_utils.lm.families import FAMILIES, full_size_config
from steer_utils.lm.models import AudioLM, load
from steer_utils.pocket.architecture import Size, build_processor, sinusoids

EVENTS = ("dog bark", "bell", "siren")
QUESTION = "Describe the sound."
POSITIVE, NEGATIVE = "Focus on the {event}.", "Listen to the whole audio."
SAMPLING_RATE = 16_000


@dataclass(frozen=True)
class Shape:
    """A random model. `window`: seconds of one window of the audio tower; `longest`: seconds of joined windows.

    `narrow` replaces the true width by (width, heads, key/value heads, feed-forward, tower width, tower heads).
    `vocabulary`: how many words it has, where those are more than the tokenizer's few.
    """

    family: str
    blocks: int
    tower_blocks: int
    window: int = 30
    longest: int | None = None
    narrow: tuple[int, int, int, int, int, int] | None = None
    vocabulary: int = 0
    seed: int = 3


#: Tiny, for smoke runs.
TINY = (48, 4, 2, 64, 32, 2)
#: Of a middling width, where a cost is followed over sizes: a block is about a tenth of a 7B one.
MIDDLING = (1024, 16, 8, 4096, 512, 8)


def pocket(name: str, options: Options) -> AudioLM:
    """A pocket model that ships with the package."""
    return load(name, device=options.device, dtype=options.torch_dtype)


def true_width(family: str, options: Options, blocks: int = 4, tower_blocks: int = 4, window: int = 30) -> AudioLM:
    """A model of a 7B checkpoint's width with so many blocks; all of them with --full-depth; tiny in a smoke run."""
    if options.smoke:
        return random_model(Shape(family, min(blocks, 3), 1, 4, narrow=TINY), options)
    if options.full_depth:
        config = full_size_config(family)
        blocks, tower_blocks = config.text_config.num_hidden_layers, config.audio_config.num_hidden_layers
    return random_model(Shape(family, blocks, tower_blocks, window), options)


def random_model(shape: Shape, options: Options) -> AudioLM:
    """A model of this shape with random weights whose attention is not flat, so that comparing rows means something."""
    config, processor = config_and_processor(shape)
    family = FAMILIES[shape.family]
    made_there = torch.device(options.device)  # eight billion random numbers take minutes on a CPU
    with torch.random.fork_rng(devices=[]), default_dtype(options.torch_dtype), made_there:  # float32: 28 GB
        torch.manual_seed(shape.seed)
        model: Any = getattr(transformers, family.model_class)(config)
    positions = model.model.audio_tower.embed_positions.weight
    positions.data.copy_(sinusoids(*positions.shape))
    with torch.no_grad():  # at initialisation scores have the spread of a wide model's whatever the width
        sharper = max(1.0, 64 / config.text_config.hidden_size**0.5)
        for block in model.model.language_model.layers:
            block.self_attn.q_proj.weight.mul_(sharper)
            block.self_attn.k_proj.weight.mul_(sharper)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.to(options.device).eval().requires_grad_(False)
    name = f"random-{shape.family}-{config.text_config.hidden_size}x{shape.blocks}"
    return AudioLM(model, processor, family, name, revision="random")


def config_and_processor(shape: Shape) -> tuple[Any, Any]:
    """Of this shape, around the pocket models' tokenizer."""
    size = Size(seconds=shape.window, mel_bins=128 if shape.narrow is None else 40)
    processor = build_processor(shape.family, EVENTS, size)
    if shape.longest is not None:
        processor.max_audio_len = shape.longest
    config = full_size_config(shape.family)
    text, audio, tokenizer = config.text_config, config.audio_config, processor.tokenizer
    text.num_hidden_layers = shape.blocks
    text.layer_types = text.layer_types[:1] * shape.blocks
    text.max_position_embeddings = 32_768
    text.vocab_size = max(len(tokenizer), shape.vocabulary)
    text.bos_token_id, text.eos_token_id, text.pad_token_id = None, tokenizer.eos_token_id, tokenizer.pad_token_id
    audio.num_hidden_layers = shape.tower_blocks
    audio.num_mel_bins = size.mel_bins
    audio.max_source_positions = 50 * shape.window  # the tower pools by two after its position table
    if shape.narrow is not None:
        width, heads, key_value_heads, feed_forward, tower_width, tower_heads = shape.narrow
        text.hidden_size, text.num_attention_heads, text.num_key_value_heads = width, heads, key_value_heads
        text.intermediate_size = feed_forward
        audio.hidden_size, audio.num_attention_heads = tower_width, tower_heads
        audio.intermediate_size = 4 * tower_width
    name = "audio_token_index" if shape.family == "qwen2_audio" else "audio_token_id"
    setattr(config, name, processor.audio_token_id)
    return config, processor


def audio_of(lm: AudioLM, seconds: float | None = None) -> np.ndarray:
    """A rising tone in noise, (samples,), as long as the model takes or `seconds`."""
    length = lm.window_seconds if seconds is None else seconds
    time = np.arange(round(length * SAMPLING_RATE)) / SAMPLING_RATE
    noise = np.random.default_rng(0).normal(size=time.size)
    return (0.3 * np.sin(2 * np.pi * (300 + 600 * time / length) * time) + 0.05 * noise).astype(np.float32)


def shape_of(lm: AudioLM) -> dict[str, object]:
    """What a reader needs to know of the model beside a time."""
    text, audio = lm.model.config.text_config, lm.model.config.audio_config
    return {
        "model": lm.name,
        "width": text.hidden_size,
        "blocks": text.num_hidden_layers,
        "heads": text.num_attention_heads,
        "key_value_heads": text.num_key_value_heads,
        "feed_forward": text.intermediate_size,
        "vocabulary": text.vocab_size,
        "tower_width": audio.hidden_size,
        "tower_blocks": audio.num_hidden_layers,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "parameters": sum(parameter.numel() for parameter in lm.model.parameters()),
    }
