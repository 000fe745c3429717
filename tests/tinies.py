"""Tiny models of the real classes, one a family, untrained. Identities need no training.

Qwen2-Audio and Audio Flamingo 3 are pocket models made smaller; the other families are put together here. All
processors are those that the library makes of a checkpoint, around a tokenizer of words.

The attention weights are scaled up, because at random initialisation attention is nearly flat and every
comparison of attention rows would pass by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from transformers import (
    AudioFlamingo3EncoderConfig,
    LlamaConfig,
    MusicFlamingoConfig,
    MusicFlamingoProcessor,
    Qwen2AudioProcessor,
    Qwen2Config,
    VoxtralConfig,
    VoxtralEncoderConfig,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoderConfig,
    Qwen2_5OmniTextConfig,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniVisionEncoderConfig,
)

from steer_utils.lm.families import FAMILIES
from steer_utils.lm.models import AudioLM
from steer_utils.methods.settings import PAPER
from steer_utils.pocket import architecture
from steer_utils.pocket.architecture import AUDIO_FLAMINGO_3_TEMPLATE, Size, sinusoids, tower_shape, word_tokenizer
from steer_utils.pocket.text import vocabulary_words
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

#: Settings for models of four blocks of four heads that differ from the paper's in what a choice of steering can say.
STEERED = replace(
    PAPER,
    question="How many sounds are there?",
    vector_question="Is it high or low?",
    strength=4.0,
    blocks=(0, 1),
    read_blocks=(2, 3),
    read_heads=((1, 2), (3, 0)),
)

CHAT = ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>")
#: Of Qwen2.5-Omni's checkpoints only what a turn with audio takes; told in other words than theirs.
OMNI_TEMPLATE = AUDIO_FLAMINGO_3_TEMPLATE.replace("<sound>", "<|audio_bos|><|AUDIO|><|audio_eos|>")
#: Voxtral's control tokens, each at its id; the processor's class knows that 24 is the audio.
VOXTRAL = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "<SPECIAL_20>", "<SPECIAL_21>"),
    *("<SPECIAL_22>", "<SPECIAL_23>", "[AUDIO]", "[BEGIN_AUDIO]", *(f"<SPECIAL_{rank}>" for rank in range(26, 34))),
    "[TRANSCRIBE]",
)


def build(family: str, size: Size = TINY, seed: int = 3) -> tuple[Any, Any]:
    """A model of `family`, as it was initialised, and its processor."""
    if family in architecture.FAMILIES:
        return architecture.build(family, EVENTS, size=size, seed=seed)
    processor = build_processor(family, size)
    config = _CONFIGS[family](size, processor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, FAMILIES[family].model_class)(config)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    if family != "qwen2_5_omni_thinker":  # there it is no parameter
        positions = model.model.audio_tower.embed_positions.weight
        positions.data.copy_(sinusoids(*positions.shape))
    return model.eval(), processor


def build_processor(family: str, size: Size = TINY) -> Any:
    extractor = WhisperFeatureExtractor(feature_size=size.mel_bins, chunk_length=size.seconds)
    if family == "musicflamingo":
        tokenizer = word_tokenizer((*CHAT, "<sound>", "<|sound_bos|>", "<|sound_eos|>"), vocabulary_words(EVENTS))
        return MusicFlamingoProcessor(
            extractor, tokenizer, chat_template=AUDIO_FLAMINGO_3_TEMPLATE, max_audio_len=3 * size.seconds
        )
    if family == "qwen2_5_omni_thinker":
        tokenizer = word_tokenizer((*CHAT, "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"), vocabulary_words(EVENTS))
        return Qwen2AudioProcessor(extractor, tokenizer, chat_template=OMNI_TEMPLATE)
    return VoxtralProcessor(extractor, word_tokenizer(VOXTRAL, vocabulary_words(EVENTS), end="</s>"))


def _text(size: Size, processor: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(processor.tokenizer),
        "hidden_size": size.width,
        "intermediate_size": size.feed_forward,
        "num_hidden_layers": size.blocks,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.key_value_heads,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        "pad_token_id": processor.tokenizer.pad_token_id,
        "eos_token_id": processor.tokenizer.eos_token_id,
        "bos_token_id": None,
    }


def _music_flamingo(size: Size, processor: Any) -> Any:
    return MusicFlamingoConfig(
        audio_config=AudioFlamingo3EncoderConfig(**tower_shape(size)),
        text_config=Qwen2Config(**_text(size, processor)),
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
    )


def _omni(size: Size, processor: Any) -> Any:
    """Heads of an odd number of rotary pairs, in three sections, as the real ones have; eyes that see nothing here."""
    tokenizer, pairs = processor.tokenizer, size.width // size.heads // 2
    return Qwen2_5OmniThinkerConfig(
        audio_config=Qwen2_5OmniAudioEncoderConfig(
            num_mel_bins=size.mel_bins,
            encoder_layers=size.encoder_blocks,
            encoder_attention_heads=size.encoder_heads,
            encoder_ffn_dim=4 * size.encoder_width,
            d_model=size.encoder_width,
            output_dim=size.width,
        ).to_dict(),
        vision_config=Qwen2_5OmniVisionEncoderConfig(
            depth=1, hidden_size=16, num_heads=2, intermediate_size=16, out_hidden_size=size.width
        ).to_dict(),
        text_config=Qwen2_5OmniTextConfig(
            **_text(size, processor),
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [pairs - 2 * (pairs // 3), pairs // 3, pairs // 3],
            },
        ).to_dict(),
        audio_token_index=processor.audio_token_id,
        audio_start_token_id=tokenizer.convert_tokens_to_ids("<|audio_bos|>"),
        audio_end_token_id=tokenizer.convert_tokens_to_ids("<|audio_eos|>"),
        image_token_index=len(tokenizer) + 1,
        video_token_index=len(tokenizer) + 2,
        vision_start_token_id=len(tokenizer) + 3,
    )


def _voxtral(size: Size, processor: Any) -> Any:
    """Heads that are together wider than the residual stream, as the real ones."""
    return VoxtralConfig(
        audio_config=VoxtralEncoderConfig(**tower_shape(size)),
        text_config=LlamaConfig(**_text(size, processor), head_dim=16),
        audio_token_id=processor.audio_token_id,
    )


_CONFIGS = {"musicflamingo": _music_flamingo, "qwen2_5_omni_thinker": _omni, "voxtral": _voxtral}


def tiny(family: str) -> AudioLM:
    """An untrained model whose attention is sharp and whose answers vary."""
    model, processor = build(family)
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
        if family not in architecture.FAMILIES:
            model.lm_head.weight[processor.audio_token_id] = 0  # no answer holds an audio token
    model.requires_grad_(False)
    return AudioLM(model, processor, FAMILIES[family], f"tiny-{family}", revision="test", events=EVENTS)


def shared(families: Iterable[str]) -> Iterator[dict[str, AudioLM]]:
    """Tiny models, by family, that all files of a process share: at the end no module may have a method of its own,
    which would go past what a later test patches in the class."""
    models = {family: tiny(family) for family in families}
    yield models
    patched = [
        f"{family}: {name}"
        for family, lm in models.items()
        for name, module in lm.model.named_modules()
        if "forward" in vars(module)
    ]
    assert not patched, f"left by a test: {patched}"


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
