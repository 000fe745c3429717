"""Hearing: one audio, encoded once; Reading: what is read from it under an instruction. Seeing: one picture.

Both model families put the audio before the instruction, so the model's state after the audio is one value. It is
computed once and kept as a key/value cache; every instruction, vector, strength and choice of blocks is then a
short suffix behind it, and many of them run together.

The last of three steps: plan (`plan`), run (`run`), **read** (this file).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, cast
from weakref import WeakValueDictionary

import numpy as np
import torch

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.lm.blocks import within
from steer_utils.lm.checkpoints import Checkpoint, alone
from steer_utils.lm.environment import library_versions
from steer_utils.lm.patch_grid import MediaSpan, PatchGrid
from steer_utils.lm.plan import Plan, Row, check_rows, maps_at_once, plan_rows, tokenised
from steer_utils.lm.positions import Positions
from steer_utils.lm.prefixes import Prefix, encode_many
from steer_utils.lm.run import generate, run
from steer_utils.lm.steering import Injection, as_injections
from steer_utils.lm.vectors import Provenance, SteeringVector
from steer_utils.sound.audio import stretches
from steer_utils.sound.spans import AudioSpan

Steer = SteeringVector | Injection | Sequence[SteeringVector | Injection] | None


@dataclass(frozen=True, eq=False)
class Reading:
    """What the model's state is at the end of one prompt.

    `hidden`: (blocks, hidden), output of each decoder block at the last prompt token, or the mean over the tokens that
    the row names (of the last block, before the final norm). `attention`: the captured query rows over the audio.
    `logits`: (vocab,), for the first token of the answer. `recomputed_prefix`: the audio itself was steered or read, so
    the shared prefix could not be used.
    """

    instruction: str
    hidden: torch.Tensor
    attention: AttentionMap
    logits: torch.Tensor
    recomputed_prefix: bool = False


class Shown:
    """A model that was shown one audio (`Hearing`) or one picture (`Seeing`): what is read from it, and answered."""

    def __init__(self, checkpoint: Checkpoint, prefix: Prefix) -> None:
        self.checkpoint = checkpoint
        self._prefix = prefix
        self._known: dict[str | int, Reading] | None = None  # readings of unsteered instructions, inside `remembering`

    @property
    def span(self) -> MediaSpan:
        """Where its tokens are."""
        return self._prefix.span

    @property
    def prefix_length(self) -> int:
        """Slots up to and including the last audio token, or patch: what all prompts share."""
        return self._prefix.length

    # -- reading -----------------------------------------------------------------------------------------------
    def read(
        self,
        instruction: str,
        *,
        steer: Steer = None,
        strength: float = 1.0,
        positions: Positions = "last",
        keep_norm: bool = True,
        event: str | None = None,
        query_positions: Positions = "last",
    ) -> Reading:
        """Read one instruction, steered or not. `query_positions`: the tokens whose attention is kept.

        `strength` and `positions` hold for vectors; an `Injection` brings its own. `event`: the words that "event"
        means. Raises ValueError for an empty instruction, unknown positions, or a vector that does not fit.
        """
        row = Row(instruction, as_injections(steer, strength, positions), keep_norm, event)
        return self.read_rows([row], query_positions=query_positions)[0]

    def read_rows(self, rows: Sequence[Row], *, query_positions: Positions = "last") -> list[Reading]:
        """Read many rows, each with its own instruction, vectors, blocks, strength and positions, in few calls.

        `query_positions`: the tokens whose attention is kept. What rows share is run once (see `plan`): a steered row
        costs its tokens from the first steered one on, in the blocks after the first steered one.
        """
        return read_together([(self, rows)], query_positions=query_positions)[0]

    def _keys(self, rows: Sequence[Row], query_positions: Positions) -> list[str | int]:
        """A name for each row; rows that are to be read once, inside `remembering`, have one name."""
        check_rows(rows)
        if self._known is None or query_positions != "last":
            return list(range(len(rows)))
        return [
            index if row.is_steered or row.hidden_at != "last" else row.instruction for index, row in enumerate(rows)
        ]

    def maps_at_once(self, queries: int = 1) -> int:
        """For callers who reduce maps as they come: how many rows, with so many query positions each, to read in one
        call so that the attention of all heads takes at most a gibibyte (but 32 rows in any case)."""
        return maps_at_once(self._prefix.shape.map_bytes, queries)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """As long as this lasts, an unsteered instruction is read once (and once in `silence`), however often it is
        asked for.

        For runs that compare many methods on one audio. Not the default: whoever hooks or changes the model between two
        readings expects the second one to be made. A kept reading of a 7B model takes about 4 MB for 30 s of audio.
        """
        before = [(hearing, hearing._known) for hearing in self._both()]
        for hearing, known in before:
            hearing._known = {} if known is None else known
        try:
            yield
        finally:
            for hearing in self._both():
                hearing._known = dict(before).get(hearing)

    def _both(self) -> list[Shown]:
        """This one, and what is read beside it: a hearing's silence."""
        return [self]

    def contrast(self, positive: str, negative: str, *, prompt: str = "") -> SteeringVector:
        """The paper's steering vector: v_l = h_l(audio, positive) - h_l(audio, negative), for each block l.

        h_l is the output of decoder block l at the last prompt token. `prompt` is added to both instructions, such
        as "Describe the sound.". Raises ValueError where an instruction is empty, where both are the same tokens (all
        words that a model does not know are), and where every v_l is zero.
        """
        plus, minus = self.read_rows(contrast_rows(self.checkpoint, positive, negative, prompt))
        return contrast_vector(self.checkpoint, plus, minus)

    # -- answering ---------------------------------------------------------------------------------------------
    def answer(
        self,
        instruction: str,
        *,
        steer: Steer = None,
        strength: float = 1.0,
        positions: Positions = "last",
        keep_norm: bool = True,
        event: str | None = None,
        max_new_tokens: int = 32,
    ) -> str:
        """The model's answer, decoded greedily; every generated token is steered too (see `positions`)."""
        row = Row(instruction, as_injections(steer, strength, positions), keep_norm, event)
        return self.answers([row], max_new_tokens=max_new_tokens)[0]

    def answers(self, rows: Sequence[Row], *, max_new_tokens: int = 32) -> list[str]:
        """One greedy answer a row, from the shared prefix, as `model.generate(do_sample=False)` would give."""
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        tokenizer, answers = self.checkpoint.processor.tokenizer, dict[int, str]()
        for plan in self.plan(rows, answers=True):
            for index, ids in zip(plan.indices, generate(self._prefix, plan, max_new_tokens), strict=True):
                answers[index] = tokenizer.decode(ids, skip_special_tokens=True).strip()
        return [answers[index] for index in range(len(rows))]

    # -- plan, run, read ---------------------------------------------------------------------------------------
    def plan(self, rows: Sequence[Row], *, query_positions: Positions = "last", answers: bool = False) -> list[Plan]:
        """What the model is to do for these rows, call by call: `print(*hearing.plan(rows), sep="\\n")`.

        `answers`: they are to be answered, not read. Raises what `read_rows` and `answers` raise for rows.
        """
        check_rows(rows)
        return _plans([self._prefix], [rows], query_positions, answers)


