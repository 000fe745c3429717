"""The two model families at pocket size: unmodified transformers classes, real processors.

The audio tower of both is a Whisper-style encoder (two convolutions, attention blocks, pooling by two:
25 audio tokens a second); the decoder of both is Qwen2. What differs is what differs between the real
checkpoints: Qwen2-Audio has one linear projector and as many key/value heads as query heads; Audio Flamingo 3
has a two-layer projector and fewer key/value heads. The chat templates differ too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3Processor,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioProcessor,
    Qwen2Config,
    WhisperFeatureExtractor,
)
from transformers.models.audioflamingo3 import AudioFlamingo3EncoderConfig
from transformers.models.qwen2_audio import Qwen2AudioEncoderConfig

from steer_utils.lm.families import family_of
from steer_utils.pocket.text import vocabulary_words
from steer_utils.sound.files import write_json

TOKENS_PER_SECOND = 25  # 100 mel frames a second, halved by a convolution and again by pooling
POSITIONS_PER_SECOND = 50  # of the tower's position table, before it pools

SYSTEM_TURN = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


def chat_template(system: str, audio: str) -> str:
    """ChatML in Audio Flamingo 3's order: the turn `system`, where the messages have none of their own, then of each
    turn `audio`, where it has one, and the text."""
    return (
        "{% if messages[0]['role'] != 'system' %}" + system + "{% endif %}"
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] if part['type'] == 'audio' %}" + audio + "{% endfor %}"
        "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
        "{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


AUDIO_FLAMINGO_3_TEMPLATE = chat_template(SYSTEM_TURN, "<sound>")

_SPECIAL_TOKENS = {
    "qwen2_audio": ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"),
    "audioflamingo3": ("<sound>",),
}
FAMILIES = tuple(_SPECIAL_TOKENS)


@dataclass(frozen=True)
class Size:
    """How large a pocket model is. The defaults stay below 4 million parameters (16 MB in float32)."""

    seconds: int = 8  # longest audio
    mel_bins: int = 64
    encoder_width: int = 128
    encoder_blocks: int = 4
    encoder_heads: int = 2  # of width 64, as Whisper's
    width: int = 192
    blocks: int = 6
    heads: int = 6
    key_value_heads: int = 6
    feed_forward: int = 512

    @property
    def audio_tokens(self) -> int:
        """Audio tokens of the longest audio."""
        return self.seconds * TOKENS_PER_SECOND

    @property
    def tower(self) -> dict[str, int]:
        """The numbers that are the tower's, by name; the others are the decoder's."""
        names = ("seconds", "mel_bins", "encoder_width", "encoder_blocks", "encoder_heads")
        return {name: getattr(self, name) for name in names}


def build(family: str, events: Sequence[str], *, size: Size | None = None, seed: int = 0) -> tuple[Any, Any]:
    """A randomly initialised model of `family` and its processor.

    `events` are the names the tokenizer must know. Raises ValueError for a family that is not in `FAMILIES`.
    """
    size = size or Size()
    processor = build_processor(family, events, size)
    tokenizer = processor.tokenizer
    config = audio_config(family, size, decoder_config(size, tokenizer), processor.audio_token_id)
    model = initialised(config, tokenizer, seed)
    positions = model.model.audio_tower.embed_positions.weight
    positions.data.copy_(sinusoids(*positions.shape))
    return model, processor


def initialised(config: Any, tokenizer: Any, seed: int) -> Any:
    """A model of that configuration whose first weights come from `seed`; it pads and ends as the tokenizer does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = new_model(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval()


def new_model(config: Any) -> Any:
    """A model of the unmodified class that this configuration is one of."""
    return getattr(transformers, family_of(config).model_class)(config)


def decoder_config(size: Size, tokenizer: Any) -> Qwen2Config:
    """The decoder of that size, with a row for each token of the tokenizer."""
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.blocks,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )


def tower_blocks(size: Size) -> dict[str, Any]:
    """The blocks of a tower, as arguments of its configuration's class."""
    return {
        "num_hidden_layers": size.encoder_blocks,
        "num_attention_heads": size.encoder_heads,
        "intermediate_size": 4 * size.encoder_width,
        "hidden_size": size.encoder_width,
    }


def tower_shape(size: Size) -> dict[str, Any]:
    """The arguments of both classes of configuration of an audio tower."""
    # Qwen2-Audio's own names for these (encoder_layers, d_model, ...) are aliases of the common ones.
    positions = size.seconds * POSITIONS_PER_SECOND
    return {"num_mel_bins": size.mel_bins, **tower_blocks(size), "max_source_positions": positions}


def audio_config(family: str, size: Size, text_config: Any, audio_token_id: int) -> Any:
    """The configuration of a model of `family`: a tower of that size before the decoder of `text_config`."""
    tower = tower_shape(size)
    if family == "qwen2_audio":
        audio = Qwen2AudioEncoderConfig(**tower)
        return Qwen2AudioConfig(audio_config=audio, text_config=text_config, audio_token_index=audio_token_id)
    return AudioFlamingo3Config(
        audio_config=AudioFlamingo3EncoderConfig(**tower), text_config=text_config, audio_token_id=audio_token_id
    )


def build_processor(family: str, events: Sequence[str], size: Size) -> Any:
    """Whisper feature extractor with a short chunk, word tokenizer, and the family's chat template."""
    special = ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>", *special_tokens(family))
    tokenizer = word_tokenizer(special, vocabulary_words(events))
    template = None if family == "qwen2_audio" else AUDIO_FLAMINGO_3_TEMPLATE  # Qwen2-Audio's comes with transformers
    return audio_processor(family, tokenizer, size, template)


def special_tokens(family: str) -> tuple[str, ...]:
    """The tokens that stand for an audio. Raises ValueError for a family that is not in `FAMILIES`."""
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; pass one of {', '.join(FAMILIES)}")
    return _SPECIAL_TOKENS[family]


def audio_processor(family: str, tokenizer: Any, size: Size, template: str | None) -> Any:
    """The processor of `family`, of audio as long as the tower hears; None: the template of its class."""
    extractor = WhisperFeatureExtractor(feature_size=size.mel_bins, chunk_length=size.seconds)
    if family == "qwen2_audio":
        return Qwen2AudioProcessor(extractor, tokenizer, chat_template=template)
    return AudioFlamingo3Processor(extractor, tokenizer, chat_template=template, max_audio_len=size.seconds)


def word_tokenizer(special: Sequence[str], words: Iterable[str], end: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    """The `special` tokens, in their order, and then one token a word, lower case: small enough to read, and every word
    of the training has its own row. `end` is the special token that ends a turn."""
    table = {word: index for index, word in enumerate([*special, *sorted(set(words))])}
    tokenizer = Tokenizer(WordLevel(table, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)  # "siren , bell" -> "siren, bell"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token=end,
        additional_special_tokens=[token for token in special if token not in ("<pad>", "<unk>", end)],
        padding_side="left",
    )


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Whisper's fixed position table, (length, width): sines, then cosines."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2 - 1))
    angles = torch.arange(length)[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def save(model: Any, processor: Any, folder: Path, facts: dict[str, object]) -> None:
    """Save model and processor so that plain `from_pretrained` loads them offline, and `facts` as pocket.json."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
    write_json(folder / "pocket.json", facts)
