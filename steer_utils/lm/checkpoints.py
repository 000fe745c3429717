"""A model with everything needed to use it: processor, family, and where it came from.

At the end: how an answer is decoded (greedily, with the model's own settings, up to the end of its turn), and how a
model is used: by one thread of Python at a time, with as many of torch's as fit its size.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import GenerationConfig

from steer_utils.lm.family import Family
from steer_utils.lm.threads import fitting_threads


class CheckpointError(ValueError):
    """A model could not be opened."""


@dataclass(frozen=True)
class PromptTokens:
    """One tokenised prompt. `head` ends with the first audio token; `tail` is all that follows the last one.

    `tail_characters` holds, for each token of the tail, the (start, stop) characters of `text` it stands for, and
    `instruction_start` the character where the instruction begins.
    """

    text: str
    instruction: str
    instruction_start: int
    head: tuple[int, ...]
    tail: tuple[int, ...]
    tail_characters: tuple[tuple[int, int], ...]

    def words_of(self, token: int | None) -> list[str]:
        """The text of each `token` in the instruction."""
        begin, end = self.instruction_start, self.instruction_start + len(self.instruction)
        spans = [span for one, span in zip(self.tail, self.tail_characters, strict=True) if one == token]
        return [self.text[start:stop] for start, stop in spans if begin <= start and stop <= end]


@dataclass(eq=False)
class Checkpoint:
    """An audio-language model that is ready to be used, and its provenance.

    `name` is what it was opened as; `revision` a commit hash (hub) or a fingerprint of the weights (folder).
    `events` are the sounds a pocket model knows; None for models that take any text.
    """

    model: Any
    processor: Any
    family: Family
    name: str
    revision: str | None = None
    events: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        width = f"{self.num_blocks} blocks of {self.hidden_size}"
        return f"{type(self).__name__}({self.name!r}, {self.family.name}, {width}, {self.dtype}, {self.device})"

    @cached_property
    def decoder(self) -> Any:
        """The language model inside, checked against the text config."""
        return self.family.decoder(self.model)

    @cached_property
    def blocks(self) -> nn.ModuleList:
        """The decoder blocks, in order: what is steered and read."""
        return self.family.blocks(self.model)

    @cached_property
    def num_parameters(self) -> int:
        """How many numbers the weights hold."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def num_blocks(self) -> int:
        """How many decoder blocks there are."""
        return len(self.blocks)

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where token ids go: the device of the decoder's embeddings (blocks may be spread over others).

        Embeddings that a device map keeps on disk have no device of their own ("meta"): they run where their hook says.
        """
        embeddings = self.decoder.get_input_embeddings()
        runs_on = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
        return embeddings.weight.device if runs_on is None else torch.device(runs_on)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the decoder's embeddings."""
        return self.decoder.get_input_embeddings().weight.dtype

    @property
    def quantisation(self) -> str | None:
        """How the weights are quantised, such as "nf4 by bitsandbytes"; None: not at all."""
        settings: Any = getattr(self.model.config, "quantization_config", None)
        if settings is None:
            return None
        settings = settings if isinstance(settings, dict) else settings.to_dict()
        method = str(getattr(settings.get("quant_method"), "value", settings.get("quant_method")))
        if settings.get("load_in_4bit"):
            return f"{settings.get('bnb_4bit_quant_type', '4 bit')} by {method}"
        return f"int8 by {method}" if settings.get("load_in_8bit") else method

    @property
    def numbers(self) -> str:
        """The number type of the weights, and how they are quantised: "bfloat16", "bfloat16, nf4 by bitsandbytes"."""
        return ", ".join(filter(None, [str(self.dtype).removeprefix("torch."), self.quantisation]))

    @property
    def identity(self) -> dict[str, str | None]:
        """What a run is told by: another model, revision or number type gives other results."""
        return {"model": self.name, "revision": self.revision, "numbers": self.numbers}

    @property
    def sampling_rate(self) -> int:
        """Samples a second that the processor expects."""
        return self.family.sampling_rate(self.processor)

    @property
    def window_seconds(self) -> float:
        """The longest audio in seconds that the model takes in one go."""
        return self.family.window_seconds(self.processor)

    @property
    def seconds_per_token(self) -> float:
        """Seconds one audio token stands for."""
        return self.family.seconds_per_token(self.processor)

    @property
    def audio_token_id(self) -> int:
        """The id that stands for one audio token (or for one patch) in the prompt."""
        return self.family.media_token(self.processor)[1]

    def prompt(self, instruction: str) -> str:
        """The chat text for `instruction` (stripped), with one audio placeholder before it.

        Raises ValueError for an empty instruction, or one that holds a special token (`check_text`).
        """
        if not isinstance(instruction, str):
            raise TypeError(f"the instruction must be a string, got {type(instruction).__name__}")
        if not instruction.strip():
            raise ValueError("the instruction is empty; pass a sentence such as 'Describe the sound.'")
        self.check_text(instruction)
        return self.family.prompt(self.processor, instruction.strip())

    @cached_property
    def _special_tokens(self) -> frozenset[str]:
        return special_tokens(self.processor.tokenizer) | {self.family.media_token(self.processor)[0]}

    def check_text(self, text: str, what: str = "the instruction") -> None:
        """Raises ValueError if `text`, which messages call `what`, holds a special token: it would begin a turn, or an
        audio."""
        check_text(text, self._special_tokens, what)

    @cached_property
    def _instruction_start(self) -> int:
        # By a character that no template holds: searching for the instruction could meet the template's own words.
        return self._expanded(self.family.prompt(self.processor, "\ue000")).index("\ue000")

    def _expanded(self, text: str) -> str:
        """The chat text as the tokenizer gets it from the processor, but with one audio token."""
        return self.family.expanded(self.processor, text, 1)

    def tokens(self, instruction: str) -> PromptTokens:
        """`prompt(instruction)` as token ids, split where the audio is, with what the processor puts around the audio.

        Raises as `prompt` does.
        """
        text = self._expanded(self.prompt(instruction))
        encoded = self.processor.tokenizer(text, return_offsets_mapping=True)
        ids, characters = encoded["input_ids"], encoded["offset_mapping"]
        if ids.count(self.audio_token_id) != 1:
            raise CheckpointError(f"the chat template of {self.name} gives no single audio placeholder: {text!r}")
        split = ids.index(self.audio_token_id) + 1
        after_audio = characters[split - 1][1]
        start = self._instruction_start
        if start < after_audio or not text.startswith(instruction.strip(), start):
            # Everything here rests on the audio coming first: the state after it is then one value for all prompts.
            raise CheckpointError(
                f"the chat template of {self.name} puts the instruction before the audio, or changes it: {text!r}"
            )
        return PromptTokens(
            text=text,
            instruction=instruction.strip(),
            instruction_start=start,
            head=tuple(ids[:split]),
            tail=tuple(ids[split:]),
            tail_characters=tuple((int(a), int(b)) for a, b in characters[split:]),
        )

    @cached_property
    def _words_told(self) -> set[str]:
        """The words that `warn_of_unknown_words` has named."""
        return set()

    def warn_of_unknown_words(self, prompts: Iterable[PromptTokens]) -> None:
        """A UserWarning that names the words of these instructions which the tokenizer does not know; each is named
        once. A pocket model knows some hundred words, and reads every other one as the same `<unk>`."""
        unknown = [word for prompt in prompts for word in prompt.words_of(self.processor.tokenizer.unk_token_id)]
        if new := [word for word in dict.fromkeys(unknown) if word not in self._words_told]:
            self._words_told.update(new)
            listed = ", ".join(map(repr, new[:12])) + (f" and {len(new) - 12} more" if len(new) > 12 else "")
            warnings.warn(
                f"{self.name} does not know {listed}: all unknown words are one and the same word to it",
                stacklevel=2,
            )