class Hearing(Shown):
    """A model that has heard one audio.

        hearing = lm.hear("street.wav")
        focus   = hearing.contrast("Focus on the dog bark.", "Listen to the whole audio.")
        reading = hearing.read("Describe the sound.", steer=0.5 * focus.late())

    `samples`: mono float32 at the model's sampling rate. `span`: where its audio tokens are. `duration`: seconds.
    `prefix`: its encoding, where it was made already (`hear_each`). Raises AudioError if the audio is longer than the
    model takes in one go, before anything is computed.
    """

    def __init__(self, checkpoint: Checkpoint, samples: np.ndarray, *, prefix: Prefix | None = None) -> None:
        self.samples = samples
        self.duration = len(samples) / checkpoint.sampling_rate
        super().__init__(checkpoint, encoded(checkpoint, [samples])[0] if prefix is None else prefix)
        self._others: WeakValueDictionary[Hashable, Hearing] = WeakValueDictionary()  # see `sharing`

    def __repr__(self) -> str:
        return f"Hearing({self.duration:.2f} s, {self.span.count} audio tokens, {self.checkpoint.name})"

    @property
    def span(self) -> AudioSpan:
        """Where the audio tokens are, and how long each is."""
        return cast(AudioSpan, self._prefix.span)

    @cached_property
    def silence(self) -> Hearing:
        """The same model on silence of the same length: encoded at the first use and kept with this hearing."""
        silence = Hearing(self.checkpoint, np.zeros_like(self.samples))
        silence._known = None if self._known is None else {}
        return silence

    @property
    def encoded_silence(self) -> Hearing | None:
        """`silence`, if it was asked for already."""
        return self.__dict__.get("silence")

    def take_silence(self, silence: Hearing) -> None:
        """Take over a silence that another hearing has encoded, if it is as long; this one need not encode its own.
        Raises ValueError for one of another model."""
        if silence.checkpoint is not self.checkpoint:
            raise ValueError(
                f"the silence is one of {silence.checkpoint.name}; this is a hearing of {self.checkpoint.name}"
            )
        if len(silence.samples) == len(self.samples):
            self.silence = silence

    def sharing(self, name: Hashable, make: Callable[[], Hearing]) -> Hearing:
        """What `make` gives, or what it gave under this name, as long as somebody holds that: so that all queries of a
        round share a hearing made of this one, and none is kept longer than it is used."""
        other = self._others.get(name)
        if other is None:
            other = self._others[name] = make()
        return other

    def with_scaled_audio(self, factors: Mapping[int, float]) -> Hearing:
        """The same audio, seen with other attention: behind it, the score of each audio token (before the softmax) is
        multiplied by `factors[block]` in these blocks, for every token of the prompt and of the answer.

        A factor above 1 sharpens the attention over the audio (arXiv 2606.17417); 1 changes nothing. Nothing is hooked:
        the audio's keys are made longer in a copy, so this hearing stays as it is. Cost: that copy. What would need the
        audio run again (steering or reading its own tokens) is refused. Raises ValueError for blocks that do not exist,
        or a factor that is not finite.
        """
        blocks, values = within(list(factors), self.checkpoint.num_blocks), list(factors.values())
        if not np.isfinite(values).all() or len(set(blocks)) < len(values):
            raise ValueError(f"pass one finite factor for each block, got {dict(factors)}")
        scaled = dict(zip(blocks, values, strict=True))

        def make() -> Hearing:
            prefix = self._prefix.with_scaled_audio(scaled)
            return Hearing(self.checkpoint, self.samples, prefix=prefix)

        return self.sharing(("scaled", tuple(sorted(scaled.items()))), make)

    def _both(self) -> list[Shown]:
        return [self, *([] if self.encoded_silence is None else [self.encoded_silence])]


