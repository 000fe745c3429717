"""The checks in `activations`: the right answers pass, and each likely mistake meets its own hint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hints import hint_test, right_test

from steer_utils.course.checks import Wrong, activations
from steer_utils.sound.spans import AudioSpan

SPAN = AudioSpan(3, 5)


# -- a hook that keeps the last token --------------------------------------------------------------------------------
def hook_of(states: list[Any], chosen: Callable[[torch.Tensor], Any], *, tuples: bool = True) -> activations.Hook:
    """A hook that appends chosen(states of the block)."""

    def hook(module: Any, arguments: Any, output: Any) -> None:
        states.append(chosen(output[0] if tuples and isinstance(output, tuple) else output))

    return hook


def test_the_right_hook_passes_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    states: list[Any] = ["mine"]
    activations.keep_last(hook_of(states, lambda hidden: hidden[:, -1].clone()), states)
    assert capsys.readouterr().out.startswith("Correct.") and states == ["mine"]


@pytest.mark.parametrize(
    ("chosen", "hint"),
    [
        (lambda hidden: hidden[:, -1], "a slice is a view"),
        (lambda hidden: hidden[:, -1].contiguous(), r"\.contiguous\(\) copies nothing where there is one row"),
        (lambda hidden: hidden.clone()[:, -1], "more than these numbers is kept alive"),
        (lambda hidden: hidden[0, -1].clone(), "one row of the batch"),
        (lambda hidden: hidden[:, 0].clone(), "that is the first token"),
        (lambda hidden: hidden[:, -2].clone(), "not the states of the last token"),
        (lambda hidden: hidden[0][:, -1].clone(), "first batch row"),
        (lambda hidden: hidden.clone(), "the shape is"),
        (lambda hidden: hidden[:, -1].tolist(), "append a tensor"),
        (lambda hidden: hidden.zero_()[:, -1].clone(), "output itself was changed"),
    ],
)
def test_each_slip_of_a_hook_has_its_hint(chosen: Callable[[torch.Tensor], Any], hint: str) -> None:
    states: list[Any] = []
    with pytest.raises(Wrong, match=hint):
        activations.keep_last(hook_of(states, chosen), states)
    assert not states


def test_hooks_that_are_blank_return_something_or_know_no_tuple() -> None:
    states: list[Any] = []
    with pytest.raises(Wrong, match="nothing is here yet"):
        activations.keep_last(lambda module, arguments, output: None, states)
    with pytest.raises(Wrong, match="takes the place of the block's output"):
        activations.keep_last(lambda module, arguments, output: output[:, -1], states)
    with pytest.raises(Wrong, match="may also return a tuple"):
        activations.keep_last(hook_of(states, lambda hidden: hidden[:, -1].clone(), tuples=False), states)
    with pytest.raises(Wrong, match="fails on a tensor"):
        activations.keep_last(hook_of(states, lambda hidden: hidden.last), states)
    with pytest.raises(Wrong, match="append once a call"):
        activations.keep_last(hook_of(states, lambda hidden: states.extend([hidden, hidden])), states)


# -- share and mass --------------------------------------------------------------------------------------------------
#: Ten weights that sum to 1; the audio is slots 3 to 7.
ROW = torch.tensor([0.07, 0.1, 0.02, 0.03, 0.28, 0.11, 0.06, 0.1, 0.04, 0.19])
AUDIO = ROW[3:8]
SHARE = AUDIO / AUDIO.sum()


test_share_and_mass_pass = right_test(
    lambda answer: activations.share_and_mass(*answer, ROW, SPAN),
    (SHARE, AUDIO.sum()),
    (SHARE.tolist(), 0.58),
    says="This head gives 58% of its attention to the audio",
)

test_each_slip_of_the_mass_has_its_hint = hint_test(
    lambda mass: activations.share_and_mass(SHARE, mass, ROW, SPAN),
    (..., "nothing is here yet"),
    (ROW.sum(), "sum over all slots"),
    (AUDIO.mean(), "not their mean"),
    (ROW[:5].sum(), "does not begin at slot 0"),
    (ROW[3:5].sum(), "a number of tokens, not a slot"),
    (ROW[3:7].sum(), "last audio token is missing"),
    (ROW[3:9].sum(), "one slot too many"),
    (ROW[3:].sum(), "everything after the audio"),
    (0.45, "slots span.first to span.stop"),
)

test_each_slip_of_the_share_has_its_hint = hint_test(
    lambda share: activations.share_and_mass(share, AUDIO.sum(), ROW, SPAN),
    (None, "nothing is here yet"),
    (AUDIO, "divide by the mass"),
    (AUDIO.softmax(dim=0), "second softmax"),
    (ROW, "the shape is"),
    (torch.full((5,), 0.2), "the share sums to 1.00"),
)


# -- bytes of full maps ----------------------------------------------------------------------------------------------
def map_bytes(config: Any, slots: int, bytes_a_number: int) -> int:
    text = config.text_config
    return text.num_hidden_layers * text.num_attention_heads * slots**2 * bytes_a_number


def test_bytes_pass_and_say_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    activations.full_map_bytes(map_bytes)
    printed = capsys.readouterr().out
    fits = int(printed.split("24 GB at ")[1].split(" s")[0])
    assert 28 * 28 * (25 * fits) ** 2 * 2 <= 24e9 < 28 * 28 * (25 * (fits + 1)) ** 2 * 2


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda config, slots, size: None, "nothing is here yet"),
        (lambda config, slots, size: map_bytes(config, slots, size) // 7, "take num_attention_heads"),
        (lambda config, slots, size: map_bytes(config, slots, size) // slots, "slots squared"),
        (lambda config, slots, size: map_bytes(config, slots, size) // 20, "every block has its own"),
        (lambda config, slots, size: map_bytes(config, slots, size) // 28, "every head has its own"),
        (lambda config, slots, size: map_bytes(config, slots, 1), "takes bytes_a_number bytes"),
        (lambda config, slots, size: map_bytes(config, slots, 8), "not bits"),
        (lambda config, slots, size: map_bytes(config, slots, size) / 2, "do not halve it"),
        (lambda config, slots, size: 32 * 20 * slots**2 * size, "the audio tower's"),
        (lambda config, slots, size: 12345, "it says 12.3 kB, not 1.26 GB"),
        (lambda config, slots, size: "much", "must be a number"),
        (lambda config, slots, size: 20 * 28 * slots**2 * size, "it says"),  # right for one checkpoint alone
    ],
)
def test_each_slip_of_the_bytes_has_its_hint(function: Callable[..., Any], hint: str) -> None:
    with pytest.raises(Wrong, match=hint):
        activations.full_map_bytes(function)


# -- slots of a call -------------------------------------------------------------------------------------------------
def places(wanted: Sequence[int], seen: int, tokens: int) -> list[int]:
    first = seen - tokens
    return [slot - first for slot in wanted if first <= slot < seen]


test_places_pass = right_test(
    activations.places_in_call, places, lambda wanted, seen, tokens: np.array(places(wanted, seen, tokens))
)

test_each_slip_of_the_places_has_its_hint = hint_test(
    activations.places_in_call,
    (lambda wanted, seen, tokens: ..., "nothing is here yet"),
    (lambda wanted, seen, tokens: [slot for slot in wanted if slot < tokens], "counted from this call"),
    (lambda wanted, seen, tokens: wanted, "counted from this call"),
    (lambda wanted, seen, tokens: [slot - seen for slot in wanted], "Seen holds this call's tokens already"),
    (lambda wanted, seen, tokens: [slot - seen + tokens for slot in wanted], "is not in this call"),
    (lambda wanted, seen, tokens: [], "from seen - tokens to seen - 1"),
    (lambda wanted, seen, tokens: 3, "return a list of places"),
)