def special_tokens(tokenizer: Any) -> frozenset[str]:
    """What a tokenizer does not take for text, wherever it stands: marks of turns and audio, padding, unknown words."""
    added = tokenizer.added_tokens_decoder.values()
    return frozenset({*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)})


def check_text(text: str, special: Iterable[str], what: str) -> None:
    """Raises ValueError if `text`, which messages call `what`, holds one of the `special` tokens."""
    if held := [token for token in special if token in text]:
        raise ValueError(f"{what} holds {min(held, key=text.index)!r}, a special token of the model; remove it")


# -- decoding ----------------------------------------------------------------------------------------------------------
def stop_tokens(checkpoint: Checkpoint) -> list[int]:
    """Ids that end an answer: the model's own, the tokenizer's, and the end of a chat turn."""
    tokenizer = checkpoint.processor.tokenizer
    configured = checkpoint.model.generation_config.eos_token_id
    ids = list(configured) if isinstance(configured, (list, tuple)) else [configured]
    ids += [tokenizer.eos_token_id, tokenizer.get_vocab().get(checkpoint.family.turn_end)]
    return sorted({int(token) for token in ids if token is not None})


#: What a checkpoint's own settings may say of an answer: its words. How it is made (by samples, beams, other models; in
#: which cache, time and form) is settled here.
_OF_WORDS = (
    *("repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "sequence_bias", "suppress_tokens"),
    *("begin_suppress_tokens", "min_length", "min_new_tokens", "exponential_decay_length_penalty"),
)


@contextmanager
def greedy(checkpoint: Checkpoint, max_new_tokens: int) -> Iterator[GenerationConfig]:
    """`with greedy(lm, 8) as config:` settings of a greedy answer, with those of the model's own that are of words (a
    repetition penalty stays). The others step aside meanwhile: transformers fills what a config leaves open from them.
    """
    model = checkpoint.model
    before = model.generation_config
    config = GenerationConfig(
        **{name: getattr(before, name, None) for name in _OF_WORDS},
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        use_cache=True,  # without it the prompt would be taken for its last token
        eos_token_id=stop_tokens(checkpoint),
        pad_token_id=checkpoint.processor.tokenizer.pad_token_id,
    )
    model.generation_config = GenerationConfig()
    try:
        yield config
    finally:
        model.generation_config = before


def until(ids: list[int], stops: list[int]) -> list[int]:
    """What comes before the first stop token."""
    return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]


# -- one thread at a time ----------------------------------------------------------------------------------------------
# Steering and recording are hooks on the model itself, and would mix. An explorer works in a thread of its own; a cell
# that reads the same model meanwhile waits for it.
_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_guard = threading.Lock()


@contextmanager
def alone(checkpoint: Checkpoint) -> Iterator[None]:
    """`with alone(lm):` no other thread reads, steers or encodes with this model meanwhile, and torch takes as many
    threads as fit its size (see `threads`). May be nested."""
    with _guard:
        lock = _locks.setdefault(checkpoint.model, threading.RLock())
    with lock, fitting_threads(checkpoint.num_parameters):
        yield