class Seeing(Shown):
    """A model that has seen one picture: what `Hearing` is for an audio, with patches for audio tokens.

        seeing = lm.see(pixels)
        focus  = seeing.contrast("Focus on the red circle.", "Look at the whole picture.")
        seeing.read("Describe the picture.", steer=focus).attention.box(width=12, height=12)

    `pixels`: (side, side, 3), 0 to 255. `grid`: where its patches are.
    """

    def __init__(self, checkpoint: Checkpoint, pixels: np.ndarray) -> None:
        self.pixels = pixels
        with alone(checkpoint):
            super().__init__(checkpoint, encode_many(checkpoint, [pixels])[0])

    def __repr__(self) -> str:
        side = len(self.pixels)
        return f"Seeing({side} x {side} pixels, {self.grid.rows} x {self.grid.columns} patches, {self.checkpoint.name})"

    @property
    def grid(self) -> PatchGrid:
        """Where the patches are, and how many pixels each is."""
        return cast(PatchGrid, self._prefix.span)


def contrast_rows(checkpoint: Checkpoint, positive: str, negative: str, prompt: str = "") -> tuple[Row, Row]:
    """The two rows of a contrast, `prompt` added to both. Raises ValueError for an empty instruction, and for two that
    are the same tokens."""
    if not positive.strip() or not negative.strip():
        raise ValueError("a contrast needs two instructions; one of them is empty")
    first, second = (Row(f"{instruction.strip()} {prompt}".strip()) for instruction in (positive, negative))
    plus, minus = tokenised(checkpoint, [first, second])
    if plus.tail == minus.tail:
        raise ValueError(
            f"{plus.instruction!r} and {minus.instruction!r} are the same tokens to {checkpoint.name}, so that their "
            "difference is zero; pass instructions that differ in words which it knows"
        )
    return first, second


def contrast_vector(
    checkpoint: Checkpoint, plus: State, minus: State, positions: str = "last", note: str = ""
) -> SteeringVector:
    """The vector of a contrast whose two rows were read at `positions`; `note` is added to what it says of itself.

    Raises ValueError where it is zero in every block.
    """
    recipe = f"{plus.instruction!r} - {minus.instruction!r}{note}"
    vector = state_difference(checkpoint, plus, minus, recipe, positions)
    if not vector.acting_blocks():
        raise ValueError(f"{recipe} is zero in every block: the state of {checkpoint.name} is the same after both")
    return vector


