"""What a block's hook adds."""

from __future__ import annotations

import pytest
import torch

from steer_utils.lm.positions import TokenMask
from steer_utils.lm.steering import BlockHook, EditLayer


class Behind:
    """A cache that has taken more tokens than the prompts of these tests have."""

    def get_seq_length(self, block: int) -> int:
        return 9


@pytest.mark.parametrize("rows", [1, 3])
def test_what_is_known_beforehand_of_generated_tokens_is_what_the_general_way_adds(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    directions = torch.randn(3, rows, 8, generator=generator)
    strengths = torch.tensor([[0.5, 0.0, -2.0], [1.0, 0.0, 0.0], [3.0, 4.0, 5.0]])[:, :rows]
    layers = [
        EditLayer(direction, strength, torch.zeros(rows, dtype=torch.bool), TokenMask(torch.ones(rows, 6).bool(), kind))
        for direction, strength, kind in zip(directions, strengths, (True, True, False), strict=True)
    ]
    hook, general = (BlockHook(0, layers, torch.tensor([True, False, False][:rows])) for _ in range(2))
    general.generated = None
    hidden = torch.randn(3, 1, 8, generator=generator)  # one row given steers all rows of a batch

    for one in (hook, general):
        before = hidden.clone()
        one.changed = one(torch.nn.Identity(), (), {"past_key_values": Behind()}, hidden)
        assert torch.equal(hidden, before)
    torch.testing.assert_close(hook.changed, general.changed)
    if rows == 3:
        assert torch.equal(hook.changed[1], hidden[1])  # the second row's only edit is not for generated tokens


def test_a_gradient_flows_through_a_generated_token() -> None:
    direction = torch.tensor([[1.0, -2.0, 0.5]])
    mask = TokenMask(torch.ones(1, 6).bool(), True)
    layer = EditLayer(direction, torch.tensor([2.0]), torch.tensor([False]), mask)
    hook = BlockHook(0, [layer], torch.tensor([True]))
    hidden = torch.tensor([[[0.3, 1.0, -0.7]]])

    def changed(states: torch.Tensor) -> torch.Tensor:
        return hook(torch.nn.Identity(), (), {"past_key_values": Behind()}, states)

    torch.testing.assert_close(changed(hidden.clone().requires_grad_()).detach(), changed(hidden))
    assert torch.autograd.gradcheck(changed, hidden.double().requires_grad_(), eps=1e-3, atol=1e-3)
