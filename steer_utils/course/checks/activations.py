"""Checks on captured activations: a hook that keeps states, share and mass of a row, bytes of maps, slots of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from steer_utils.course.checks.answers import Wrong, called, correct, judge, near, number, refuse, values
from steer_utils.lm.families import full_size_config
from steer_utils.show.plots.activations import size
from steer_utils.sound.spans import AudioSpan

_close = partial(np.allclose, atol=1e-6, rtol=1e-4)

Hook = Callable[[Any, Any, Any], Any]


def keep_last(hook: Hook, states: list[torch.Tensor]) -> None:
    """The hook appends each row's state of the last token, (rows, width), to `states`, and changes nothing.

    Tried on two batch rows of five tokens and on one, as a bare tensor and in a tuple; `states` is as before
    afterwards. One row tells `.clone()` from `.contiguous()`, which copies a slice of two rows and not that of one.
    """
    before = len(states)
    try:
        for rows in (2, 1):
            for what in ("tensor", "tuple"):
                hidden = torch.arange(rows * 5 * 3, dtype=torch.float32).reshape(rows, 5, 3)
                _check_kept(hook, states, hidden, in_tuple=what == "tuple")
    finally:
        del states[before:]
    correct("It holds for batches whose rows are padded on the left: there the last slot is every row's last token.")


def _check_kept(hook: Hook, states: list[torch.Tensor], hidden: torch.Tensor, *, in_tuple: bool) -> None:
    whole, before = hidden.clone(), len(states)
    try:
        returned = hook(None, (), (hidden, None) if in_tuple else hidden)
    except (AttributeError, TypeError, IndexError) as error:
        if in_tuple:
            raise Wrong("it works on a tensor; a block may also return a tuple, states first") from error
        raise Wrong(f"it fails on a tensor of shape {tuple(hidden.shape)}, rows, slots, width: {error}") from error
    if returned is not None:
        raise Wrong("what a forward hook returns takes the place of the block's output: append, and return nothing")
    if not torch.equal(hidden, whole):
        raise Wrong("the block's output itself was changed: the rest of the model would go on with that")
    if len(states) == before:
        raise Wrong("nothing is here yet: `states` got nothing; replace the ... in the cell above and run it")
    if len(states) != before + 1:
        raise Wrong("append once a call: one tensor (rows, width) for the whole batch")
    _check_state(states[-1], whole, hidden, in_tuple)


def _check_state(kept: Any, whole: torch.Tensor, hidden: torch.Tensor, in_tuple: bool) -> None:
    if not isinstance(kept, torch.Tensor):
        raise Wrong(f"append a tensor, not {type(kept).__name__}")
    expected = whole[:, -1]
    if kept.shape != expected.shape:
        if kept.shape == expected[0].shape:
            raise Wrong(f"that is one row of the batch; keep the last token of every row, {tuple(expected.shape)} here")
        if not in_tuple and kept.shape == whole[0, :, -1].shape:
            raise Wrong("output[0] of a bare tensor is its first batch row: ask isinstance(output, tuple) first")
        raise Wrong(f"the shape is {tuple(kept.shape)}; it should be {tuple(expected.shape)}: rows, width")
    if torch.equal(kept, whole[:, 0]):
        raise Wrong("that is the first token; the answer begins at the last one, slot -1")
    if not torch.equal(kept, expected):
        raise Wrong("these are not the states of the last token of each row: the slots are the middle axis")
    if kept.untyped_storage().data_ptr() == hidden.untyped_storage().data_ptr():
        one_row = " (.contiguous() copies nothing where there is one row)" if len(whole) == 1 else ""
        raise Wrong(
            f"the values are right, but a slice is a view that keeps all tokens in memory: .clone() it{one_row}"
        )
    if kept.untyped_storage().nbytes() > kept.nbytes:
        raise Wrong("the values are right, but more than these numbers is kept alive behind them: copy the slice alone")


def share_and_mass(share: Any, mass: Any, row: torch.Tensor, span: AudioSpan) -> None:
    """`mass`: how much of the row (slots,), which sums to 1, goes to the audio; `share`: how it is spread there."""
    weights = row.detach().cpu().double().numpy()
    audio = weights[span.first : span.stop]
    given = number(mass)
    if not near(given, float(audio.sum()), 1e-5):
        refuse(
            given,
            [(weights.sum(), "the mass is 1: that is the sum over all slots; sum over the audio tokens alone")],
            1e-5,
        )
        slices = {
            (0, span.count): "the audio does not begin at slot 0: the chat's first words do",
            (span.first, span.count): "span.count is a number of tokens, not a slot: the slice ends at span.stop",
            (
                span.first,
                span.stop - 1,
            ): "the last audio token is missing: a slice leaves out its end, so end at span.stop",
            (span.first, span.stop + 1): "one slot too many: span.stop is the slot after the last audio token",
            (span.first, len(weights)): "everything after the audio is in it too: end at span.stop",
        }
        mistakes = [(weights[first:stop].sum(), hint) for (first, stop), hint in slices.items()]
        refuse(given, [(audio.mean(), "the mass is a sum of weights, not their mean"), *mistakes])
        raise Wrong("the mass is the sum of the weights on the audio tokens, slots span.first to span.stop - 1")
    curve = values(share, (span.count,))
    twice = np.exp(audio) / np.exp(audio).sum()
    mistakes = [
        (audio, "these are the weights themselves; a share sums to 1 over the audio: divide by the mass"),
        (twice, "the weights went through a second softmax, which makes them nearly even: divide by their sum"),
    ]
    otherwise = f"the share sums to {curve.sum():.2f}; it is the audio's weights divided by their sum"
    judge(curve, audio / audio.sum(), mistakes, otherwise, same=_close)
    correct(
        f"This head gives {given:.0%} of its attention to the audio. Steering may change that, or the share, or both."
    )


def full_map_bytes(function: Callable[[Any, int, int], Any]) -> None:
    """`function(config, slots, bytes_a_number)`: bytes of the attention weights of every block, head, query and key.

    `config` is that of the whole model, with the decoder's in `text_config`. Tried on both published checkpoints.
    """
    uneven = full_size_config("audioflamingo3")
    uneven.text_config.num_hidden_layers = 20  # both checkpoints have as many heads as blocks: slips would look alike
    _check_bytes(number(function(uneven, 750, 4)), uneven, 750, 4)
    flamingo, qwen = full_size_config("audioflamingo3"), full_size_config("qwen2_audio")
    for config in (flamingo, qwen):
        _check_bytes(number(function(config, 100, 2)), config, 100, 2)
    fits = next(seconds for seconds in range(1, 600) if _bytes(flamingo.text_config, 25 * (seconds + 1), 2) > 24e9)
    correct(
        f"Audio Flamingo 3's maps in bfloat16 fill 24 GB at {fits} s of audio; twice that needs four times as much."
    )


def _bytes(stack: Any, slots: int, bytes_a_number: int) -> int:
    return int(stack.num_hidden_layers * stack.num_attention_heads * slots**2 * bytes_a_number)


def _check_bytes(given: float, config: Any, slots: int, bytes_a_number: int) -> None:
    text, tower = config.text_config, config.audio_config
    expected = _bytes(text, slots, bytes_a_number)
    mistakes = (
        (
            expected * text.num_key_value_heads / text.num_attention_heads,
            "key/value heads are fewer, but every query head has its own map: take num_attention_heads",
        ),
        (expected / slots, "a map has a row for every slot: queries x keys, so slots squared"),
        (expected / text.num_hidden_layers, "that is one block: every block has its own maps"),
        (expected / text.num_attention_heads, "that is one head a block: every head has its own map"),
        (expected / bytes_a_number, "that counts numbers; each takes bytes_a_number bytes"),
        (expected * 8 / bytes_a_number, "bytes_a_number is in bytes already, not bits"),
        (expected / 2, "eager attention keeps the masked upper half too, as zeros: do not halve it"),
        (
            _bytes(tower, slots, bytes_a_number),
            "these are the audio tower's blocks and heads; the prompt is in the decoder: config.text_config",
        ),
    )
    otherwise = f"for {slots} slots it says {size(given)}, not {size(expected)}"
    judge(given, expected, mistakes, f"{otherwise}: blocks x heads x slots² x bytes_a_number")


def places_in_call(function: Callable[[Sequence[int], int, int], Any]) -> None:
    """`function(wanted, seen, tokens)`: where the absolute slots `wanted` stand in a call, as a list of places.

    `tokens`: how many the call has; `seen`: how many the cache holds once it is done, this call's among them.
    """
    whole, step, suffix = ([3, 7], 10, 10), ([10], 11, 1), ([4, 8, 9], 10, 4)
    for wanted, seen, tokens in (whole, step, suffix, ([3, 12], 11, 1), ([2], 5, 1)):
        returned = called(function, list(wanted), seen, tokens)
        try:
            places = [int(place) for place in returned]
        except (TypeError, ValueError):
            raise Wrong(f"return a list of places, not {type(returned).__name__}") from None
        _check_places(places, wanted, seen, tokens)
    correct("The same slots mean the same tokens in a whole prompt, behind a shared prefix, and while decoding.")


def _check_places(places: list[int], wanted: Sequence[int], seen: int, tokens: int) -> None:
    first = seen - tokens
    expected = [slot - first for slot in wanted if first <= slot < seen]
    if places == expected:
        return
    if first and places in ([slot for slot in wanted if slot < tokens], list(wanted)):
        hint = "These are counted from this call: its first token is slot seen - tokens, not 0"
    elif places == [slot - seen for slot in wanted]:
        hint = "Seen holds this call's tokens already"
    elif any(not 0 <= place < tokens for place in places):
        hint = "A place outside 0 ... tokens - 1 is not in this call (a negative one would count from its end)"
    else:
        hint = "The call holds the slots from seen - tokens to seen - 1"
    raise Wrong(f"wanted {list(wanted)}, seen {seen}, tokens {tokens}: {places}, not {expected}. {hint}")
