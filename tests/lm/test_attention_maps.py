"""AttentionMap: share and mass, differences, and the window read from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from steer_utils.lm.attention_maps import AttentionMap
from steer_utils.sound.spans import AudioSpan, Interval

SPAN = AudioSpan(5, 50)


def weights(seed: int = 0, rows: int = 1) -> torch.Tensor:
    """Attention over 50 audio tokens of 60 keys, (3 blocks, 2 heads, rows, 50)."""
    scores = torch.randn(3, 2, rows, 60, generator=torch.Generator().manual_seed(seed))
    return scores.softmax(dim=-1)[..., 5:55]


def test_share_and_mass() -> None:
    seen = weights()
    attention = AttentionMap.from_weights(seen, SPAN)
    assert torch.allclose(attention.share.sum(-1), torch.ones(3, 2, 1))
    assert torch.allclose(attention.share * attention.mass[..., None], seen)
    assert attention.audio_mass() == pytest.approx(float(seen.sum(-1).mean()))
    assert attention.curve().sum() == pytest.approx(1)


def test_a_row_that_ignores_the_audio_gives_no_nan() -> None:
    seen = weights()
    seen[1] = 0.0
    attention = AttentionMap.from_weights(seen, SPAN)
    assert torch.isfinite(attention.share).all()
    assert attention.curve(blocks=[1]) == pytest.approx(np.full(50, 1 / 50))
    assert attention.audio_mass(blocks=[1]) == 0.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_flat_curve(value: float) -> None:
    weights = torch.full((1, 1, 1, 4), 0.25)
    weights[..., 2] = value
    with pytest.raises(FloatingPointError, match="bfloat16 or float32"):
        AttentionMap.from_weights(weights, AudioSpan(0, 4))


def test_curve_averages_what_it_says() -> None:
    attention = AttentionMap.from_weights(weights(rows=2), SPAN, first_block=1)
    share = attention.share
    assert attention.curve() == pytest.approx(share[1:].mean(dim=(0, 1, 2)).numpy(), abs=1e-7)
    assert attention.curve(blocks=[0], heads=[1], row=-1) == pytest.approx(share[0, 1, 1].numpy(), abs=1e-7)
    assert attention.curve(blocks=[-1]) == pytest.approx(attention.curve(blocks=[2]))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"blocks": [3]}, "blocks has 3, but the map has blocks 0 to 2"),
        ({"blocks": []}, r"blocks is \[\]; pass block numbers"),
        ({"heads": [2]}, "heads has 2, but the map has heads 0 to 1"),
        ({"row": 2}, "rows has 2, but the map has rows 0 to 1"),
    ]
    for choice, message in wrong:
        with pytest.raises(ValueError, match=message):
            attention.curve(**choice)


def test_chosen_heads_weigh_the_same() -> None:
    attention = AttentionMap.from_weights(weights(rows=2), SPAN, first_block=1)
    share = attention.share
    expected = (share[0, 1] + share[2, 0] + share[2, 1]).mean(dim=0) / 3
    assert attention.curve_of_heads([(0, 1), (2, 0), (-1, 1)]) == pytest.approx(expected.numpy(), abs=1e-7)
    assert attention.curve_of_heads([(1, 0)], row=1) == pytest.approx(share[1, 0, 1].numpy(), abs=1e-7)
    every = [(block, head) for block in (1, 2) for head in range(2)]
    assert attention.curve_of_heads(every) == pytest.approx(attention.curve(), abs=1e-7)
    for wrong, name in (([(3, 0)], "block"), ([(0, 2)], "head"), ([], "block")):
        with pytest.raises(ValueError, match=f"{name}s (has|is) .*{name}"):
            attention.curve_of_heads(wrong)
    with pytest.raises(ValueError, match="rows has 2, but the map has rows 0 to 1"):
        attention.curve_of_heads(every, row=2)


def test_the_window_is_where_the_attention_is() -> None:
    seen = torch.full((3, 2, 1, 50), 0.001)
    seen[2, :, :, 20:30] = 0.05
    attention = AttentionMap.from_weights(seen, SPAN)
    assert attention.window(0.4) == Interval(0.8, 1.2)
    interval, score = attention.located(0.4, blocks=[2])
    assert interval == Interval(0.8, 1.2)
    assert score == pytest.approx(0.05 / (10 * 0.05 + 40 * 0.001), rel=1e-5)


def test_differences() -> None:
    a, b = AttentionMap.from_weights(weights(0), SPAN, 2), AttentionMap.from_weights(weights(1), SPAN)
    shift = a - b
    assert shift.first_block == 2
    assert torch.equal(shift.share, a.share - b.share)
    assert torch.equal(shift.mass, a.mass - b.mass)
    assert not (a - a).share.any()
    assert shift.curve() == pytest.approx(-(b - a).curve(), abs=1e-7)
    assert shift.curve() == pytest.approx(a.curve() - b.curve(blocks=[2]), abs=1e-7)


def test_maps_of_other_audio_do_not_mix() -> None:
    a = AttentionMap.from_weights(weights(), SPAN)
    for other in (
        AttentionMap.from_weights(weights(), AudioSpan(6, 50)),
        AttentionMap.from_weights(weights(rows=2), SPAN),
    ):
        with pytest.raises(ValueError, match="do not match"):
            _ = a - other
    with pytest.raises(TypeError):
        _ = a - 1  # type: ignore[operator]


def test_steering_the_last_block_is_explained() -> None:
    attention = AttentionMap.from_weights(weights(), SPAN, first_block=3)
    with pytest.raises(ValueError, match="steering block 2, the last, changes no attention"):
        attention.window(0.4)
    assert attention.curve(blocks=[0]).shape == (50,)


def test_shapes() -> None:
    with pytest.raises(ValueError, match="share must have shape"):
        AttentionMap(torch.zeros(3, 2, 1, 49), torch.zeros(3, 2, 1), SPAN)
    with pytest.raises(ValueError, match="mass has shape"):
        AttentionMap(torch.zeros(3, 2, 1, 50), torch.zeros(3, 2), SPAN)