# -- many audios -----------------------------------------------------------------------------------------------------
def read_together(
    asked: Sequence[tuple[Shown, Sequence[Row]]], *, query_positions: Positions = "last"
) -> list[list[Reading]]:
    """`shown.read_rows(rows)` for each of several hearings of one model, in as few calls as their rows fill.

    Each call reads all weights of the model, however few tokens run through it. What is read is equal to one hearing
    after another, but for rounding. Raises as `read_rows` does, and ValueError for hearings of several models.
    """
    if len({id(shown.checkpoint) for shown, _ in asked}) > 1:
        raise ValueError("rows that are read in one call stand behind hearings of one model; pass each model's apart")
    prefixes = [shown._prefix for shown, _ in asked]
    keys = [shown._keys(rows, query_positions) for shown, rows in asked]
    unread = [
        {key: row for key, row in zip(names, rows, strict=True) if key not in (shown._known or {})}
        for (shown, rows), names in zip(asked, keys, strict=True)
    ]
    readings: dict[int, Reading] = {}
    for plan in _plans(prefixes, [list(rows.values()) for rows in unread], query_positions):
        output = run(prefixes, plan)
        of_each = zip(plan.indices, plan.rows, output.hidden, output.attention, output.logits, strict=True)
        for index, row, hidden, weights, logits in of_each:
            attention = AttentionMap.from_weights(weights, prefixes[row.prefix].span, row.first_changed_block)
            readings[index] = Reading(row.instruction, hidden, attention, logits, plan.recompute)
    in_order, results = iter(readings[index] for index in range(len(readings))), []
    for (shown, _), names, rows in zip(asked, keys, unread, strict=True):
        new = {key: next(in_order) for key in rows}
        if shown._known is not None:
            shown._known.update((key, reading) for key, reading in new.items() if isinstance(key, str))
        results.append([new[key] if key in new else (shown._known or {})[key] for key in names])
    return results


def _plans(
    prefixes: Sequence[Prefix], asked: Sequence[Sequence[Row]], query_positions: Positions, answers: bool = False
) -> list[Plan]:
    """The calls of the model for the rows that are asked of each prefix."""
    if not prefixes:
        return []
    rows = [row for some in asked for row in some]
    behind = [number for number, some in enumerate(asked) for _ in some]
    prompts = tokenised(prefixes[0].checkpoint, rows)
    shapes = [prefix.shape for prefix in prefixes]
    plans = plan_rows(rows, prompts, behind, shapes, query_positions, answers=answers)
    if any(plan.recompute and prefixes[plan.prefixes[0]].scaled for plan in plans):
        raise ValueError("the audio's keys were scaled, so its own tokens cannot be steered or read; use the hearing")
    return plans


def encoded(checkpoint: Checkpoint, audios: Sequence[np.ndarray]) -> list[Prefix]:
    """The audios encoded as one batch. Raises AudioError for one that is too long, before anything is computed."""
    for samples in audios:
        check_length(checkpoint, samples)
    with alone(checkpoint):
        return encode_many(checkpoint, audios)


def check_length(checkpoint: Checkpoint, samples: np.ndarray) -> None:
    """Raises AudioError if the audio is longer than the model takes in one go."""
    rate, longest = checkpoint.sampling_rate, checkpoint.window_seconds
    stretches(len(samples), rate, longest, "refuse", listener=checkpoint.name)


class State(Protocol):
    """What a vector is made of: the states `hidden` (blocks, hidden) under an instruction."""

    @property
    def instruction(self) -> str: ...
    @property
    def hidden(self) -> torch.Tensor: ...


def state_difference(
    checkpoint: Checkpoint, plus: State, minus: State, recipe: str, positions: str = "last"
) -> SteeringVector:
    """v_l = h_l(plus) - h_l(minus) for each block l, where both were read at `positions`; `recipe` says what it is."""
    provenance = Provenance(
        model=checkpoint.name,
        family=checkpoint.family.model_type,
        revision=checkpoint.revision,
        positive=plus.instruction,
        negative=minus.instruction,
        positions=positions,
        recipe=recipe,
        versions=library_versions(),
    )
    # The mean of both norms, so that v and -v have the same ratio ‖v‖/‖h‖.
    norms = 0.5 * (plus.hidden.norm(dim=1) + minus.hidden.norm(dim=1))
    return SteeringVector(plus.hidden - minus.hidden, tuple(range(len(norms))), norms, provenance)
