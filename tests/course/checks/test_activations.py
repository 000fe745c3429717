"""The checks in `activations`: the right answers pass, and each likely mistake meets its own hint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

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
@pytest.fixture
def row() -> torch.Tensor:
    """Ten weights that sum to 1; the audio is slots 3 to 7."""
    return torch.tensor([0.07, 0.1, 0.02, 0.03, 0.28, 0.11, 0.06, 0.1, 0.04, 0.19])


def test_share_and_mass_pass(row: torch.Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    audio = row[3:8]
    activations.share_and_mass(audio / audio.sum(), audio.sum(), row, SPAN)
    activations.share_and_mass((audio / audio.sum()).tolist(), 0.58, row, SPAN)
    assert "Correct. This head gives 58% of its attention to the audio" in capsys.readouterr().out


def test_each_slip_of_the_mass_has_its_hint(row: torch.Tensor) -> None:
    share = row[3:8] / row[3:8].sum()
    slips = {
        "nothing is here yet": ...,
        "sum over all slots": row.sum(),
        "not their mean": row[3:8].mean(),
        "does not begin at slot 0": row[:5].sum(),
        "a number of tokens, not a slot": row[3:5].sum(),
        "last audio token is missing": row[3:7].sum(),
        "one slot too many": row[3:9].sum(),
        "everything after the audio": row[3:].sum(),
        "slots span.first to span.stop": 0.45,
    }
    for hint, mass in slips.items():
        with pytest.raises(Wrong, match=hint):
            activations.share_and_mass(share, mass, row, SPAN)


def test_each_slip_of_the_share_has_its_hint(row: torch.Tensor) -> None:
    audio = row[3:8]
    slips = {
        "nothing is here yet": None,
        "divide by the mass": audio,
        "second softmax": audio.softmax(dim=0),
        "the shape is": row,
        "the share sums to 1.00": torch.full((5,), 0.2),
    }
    for hint, share in slips.items():
        with pytest.raises(Wrong, match=hint):
            activations.share_and_mass(share, audio.sum(), row, SPAN)


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
    ],
)
def test_each_slip_of_the_bytes_has_its_hint(function: Callable[..., Any], hint: str) -> None:
    with pytest.raises(Wrong, match=hint):
        activations.full_map_bytes(function)


def test_bytes_that_fit_one_checkpoint_alone_are_refused() -> None:
    with pytest.raises(Wrong, match="it says"):
        activations.full_map_bytes(lambda config, slots, size: 20 * 28 * slots**2 * size)


# -- slots of a call -------------------------------------------------------------------------------------------------
def places(wanted: Sequence[int], seen: int, tokens: int) -> list[int]:
    first = seen - tokens
    return [slot - first for slot in wanted if first <= slot < seen]


def test_places_pass(capsys: pytest.CaptureFixture[str]) -> None:
    activations.places_in_call(places)
    activations.places_in_call(lambda wanted, seen, tokens: np.array(places(wanted, seen, tokens)))
    assert capsys.readouterr().out.count("Correct.") == 2


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda wanted, seen, tokens: ..., "nothing is here yet"),
        (lambda wanted, seen, tokens: [slot for slot in wanted if slot < tokens], "counted from this call"),
        (lambda wanted, seen, tokens: wanted, "counted from this call"),
        (lambda wanted, seen, tokens: [slot - seen for slot in wanted], "Seen holds this call's tokens already"),
        (lambda wanted, seen, tokens: [slot - seen + tokens for slot in wanted], "is not in this call"),
        (lambda wanted, seen, tokens: [], "from seen - tokens to seen - 1"),
        (lambda wanted, seen, tokens: 3, "return a list of places"),
    ],
)
def test_each_slip_of_the_places_has_its_hint(function: Callable[..., Any], hint: str) -> None:
    with pytest.raises(Wrong, match=hint):
        activations.places_in_call(function)
